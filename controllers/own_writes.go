// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// ownWrites remembers what was written last of each request, or had instead, for as long as the
// cache is behind it. A pass that began from the older version would have its write
// refused, and before that a step begun that is over.
type ownWrites struct {
	mu     sync.Mutex
	latest map[types.NamespacedName]*v1alpha1.UpdateRequest
}

// keep remembers a request as the API server answered to a write.
func (o *ownWrites) keep(ur *v1alpha1.UpdateRequest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.latest == nil {
		o.latest = map[types.NamespacedName]*v1alpha1.UpdateRequest{}
	}
	o.latest[client.ObjectKeyFromObject(ur)] = ur.DeepCopy()
}

// catchUp puts what was written last into a request from the cache that is
// older, and otherwise forgets it. Versions that cannot be compared count as
// new: then a write that comes from too old a one is refused.
func (o *ownWrites) catchUp(cached *v1alpha1.UpdateRequest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := client.ObjectKeyFromObject(cached)
	own := o.latest[key]
	if own == nil {
		return
	}
	order, err := resourceversion.CompareResourceVersion(cached.ResourceVersion, own.ResourceVersion)
	if err == nil && order < 0 && cached.UID == own.UID {
		own.DeepCopyInto(cached)
		return
	}
	delete(o.latest, key)
}

// renew remembers a request as the API server has it now, after a write was refused
// since it has a newer one; if it cannot be asked, nothing.
func (o *ownWrites) renew(ctx context.Context, api client.Reader, request types.NamespacedName) {
	var now v1alpha1.UpdateRequest
	if err := api.Get(ctx, request, &now); err != nil {
		o.forget(request)
		return
	}
	o.keep(&now)
}

func (o *ownWrites) forget(request types.NamespacedName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.latest, request)
}
