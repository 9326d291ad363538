// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/measure"
)

// Report is the text at the end of a request: how it went, where its record is,
// and after a failure what went wrong, what was undone and what can be done.
func (s Style) Report(ur *v1alpha1.UpdateRequest, now time.Time) string {
	var b strings.Builder
	if ur.Spec.DryRun && ur.Status.Phase == v1alpha1.PhaseSucceeded {
		b.WriteString(s.Plan(ur))
		return b.String()
	}
	st := &ur.Status
	b.WriteString(s.headline(ur, now) + "\n")
	if st.Phase != v1alpha1.PhaseSucceeded {
		s.cause(&b, ur)
	}
	s.facts(&b, ur)
	if next := Advice(ur); len(next) > 0 && st.Phase != v1alpha1.PhaseSucceeded {
		b.WriteString("\n" + s.paint(bold, "What to do next") + "\n")
		for _, line := range next {
			b.WriteString("  " + line + "\n")
		}
	}
	return b.String()
}

func (s Style) headline(ur *v1alpha1.UpdateRequest, now time.Time) string {
	st := &ur.Status
	app := clean(ur.Spec.ApplicationRef.Name)
	took := took(ur, now)
	if took != "" {
		took = " after " + took
	}
	switch st.Phase {
	case v1alpha1.PhaseSucceeded:
		what := "updated to " + target(ur)
		switch {
		case ur.Spec.BackupOnly:
			what = "has a new backup, " + clean(st.Backup)
		case ur.Spec.RestoreFrom != nil:
			what = "restored from " + target(ur)
		case ur.Spec.RollbackTo != nil:
			what = "rolled back to " + target(ur)
		}
		if reason(ur) == v1alpha1.ReasonUnchanged {
			what = "already runs " + target(ur) + ": nothing changed"
		}
		subject := ""
		if i := slices.IndexFunc(st.Changes, func(c v1alpha1.Change) bool { return c.Commit == st.Commit }); i >= 0 {
			subject = fmt.Sprintf(" %q", clean(st.Changes[i].Subject))
		}
		return s.paint(green, markDone) + " " + app + " " + what + subject + strings.Replace(took, " after ", " in ", 1)
	case v1alpha1.PhaseRolledBack:
		return s.paint(yellow, markFailed) + " " + app + ": the update to " + target(ur) + " failed and was undone" + took
	case v1alpha1.PhaseCancelled:
		return s.paint(yellow, markWarning) + " " + app + ": the update to " + target(ur) + " was cancelled" + took
	case v1alpha1.PhaseFailed:
		what := "update to "
		switch {
		case ur.Spec.BackupOnly:
			what = "making of "
		case ur.Spec.RestoreFrom != nil:
			what = "restore from "
		case ur.Spec.RollbackTo != nil:
			what = "rollback to "
		}
		if ur.Spec.DryRun {
			what = "dry run of the " + what
		}
		return s.paint(red, markFailed) + " " + app + ": the " + what + target(ur) + " failed" + took
	default:
		return app + ": the update to " + target(ur) + " is " + orElse(string(st.Phase), string(v1alpha1.PhasePending))
	}
}

func took(ur *v1alpha1.UpdateRequest, now time.Time) string {
	if ur.Status.Duration != "" {
		return clean(ur.Status.Duration)
	}
	return between(ur.Status.StartedAt, ur.Status.FinishedAt, now)
}

// reason is the word of the request's Succeeded condition, or of its failure.
func reason(ur *v1alpha1.UpdateRequest) string {
	if ur.Status.Failure != nil {
		return ur.Status.Failure.Reason
	}
	if c := meta.FindStatusCondition(ur.Status.Conditions, v1alpha1.ConditionSucceeded); c != nil {
		return c.Reason
	}
	return ""
}

// cause tells what went wrong: the message, the step, failed checks, the logs of
// failed containers, what was undone.
func (s Style) cause(b *strings.Builder, ur *v1alpha1.UpdateRequest) {
	st := &ur.Status
	message, step := st.Message, v1alpha1.StepName("")
	if c := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionSucceeded); c != nil && message == "" {
		message = c.Message
	}
	if st.Failure != nil {
		step = st.Failure.Step
		message = orElse(st.Failure.Message, message)
	} else if i := slices.IndexFunc(st.Steps, func(x v1alpha1.StepStatus) bool { return x.State == v1alpha1.StepFailed }); i >= 0 {
		step = st.Steps[i].Name
	}
	lines := cleanLines(message)
	if len(lines) > 0 {
		head := orElse(reason(ur), "Cause")
		if step != "" {
			head += " in step " + string(step)
		}
		b.WriteString("\n" + s.paint(bold, head) + "\n")
		for _, line := range lines {
			b.WriteString("  " + line + "\n")
		}
	}
	if slices.ContainsFunc(st.Checks, func(c v1alpha1.CheckResult) bool { return c.Result == "Failed" }) {
		b.WriteString("\n" + s.paint(bold, "Preflight checks") + "\n")
		var skipped []string
		for _, check := range st.Checks {
			switch check.Result {
			case "Passed":
			case "Skipped":
				skipped = append(skipped, clean(check.Name))
			default:
				b.WriteString("  " + s.checkLine(check) + "\n")
			}
		}
		if len(skipped) > 0 {
			b.WriteString("  not checked, as one of those failed: " + strings.Join(skipped, ", ") + "\n")
		}
	}
	for i := range st.Services {
		svc := &st.Services[i]
		if len(svc.Log) == 0 {
			continue
		}
		head := "Last log lines of " + clean(svc.Name)
		if svc.Health != "" {
			head += " (" + clean(svc.Health) + ")"
		}
		b.WriteString("\n" + s.paint(bold, head) + "\n")
		for _, line := range svc.Log {
			b.WriteString("  " + s.paint(dim, "│ ") + clean(line) + "\n")
		}
	}
	if r := st.Rollback; r != nil {
		b.WriteString("\n" + s.paint(bold, "What was undone") + "\n")
		for _, line := range cleanLines(orElse(r.Message, "every service of the request went back to "+orElse(r.Release, Commit(r.Commit)))) {
			b.WriteString("  " + line + "\n")
		}
	}
}

// facts is the table of where things are.
func (s Style) facts(b *strings.Builder, ur *v1alpha1.UpdateRequest) {
	st := &ur.Status
	var rows [][2]string
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, [2]string{name, value})
		}
	}
	release := clean(st.Release)
	if release != "" && st.PreviousRelease != "" && st.PreviousRelease != st.Release {
		release += " (before: " + strings.TrimSpace(clean(st.PreviousRelease)+" "+Commit(st.PreviousCommit)) + ")"
	}
	add("release", release)
	if st.Phase == v1alpha1.PhaseRolledBack && st.Rollback != nil && st.Rollback.Release != "" { // else nothing ran before
		add("running", strings.TrimSpace(clean(st.Rollback.Release)+" "+Commit(st.Rollback.Commit)))
	}
	if st.Phase == v1alpha1.PhaseSucceeded {
		add("services", servicesSummary(st.Services))
		if st.ChangesTotal > 0 {
			add("changes", plural(int(st.ChangesTotal), "commit", "commits"))
		}
	}
	add("hooks", hooksSummary(st.Hooks))
	add("backup", clean(orElse(st.BackupPath, st.Backup)))
	add("log", clean(st.LogFile))
	add("request", clean(ur.Name))
	if len(rows) > 0 && st.Phase != v1alpha1.PhaseSucceeded {
		b.WriteString("\n")
	}
	for _, r := range rows {
		b.WriteString("  " + pad(r[0], 9) + " " + r[1] + "\n")
	}
}

func servicesSummary(services []v1alpha1.ServiceUpdate) string {
	verbs := [...]struct {
		action v1alpha1.ServiceAction
		verb   string
	}{
		{v1alpha1.ActionCreate, "created"}, {v1alpha1.ActionReplace, "replaced"}, {v1alpha1.ActionRun, "run"},
		{v1alpha1.ActionRemove, "removed"}, {v1alpha1.ActionKeep, "unchanged"},
	}
	var parts []string
	for _, v := range verbs {
		var names []string
		for i := range services {
			if services[i].Action == v.action {
				names = append(names, clean(services[i].Name))
			}
		}
		if len(names) > 0 {
			parts = append(parts, fmt.Sprintf("%d %s (%s)", len(names), v.verb, strings.Join(names, ", ")))
		}
	}
	return strings.Join(parts, ", ")
}

// hooksSummary counts the runs of hooks, and names those that failed and why.
func hooksSummary(hooks []v1alpha1.HookStatus) string {
	count := map[v1alpha1.HookState]int{}
	var failed []string
	for i := range hooks {
		h := &hooks[i]
		count[h.State]++
		if h.State != v1alpha1.HookFailed {
			continue
		}
		text := clean(h.Name) + " at " + string(h.At)
		if h.Service != "" {
			text += " of " + clean(h.Service)
		}
		if h.Message != "" {
			text += ": " + clean(h.Message)
		}
		failed = append(failed, text)
	}
	var parts []string
	for _, state := range []v1alpha1.HookState{v1alpha1.HookSucceeded, v1alpha1.HookSkipped, v1alpha1.HookRunning} {
		if count[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[state], strings.ToLower(string(state))))
		}
	}
	if len(failed) > 0 {
		parts = append(parts, fmt.Sprintf("%d failed (%s)", len(failed), strings.Join(failed, "; ")))
	}
	return strings.Join(parts, ", ")
}

// Plan shows status.plan as a table: what the request does, or would do.
func (s Style) Plan(ur *v1alpha1.UpdateRequest) string {
	plan := ur.Status.Plan
	var b strings.Builder
	head := "Plan for " + clean(ur.Spec.ApplicationRef.Name) + " → " + target(ur)
	if ur.Spec.DryRun {
		head += " (dry run: nothing was changed)"
	}
	b.WriteString(s.paint(bold, head) + "\n")
	if plan == nil {
		b.WriteString("  " + orElse(clean(ur.Status.Message), "no plan") + "\n")
		return b.String()
	}
	if plan.Summary != "" {
		b.WriteString("  " + clean(plan.Summary) + "\n")
	}
	if lines := changeLines(ur); len(lines) > 0 {
		b.WriteString("\n" + s.paint(bold, "Changes") + "\n")
		for _, line := range lines {
			b.WriteString("  " + line + "\n")
		}
	}
	if len(plan.Services) > 0 {
		b.WriteString("\n")
		services := slices.Clone(plan.Services)
		slices.SortStableFunc(services, func(a, b v1alpha1.ServicePlan) int { return int(a.Wave - b.Wave) })
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "WAVE\tSERVICE\tACTION\tIMAGE\tORDER\tINTERRUPTION\tREASON")
		for _, svc := range services {
			wave := "-"
			if svc.Wave > 0 {
				wave = itoa(int(svc.Wave))
			}
			why := clean(svc.Reason)
			if svc.OrderReason != "" {
				why = strings.TrimPrefix(why+"; "+string(svc.Order)+": "+clean(svc.OrderReason), "; ")
			}
			for _, note := range []string{svc.Replacement, svc.Gateway} {
				if note != "" {
					why = strings.TrimPrefix(why+"; "+clean(note), "; ")
				}
			}
			fmt.Fprintln(w, strings.Join([]string{wave, clean(svc.Name), string(svc.Action), orElse(clean(svc.Build), "-"),
				orElse(string(svc.Order), "-"), orElse(clean(svc.Interruption), "-"), orElse(why, "-")}, "\t"))
		}
		_ = w.Flush() // into memory
	}
	if len(plan.Restore) > 0 {
		b.WriteString("\n" + s.paint(bold, "Overwritten") + "\n")
		for _, item := range plan.Restore {
			b.WriteString("  " + clean(item) + "\n")
		}
	}
	if len(plan.Backup) > 0 {
		b.WriteString("\n" + s.paint(bold, "Saved before") + "\n")
		for _, item := range plan.Backup {
			b.WriteString("  " + clean(item) + "\n")
		}
	}
	if lines := diskLines(plan.Disk); len(lines) > 0 {
		b.WriteString("\n" + s.paint(bold, "Disk") + "\n  " + strings.Join(lines, "\n  ") + "\n")
	}
	var warnings []string
	for _, check := range ur.Status.Checks {
		if check.Result != "Passed" {
			warnings = append(warnings, s.checkLine(check))
		}
	}
	if len(warnings) > 0 {
		b.WriteString("\n" + s.paint(bold, "Preflight checks") + "\n  " + strings.Join(warnings, "\n  ") + "\n")
	}
	return b.String()
}

// diskLines tell what is expected to be written, by file system.
func diskLines(disks []v1alpha1.DiskForecast) []string {
	var out []string
	for _, d := range disks {
		if len(d.Needs) == 0 {
			continue
		}
		out = append(out, fmt.Sprintf("%s: %s free", clean(d.Path), measure.Bytes(d.Free)))
		for _, need := range d.Needs {
			size := "not known"
			if need.Bytes != nil {
				size = "about " + measure.Bytes(*need.Bytes)
			}
			out = append(out, fmt.Sprintf("  %s: %s (%s)", strings.ToLower(string(need.For)), size, clean(need.Basis)))
		}
	}
	return out
}
