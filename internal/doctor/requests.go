// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/measure"
)

const (
	// lateAfter is how long a step may take before it is told.
	lateAfter = 30 * time.Minute
	// shownEvents of each application are told.
	shownEvents = 3
)

func inNamespace(namespace string) client.ListOption { return client.InNamespace(namespace) }

func registryOf(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return ""
	}
	return reference.Domain(named)
}

// requests looks at the objects: requests that do not get on, applications that
// are not as they should be, and what was warned of lately.
func (d *Doctor) requests(ctx context.Context, apps []v1alpha1.Application) []Finding {
	ask, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var requests v1alpha1.UpdateRequestList
	if err := d.API.List(ask, &requests); err != nil {
		return []Finding{problem("requests", "see the check of the API", "the requests cannot be listed: %v", err)}
	}
	var events corev1.EventList
	if err := d.API.List(ask, &events); err != nil {
		events.Items = nil // a viewer may lack the right; the statuses tell as well
	}
	var out []Finding
	for i := range apps {
		app := &apps[i]
		if app.Name == "" {
			continue
		}
		mine := slices.DeleteFunc(slices.Clone(requests.Items), func(r v1alpha1.UpdateRequest) bool {
			return r.Namespace != app.Namespace || r.Spec.ApplicationRef.Name != app.Name
		})
		findings := append(judgeApplication(app), judgeRequests(app, mine, d.Deps.Clock.Now())...)
		findings = append(findings, judgeEvents(app, mine, events.Items)...)
		out = append(out, of(app.Namespace+"/"+app.Name, findings)...)
	}
	return out
}

// judgeApplication tells of conditions of the status that are not as they should be.
func judgeApplication(app *v1alpha1.Application) []Finding {
	var out []Finding
	if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady); c != nil && c.Status != metav1.ConditionTrue {
		out = append(out, problem("application", "mend what it says; the Application is looked at again by itself", "it is not Ready: %s", c.Message))
	}
	if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionStalled); c != nil && c.Status == metav1.ConditionTrue {
		out = append(out, problem("application", "mend what it says", "it is stalled: %s", c.Message))
	}
	if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionDrifted); c != nil && c.Status == metav1.ConditionTrue {
		out = append(out, warning("drift", fmt.Sprintf("bring it back to its release: fairlead update %s --force", app.Name), "containers are not as the release has them: %s", c.Message))
	}
	if app.Spec.Suspend {
		out = append(out, warning("application", fmt.Sprintf(`allow updates: kubectl patch app %s -n %s --type merge -p '{"spec":{"suspend":false}}'`, app.Name, app.Namespace),
			"it is suspended: no update begins"))
	}
	for _, f := range app.Status.FailedCommits {
		out = append(out, warning("failed-commits", fmt.Sprintf("push a commit that mends it; or, if the cause lay elsewhere: fairlead update %s %s --retry", app.Name, f.Commit[:min(12, len(f.Commit))]),
			"the commit %s failed at %s (%s) in the request %s, and is not tried again by itself", f.Commit[:min(7, len(f.Commit))], f.Time.UTC().Format(time.RFC3339), f.Reason, f.Request))
	}
	return out
}

// judgeRequests tells of the request that works, and of how the newest one ended.
func judgeRequests(app *v1alpha1.Application, requests []v1alpha1.UpdateRequest, now time.Time) []Finding {
	var out []Finding
	slices.SortFunc(requests, func(a, b v1alpha1.UpdateRequest) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
	newestEnded := true
	for i := range requests {
		r := &requests[i]
		see := fmt.Sprintf("fairlead status ur/%s -n %s tells all; fairlead logs ur/%s -n %s shows the log", r.Name, r.Namespace, r.Name, r.Namespace)
		stalled := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionStalled)
		ended := r.Status.FinishedAt != nil
		switch {
		case !ended && stalled != nil && stalled.Status == metav1.ConditionTrue:
			out = append(out, problem("requests", "mend the cause, and it goes on; or give up: fairlead cancel "+r.Name+" -n "+r.Namespace,
				"%s is stuck in %s: %s", r.Name, r.Status.Step, stalled.Message))
		case !ended && r.Spec.Suspend:
			out = append(out, warning("requests", fmt.Sprintf(`let it go on: kubectl patch ur %s -n %s --type merge -p '{"spec":{"suspend":false}}'`, r.Name, r.Namespace), "%s is suspended", r.Name))
		case !ended && late(r, now):
			out = append(out, warning("requests", see, "%s has been in %s for %s", r.Name, r.Status.Step, measure.Time(stepAge(r, now))))
		case ended && r.Status.Phase == v1alpha1.PhaseFailed && newestEnded:
			do := see
			if r.Status.BackupPath != "" {
				do += "; its backup: fairlead rollback-offline " + r.Status.Backup + " --directory " + app.Spec.Compose.Directory
			}
			out = append(out, problem("requests", do, "the last request, %s, failed: %s", r.Name, r.Status.Message))
		case ended && r.Status.Phase == v1alpha1.PhaseRolledBack && newestEnded:
			out = append(out, warning("requests", see, "the last request, %s, was rolled back: %s", r.Name, r.Status.Message))
		}
		newestEnded = newestEnded && !ended
	}
	if len(out) == 0 {
		out = append(out, ok("requests", "none is stuck"))
	}
	return out
}

func late(r *v1alpha1.UpdateRequest, now time.Time) bool { return stepAge(r, now) > lateAfter }

func stepAge(r *v1alpha1.UpdateRequest, now time.Time) time.Duration {
	for _, s := range r.Status.Steps {
		if s.Name == r.Status.Step && s.StartedAt != nil && s.FinishedAt == nil {
			return now.Sub(s.StartedAt.Time)
		}
	}
	return 0
}

// judgeEvents tells of the newest warnings, as of notifications and hooks that
// fail.
func judgeEvents(app *v1alpha1.Application, requests []v1alpha1.UpdateRequest, events []corev1.Event) []Finding {
	about := func(e corev1.Event) bool {
		o := e.InvolvedObject
		return o.Namespace == app.Namespace && (o.Kind == "Application" && o.Name == app.Name ||
			o.Kind == "UpdateRequest" && slices.ContainsFunc(requests, func(r v1alpha1.UpdateRequest) bool { return r.Name == o.Name && r.Status.FinishedAt == nil }) ||
			o.Kind == "UpdateRequest" && notification(e) && slices.ContainsFunc(requests, func(r v1alpha1.UpdateRequest) bool { return r.Name == o.Name }))
	}
	events = slices.DeleteFunc(slices.Clone(events), func(e corev1.Event) bool { return e.Type != corev1.EventTypeWarning || !about(e) })
	when := func(e corev1.Event) time.Time {
		if !e.LastTimestamp.IsZero() {
			return e.LastTimestamp.Time
		}
		return e.EventTime.Time
	}
	slices.SortFunc(events, func(a, b corev1.Event) int { return when(b).Compare(when(a)) })
	var out []Finding
	told := map[string]bool{}
	for _, e := range events {
		if told[e.Reason+e.Message] || len(out) == shownEvents {
			continue
		}
		told[e.Reason+e.Message] = true
		check, do := "events", "kubectl describe "+strings.ToLower(e.InvolvedObject.Kind)+" "+e.InvolvedObject.Name+" -n "+app.Namespace
		if notification(e) {
			check, do = "notifications", "see that the address in notifications is right and that its receiver answers this host; a Secret that it names must exist"
		}
		out = append(out, warning(check, do, "%s: %s", e.Reason, e.Message))
	}
	return out
}

func notification(e corev1.Event) bool { return strings.Contains(strings.ToLower(e.Reason), "notif") }
