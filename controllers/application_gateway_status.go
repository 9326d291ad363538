// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/gateway/upkeep"
)

// writeGateways derives the condition of an application's gateways. What was known before
// stays until they were looked at.
func writeGateways(app *v1alpha1.Application, a upkeep.Answer, known bool, now time.Time) {
	if !known {
		return
	}
	if len(a.Gateways) == 0 && a.Problem == "" {
		meta.RemoveStatusCondition(&app.Status.Conditions, v1alpha1.ConditionGatewayCurrent)
		return
	}
	c := metav1.Condition{
		Type: v1alpha1.ConditionGatewayCurrent, Status: metav1.ConditionFalse,
		ObservedGeneration: app.Generation, LastTransitionTime: metav1.NewTime(now),
	}
	switch {
	case len(a.Down) > 0:
		c.Reason, c.Message = v1alpha1.ReasonGatewayDown, "not running: "+join(a.Down)+"; the next update makes it anew, or start it"
	case a.Problem != "":
		c.Reason, c.Message = v1alpha1.ReasonGatewayNotReplaced, "a gateway goes on with an older version, which is tried to be replaced again: "+a.Problem
	case len(a.Replaced) > 0:
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonGatewayReplaced
		c.Message = "replaced without an interruption by the version of this daemon: " + join(a.Replaced)
	default:
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonGatewaysRun
		c.Message = fmt.Sprintf("all %d run, with the version of this daemon", len(a.Gateways))
	}
	c.Message = limit(c.Message)
	meta.SetStatusCondition(&app.Status.Conditions, c)
}

// emitGateways tells of gateways that were replaced, or could not be.
func (r *ApplicationReconciler) emitGateways(before, after *v1alpha1.Application) {
	if r.Events == nil {
		return
	}
	was := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionGatewayCurrent)
	is := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionGatewayCurrent)
	if is == nil || was != nil && was.Reason == is.Reason && was.Message == is.Message {
		return
	}
	switch {
	case is.Status == metav1.ConditionFalse:
		r.Events.Eventf(after, nil, corev1.EventTypeWarning, is.Reason, "Observe", "%s", eventNote(is.Message))
	case was != nil && was.Status == metav1.ConditionFalse, is.Reason == v1alpha1.ReasonGatewayReplaced:
		r.Events.Eventf(after, nil, corev1.EventTypeNormal, is.Reason, "Observe", "%s", eventNote(is.Message))
	}
}
