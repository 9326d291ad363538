// SPDX-License-Identifier: Apache-2.0

package auditing

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/fairlead-dev/fairlead/internal/tally"
)

func TestAuditPolicy(t *testing.T) {
	evaluator := Evaluator()
	const ours, rbac, authn, authz = "fairlead.dev", "rbac.authorization.k8s.io", "authentication.k8s.io", "authorization.k8s.io"
	for _, c := range []struct {
		user, verb, group, resource, subresource string
		want                                     bool
	}{
		{"jo", "create", ours, "updaterequests", "", true},
		{"jo", "patch", ours, "updaterequests", "", true},
		{"jo", "patch", ours, "updaterequests", "status", true}, // nobody but the daemon should
		{"jo", "deletecollection", ours, "applications", "", true},
		{"jo", "update", "", "secrets", "", true},
		{"jo", "create", "", "serviceaccounts", "token", true},
		{"jo", "create", rbac, "clusterrolebindings", "", true},
		{"system:anonymous", "create", ours, "updaterequests", "", true},
		{"jo", "get", ours, "updaterequests", "", false},
		{"jo", "watch", "", "secrets", "", false},
		{"jo", "create", authn, "selfsubjectreviews", "", false},
		{"jo", "create", authz, "selfsubjectaccessreviews", "", false},
		{"jo", "create", "", "events", "", false},
		{user.APIServerUser, "create", ours, "updaterequests", "", true}, // as the updater
		{user.APIServerUser, "delete", "", "serviceaccounts", "", true},
		{user.APIServerUser, "patch", ours, "updaterequests", "status", false},
		{user.APIServerUser, "patch", rbac, "clusterroles", "", false},
		{user.APIServerUser, "update", "coordination.k8s.io", "leases", "", false},
	} {
		got := evaluator.EvaluatePolicyRule(authorizer.AttributesRecord{User: &user.DefaultInfo{Name: c.user}, Verb: c.verb,
			APIGroup: c.group, Resource: c.resource, Subresource: c.subresource, ResourceRequest: true})
		if audited := got.Level != auditinternal.LevelNone; audited != c.want {
			t.Errorf("%s %s %s/%s/%s: audited %t, want %t", c.user, c.verb, c.group, c.resource, c.subresource, audited, c.want)
		}
	}
}

// sink takes what is written to the log.
type sink struct {
	audit.Backend
	events []*auditinternal.Event
}

func (s *sink) ProcessEvents(events ...*auditinternal.Event) bool {
	s.events = append(s.events, events...)
	return true
}

func (s *sink) Shutdown() {}

func TestUnauthenticatedDoNotFillTheAuditLog(t *testing.T) {
	s := &sink{}
	b := newBounded(s)
	long := strings.Repeat("x", 60_000)
	event := func(who, from string) *auditinternal.Event {
		ev := &auditinternal.Event{AuditID: types.UID(long), Verb: "create", RequestURI: "/" + long, UserAgent: long, SourceIPs: []string{from},
			ObjectRef: &auditinternal.ObjectReference{Name: long, Namespace: long}, ResponseStatus: &metav1.Status{Code: 403, Message: long},
			Annotations: map[string]string{"authorization.k8s.io/reason": long}}
		ev.User.Username = who
		for range 100 {
			ev.SourceIPs = append(ev.SourceIPs, "192.0.2.200")
		}
		return ev
	}
	b.ProcessEvents(event("jo", "192.0.2.1"))
	for range 1000 {
		b.ProcessEvents(event(user.Anonymous, "192.0.2.7"), event("", "192.0.2.8")) // the other had a wrong token
	}
	b.ProcessEvents(event("jo", "192.0.2.7"))
	if got, want := len(s.events), 2+2*tally.Burst; got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
	b.Shutdown()
	size, more := 0, []string{}
	for _, ev := range s.events {
		data, err := json.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		size += len(data)
		if n, ok := ev.Annotations[annotationMore]; ok {
			more = append(more, n)
		}
	}
	if size > 100_000 {
		t.Errorf("the lines have %d bytes", size)
	}
	if want := []string{"989", "989"}; !slices.Equal(more, want) {
		t.Errorf("%v have no line, want %v", more, want)
	}
	if first, last := s.events[0].User.Username, s.events[len(s.events)-3].User.Username; first != "jo" || last != "jo" {
		t.Errorf("lines of those with credentials are lost: the first is of %q, the third last of %q", first, last)
	}
}
