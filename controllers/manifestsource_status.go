// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/manifests"
	"github.com/fairlead-dev/fairlead/internal/source"
)

// writeManifestStatus derives the status of a ManifestSource from how a look went.
func writeManifestStatus(ms *v1alpha1.ManifestSource, out manifestOutcome, now time.Time) {
	st := &ms.Status
	st.ObservedGeneration = ms.Generation
	set := func(status metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&st.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionReady, Status: status, Reason: reason, Message: limit(message),
			ObservedGeneration: ms.Generation, LastTransitionTime: metav1.NewTime(now),
		})
	}
	if ms.Spec.Suspend {
		set(metav1.ConditionFalse, v1alpha1.ReasonSuspended, "nothing is applied until spec.suspend is false")
		return
	}
	st.HandledCheck = ms.Annotations[v1alpha1.AnnotationCheck]
	if out.err != nil {
		message := steadyWords(out.err)
		if out.snapshot.Commit != "" {
			message = fmt.Sprintf("nothing of %s of %s was applied: %s", short(out.snapshot.Commit), out.snapshot.Ref, message)
		}
		reason := out.reason
		if errors.Is(out.err, source.ErrUnreachable) {
			reason = v1alpha1.ReasonSourceUnreachable
		}
		set(metav1.ConditionFalse, reason, message)
		return
	}
	if st.Commit != out.snapshot.Commit || st.Directory != directoryOf(ms) {
		applied := metav1.NewTime(now.Truncate(time.Second))
		st.AppliedAt = &applied
	}
	st.Ref, st.Commit, st.Directory, st.Applied = out.snapshot.Ref, out.snapshot.Commit, directoryOf(ms), out.plan.Applied
	set(metav1.ConditionTrue, v1alpha1.ReasonApplied, fmt.Sprintf("%s of %s is applied: %s", short(st.Commit), st.Ref, appliedInWords(st.Applied)))
}

// steadyWords are the same as long as the cause is: what git reports has times
// and counts in it.
func steadyWords(err error) string {
	var remote *source.RemoteError
	if errors.As(err, &remote) {
		return fmt.Sprintf("%s: %v: %s", remote.URL, remote.Kind, remote.Advice)
	}
	return err.Error()
}

func appliedInWords(applied []v1alpha1.AppliedManifest) string {
	count := map[string]int{}
	for _, a := range applied {
		count[a.Kind+string(a.State)]++
	}
	var parts []string
	add := func(n int, one, many string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+one)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", n, many))
		}
	}
	app, ur := manifests.KindApplication, manifests.KindUpdateRequest
	add(count[app+string(v1alpha1.ManifestApplied)], "Application", "Applications")
	add(count[ur+string(v1alpha1.ManifestApplied)], "UpdateRequest", "UpdateRequests")
	add(count[ur+string(v1alpha1.ManifestRecorded)], "UpdateRequest that lay there at the first look and is not carried out",
		"UpdateRequests that lay there at the first look and are not carried out")
	add(count[app+string(v1alpha1.ManifestGone)], "Application that is not in Git any more and was left, as spec.prune is not set",
		"Applications that are not in Git any more and were left, as spec.prune is not set")
	if len(parts) == 0 {
		return "the directory holds nothing"
	}
	return strings.Join(parts, ", ")
}

// emit tells of a commit that was applied, and of what stands in the way.
func (r *ManifestSourceReconciler) emit(before, after *v1alpha1.ManifestSource) {
	was := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	is := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionReady)
	if r.Events == nil || was != nil && was.Reason == is.Reason && was.Message == is.Message {
		return
	}
	kind := corev1.EventTypeNormal
	if is.Status != metav1.ConditionTrue && !after.Spec.Suspend {
		kind = corev1.EventTypeWarning
	}
	r.Events.Eventf(after, nil, kind, is.Reason, "Apply", "%s", eventNote(is.Message))
}
