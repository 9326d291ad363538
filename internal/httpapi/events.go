// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
)

// Events of a request.
const (
	eventStatus  = "status"
	eventDeleted = "deleted"
)

type requestEventsInput struct {
	RequestInput
	LastEventID string `header:"Last-Event-ID" doc:"The ID of the last event that was received: the present state is sent only if it is newer"`
}

func (a *API) registerStreams(h huma.API) {
	handle(a, h, huma.Operation{
		OperationID: "followRequest", Method: http.MethodGet, Path: inNamespace + "requests/{name}/events", Tags: []string{tagRequests},
		Summary: "Follow the status of an UpdateRequest",
		Description: "Server-sent events. `status`: the UpdateRequest, first as it is now and then after each change, its ID is the object's resourceVersion. " +
			"`deleted`: it is gone. `end`: it has ended, nothing more will come. A client that comes back with Last-Event-ID gets the present state if that " +
			"is newer, and what follows; after the end it gets 204, which tells an EventSource to stay away.",
		Responses: eventResponses(),
	}, a.requestEvents)
	handle(a, h, huma.Operation{
		OperationID: "followNamespace", Method: http.MethodGet, Path: inNamespace + "events", Tags: []string{tagApplications},
		Summary: "Follow the Applications and UpdateRequests of a namespace",
		Description: "Server-sent events. `application` and `request`: `{\"type\": \"ADDED\" | \"MODIFIED\" | \"DELETED\", \"object\": …}` as a watch of " +
			"Kubernetes has it. All that exists comes first, as ADDED, and then `synced`. A client that comes back with Last-Event-ID gets exactly what it " +
			"missed; where that is not known any more, `reset` comes first and then everything again.",
		Responses: eventResponses(),
	}, a.namespaceEvents)
	handle(a, h, huma.Operation{
		OperationID: "getLog", Method: http.MethodGet, Path: inNamespace + "requests/{name}/log", Tags: []string{tagRequests},
		Summary:     "Read the log of an UpdateRequest as text",
		Description: "The header Fairlead-Log-Offset tells the byte of the log file at which the text begins. Needs get on updaterequests/log.",
		Responses:   map[string]*huma.Response{"200": {Description: "The log", Content: map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}}}},
	}, a.logText)
	handle(a, h, huma.Operation{
		OperationID: "followLog", Method: http.MethodGet, Path: inNamespace + "requests/{name}/log/events", Tags: []string{tagRequests},
		Summary: "Follow the log of an UpdateRequest",
		Description: "Server-sent events. `line`: one line of the log; its ID is the offset in bytes at which the next one begins. `end`: the log is " +
			"complete. A client that comes back with Last-Event-ID goes on exactly there; after the end it gets 204. Needs get on updaterequests/log.",
		Responses: eventResponses(),
	}, a.logEvents)
}

func eventResponses() map[string]*huma.Response {
	return map[string]*huma.Response{
		"200": {Description: "Server-sent events", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}}},
		"204": {Description: "It has ended, and the client has seen everything"},
	}
}

// requestEvents is GET …/requests/{name}/events.
func (a *API) requestEvents(ctx context.Context, in *requestEventsInput) (*huma.StreamResponse, error) {
	ur, err := a.request(ctx, in.Namespace, in.Name)
	if err != nil {
		return nil, err
	}
	return a.streaming(ctx, func(ctx context.Context, s *stream) error {
		if in.LastEventID == ur.ResourceVersion && requestwatch.Concluded(ur) {
			return s.nothingLeft()
		}
		if err := errors.Join(s.beginEvents(), s.retry()); err != nil {
			return err
		}
		recheck := func(ctx context.Context) error {
			return client.IgnoreNotFound(a.kube().Get(ctx, types.NamespacedName{Namespace: in.Namespace, Name: in.Name}, &metav1.PartialObjectMetadata{
				TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kindOf[updateRequests]()},
			}))
		}
		return a.withHeart(ctx, s.comment, recheck, func(ctx context.Context) error {
			return a.followRequest(ctx, s, ur, in.LastEventID)
		})
	})
}

// followRequest sends every state of ur but the one that the client has seen.
func (a *API) followRequest(ctx context.Context, s *stream, ur *v1alpha1.UpdateRequest, seen string) error {
	var failed error
	err := requestwatch.Run(ctx, a.kube(), ur, func(e requestwatch.Event) bool {
		switch {
		case e.Lost != nil:
			failed = lasting(e.Lost)
			return failed != nil
		case e.Deleted:
			failed = s.event(eventDeleted, "", struct{}{})
			return true
		}
		if e.Request.ResourceVersion != seen {
			o, err := fromTyped[updateRequests](e.Request.DeepCopy())
			if err == nil {
				err = s.event(eventStatus, e.Request.ResourceVersion, o)
			}
			if err != nil {
				failed = err
				return true
			}
		}
		return requestwatch.Concluded(e.Request)
	})
	if err := errors.Join(failed, err); err != nil {
		return err
	}
	return s.event(eventEnd, "", struct{}{})
}
