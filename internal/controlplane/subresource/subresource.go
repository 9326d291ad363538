// SPDX-License-Identifier: Apache-2.0

// Package subresource serves paths of ours below the objects of custom resources,
// inside an API server.
package subresource

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// Route is a path of ours below the objects of a namespaced custom
// resource, such as /apis/fairlead.dev/v1alpha1/namespaces/{ns}/updaterequests/{name}/log.
// The API server authenticates and audits the request and authorises it as verb
// "get" on "<resource>/<subresource>" before Handler sees it. One
// named "log" or "download" may stream for as long as it likes.
type Route struct {
	GroupVersion schema.GroupVersion
	// Resource is the plural name, e.g. "updaterequests".
	Resource string
	// Subresource is the last part of the path, e.g. "log".
	Subresource string
	// Handler answers GET requests. The context of r ends when the client goes
	// away or the server stops; w supports http.Flusher.
	Handler func(w http.ResponseWriter, r *http.Request, namespace, name string)
}

func (route Route) matches(info *genericapirequest.RequestInfo) bool {
	return info.IsResourceRequest && info.Verb == "get" && info.Namespace != "" && info.Name != "" &&
		info.APIGroup == route.GroupVersion.Group && info.APIVersion == route.GroupVersion.Version &&
		info.Resource == route.Resource && info.Subresource == route.Subresource && len(info.Parts) == 3
}

// With answers the requests for routes and passes all others to next.
// It belongs inside the authenticated and authorised part of the chain. stopping
// ends the handlers when the server is told to stop, recheck when their callers
// lose the right; then the connection breaks, so that nobody takes it for the end.
func With(stopping context.Context, next http.Handler, routes []Route, recheck *Rechecker) http.Handler {
	if len(routes) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := genericapirequest.RequestInfoFrom(r.Context())
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		for _, route := range routes {
			if route.matches(info) {
				route.serve(stopping, w, r, info, recheck)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (route Route) serve(stopping context.Context, w http.ResponseWriter, r *http.Request, info *genericapirequest.RequestInfo, recheck *Rechecker) {
	ctx, cancel := context.WithCancelCause(r.Context())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel(nil)
	defer context.AfterFunc(stopping, func() { cancel(context.Canceled) })()
	watching.Go(func() { recheck.watch(ctx, r, cancel) })
	route.Handler(w, r.WithContext(ctx), info.Namespace, info.Name)
	if errors.Is(context.Cause(ctx), errRevoked) {
		panic(http.ErrAbortHandler)
	}
}
