// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// Live is what the live view of a request shows.
type Live struct {
	Request *v1alpha1.UpdateRequest
	Now     time.Time
	// Frame counts the redraws and turns the spinner.
	Frame int
	// Log has the last lines of the request's log, as they are in the file.
	Log []string
	// Lost is why the API server cannot be reached, empty while it can.
	Lost string
}

const (
	markDone    = "✓"
	markFailed  = "✗"
	markSkipped = "-"
	markWaiting = "·"
	markWarning = "!"

	minLogLines = 3
	maxLogLines = 8
)

// spinnerFrames are the pictures of the spinner, one rune each.
const spinnerFrames = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

// stepOrder is the usual order of the steps.
func stepOrder() []v1alpha1.StepName {
	return []v1alpha1.StepName{
		v1alpha1.StepPreflight, v1alpha1.StepBackup, v1alpha1.StepFetch, v1alpha1.StepBuild, v1alpha1.StepRollout,
		v1alpha1.StepRestore, v1alpha1.StepVerify, v1alpha1.StepRollback, v1alpha1.StepCleanUp,
	}
}

// row is one line of the live view before it is coloured: mark, then text.
type row struct {
	mark, colour, text string
	faint              bool
}

// Live draws the live view: lines without their ends, none wider than s.Width,
// not more than s.Height of them.
func (s Style) Live(v Live) []string {
	if s.Width <= 0 {
		s.Width = defaultWidth
	}
	if s.Height <= 0 {
		s.Height = defaultHeight
	}
	lines := []string{s.header(v)}
	for _, r := range stepRows(v) {
		lines = append(lines, s.row(r))
	}
	var tail []string
	if v.Lost != "" {
		tail = append(tail, s.paint(yellow, clip("  "+markWarning+" connection lost, trying again: "+clean(v.Lost), s.Width)))
	}
	room := s.Height - len(lines) - len(tail)
	services := serviceRows(v)
	logs := v.Log
	if n := min(len(logs), max(minLogLines, min(maxLogLines, room-len(services)-2))); len(logs) > n {
		logs = logs[len(logs)-n:]
	}
	if len(logs) > 0 {
		room -= len(logs) + 1
	}
	if len(services) > 0 && room > 2 {
		lines = append(lines, s.paint(bold, "  Services"))
		for i, r := range services {
			if i == room-2 && i < len(services)-1 {
				lines = append(lines, s.row(row{text: fmt.Sprintf("and %d more", len(services)-i), faint: true}))
				break
			}
			lines = append(lines, s.row(r))
		}
	}
	if len(logs) > 0 {
		lines = append(lines, s.paint(bold, "  Log"))
		for _, text := range logs {
			line := updatelog.ParseLine(text)
			lines = append(lines, s.paint(dim, clip("    "+clean(line.Message), s.Width)))
		}
	}
	lines = append(lines, tail...)
	if len(lines) > s.Height {
		lines = lines[:s.Height]
	}
	return lines
}

func (s Style) row(r row) string {
	text := clip(r.text, s.Width-6)
	if r.faint {
		text = s.paint(dim, text)
	}
	mark := r.mark
	if mark == "" {
		mark = " "
	}
	return "    " + s.paint(r.colour, mark) + " " + text
}

func (s Style) header(v Live) string {
	ur := v.Request
	phase := string(ur.Status.Phase)
	if phase == "" {
		phase = string(v1alpha1.PhasePending)
	}
	head := clean(ur.Spec.ApplicationRef.Name) + " → " + target(ur)
	elapsed := between(ur.Status.StartedAt, ur.Status.FinishedAt, v.Now)
	head = clip(head, s.Width-width(phase)-width(elapsed)-5)
	return s.paint(bold, head) + "  " + s.paint(phaseColour(ur.Status.Phase), phase) + "  " + elapsed
}

// target is what the request asks for, with what it turned out to be.
func target(ur *v1alpha1.UpdateRequest) string {
	wish := Commit(ur.Spec.Commit)
	switch {
	case ur.Spec.BackupOnly:
		return "a backup"
	case ur.Spec.RestoreFrom != nil:
		wish = "backup " + clean(ur.Spec.RestoreFrom.Name)
	case ur.Spec.RollbackTo != nil:
		wish = "release " + clean(ur.Spec.RollbackTo.Name)
	}
	commit := Commit(ur.Status.Commit)
	switch {
	case commit == "" && wish == "":
		return "the newest commit"
	case commit == "":
		return wish
	case wish == "" || strings.HasPrefix(ur.Status.Commit, ur.Spec.Commit) && ur.Spec.Commit != "":
		return commit
	default:
		return wish + " (" + commit + ")"
	}
}

func phaseColour(p v1alpha1.Phase) string {
	switch p {
	case v1alpha1.PhaseSucceeded:
		return green
	case v1alpha1.PhaseFailed:
		return red
	case v1alpha1.PhaseRolledBack, v1alpha1.PhaseRollingBack, v1alpha1.PhaseCancelled:
		return yellow
	default:
		return cyan
	}
}

func spin(frame int) string {
	frames := []rune(spinnerFrames)
	return string(frames[max(frame, 0)%len(frames)])
}

func stepRows(v Live) []row {
	st := &v.Request.Status
	var rows []row
	if st.Phase == v1alpha1.PhasePending || st.Phase == "" {
		message := clean(st.Message)
		if message == "" {
			message = "waiting to be taken up"
		}
		return []row{{mark: spin(v.Frame), colour: cyan, text: message}}
	}
	for _, name := range stepOrder() {
		i := slices.IndexFunc(st.Steps, func(step v1alpha1.StepStatus) bool { return step.Name == name })
		if i < 0 {
			if expected(v.Request, name) {
				rows = append(rows, row{mark: markWaiting, colour: dim, text: string(name), faint: true})
			}
			continue
		}
		step := st.Steps[i]
		if step.State == v1alpha1.StepRunning && requestwatch.Ended(v.Request) {
			step.State, step.FinishedAt = v1alpha1.StepInterrupted, st.FinishedAt
		}
		r := row{text: pad(string(step.Name), 10) + " " + pad(between(step.StartedAt, step.FinishedAt, v.Now), 7) + " " + stepText(step)}
		r.text = strings.TrimRight(r.text, " ")
		switch step.State {
		case v1alpha1.StepSucceeded:
			r.mark, r.colour = markDone, green
		case v1alpha1.StepFailed:
			r.mark, r.colour = markFailed, red
		case v1alpha1.StepSkipped:
			r.mark, r.colour, r.faint = markSkipped, dim, true
		case v1alpha1.StepInterrupted:
			r.mark, r.colour = markWarning, yellow
		default:
			r.mark, r.colour = spin(v.Frame), cyan
		}
		rows = append(rows, r)
	}
	return rows
}

// expected says whether a step that has not begun is still to come.
func expected(ur *v1alpha1.UpdateRequest, name v1alpha1.StepName) bool {
	if name == v1alpha1.StepRollback || name == v1alpha1.StepRestore || ur.Spec.DryRun ||
		ur.Spec.RollbackTo != nil || ur.Spec.RestoreFrom != nil || ur.Spec.BackupOnly ||
		ur.Status.Failure != nil || requestwatch.Ended(ur) || ur.Status.Phase == v1alpha1.PhaseRollingBack {
		return false
	}
	at := func(n v1alpha1.StepName) int { return slices.Index(stepOrder(), n) }
	return at(name) > at(ur.Status.Step)
}

func stepText(step v1alpha1.StepStatus) string {
	text := clean(step.Message)
	if step.Attempt > 1 && step.State == v1alpha1.StepRunning {
		text = strings.TrimSpace("attempt " + strconv.Itoa(int(step.Attempt)) + "  " + text)
	}
	return text
}

func serviceRows(v Live) []row {
	services := v.Request.Status.Services
	longest := 0
	for i := range services {
		longest = max(longest, width(clean(services[i].Name)))
	}
	longest = min(longest, 30)
	rows := make([]row, 0, len(services))
	for i := range services {
		svc := &services[i]
		text := clean(svc.Health)
		if text == "" {
			text = clean(svc.Reason)
		}
		order := string(svc.Order)
		if svc.Action != v1alpha1.ActionReplace {
			order = ""
		}
		r := row{text: strings.TrimRight(pad(clip(clean(svc.Name), longest), longest)+"  "+pad(string(svc.Action), 7)+"  "+pad(order, 10)+"  "+text, " ")}
		r.mark, r.colour, r.faint = serviceMark(svc, v.Frame)
		rows = append(rows, r)
	}
	return rows
}

// serviceMark judges by the first word of the health, which is one of waiting,
// starting, healthy, completed and unhealthy.
func serviceMark(svc *v1alpha1.ServiceUpdate, frame int) (mark, colour string, faint bool) {
	word, _, _ := strings.Cut(strings.ToLower(svc.Health), " ")
	switch strings.Trim(word, ":;,.") {
	case "healthy", "completed", "removed", "running":
		return markDone, green, false
	case "unhealthy", "failed":
		return markFailed, red, false
	case "starting", "stopping":
		return spin(frame), cyan, false
	}
	if svc.Action == v1alpha1.ActionKeep {
		return markSkipped, dim, true
	}
	return markWaiting, dim, false
}

func itoa(n int) string { return strconv.Itoa(n) }
