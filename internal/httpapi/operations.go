// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// Tags group operations in the document.
const (
	tagApplications = "Applications"
	tagRequests     = "Requests"
	tagHistory      = "Releases and backups"
	tagHosts        = "Hosts"
	tagCaller       = "Caller"
	tagTokens       = "Tokens and audit"
)

// inNamespace is the path of everything in a namespace.
const inNamespace = "/api/v1/namespaces/{namespace}/"

func (a *API) register(h huma.API) {
	registerReads[applications](a, h, inNamespace+"applications", tagApplications)
	registerReads[updateRequests](a, h, inNamespace+"requests", tagRequests)
	registerReads[releases](a, h, inNamespace+"releases", tagHistory)
	registerReads[backups](a, h, inNamespace+"backups", tagHistory)
	registerReads[dockerHosts](a, h, "/api/v1/dockerhosts", tagHosts)

	handle(a, h, huma.Operation{
		OperationID: "getApplicationVersion", Method: http.MethodGet, Path: inNamespace + "applications/{name}/version", Tags: []string{tagApplications},
		Summary:     "Tell which commit runs, and which newer ones there are",
		Description: "What the Application's status has about this; nothing is fetched for the answer.",
	}, a.version)
	handle(a, h, huma.Operation{
		OperationID: "createRequest", Method: http.MethodPost, Path: inNamespace + "requests", Tags: []string{tagRequests},
		DefaultStatus: http.StatusCreated, Summary: "Create an UpdateRequest",
		Description: "Without a name it gets one that begins with its application's. Fields that the kind does not have are refused.",
	}, a.create)
	handle(a, h, huma.Operation{
		OperationID: "deleteRequest", Method: http.MethodDelete, Path: inNamespace + "requests/{name}", Tags: []string{tagRequests},
		DefaultStatus: http.StatusAccepted, Summary: "Delete an UpdateRequest",
		Description: "One that runs is stopped first, and what it changed is undone; it is gone after that.",
	}, a.remove)
	handle(a, h, huma.Operation{
		OperationID: "cancelRequest", Method: http.MethodPost, Path: inNamespace + "requests/{name}/cancel", Tags: []string{tagRequests},
		DefaultStatus: http.StatusAccepted, Summary: "Cancel an UpdateRequest",
		Description: "One that waits ends at once; one that runs is stopped, and what it changed is undone. A return to a backup (spec.restoreFrom) that has begun to " +
			"overwrite data is neither stopped nor undone: it goes on to its end. To cancel a cancelled one is no error; " +
			"one that has ended otherwise is a 409.",
	}, a.cancel)
	handle(a, h, huma.Operation{
		OperationID: "retryRequest", Method: http.MethodPost, Path: inNamespace + "requests/{name}/retry", Tags: []string{tagRequests},
		DefaultStatus: http.StatusCreated, Summary: "Try the commit of an UpdateRequest that has ended again",
		Description: "Creates a new UpdateRequest for the same commit or release, with spec.retry. One that has not ended is a 409.",
	}, a.retry)
	handle(a, h, huma.Operation{
		OperationID: "plan", Method: http.MethodPost, Path: inNamespace + "plan", Tags: []string{tagRequests},
		Summary: "Find out what an UpdateRequest would do",
		Description: "Creates the UpdateRequest with spec.dryRun, which changes nothing, and waits for its end: the plan is in status.plan. " +
			"If it has not ended in the time of wait, as it queues behind an update, the answer is 202 with the request as it is.",
		Responses: map[string]*huma.Response{strconv.Itoa(http.StatusAccepted): {Description: http.StatusText(http.StatusAccepted),
			Content: map[string]*huma.MediaType{jsonType: {Schema: schemaRef(kindOf[updateRequests]())}}}},
	}, a.plan)
	handle(a, h, huma.Operation{
		OperationID: "whoami", Method: http.MethodGet, Path: "/api/v1/whoami", Tags: []string{tagCaller},
		Summary:     "Tell who the caller is and what they may do",
		Description: "As the API server sees it, in one namespace.",
	}, a.who)
	a.registerApplications(h)
	a.registerHost(h)
	a.registerRefs(h)
	a.registerTokens(h)
	a.registerStreams(h)
	a.registerNamespaces(h)
	a.registerSummary(h)
}

// handle registers an operation whose errors become problems.
func handle[I, O any](a *API, h huma.API, op huma.Operation, f func(context.Context, *I) (*O, error)) {
	op.SkipValidateBody = true // the API server does that, and better
	op.MaxBodyBytes = MaxBody + 1
	op.Security = []map[string][]string{{bearerScheme: {}}}
	op.Errors = append(op.Errors, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable)
	if op.Path != "/api/v1/whoami" {
		op.Errors = append(op.Errors, http.StatusNotFound)
	}
	if writes(op.Method) {
		op.Errors = append(op.Errors, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	huma.Register(h, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := f(ctx, in)
		if err == nil {
			return out, nil
		}
		err = a.asProblem(ctx, err)
		if rec := recordOf(ctx); rec != nil {
			rec.reason = err.Error()
		}
		return nil, err
	})
}
