// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// Application is the overview of an application: what runs, how it is, what is
// being done with it and how the last request ended. active and last may be nil.
func (s Style) Application(app *v1alpha1.Application, active, last *v1alpha1.UpdateRequest, now time.Time) string {
	var b strings.Builder
	st := &app.Status
	b.WriteString(s.paint(bold, clean(app.Name)) + "  " + clean(app.Spec.Compose.Directory) + "\n")
	field := func(name, value string) {
		if value != "" {
			b.WriteString("  " + pad(name, 10) + " " + value + "\n")
		}
	}
	if st.Commit == "" && meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionReady) == nil {
		b.WriteString("  Fairlead has not looked at it yet: ask again in a moment\n")
	}
	field("release", clean(st.Release))
	commit := Commit(st.Commit)
	if commit != "" && st.Branch != "" {
		commit += " on " + clean(st.Branch)
	}
	field("commit", commit)
	health := ""
	if st.Healthy != "" {
		health = clean(st.Healthy) + " services"
	}
	if c := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionHealthy); c != nil && c.Status != metav1.ConditionTrue {
		health = strings.TrimPrefix(health+": "+s.paint(red, clean(c.Message)), ": ")
	}
	field("healthy", health)
	if c := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionReady); c != nil && c.Status != metav1.ConditionTrue {
		field("not ready", s.paint(yellow, clean(orElse(c.Message, c.Reason))))
	}
	if app.Spec.Suspend {
		field("suspended", "new requests wait until spec.suspend is false")
	}
	field("update", s.available(app))
	if len(st.Services) > 0 {
		b.WriteString("\n")
		s.serviceTable(&b, st.Services)
	}
	s.drift(&b, st.Drift)
	s.newer(&b, st.Update)
	if st.ActiveRequest != "" {
		b.WriteString("\n" + s.paint(bold, "Running: "+clean(st.ActiveRequest)) + "\n")
		if active != nil {
			for _, line := range s.Live(Live{Request: active, Now: now}) {
				b.WriteString("  " + line + "\n")
			}
		}
	}
	if sum := st.LastRequest; sum != nil {
		head := "Last: " + clean(sum.Name) + "  " + string(sum.Phase)
		if c := Commit(sum.Commit); c != "" {
			head += "  " + c
		}
		if sum.FinishedAt != nil {
			head += "  " + Duration(now.Sub(sum.FinishedAt.Time).Truncate(time.Second)) + " ago"
		}
		b.WriteString("\n" + s.paint(bold, head) + "\n")
		if last != nil && last.Status.Message != "" {
			for _, line := range cleanLines(last.Status.Message) {
				b.WriteString("  " + line + "\n")
			}
		}
	}
	if len(st.FailedCommits) > 0 {
		b.WriteString("\n" + s.paint(bold, "Commits that failed here (tried again only with --retry)") + "\n")
		for _, f := range st.FailedCommits {
			b.WriteString("  " + strings.TrimSpace(Commit(f.Commit)+"  "+clean(f.Reason)+"  "+clean(f.Request)) + "\n")
		}
	}
	return b.String()
}

func (s Style) serviceTable(b *strings.Builder, services []v1alpha1.ServiceStatus) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  SERVICE\tSTATE\tHEALTH\tREPLICAS\tIMAGE")
	for i := range services {
		svc := &services[i]
		fmt.Fprintf(w, "  %s\t%s\t%s\t%d\t%s\n", clean(svc.Name), orElse(clean(svc.State), "-"), orElse(clean(svc.Health), "-"),
			svc.Replicas, orElse(clean(svc.Image), "-"))
	}
	_ = w.Flush() // into memory
}

// Request is the overview of one request: its picture while it runs, then also the
// report.
func (s Style) Request(ur *v1alpha1.UpdateRequest, ended bool, now time.Time) string {
	s.Height = 10_000 // nothing scrolls away that is printed once
	text := strings.Join(s.Live(Live{Request: ur, Now: now}), "\n") + "\n"
	if ended {
		return text + "\n" + s.Report(ur, now)
	}
	if ur.Status.Message != "" {
		text += "\n  " + clean(ur.Status.Message) + "\n"
	}
	return text
}
