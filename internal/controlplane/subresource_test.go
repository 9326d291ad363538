// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

func TestSubresourceRouting(t *testing.T) {
	const prefix = "/apis/fairlead.dev/v1alpha1/"
	handler := withSubresources(context.Background(),
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "next") }),
		[]Subresource{{
			GroupVersion: schema.GroupVersion{Group: "fairlead.dev", Version: "v1alpha1"},
			Resource:     "updaterequests", Subresource: "log",
			Handler: func(w http.ResponseWriter, _ *http.Request, namespace, name string) {
				_, _ = fmt.Fprintf(w, "log of %s/%s", namespace, name)
			},
		}})
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
	handler := withSubresources(stopping, http.NotFoundHandler(), []Subresource{{
		Resource: "updaterequests", Subresource: "log",
		Handler: func(_ http.ResponseWriter, r *http.Request, _, _ string) {
			close(entered)
			<-r.Context().Done()
		},
	}})
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
