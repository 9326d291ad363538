// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/singleflight"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// rights remembers, for a moment, whether a caller may read the log of a request,
// and whether the request has concluded: so that five hundred followers of one
// log do not ask five hundred times.
type rights struct {
	known *lru.Cache // of *logState by logKey
	group singleflight.Group
	now   func() time.Time
}

// rightsTTL is less than the time between two questions of one stream.
const rightsTTL = 3 * time.Second

type logKey struct {
	caller tokenHash
	name   types.NamespacedName
}

// logState is what followers of a log ask for again and again.
type logState struct {
	until time.Time
	// request as it is, nil if it was deleted.
	request *v1alpha1.UpdateRequest
	// refusal why the caller may not read the log, or nil.
	refusal error
}

func newRights(now func() time.Time) *rights { return &rights{known: lru.New(1024), now: now} }

// logState asks the API server, as the caller, whether they may read the log of a
// request, and for the request.
func (a *API) logState(ctx context.Context, key types.NamespacedName) (*logState, error) {
	k := logKey{caller: recordOf(ctx).hash, name: key}
	if known, ok := a.rights.known.Get(k); ok {
		if s, ok := known.(*logState); ok && a.rights.now().Before(s.until) {
			return s, nil
		}
	}
	answer, err, _ := a.rights.group.Do(fmt.Sprintf("%x %s", k.caller, key), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		s, err := a.askLogState(ctx, key)
		if err == nil {
			s.until = a.rights.now().Add(rightsTTL)
			a.rights.known.Add(k, s)
		}
		return s, err
	})
	if err != nil {
		return nil, err
	}
	s, _ := answer.(*logState)
	return s, nil
}

func (a *API) askLogState(ctx context.Context, key types.NamespacedName) (*logState, error) {
	allowed, err := a.allowed(ctx, right{verb: "get", resource: "updaterequests", subresource: "log", namespace: key.Namespace, name: key.Name})
	if err != nil {
		return nil, err
	}
	if !allowed {
		return &logState{refusal: problem(http.StatusForbidden, metav1.StatusReasonForbidden, fmt.Sprintf(
			"you may not read the logs of update requests (get updaterequests/log) in the namespace %s. The role fairlead-viewer allows it", key.Namespace))}, nil
	}
	ur := &v1alpha1.UpdateRequest{}
	err = a.kube().Get(ctx, key, ur)
	if apierrors.IsNotFound(err) {
		return &logState{}, nil
	}
	return &logState{request: ur}, err
}

// right is something that RBAC decides about, in the words of RBAC.
type right struct{ verb, resource, subresource, namespace, name string }

// allowed asks the API server, as the caller.
func (a *API) allowed(ctx context.Context, r right) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version,
			Resource: r.resource, Subresource: r.subresource, Verb: r.verb, Namespace: r.namespace, Name: r.name,
		},
	}}
	err := a.kube().Create(ctx, review)
	return review.Status.Allowed, err
}

// require answers with a refusal unless the caller has the right; what says it in
// words, and role which one has it.
func (a *API) require(ctx context.Context, r right, what, role string) error {
	allowed, err := a.allowed(ctx, r)
	if err != nil || allowed {
		return err
	}
	resource, where := r.resource, "in all namespaces"
	if r.subresource != "" {
		resource += "/" + r.subresource
	}
	if r.namespace != "" {
		where = "in the namespace " + r.namespace
	}
	return problem(http.StatusForbidden, metav1.StatusReasonForbidden, fmt.Sprintf(
		"you may not %s (%s %s) %s. The role %s allows it", what, r.verb, resource, where, role))
}
