// SPDX-License-Identifier: Apache-2.0

// Package auditing says which requests to the API server are audited, and keeps
// the log from being filled by those who have no credentials.
package auditing

import (
	"io"
	"strconv"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/types"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	auditlog "k8s.io/apiserver/plugin/pkg/audit/log"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	httpaudit "github.com/fairlead-dev/fairlead/internal/httpapi/audit"
	"github.com/fairlead-dev/fairlead/internal/httpapi/guard"
	"github.com/fairlead-dev/fairlead/internal/tally"
)

// Evaluator decides which requests are audited: every write, done or refused, with
// who, what, from where and which result. Bodies, which may hold secrets, are left
// out.
func Evaluator() audit.PolicyRuleEvaluator {
	return policy.NewPolicyRuleEvaluator(rules())
}

// Backend writes a line of JSON for each of them to out, an Event of audit.k8s.io/v1.
// A write is answered when its line is in out.
func Backend(out io.Writer) audit.Backend {
	return newBounded(auditlog.NewBackend(out, auditlog.FormatJson, auditv1.SchemeGroupVersion))
}

// bounded keeps those without credentials, and what clients choose freely, from
// pushing older lines out of the log, which is rotated.
type bounded struct {
	audit.Backend
	refused *tally.Tally[*auditinternal.Event]
}

func newBounded(b audit.Backend) *bounded {
	return &bounded{b, tally.New(func(ev *auditinternal.Event, more int) {
		if more > 0 {
			ev.Annotations[annotationMore] = strconv.Itoa(more)
		}
		b.ProcessEvents(ev) // it tells its errors itself
	})}
}

// annotationMore says how many other events of unauthenticated clients, of which
// there is no line, this one stands for.
const annotationMore = "fairlead.dev/more"

// ProcessEvents implements audit.Sink.
func (b *bounded) ProcessEvents(events ...*auditinternal.Event) bool {
	ok := true
	for _, ev := range events {
		ev = cut(ev)
		if ev.User.Username == "" || ev.User.Username == user.Anonymous {
			client := ""
			if len(ev.SourceIPs) > 0 {
				client = guard.Network(ev.SourceIPs[0]).String()
			}
			b.refused.Add(client, ev)
			continue
		}
		ok = b.Backend.ProcessEvents(ev) && ok
	}
	return ok
}

// Shutdown implements audit.Backend.
func (b *bounded) Shutdown() {
	b.refused.Close()
	b.Backend.Shutdown()
}

// maxSourceIPs is how many addresses of an event are kept.
const maxSourceIPs = 4

// cut is the event without what makes its line long.
func cut(ev *auditinternal.Event) *auditinternal.Event {
	ev = ev.DeepCopy()
	ev.RequestURI, ev.UserAgent = httpaudit.Cut(ev.RequestURI), httpaudit.Cut(ev.UserAgent)
	ev.AuditID = types.UID(httpaudit.Cut(string(ev.AuditID)))
	ev.SourceIPs = ev.SourceIPs[:min(len(ev.SourceIPs), maxSourceIPs)]
	if o := ev.ObjectRef; o != nil {
		for _, field := range []*string{&o.Namespace, &o.Name, &o.Resource, &o.Subresource, &o.APIGroup, &o.APIVersion} {
			*field = httpaudit.Cut(*field)
		}
	}
	if st := ev.ResponseStatus; st != nil {
		st.Message, st.Details = httpaudit.Cut(st.Message), nil
	}
	for key, value := range ev.Annotations {
		ev.Annotations[key] = httpaudit.Cut(value)
	}
	if ev.Annotations == nil {
		ev.Annotations = map[string]string{}
	}
	return ev
}

// rules say which requests are audited. The first one that matches counts.
func rules() *auditinternal.Policy {
	writes := []string{"create", "update", "patch", "delete", "deletecollection"}
	own := []string{user.APIServerUser}
	return &auditinternal.Policy{
		OmitStages: []auditinternal.Stage{auditinternal.StageRequestReceived},
		Rules: []auditinternal.PolicyRule{
			// Of what the daemon itself does: its writes to objects that people know,
			// and those that it makes for the updater. Not the status after every
			// step, nor the upkeep of the server.
			{Level: auditinternal.LevelMetadata, Users: own, Verbs: writes, Resources: []auditinternal.GroupResources{
				{Group: v1alpha1.GroupVersion.Group, Resources: []string{"applications", "updaterequests", "releases", "backups"}},
				{Group: corev1.GroupName, Resources: []string{"serviceaccounts", "serviceaccounts/token"}},
			}},
			{Level: auditinternal.LevelNone, Users: own},
			// Questions that have the form of a write, and what nobody asks for later.
			{Level: auditinternal.LevelNone, Resources: []auditinternal.GroupResources{
				{Group: authenticationv1.GroupName}, {Group: authorizationv1.GroupName}, {Group: coordinationv1.GroupName},
				{Group: eventsv1.GroupName}, {Group: corev1.GroupName, Resources: []string{"events"}},
			}},
			{Level: auditinternal.LevelMetadata, Verbs: writes},
			// It hands out all secrets of an application.
			{Level: auditinternal.LevelMetadata, Verbs: []string{"get"}, Resources: []auditinternal.GroupResources{
				{Group: v1alpha1.GroupVersion.Group, Resources: []string{"backups/download"}},
			}},
			{Level: auditinternal.LevelNone},
		},
	}
}
