// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/follow"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// writeUpdateStatus derives status.update from what is known of the source;
// known is false as long as it was not looked at since the start, or since the
// spec changed; restored is when a backup replaced the current release, or zero. It
// comes after writeApplicationStatus.
func writeUpdateStatus(app *v1alpha1.Application, requests []v1alpha1.UpdateRequest, restored time.Time, answer follow.Answer, known bool, now time.Time) {
	st := &app.Status
	if !known && st.Update == nil {
		return
	}
	if st.Update == nil {
		st.Update = &v1alpha1.UpdateStatus{}
	}
	u := st.Update
	if known {
		if u.Commit != answer.Commit || u.Ref != answer.Ref || u.CheckedAt == nil {
			seen := metav1.NewTime(now.Truncate(time.Second))
			u.CheckedAt = &seen
		}
		u.ObservedGeneration, u.Ref, u.Commit = answer.Generation, answer.Ref, answer.Commit
		u.HandledCheck = answer.Check
		if answer.Running == st.Commit {
			u.Available = answer.Commit != "" && answer.Commit != st.Commit && !answer.Older
			u.Behind, u.Changes = answer.Behind, answer.Changes
		}
	}
	if u.Commit == st.Commit || known && answer.Running != st.Commit {
		// Something else runs by now: it is looked at again.
		u.Available, u.Behind, u.Changes = false, 0, nil
	}
	u.Attempted = attempted(st, requests)
	if u.CheckedAt != nil && u.CheckedAt.Time.Before(restored) {
		u.Attempted = u.Commit // a person went away from it
	}
	decision := plan.Follow(followFacts(app, requests, answer.Problem != "", now))
	u.Message = decision.Message
	if answer.Problem != "" && known {
		u.Message = answer.Problem
	}
	condition := metav1.Condition{
		Type: v1alpha1.ConditionUpdateAvailable, ObservedGeneration: app.Generation, LastTransitionTime: metav1.NewTime(now),
		Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonUpToDate, Message: plan.Abbreviated(st.Commit) + " runs, and nothing newer is known",
	}
	switch {
	case known && answer.Problem != "":
		condition.Status, condition.Reason, condition.Message = metav1.ConditionUnknown, answer.Reason, limit(answer.Problem)
	case u.Available:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionTrue, v1alpha1.ReasonNewerCommit, newer(st)
	}
	meta.SetStatusCondition(&st.Conditions, condition)
}

func newer(st *v1alpha1.ApplicationStatus) string {
	text := fmt.Sprintf("%s of %s is newer", plan.Abbreviated(st.Update.Commit), st.Update.Ref)
	if st.Commit != "" {
		text += " than " + plan.Abbreviated(st.Commit) + ", which runs"
	}
	switch n := st.Update.Behind; {
	case n == 1:
		text += ", by 1 commit"
	case n > 1:
		text += fmt.Sprintf(", by %d commits", n)
	}
	return text
}

// attempted is the newest commit if it needs no request any more: there was one
// for it, or a person moved the application elsewhere after it was seen. What
// was found once stays, as requests do not.
func attempted(st *v1alpha1.ApplicationStatus, requests []v1alpha1.UpdateRequest) string {
	u := st.Update
	if u.Commit == "" || u.Attempted == u.Commit {
		return u.Attempted
	}
	for i := range requests {
		ur := &requests[i]
		if ur.Spec.DryRun || ur.Spec.BackupOnly {
			continue
		}
		if commitOf(ur) == u.Commit {
			return u.Commit
		}
		moved := ur.Status.Phase == v1alpha1.PhaseSucceeded && (!follows(ur) || ur.Status.Commit != ur.Status.PreviousCommit)
		if moved && !byPolicy(ur) && u.CheckedAt != nil && u.CheckedAt.Before(&ur.CreationTimestamp) {
			return u.Commit
		}
	}
	return u.Attempted
}

// commitOf is the commit that a request is for, as far as it is known.
func commitOf(ur *v1alpha1.UpdateRequest) string {
	if ur.Status.Commit != "" {
		return ur.Status.Commit
	}
	if len(ur.Spec.Commit) >= 40 {
		return ur.Spec.Commit // a full SHA, or a name that is none
	}
	return ""
}

func byPolicy(ur *v1alpha1.UpdateRequest) bool {
	return ur.Annotations[v1alpha1.AnnotationTrigger] == v1alpha1.TriggerUpdatePolicy
}

// followFacts gathers what plan.Follow needs. The status of the application is
// the record of what the source has.
func followFacts(app *v1alpha1.Application, requests []v1alpha1.UpdateRequest, unreachable bool, now time.Time) plan.FollowFacts {
	st := &app.Status
	f := plan.FollowFacts{
		Spec: app.Spec.Update, Suspended: app.Spec.Suspend, Unreachable: unreachable,
		Running: st.Commit, Deployed: deployed(st), Failed: mergeFailed(st.FailedCommits, requests), Now: now,
	}
	if u := st.Update; u != nil {
		f.Looked = u.ObservedGeneration == app.Generation
		f.Ref, f.Newest, f.Attempted = u.Ref, u.Commit, attempted(st, requests)
		f.Behind = !u.Available
	}
	if st.LastRequest != nil && st.LastRequest.FinishedAt != nil {
		f.LastEnd = st.LastRequest.FinishedAt.Time
	}
	for i := range requests {
		ur := &requests[i]
		if ur.Spec.DryRun {
			continue
		}
		if plan.Ended(ur.Status.Phase) {
			if end := ur.Status.FinishedAt; end != nil && plan.Started(ur.Status) && end.After(f.LastEnd) {
				f.LastEnd = end.Time
			}
			continue
		}
		f.Requests = append(f.Requests, plan.FollowRequest{
			Name: ur.Name, Commit: commitOf(ur), ByPolicy: byPolicy(ur), Started: plan.Started(ur.Status),
		})
	}
	return f
}

// deployed reports whether anything of the application runs, or ever did.
func deployed(st *v1alpha1.ApplicationStatus) bool {
	if st.Release != "" || st.LastReleaseNumber > 0 {
		return true
	}
	for _, s := range st.Services {
		if s.State == "Running" || s.State == "Restarting" {
			return true
		}
	}
	return false
}
