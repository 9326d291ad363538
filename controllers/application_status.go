// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// maxFailedCommits is how many failed commits are remembered.
const maxFailedCommits = 20

// writeApplicationStatus derives the status from what was seen. If looking
// failed, what was seen before stays, and the conditions say so.
func writeApplicationStatus(app *v1alpha1.Application, requests []v1alpha1.UpdateRequest, seen observe.Application, seenErr error, now time.Time) {
	st := &app.Status
	set := func(typ string, status metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&st.Conditions, metav1.Condition{
			Type: typ, Status: status, Reason: reason, Message: limit(message),
			ObservedGeneration: app.Generation, LastTransitionTime: metav1.NewTime(now),
		})
	}
	history(st, requests)
	if st.ActiveRequest != "" {
		set(v1alpha1.ConditionProgressing, metav1.ConditionTrue, v1alpha1.ReasonRunning, "the request "+st.ActiveRequest+" is being carried out")
	} else {
		set(v1alpha1.ConditionProgressing, metav1.ConditionFalse, "Idle", "no request is being carried out")
	}
	if seenErr != nil {
		set(v1alpha1.ConditionReady, metav1.ConditionFalse, observe.Reason(seenErr), seenErr.Error())
		set(v1alpha1.ConditionHealthy, metav1.ConditionUnknown, observe.Reason(seenErr), "the application could not be looked at")
		return
	}
	st.ObservedGeneration = app.Generation
	st.Project, st.Branch = seen.Project, seen.Branch
	st.Commit = seen.Commit
	st.Services = seen.Services
	writeDrift(app, seen, set)
	st.Release = ""
	if current := seen.Current(); current != nil {
		st.Release = current.Name
		st.Commit = current.Spec.Commit
	}
	for _, r := range seen.Releases {
		st.LastReleaseNumber = max(st.LastReleaseNumber, r.Spec.Number)
	}
	st.Healthy = fmt.Sprintf("%d/%d", seen.HealthyServices(), len(seen.Services))
	set(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonObserved, readyMessage(seen))
	switch bad := seen.Unhealthy(); {
	case len(seen.Services) == 0:
		set(v1alpha1.ConditionHealthy, metav1.ConditionFalse, v1alpha1.ReasonNotRunning, "no container of the application runs; an UpdateRequest starts it")
	case len(bad) == 0:
		set(v1alpha1.ConditionHealthy, metav1.ConditionTrue, v1alpha1.ReasonAllHealthy, "all services run and none is unhealthy")
	default:
		set(v1alpha1.ConditionHealthy, metav1.ConditionFalse, v1alpha1.ReasonServicesUnhealthy, "not healthy: "+join(bad))
	}
}

func readyMessage(seen observe.Application) string {
	if seen.Note != "" {
		return seen.Note
	}
	return "the deployment directory and the containers of the project can be read"
}

// history derives what the requests say.
func history(st *v1alpha1.ApplicationStatus, requests []v1alpha1.UpdateRequest) {
	st.ActiveRequest = ""
	for i := range requests {
		ur := &requests[i]
		if ur.Spec.DryRun {
			continue
		}
		if active(*ur) {
			st.ActiveRequest = ur.Name
		}
		if !plan.Ended(ur.Status.Phase) {
			continue
		}
		if ur.Status.FinishedAt == nil || ur.Status.Phase == v1alpha1.PhaseCancelled && !plan.Started(ur.Status) {
			continue
		}
		if st.LastRequest == nil || st.LastRequest.FinishedAt == nil || st.LastRequest.FinishedAt.Before(ur.Status.FinishedAt) ||
			st.LastRequest.FinishedAt.Equal(ur.Status.FinishedAt) {
			st.LastRequest = &v1alpha1.RequestSummary{Name: ur.Name, Phase: ur.Status.Phase, Commit: ur.Status.Commit, FinishedAt: ur.Status.FinishedAt}
		}
	}
	st.FailedCommits = mergeFailed(st.FailedCommits, requests)
}

// mergeFailed adds what requests say of commits that failed to what is known,
// and drops commits that succeeded later. Newest first.
func mergeFailed(known []v1alpha1.FailedCommit, requests []v1alpha1.UpdateRequest) []v1alpha1.FailedCommit {
	byCommit := map[string]v1alpha1.FailedCommit{}
	for _, f := range known {
		byCommit[f.Commit] = f
	}
	worked := map[string]metav1.Time{}
	for i := range requests {
		st := &requests[i].Status
		if st.FinishedAt == nil || st.Commit == "" || requests[i].Spec.DryRun || requests[i].Spec.BackupOnly {
			continue
		}
		if st.Phase == v1alpha1.PhaseSucceeded {
			if t := worked[st.Commit]; t.Before(st.FinishedAt) {
				worked[st.Commit] = *st.FinishedAt
			}
			continue
		}
		if !follows(&requests[i]) || !blamesCommit(st) {
			continue
		}
		if f, ok := byCommit[st.Commit]; !ok || f.Time.Before(st.FinishedAt) {
			byCommit[st.Commit] = v1alpha1.FailedCommit{Commit: st.Commit, Request: requests[i].Name, Reason: st.Failure.Reason, Time: *st.FinishedAt}
		}
	}
	var out []v1alpha1.FailedCommit
	for commit, f := range byCommit {
		if t, ok := worked[commit]; ok && !t.Before(&f.Time) {
			continue
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b v1alpha1.FailedCommit) int {
		if !a.Time.Equal(&b.Time) {
			return b.Time.Compare(a.Time.Time)
		}
		if a.Commit < b.Commit {
			return -1
		}
		return 1
	})
	return out[:min(len(out), maxFailedCommits)]
}

// blamesCommit reports whether a request failed by its commit, not by the host
// or by a person's will.
func blamesCommit(st *v1alpha1.UpdateRequestStatus) bool {
	if st.Failure == nil {
		return false
	}
	switch st.Failure.Reason {
	case v1alpha1.ReasonCancelled, v1alpha1.ReasonNoSpace, v1alpha1.ReasonLocalEdits,
		v1alpha1.ReasonRegistryUnauthorized, v1alpha1.ReasonHostConflict:
		return false
	}
	switch st.Failure.Step {
	case v1alpha1.StepBuild, v1alpha1.StepRollout, v1alpha1.StepVerify:
		return st.Phase == v1alpha1.PhaseFailed || st.Phase == v1alpha1.PhaseRolledBack
	}
	return false
}

func join(names []string) string {
	out := ""
	for i, n := range names {
		if i > 0 {
			out += ", "
		}
		out += n
	}
	return out
}
