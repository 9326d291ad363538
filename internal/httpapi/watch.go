// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// Events of a namespace.
const (
	eventApplication = "application"
	eventRequest     = "request"
	eventSynced      = "synced"
	eventReset       = "reset"
)

const (
	// listPage bounds how many objects are in memory at once for the first state.
	listPage   = 100
	watchPause = 500 * time.Millisecond
)

type namespaceEventsInput struct {
	NamespacePath
	ApplicationQuery
	LastEventID string `header:"Last-Event-ID" doc:"The ID of the last event that was received"`
}

// watchEvent is an event as a watch of Kubernetes has it.
type watchEvent struct {
	Type   watch.EventType `json:"type"`
	Object map[string]any  `json:"object"`
}

// source is one of the kinds that a stream of a namespace is about.
type source struct {
	event, kind string
	selector    fields.Selector
	// version of the resource up to which the client has everything.
	version string
}

// change is what a source brings.
type change struct {
	source  *source
	event   watch.Event
	expired bool // what was missed is not known any more
	err     error
}

// namespaceEvents is GET …/events.
func (a *API) namespaceEvents(ctx context.Context, in *namespaceEventsInput) (*huma.StreamResponse, error) {
	apps := &source{event: eventApplication, kind: kindOf[applications]()}
	requests := &source{event: eventRequest, kind: kindOf[updateRequests]()}
	if in.Application != "" {
		apps.selector = fields.OneTermEqualSelector("metadata.name", in.Application)
		requests.selector = ofApplication(in.Application)
	}
	if in.LastEventID != "" {
		var ok bool
		if apps.version, requests.version, ok = strings.Cut(in.LastEventID, "-"); !ok || apps.version == "" || requests.version == "" {
			return nil, problem(http.StatusBadRequest, metav1.StatusReasonBadRequest, "Last-Event-ID is no ID of an event of this stream")
		}
	}
	sources := []*source{apps, requests}
	// A refusal must come before the stream begins.
	for _, s := range sources {
		if err := a.list(ctx, in.Namespace, s, &unstructured.UnstructuredList{}, 1, ""); err != nil {
			return nil, err
		}
	}
	return a.streaming(ctx, func(ctx context.Context, s *stream) error {
		if err := errors.Join(s.beginEvents(), s.retry()); err != nil {
			return err
		}
		n := &namespaceStream{api: a, namespace: in.Namespace, sources: sources, stream: s}
		recheck := func(ctx context.Context) error {
			for _, s := range sources {
				if err := a.list(ctx, in.Namespace, s, &unstructured.UnstructuredList{}, 1, ""); err != nil {
					return err
				}
			}
			return nil
		}
		return a.withHeart(ctx, s.comment, recheck, n.run)
	})
}

// list lists a page of a source.
func (a *API) list(ctx context.Context, namespace string, s *source, into *unstructured.UnstructuredList, limit int64, next string) error {
	into.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(s.kind + "List"))
	return a.kube().List(ctx, into, &client.ListOptions{Namespace: namespace, FieldSelector: s.selector, Limit: limit, Continue: next})
}

// namespaceStream sends what happens in a namespace.
type namespaceStream struct {
	api       *API
	namespace string
	sources   []*source
	stream    *stream
}

func (n *namespaceStream) id() string { return n.sources[0].version + "-" + n.sources[1].version }

func (n *namespaceStream) run(ctx context.Context) error {
	for {
		if n.sources[0].version == "" {
			if err := n.everything(ctx); err != nil {
				return err
			}
		}
		expired, err := n.watch(ctx)
		if err != nil {
			return err
		}
		if expired {
			if err := n.stream.event(eventReset, "", struct{}{}); err != nil {
				return err
			}
			for _, s := range n.sources {
				s.version = ""
			}
		}
	}
}

// everything sends all that exists, without IDs: a client whose connection breaks
// in the midst of it begins anew.
func (n *namespaceStream) everything(ctx context.Context) error {
	for _, s := range n.sources {
		for next, more := "", true; more; {
			list := &unstructured.UnstructuredList{}
			if err := n.api.list(ctx, n.namespace, s, list, listPage, next); err != nil {
				return err
			}
			for i := range list.Items {
				if err := n.send(s, watch.Added, &list.Items[i], ""); err != nil {
					return err
				}
			}
			s.version, next = list.GetResourceVersion(), list.GetContinue()
			more = next != ""
		}
	}
	return n.stream.event(eventSynced, n.id(), struct{}{})
}

func (n *namespaceStream) send(s *source, what watch.EventType, u *unstructured.Unstructured, id string) error {
	u.SetManagedFields(nil)
	return n.stream.event(s.event, id, watchEvent{Type: what, Object: u.Object})
}

// watch sends what happens after the versions of the sources, until ctx ends, it
// fails for good, or a version is too old.
func (n *namespaceStream) watch(ctx context.Context) (expired bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	changes, done := make(chan change), make(chan struct{}, len(n.sources))
	for _, s := range n.sources {
		go func(version string) {
			defer func() { done <- struct{}{} }()
			n.api.guarded(func() { n.api.follow(ctx, n.namespace, s, version, changes) }, func(err error) {
				select {
				case changes <- change{err: err}:
				case <-ctx.Done():
				}
			})
		}(s.version)
	}
	defer func() {
		cancel()
		for range n.sources {
			<-done
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case c := <-changes:
			if c.err != nil || c.expired {
				return c.expired, c.err
			}
			u, ok := c.event.Object.(*unstructured.Unstructured)
			if !ok {
				return false, fmt.Errorf("a watch brought %T", c.event.Object)
			}
			c.source.version = u.GetResourceVersion()
			if c.event.Type == watch.Bookmark {
				continue
			}
			if err := n.send(c.source, c.event.Type, u, n.id()); err != nil {
				return false, err
			}
		}
	}
}

// follow brings the changes of a source after version, over watches that end, until
// ctx does or something lasting is in the way.
func (a *API) follow(ctx context.Context, namespace string, s *source, version string, out chan<- change) {
	bring := func(c change) bool {
		c.source = s
		select {
		case out <- c:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for {
		next, err := a.followOnce(ctx, namespace, s, version, func(e watch.Event) bool { return bring(change{event: e}) })
		switch {
		case ctx.Err() != nil:
			return
		case apierrors.IsResourceExpired(err), apierrors.IsGone(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
			bring(change{expired: true})
			return
		case lasting(err) != nil:
			bring(change{err: err})
			return
		}
		if next == version {
			// It brought nothing: no busy loop.
			timer := time.NewTimer(watchPause)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
		}
		version = next
	}
}

// followOnce brings the changes of one watch, and returns the version that it got
// to.
func (a *API) followOnce(ctx context.Context, namespace string, s *source, version string, bring func(watch.Event) bool) (string, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(s.kind + "List"))
	w, err := a.kube().Watch(ctx, list, &client.ListOptions{Namespace: namespace, FieldSelector: s.selector,
		Raw: &metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true}})
	if err != nil {
		return version, err
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return version, ctx.Err()
		case e, ok := <-w.ResultChan():
			if !ok {
				return version, nil
			}
			if e.Type == watch.Error {
				return version, apierrors.FromObject(e.Object)
			}
			// Whoever takes the object may change it.
			next := version
			if o, ok := e.Object.(client.Object); ok {
				next = o.GetResourceVersion()
			}
			if !bring(e) {
				return version, ctx.Err()
			}
			version = next
		}
	}
}
