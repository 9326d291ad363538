// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// Subresource is a path of ours below the objects of a namespaced custom
// resource, such as /apis/fairlead.dev/v1alpha1/namespaces/{ns}/updaterequests/{name}/log.
// The API server authenticates and audits the request and authorises it as verb
// "get" on "<resource>/<subresource>" before Handler sees it. One
// named "log" or "download" may stream for as long as it likes.
type Subresource struct {
	GroupVersion schema.GroupVersion
	// Resource is the plural name, e.g. "updaterequests".
	Resource string
	// Subresource is the last part of the path, e.g. "log".
	Subresource string
	// Handler answers GET requests. The context of r ends when the client goes
	// away or the server stops; w supports http.Flusher.
	Handler func(w http.ResponseWriter, r *http.Request, namespace, name string)
}

func (s Subresource) matches(info *genericapirequest.RequestInfo) bool {
	return info.IsResourceRequest && info.Verb == "get" && info.Namespace != "" && info.Name != "" &&
		info.APIGroup == s.GroupVersion.Group && info.APIVersion == s.GroupVersion.Version &&
		info.Resource == s.Resource && info.Subresource == s.Subresource && len(info.Parts) == 3
}

// withSubresources answers the requests for subs and passes all others to next.
// It belongs inside the authenticated and authorised part of the chain. stopping
// ends the handlers when the server is told to stop, recheck when their callers
// lose the right; then the connection breaks, so that nobody takes it for the end.
func withSubresources(stopping context.Context, next http.Handler, subs []Subresource, recheck *rechecker) http.Handler {
	if len(subs) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := genericapirequest.RequestInfoFrom(r.Context())
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		for _, s := range subs {
			if s.matches(info) {
				s.serve(stopping, w, r, info, recheck)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (s Subresource) serve(stopping context.Context, w http.ResponseWriter, r *http.Request, info *genericapirequest.RequestInfo, recheck *rechecker) {
	ctx, cancel := context.WithCancelCause(r.Context())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel(nil)
	defer context.AfterFunc(stopping, func() { cancel(context.Canceled) })()
	watching.Go(func() { recheck.watch(ctx, r, cancel) })
	s.Handler(w, r.WithContext(ctx), info.Namespace, info.Name)
	if errors.Is(context.Cause(ctx), errRevoked) {
		panic(http.ErrAbortHandler)
	}
}
