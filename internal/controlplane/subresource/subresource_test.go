// SPDX-License-Identifier: Apache-2.0

package subresource

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

func TestSubresourceRouting(t *testing.T) {
	const prefix = "/apis/fairlead.dev/v1alpha1/"
	handler := With(context.Background(),
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "next") }),
		[]Route{{
			GroupVersion: schema.GroupVersion{Group: "fairlead.dev", Version: "v1alpha1"},
			Resource:     "updaterequests", Subresource: "log",
			Handler: func(w http.ResponseWriter, _ *http.Request, namespace, name string) {
				_, _ = fmt.Fprintf(w, "log of %s/%s", namespace, name)
			},
		}}, &Rechecker{every: time.Hour})
	resolver := &genericapirequest.RequestInfoFactory{
		APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api"),
	}
	for _, c := range []struct{ method, path, want string }{
		{"GET", prefix + "namespaces/prod/updaterequests/web-1/log", "log of prod/web-1"},
		{"GET", prefix + "namespaces/prod/updaterequests/web-1/log?follow=true", "log of prod/web-1"},
		{"GET", prefix + "namespaces/prod/updaterequests/web-1", "next"},
		{"GET", prefix + "namespaces/prod/updaterequests/web-1/status", "next"},
		{"GET", prefix + "namespaces/prod/updaterequests/web-1/log/more", "next"},
		{"POST", prefix + "namespaces/prod/updaterequests/web-1/log", "next"},
		{"DELETE", prefix + "namespaces/prod/updaterequests/web-1/log", "next"},
		{"GET", prefix + "namespaces/prod/applications/web/log", "next"},
		{"GET", prefix + "updaterequests/web-1/log", "next"},
		{"GET", "/apis/fairlead.dev/v2/namespaces/prod/updaterequests/web-1/log", "next"},
		{"GET", "/apis/other.dev/v1alpha1/namespaces/prod/updaterequests/web-1/log", "next"},
		{"GET", "/healthz", "next"},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		info, err := resolver.NewRequestInfo(r)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r.WithContext(genericapirequest.WithRequestInfo(r.Context(), info)))
		if got := w.Body.String(); got != c.want {
			t.Errorf("%s %s: got %q, want %q", c.method, c.path, got, c.want)
		}
	}
}

func TestSubresourceEndsWithTheServer(t *testing.T) {
	stopping, stop := context.WithCancel(context.Background())
	entered := make(chan struct{})
	handler := With(stopping, http.NotFoundHandler(), []Route{{
		Resource: "updaterequests", Subresource: "log",
		Handler: func(_ http.ResponseWriter, r *http.Request, _, _ string) {
			close(entered)
			<-r.Context().Done()
		},
	}}, &Rechecker{every: time.Hour})
	r := httptest.NewRequest("GET", "/", nil)
	info := &genericapirequest.RequestInfo{IsResourceRequest: true, Verb: "get", Namespace: "prod", Name: "web-1",
		Resource: "updaterequests", Subresource: "log", Parts: []string{"updaterequests", "web-1", "log"}}
	ended := make(chan struct{})
	go func() {
		handler.ServeHTTP(httptest.NewRecorder(), r.WithContext(genericapirequest.WithRequestInfo(context.Background(), info)))
		close(ended)
	}()
	<-entered
	stop()
	<-ended
}

// A stream ends when its caller's token is revoked or the right is taken away, and
// as a broken one.
func TestSubresourceEndsWithTheRight(t *testing.T) {
	jo := &user.DefaultInfo{Name: "jo"}
	info := &genericapirequest.RequestInfo{IsResourceRequest: true, Verb: "get", Namespace: "prod", Name: "web-1",
		Resource: "updaterequests", Subresource: "log", Parts: []string{"updaterequests", "web-1", "log"}}
	for _, tt := range []struct{ name, lost string }{{"the token", "authentication"}, {"the right", "authorization"}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var lost atomic.Value
				lost.Store("")
				recheck := &Rechecker{
					authenticator: authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
						if r.Header.Get("Authorization") != "Bearer good" {
							t.Errorf("asked with %v", r.Header)
						}
						return &authenticator.Response{User: jo}, lost.Load() != "authentication", nil
					}),
					authorizer: authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
						if a.GetUser().GetName() != "jo" || a.GetResource() != "updaterequests" || a.GetSubresource() != "log" || a.GetName() != "web-1" {
							t.Errorf("asked for %v", a)
						}
						if lost.Load() == "authorization" {
							return authorizer.DecisionDeny, "no role", nil
						}
						return authorizer.DecisionAllow, "", nil
					}),
					every: recheckEvery,
				}
				inner := With(t.Context(), http.NotFoundHandler(), []Route{{
					Resource: "updaterequests", Subresource: "log",
					Handler: func(_ http.ResponseWriter, r *http.Request, _, _ string) { <-r.Context().Done() },
				}}, recheck)
				handler := KeepAuthorization(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.Header.Del("Authorization") // as the server does
					inner.ServeHTTP(w, r)
				}))
				r := httptest.NewRequest("GET", "/", nil)
				r.Header.Set("Authorization", "Bearer good")
				ctx := genericapirequest.WithUser(genericapirequest.WithRequestInfo(t.Context(), info), jo)
				ended := make(chan any, 1)
				go func() {
					defer func() { ended <- recover() }()
					handler.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
				}()
				time.Sleep(time.Hour) //nolint:forbidigo // the time of the test's bubble
				select {
				case <-ended:
					t.Fatal("the stream of somebody who may read it has ended")
				default:
				}
				lost.Store(tt.lost)
				at := time.Now()
				if got := <-ended; got != http.ErrAbortHandler { //nolint:errorlint // it is a panic's value
					t.Errorf("it ends with %v", got)
				}
				if d := time.Since(at); d > recheckEvery {
					t.Errorf("after %s", d)
				}
			})
		})
	}
}
