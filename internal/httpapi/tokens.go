// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/internal/auditlog"
	"github.com/fairlead-dev/fairlead/internal/tokens"
)

// token is what is known of a token.
type token struct {
	Namespace  string     `json:"namespace"`
	Name       string     `json:"name"`
	Role       string     `json:"role" doc:"admin, operator or viewer"`
	Everywhere bool       `json:"everywhere,omitempty" doc:"Good for all namespaces"`
	Account    string     `json:"account" doc:"Name by which the API server knows its bearer"`
	Created    time.Time  `json:"created"`
	Expires    *time.Time `json:"expires,omitempty" doc:"Absent if its creation broke off"`
	Expired    bool       `json:"expired,omitempty"`
}

func tokenOf(t tokens.Token) token {
	out := token{Namespace: t.Namespace, Name: t.Name, Role: t.Role, Everywhere: t.Everywhere, Account: t.Account,
		Created: t.Created.UTC(), Expired: t.Expired(time.Now())}
	if !t.Expires.IsZero() {
		at := t.Expires.UTC()
		out.Expires = &at
	}
	return out
}

type (
	tokenList struct {
		Items []token `json:"items" nullable:"false"`
	}
	tokensOutput struct{ Body tokenList }
	newToken     struct {
		NamespacePath
		Body struct {
			Name       string `json:"name,omitempty" doc:"Default: one is made up"`
			Role       string `json:"role" doc:"admin, operator or viewer"`
			Lifetime   string `json:"lifetime" doc:"Such as 24h; at least 10m"`
			Everywhere bool   `json:"everywhere,omitempty" doc:"Good for all namespaces"`
		}
	}
	createdToken struct {
		token
		Secret string `json:"token" doc:"The token. It is told once and kept nowhere"`
	}
	tokenCreated struct{ Body createdToken }
	// AuditQuery says which lines are wanted.
	AuditQuery struct {
		Limit    int    `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"About so many lines"`
		Before   string `query:"before" doc:"Only what is older: next of the answer before"`
		Who      string `query:"who" maxLength:"253" doc:"Part of the name of who did it"`
		Verb     string `query:"verb" maxLength:"63"`
		Resource string `query:"resource" maxLength:"253" doc:"Such as updaterequests or serviceaccounts/token"`
		Name     string `query:"name" maxLength:"253" doc:"Name of the object"`
		Refused  bool   `query:"refused" doc:"Only what was refused"`
		People   bool   `query:"people" doc:"Without what the daemon itself writes to applications, requests, releases and backups in the course of its work"`
	}
	auditPage struct {
		Entries []auditlog.Entry `json:"entries" nullable:"false"`
		Next    string           `json:"next,omitempty" doc:"Leads to the rest, as before, if there is more"`
	}
	auditOutput struct{ Body auditPage }
)

func (a *API) registerTokens(h huma.API) {
	handle(a, h, huma.Operation{
		OperationID: "listTokens", Method: http.MethodGet, Path: inNamespace + "tokens", Tags: []string{tagTokens},
		Summary: "List the tokens of a namespace", Description: "Expired ones too; never the tokens themselves.",
	}, a.listTokens)
	handle(a, h, huma.Operation{
		OperationID: "createToken", Method: http.MethodPost, Path: inNamespace + "tokens", Tags: []string{tagTokens},
		DefaultStatus: http.StatusCreated, Summary: "Create a token",
		Description: "It acts as a service account of its own, bound to a role of Fairlead. The answer has the token, once.",
	}, a.createToken)
	handle(a, h, huma.Operation{
		OperationID: "revokeToken", Method: http.MethodDelete, Path: inNamespace + "tokens/{name}", Tags: []string{tagTokens},
		DefaultStatus: http.StatusNoContent, Summary: "Revoke a token", Description: "It ends at once.",
	}, a.revokeToken)
	handle(a, h, huma.Operation{
		OperationID: "listNamespaceAudit", Method: http.MethodGet, Path: inNamespace + "audit", Tags: []string{tagTokens},
		Summary: "Tell who did what in a namespace", Description: "Newest first. Needs list on auditlogs in the namespace, which fairlead-admin has.",
	}, func(ctx context.Context, in *struct {
		NamespacePath
		AuditQuery
	}) (*auditOutput, error) {
		return a.readAudit(ctx, in.Namespace, &in.AuditQuery)
	})
	handle(a, h, huma.Operation{
		OperationID: "listAudit", Method: http.MethodGet, Path: "/api/v1/audit", Tags: []string{tagTokens},
		Summary: "Tell who did what", Description: "Newest first, in all namespaces, with failed authentications. Needs list on auditlogs in all namespaces.",
	}, func(ctx context.Context, in *AuditQuery) (*auditOutput, error) { return a.readAudit(ctx, "", in) })
}

func (a *API) listTokens(ctx context.Context, in *NamespacePath) (*tokensOutput, error) {
	found, err := tokens.List(ctx, a.kube(), in.Namespace)
	if err != nil {
		return nil, err
	}
	out := &tokensOutput{tokenList{Items: []token{}}}
	for _, t := range found {
		out.Body.Items = append(out.Body.Items, tokenOf(t))
	}
	return out, nil
}

func (a *API) createToken(ctx context.Context, in *newToken) (*tokenCreated, error) {
	rec := wants(ctx, "create", "tokens", in.Namespace, in.Body.Name)
	life, err := time.ParseDuration(in.Body.Lifetime)
	if err != nil {
		return nil, invalid("lifetime", fmt.Sprintf("%q is no duration such as 24h", in.Body.Lifetime))
	}
	t, secret, err := tokens.Create(ctx, a.kube(), tokens.Request{
		Namespace: in.Namespace, Name: in.Body.Name, Role: in.Body.Role, Life: life, Everywhere: in.Body.Everywhere,
	})
	var refused *tokens.RefusedError
	switch {
	case errors.As(err, &refused) && refused.Taken:
		return nil, problem(http.StatusConflict, metav1.StatusReasonAlreadyExists, refused.Message)
	case errors.As(err, &refused):
		return nil, problem(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, refused.Message)
	case err != nil:
		return nil, err
	}
	rec.name = t.Name
	return &tokenCreated{createdToken{tokenOf(t), secret}}, nil
}

// invalid is a problem of one field.
func invalid(field, message string) error {
	p := problem(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, field+": "+message)
	p.Add(&huma.ErrorDetail{Message: message, Location: field})
	return p
}

func (a *API) revokeToken(ctx context.Context, in *struct {
	NamespacePath
	NamePath
}) (*struct{}, error) {
	wants(ctx, "delete", "tokens", in.Namespace, in.Name)
	err := tokens.Revoke(ctx, a.kube(), in.Namespace, in.Name)
	if errors.Is(err, tokens.ErrUnknown) {
		return nil, problem(http.StatusNotFound, metav1.StatusReasonNotFound, "there is no token "+in.Name+" in the namespace "+in.Namespace)
	}
	return nil, err
}

func (a *API) readAudit(ctx context.Context, namespace string, in *AuditQuery) (*auditOutput, error) {
	if err := a.require(ctx, right{verb: "list", resource: auditLogs, namespace: namespace}, "read who did what", roleAdmin); err != nil {
		return nil, err
	}
	q := auditlog.Query{Limit: in.Limit, Who: in.Who, Verb: in.Verb, Resource: in.Resource, Namespace: namespace, Name: in.Name, Refused: in.Refused, People: in.People}
	if in.Before != "" {
		var err error
		if q.Before, err = time.Parse(time.RFC3339Nano, in.Before); err != nil {
			return nil, problem(http.StatusBadRequest, metav1.StatusReasonBadRequest, "before="+in.Before+": a time as in RFC 3339")
		}
	}
	page, err := a.opts.AuditLog.Read(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &auditOutput{auditPage{Entries: page.Entries}}
	if !page.Next.IsZero() {
		out.Body.Next = page.Next.Format(time.RFC3339Nano)
	}
	return out, nil
}
