// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/hostaccess"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// roleAdmin changes Applications, and hands out rights.
const roleAdmin = "fairlead-admin"

const (
	problemContentType = "application/problem+json"
	// problemType, with the reason behind it, is the type of a problem whose
	// cause is one that Kubernetes has a word for.
	problemType = "urn:fairlead:problem:"
)

// problem is an error as RFC 9457 has it.
func problem(status int, reason metav1.StatusReason, detail string) *huma.ErrorModel {
	p := &huma.ErrorModel{Status: status, Title: http.StatusText(status), Detail: detail}
	if reason != "" {
		p.Type = problemType + string(reason)
	}
	return p
}

// retryable is a problem that goes away by itself.
func retryable(p *huma.ErrorModel, after time.Duration) error {
	return huma.ErrorWithHeaders(p, http.Header{"Retry-After": {seconds(after)}})
}

func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(d.Seconds()))))
}

// asProblem turns an error of the API server, or any other, into a problem that
// says what to do.
func (a *API) asProblem(ctx context.Context, err error) error {
	var known huma.StatusError
	if err == nil || errors.As(err, &known) {
		return err
	}
	var api apierrors.APIStatus
	switch {
	case errors.As(err, &api):
		return a.fromStatus(ctx, api.Status())
	case errors.Is(err, hostaccess.ErrNotFound):
		return problem(http.StatusNotFound, metav1.StatusReasonNotFound, err.Error())
	case errors.Is(err, updatelog.ErrOffset):
		return problem(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return retryable(problem(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "the request was broken off: "+err.Error()), time.Second)
	}
	// The cause may hold what the caller is not to see.
	a.log.Error(err, "request over HTTP failed")
	return retryable(problem(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable,
		"the Kubernetes API cannot be reached: try again; the daemon's log says why"), time.Second)
}

func (a *API) fromStatus(ctx context.Context, s metav1.Status) error {
	code := int(s.Code)
	if code < 400 || code > 599 {
		code = http.StatusInternalServerError
	}
	p := problem(code, s.Reason, s.Message)
	if s.Details != nil {
		for _, cause := range s.Details.Causes {
			p.Add(&huma.ErrorDetail{Message: cause.Message, Location: cause.Field})
		}
	}
	switch code {
	case http.StatusUnauthorized:
		a.forget(ctx)
		p.Detail = unauthorized
		return huma.ErrorWithHeaders(p, http.Header{"Www-Authenticate": {challenge}})
	case http.StatusForbidden:
		role := "fairlead-viewer"
		if s.Details != nil && s.Details.Kind != "" && s.Details.Group != v1alpha1.GroupVersion.Group {
			role = roleAdmin // tokens, and who has which role
		} else if r := recordOf(ctx); r != nil && r.verb != "" {
			if role = "fairlead-operator"; r.resource != "updaterequests" {
				role = roleAdmin
			}
		}
		p.Detail = fmt.Sprintf("%s. The role %s allows it: an administrator gives it by a RoleBinding, or with a token of that role (fairlead token create)", s.Message, role)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		after := time.Second
		if s.Details != nil && s.Details.RetryAfterSeconds > 0 {
			after = time.Duration(s.Details.RetryAfterSeconds) * time.Second
		}
		return retryable(p, after)
	}
	return p
}

// writeProblem answers with a problem from outside of an operation.
func writeProblem(w http.ResponseWriter, p *huma.ErrorModel, header http.Header) {
	for key, values := range header {
		w.Header()[key] = values
	}
	w.Header().Set("Content-Type", problemContentType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone if this fails
}

// NotReady answers a request that came before the daemon was ready, or while it
// stops, which reason says.
func NotReady(w http.ResponseWriter, reason string) {
	writeProblem(w, problem(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "the daemon is not ready: "+reason), http.Header{
		"Cache-Control": {"no-store"},
	})
}

// split takes an error of asProblem apart.
func split(err error) (*huma.ErrorModel, http.Header) {
	p := &huma.ErrorModel{}
	if !errors.As(err, &p) {
		p = problem(http.StatusInternalServerError, metav1.StatusReasonInternalError, "unexpected error")
	}
	var h huma.HeadersError
	if errors.As(err, &h) {
		return p, h.GetHeaders()
	}
	return p, nil
}
