// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

const maxChanges = 10

// Plain is one line of progress: time, step, text.
func (s Style) Plain(at time.Time, step, text string) string {
	return s.clock(at) + " " + pad(clip(clean(step), 11), 11) + " " + text
}

// PlainLog is a line of the request's log as a line of progress. It returns ""
// for the summary at the end of a log and its marker: the report tells the same.
// received stands in for the time of a line that has none.
func (s Style) PlainLog(text string, received time.Time) string {
	line := updatelog.ParseLine(text)
	if line.IsEnd() || line.IsSummary() {
		return ""
	}
	at := line.Time
	if at.IsZero() {
		at = received
	}
	return s.Plain(at, line.Step, "| "+strings.ReplaceAll(updatelog.Clean(line.Message, s.Colour), "\t", "    "))
}

// Changes are the lines of progress that lead from the status of before to that of
// after; before is nil at first.
func (s Style) Changes(before, after *v1alpha1.UpdateRequest, now time.Time) []string {
	var old v1alpha1.UpdateRequestStatus
	if before != nil {
		old = before.Status
	}
	cur := &after.Status
	var lines []string
	add := func(step, text string) { lines = append(lines, s.Plain(now, step, text)) }

	if cur.Phase == v1alpha1.PhasePending || cur.Phase == "" {
		if message := clean(cur.Message); before == nil || message != clean(old.Message) {
			if message == "" {
				message = "waiting to be taken up"
			}
			add(string(v1alpha1.PhasePending), message)
		}
	}
	steps := make(map[v1alpha1.StepName]v1alpha1.StepStatus, len(old.Steps))
	for _, step := range old.Steps {
		steps[step.Name] = step
	}
	for _, name := range stepOrder() {
		for _, step := range cur.Steps {
			if step.Name != name {
				continue
			}
			if text := s.stepChange(steps[name], step, now); text != "" {
				add(string(name), text)
			}
			if name == v1alpha1.StepPreflight {
				for _, text := range s.checkChanges(old.Checks, cur.Checks) {
					add(string(name), text)
				}
			}
		}
	}
	if len(old.Changes) == 0 {
		for _, text := range changeLines(after) {
			add(string(cur.Step), text)
		}
	}
	known := make(map[string]v1alpha1.ServiceUpdate, len(old.Services))
	for _, svc := range old.Services {
		known[svc.Name] = svc
	}
	for i := range cur.Services {
		svc := &cur.Services[i]
		was, seen := known[svc.Name]
		if !seen || was.Action != svc.Action {
			text := fmt.Sprintf("%s: %s", clean(svc.Name), svc.Action)
			if svc.Reason != "" {
				text += " (" + clean(svc.Reason) + ")"
			}
			add(string(cur.Step), text)
		}
		if svc.Health != was.Health && svc.Health != "" && svc.Action != v1alpha1.ActionKeep {
			add(string(cur.Step), fmt.Sprintf("%s: %s", clean(svc.Name), clean(svc.Health)))
		}
	}
	return lines
}

func (s Style) stepChange(old, cur v1alpha1.StepStatus, now time.Time) string {
	message := clean(cur.Message)
	if old.State == cur.State && old.Attempt == cur.Attempt {
		if message != "" && message != clean(old.Message) { // also of a clean-up that went on after the end
			return message
		}
		return ""
	}
	took := between(cur.StartedAt, cur.FinishedAt, now)
	text := ""
	switch cur.State {
	case v1alpha1.StepRunning:
		text = "started"
		if cur.Attempt > 1 {
			text = fmt.Sprintf("started again, attempt %d", cur.Attempt)
		}
	case v1alpha1.StepSucceeded:
		text = s.paint(green, markDone) + " done in " + took
	case v1alpha1.StepFailed:
		text = s.paint(red, markFailed) + " failed after " + took
	case v1alpha1.StepSkipped:
		text = "skipped"
	case v1alpha1.StepInterrupted:
		text = "interrupted"
	}
	if message != "" {
		text += ": " + message
	}
	return text
}

func (s Style) checkChanges(old, cur []v1alpha1.CheckResult) []string {
	seen := make(map[string]v1alpha1.CheckResult, len(old))
	for _, check := range old {
		seen[check.Name] = check
	}
	var lines []string
	for _, check := range cur {
		if check.Result == "Passed" || check.Result == "Skipped" || seen[check.Name] == check {
			continue
		}
		lines = append(lines, s.checkLine(check))
	}
	return lines
}

func (s Style) checkLine(check v1alpha1.CheckResult) string {
	mark := s.paint(green, markDone)
	switch check.Result {
	case "Warning":
		mark = s.paint(yellow, markWarning)
	case "Failed":
		mark = s.paint(red, markFailed)
	}
	text := mark + " " + clean(check.Name)
	if check.Message != "" {
		text += ": " + clean(check.Message)
	}
	return text
}

// changeLines list the commits between what ran and what is wanted.
func changeLines(ur *v1alpha1.UpdateRequest) []string {
	st := &ur.Status
	if len(st.Changes) == 0 {
		return nil
	}
	total := max(int(st.ChangesTotal), len(st.Changes))
	before := orElse(Commit(st.PreviousCommit), "what runs")
	head := plural(total, "commit", "commits") + " since " + before
	if ur.Spec.RollbackTo != nil {
		head = plural(total, "commit", "commits") + " between " + Commit(st.Commit) + " and " + before
	}
	lines := []string{head}
	for i, change := range st.Changes {
		if i == maxChanges {
			break
		}
		lines = append(lines, "  "+Commit(change.Commit)+" "+clean(change.Subject))
	}
	if total > maxChanges && len(st.Changes) >= maxChanges {
		lines = append(lines, fmt.Sprintf("  and %d more", total-maxChanges))
	}
	return lines
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
