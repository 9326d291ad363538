// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"path"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/source"
)

// claim says which request works in a Git clone, and which ones are to be woken when
// it does not any more.
type claim struct {
	holder  types.NamespacedName
	waiting []types.NamespacedName
}

// directory is where the request works: the working tree that it moves, which
// Applications in several directories of it, or by several names, have together.
func (s scope) directory(ur *v1alpha1.UpdateRequest) string {
	if s.app == nil {
		return ur.Namespace + "/" + ur.Spec.ApplicationRef.Name
	}
	dir := s.app.Spec.Compose.Directory
	if top, err := source.TopOf(dir); err == nil {
		return top
	}
	return path.Clean(dir) // the preflight says what is wrong with it
}

// claim makes ur the one request that works in a directory; the cache may be
// behind, this is not. A dry run changes nothing and claims nothing.
func (r *UpdateRequestReconciler) claim(ur *v1alpha1.UpdateRequest, dir string) (holder string, ok bool) {
	if ur.Spec.DryRun {
		return "", true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	me := client.ObjectKeyFromObject(ur)
	c, taken := r.claims[dir]
	if !taken {
		r.claims[dir] = &claim{holder: me}
		return "", true
	}
	if c.holder == me {
		return "", true
	}
	if !slices.Contains(c.waiting, me) {
		c.waiting = append(c.waiting, me)
	}
	return c.holder.Name, false
}

// over reports whether a request has ended, and nothing is left to be removed after it.
func over(ur *v1alpha1.UpdateRequest) bool {
	return plan.Ended(ur.Status.Phase) && !(ur.Status.CleanUpPending && controllerutil.ContainsFinalizer(ur, requestFinalizer))
}

// begun names a request of any application that works in the directory according to
// its status, and that ur, which has not begun, has to wait for. Claims end with the
// process: after it was restarted, the one that was in the middle of its work comes
// first, whichever is looked at first.
func (r *UpdateRequestReconciler) begun(ctx context.Context, ur *v1alpha1.UpdateRequest, dir string) (string, error) {
	if ur.Spec.DryRun || plan.Started(ur.Status) {
		return "", nil
	}
	var list v1alpha1.UpdateRequestList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return "", err
	}
	for i := range list.Items {
		o := &list.Items[i]
		if o.UID == ur.UID || o.Spec.DryRun || !plan.Started(o.Status) || over(o) {
			continue
		}
		var app v1alpha1.Application
		err := r.Client.Get(ctx, types.NamespacedName{Namespace: o.Namespace, Name: o.Spec.ApplicationRef.Name}, &app)
		if apierrors.IsNotFound(err) {
			continue // nobody knows where it worked, and it ends without going on
		}
		if err != nil {
			return "", err
		}
		if (scope{app: &app}).directory(o) == dir {
			return o.Name, nil
		}
	}
	return "", nil
}

// release ends a claim, and wakes those that met it.
func (r *UpdateRequestReconciler) release(request types.NamespacedName) {
	r.Gate.leave(request)
	var waiting []types.NamespacedName
	r.mu.Lock()
	delete(r.attempts, request)
	delete(r.refused, request)
	for dir, c := range r.claims {
		if c.holder == request {
			waiting = append(waiting, c.waiting...)
			delete(r.claims, dir)
		}
	}
	r.mu.Unlock()
	for _, w := range waiting {
		r.wakeUp(w)
	}
}
