// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

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
		return a.withHeart(ctx, s.comment, nil, func(ctx context.Context) error { return a.followRequest(ctx, s, ur, in.LastEventID) })
	})
}

// followRequest sends every state of ur but the one that the client has seen.
func (a *API) followRequest(ctx context.Context, s *stream, ur *v1alpha1.UpdateRequest, seen string) error {
	err := a.followers.follow(ctx, ur, func(state *requestState) (bool, error) {
		switch {
		case state.request == nil:
			return true, s.event(eventDeleted, "", struct{}{})
		case state.request.ResourceVersion == seen:
			return false, nil
		}
		event, err := state.encoded()
		if err == nil {
			_, err = s.Write(event)
		}
		return false, err
	})
	if err != nil {
		return err
	}
	return s.event(eventEnd, "", struct{}{})
}
