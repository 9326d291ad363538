// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"encoding/json"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// Event is what a hook is told: an HTTP hook as its JSON body, a command as
// environment variables.
type Event struct {
	Event       v1alpha1.HookPoint `json:"event"`
	Application string             `json:"application"`
	Namespace   string             `json:"namespace"`
	Request     string             `json:"request"`
	// UID of the request, for DeliveryHeader: names may be given again.
	UID            string `json:"-"`
	Commit         string `json:"commit"`
	PreviousCommit string `json:"previousCommit"`
	// Service at BeforeService and AfterService.
	Service string `json:"service"`
	// Phase of the request; the final one at Success and Failure.
	Phase v1alpha1.Phase `json:"phase"`
	// Message of the request.
	Message string `json:"message"`
	// Backup is the directory of the request's backup on the host, once it is made.
	Backup string `json:"backup"`
}

// NewEvent is what is to be told of a request.
func NewEvent(at v1alpha1.HookPoint, service string, ur *v1alpha1.UpdateRequest) Event {
	st := ur.Status
	return Event{
		Event: at, Application: ur.Spec.ApplicationRef.Name, Namespace: ur.Namespace, Request: ur.Name, UID: string(ur.UID),
		Commit: st.Commit, PreviousCommit: st.PreviousCommit, Service: service,
		Phase: st.Phase, Message: st.Message, Backup: st.BackupPath,
	}
}

// body is the event as JSON.
func (e Event) body() ([]byte, error) { return json.Marshal(e) }

// env is the event as environment variables.
func (e Event) env() []string {
	return []string{
		"FAIRLEAD_EVENT=" + string(e.Event), "FAIRLEAD_APPLICATION=" + e.Application, "FAIRLEAD_NAMESPACE=" + e.Namespace,
		"FAIRLEAD_REQUEST=" + e.Request, "FAIRLEAD_COMMIT=" + e.Commit, "FAIRLEAD_PREVIOUS_COMMIT=" + e.PreviousCommit,
		"FAIRLEAD_SERVICE=" + e.Service, "FAIRLEAD_PHASE=" + string(e.Phase), "FAIRLEAD_MESSAGE=" + e.Message,
		"FAIRLEAD_BACKUP=" + e.Backup,
	}
}

// At returns the hooks that run at a moment, in the order of the Application.
// service counts at BeforeService and AfterService only.
func At(hooks []v1alpha1.Hook, at v1alpha1.HookPoint, service string) []v1alpha1.Hook {
	var out []v1alpha1.Hook
	for _, h := range hooks {
		if slices.Contains(h.At, at) && (service == "" || len(h.Services) == 0 || slices.Contains(h.Services, service)) {
			out = append(out, h)
		}
	}
	return out
}

// Find returns the record of a hook, or nil.
func Find(st *v1alpha1.UpdateRequestStatus, name string, at v1alpha1.HookPoint, service string) *v1alpha1.HookStatus {
	for i := range st.Hooks {
		if h := &st.Hooks[i]; h.Name == name && h.At == at && h.Service == service {
			return h
		}
	}
	return nil
}

// Done reports whether the hook need not run at that moment any more. A hook of
// which it is not known whether it ended runs again.
func Done(st *v1alpha1.UpdateRequestStatus, h v1alpha1.Hook, at v1alpha1.HookPoint, service string) bool {
	rec := Find(st, h.Name, at, service)
	if rec == nil {
		return false
	}
	switch rec.State {
	case v1alpha1.HookSucceeded, v1alpha1.HookSkipped:
		return true
	case v1alpha1.HookFailed:
		return h.OnFailure == v1alpha1.HookContinue || final(at)
	}
	return false
}

// final reports whether a moment is after the end of the request.
func final(at v1alpha1.HookPoint) bool {
	return at == v1alpha1.HookSuccess || at == v1alpha1.HookFailure
}

// AtEnd is the moment that the end of a request is. It is none for a request that
// has not ended, was never begun, is a dry run, or found nothing to do.
func AtEnd(ur *v1alpha1.UpdateRequest) (at v1alpha1.HookPoint, ok bool) {
	if ur.Spec.DryRun || len(ur.Status.Steps) == 0 {
		return "", false
	}
	switch ur.Status.Phase {
	case v1alpha1.PhaseSucceeded:
		c := meta.FindStatusCondition(ur.Status.Conditions, v1alpha1.ConditionSucceeded)
		return v1alpha1.HookSuccess, c == nil || c.Reason != v1alpha1.ReasonUnchanged
	case v1alpha1.PhaseFailed, v1alpha1.PhaseRolledBack, v1alpha1.PhaseCancelled:
		return v1alpha1.HookFailure, true
	}
	return "", false
}

// DueAtEnd reports whether a hook is still to run as the request has ended.
func DueAtEnd(app *v1alpha1.Application, ur *v1alpha1.UpdateRequest) bool {
	at, ok := AtEnd(ur)
	return ok && slices.ContainsFunc(At(app.Spec.Hooks, at, ""), func(h v1alpha1.Hook) bool {
		return !Done(&ur.Status, h, at, "")
	})
}
