// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// maxDrift is how many differences are listed.
const maxDrift = 100

// active reports whether a request is being carried out. Dry runs change nothing.
func active(ur v1alpha1.UpdateRequest) bool {
	return !ur.Spec.DryRun && !over(&ur) && plan.Started(ur.Status)
}

// writeDrift derives status.drift and its condition. What a request changes is
// no drift, and is looked at when it has ended.
func writeDrift(app *v1alpha1.Application, seen observe.Application, set func(string, metav1.ConditionStatus, string, string)) {
	st := &app.Status
	st.Drift = nil
	switch {
	case st.ActiveRequest != "":
		set(v1alpha1.ConditionDrifted, metav1.ConditionUnknown, v1alpha1.ReasonRunning, "containers are compared with the release when the request has ended")
	case !seen.RestoredAt.IsZero():
		set(v1alpha1.ConditionDrifted, metav1.ConditionUnknown, v1alpha1.ReasonNoRelease, seen.Note)
	case release.Current(seen.Releases) == nil:
		set(v1alpha1.ConditionDrifted, metav1.ConditionUnknown, v1alpha1.ReasonNoRelease, "there is no release yet to compare containers with; the first update records one")
	case len(seen.Drift) == 0:
		set(v1alpha1.ConditionDrifted, metav1.ConditionFalse, v1alpha1.ReasonAsReleased, "all containers are as the current release has them")
	default:
		st.Drift = seen.Drift[:min(len(seen.Drift), maxDrift)]
		set(v1alpha1.ConditionDrifted, metav1.ConditionTrue, v1alpha1.ReasonContainersDiffer, driftInWords(seen.Drift))
	}
}

func driftInWords(drift []v1alpha1.Drift) string {
	const most = 5
	var parts []string
	for _, d := range drift[:min(len(drift), most)] {
		name := d.Service
		if d.Container != "" {
			name += " (" + d.Container + ")"
		}
		parts = append(parts, name+" "+string(d.Kind))
	}
	text := join(parts)
	if more := len(drift) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text + "; status.drift tells what differs"
}

// emitDrift tells of drift that began, changed or went away.
func (r *ApplicationReconciler) emitDrift(before, after *v1alpha1.Application) {
	if r.Events == nil || equality.Semantic.DeepEqual(before.Status.Drift, after.Status.Drift) {
		return
	}
	c := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionDrifted)
	switch {
	case c == nil:
	case c.Status == metav1.ConditionTrue:
		r.Events.Eventf(after, nil, corev1.EventTypeWarning, c.Reason, "Observe", "%s", eventNote(c.Message))
	case c.Status == metav1.ConditionFalse:
		r.Events.Eventf(after, nil, corev1.EventTypeNormal, c.Reason, "Observe", "%s", eventNote(c.Message))
	}
}
