// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

const (
	// maxSubject of a commit, and maxCause of a failure, in a message.
	maxSubject = 80
	maxCause   = 300
)

// Status is the word for an event in the body of a webhook.
func Status(e v1alpha1.NotificationEvent) string {
	switch e {
	case v1alpha1.NotifyStarted:
		return "started"
	case v1alpha1.NotifySucceeded:
		return "success"
	case v1alpha1.NotifyRolledBack:
		return "rollback"
	case v1alpha1.NotifyCancelled:
		return "cancelled"
	case v1alpha1.NotifyBackupFailed:
		return "backup_failure"
	default:
		return "failure"
	}
}

// Message tells an event in one sentence, and says what to do where there is
// something. It says nothing that the containers printed: that may be anything,
// and leaves the host here.
func Message(e v1alpha1.NotificationEvent, ur *v1alpha1.UpdateRequest) string {
	st := &ur.Status
	what := wish(ur)
	took := ""
	if st.Duration != "" {
		took = " after " + st.Duration
	}
	look := fmt.Sprintf("; see: fairlead status ur/%s -n %s", ur.Name, ur.Namespace)
	text := ur.Namespace + "/" + ur.Spec.ApplicationRef.Name + ": "
	switch e {
	case v1alpha1.NotifyStarted:
		text += what + " has started" + commits(st.ChangesTotal)
	case v1alpha1.NotifySucceeded:
		text += what + " succeeded" + took
		if st.Release != "" {
			text += ", this is release " + st.Release
		}
		if st.BackupPath != "" {
			text += "; backup: " + st.BackupPath
		}
	case v1alpha1.NotifyRolledBack:
		text += what + " failed" + at(st) + took + " and was rolled back" + backTo(st) + cause(st)
		if st.BackupPath != "" {
			text += "; data was not changed back, backup: " + st.BackupPath
		}
		text += look
	case v1alpha1.NotifyCancelled:
		text += what + " was cancelled" + took
		if st.Rollback != nil {
			text += " and undone" + backTo(st)
		} else {
			text += ", nothing that runs was changed"
		}
	case v1alpha1.NotifyBackupFailed:
		text += what + " did not begin because its backup failed" + cause(st) + "; nothing was changed" + look
	case v1alpha1.NotifyFailed:
		text += what + " failed" + at(st) + took
		switch {
		case plan.Overwritten(*st):
			text += "; data was overwritten and what runs may not be whole: look at it at once" + cause(st)
			if st.BackupPath != "" {
				text += "; what was there before: " + st.BackupPath
			}
		case st.Rollback == nil && plan.Touched(*st):
			text += ", and going back failed too: look at it at once" + cause(st)
			if st.BackupPath != "" {
				text += "; backup: " + st.BackupPath
			}
		default:
			text += ", nothing that runs was changed" + cause(st)
		}
		text += look
	}
	return text
}

// wish is what the request is to bring about.
func wish(ur *v1alpha1.UpdateRequest) string {
	commit := ur.Status.Commit
	if commit == "" {
		commit = ur.Spec.Commit
	}
	text := "the update"
	switch {
	case ur.Spec.BackupOnly:
		return "the backup"
	case ur.Spec.RestoreFrom != nil:
		text = "the return to the backup " + ur.Spec.RestoreFrom.Name
	case ur.Spec.RollbackTo != nil:
		text = "the return to release " + ur.Spec.RollbackTo.Name
	}
	back := ur.Spec.RollbackTo != nil || ur.Spec.RestoreFrom != nil
	if commit != "" {
		if back {
			text += " (" + short(commit) + ")"
		} else {
			text += " to " + short(commit)
		}
	}
	for _, c := range ur.Status.Changes {
		if c.Commit == commit && c.Subject != "" && !back {
			text += fmt.Sprintf(" %q", cut(c.Subject, maxSubject))
		}
	}
	return text
}

// short is a commit as people write it; a branch or tag stays whole.
func short(commit string) string {
	if len(commit) == 40 {
		return commit[:7]
	}
	return commit
}

func commits(n int32) string {
	switch n {
	case 0:
		return ""
	case 1:
		return " (1 commit)"
	default:
		return fmt.Sprintf(" (%d commits)", n)
	}
}

func at(st *v1alpha1.UpdateRequestStatus) string {
	if st.Failure == nil {
		return ""
	}
	return " in step " + string(st.Failure.Step)
}

func backTo(st *v1alpha1.UpdateRequestStatus) string {
	if st.Rollback == nil || st.Rollback.Release == "" {
		return ""
	}
	return " to release " + st.Rollback.Release
}

// cause is why it failed, in one line, without what containers printed.
func cause(st *v1alpha1.UpdateRequestStatus) string {
	if st.Failure == nil {
		if st.Message == "" {
			return ""
		}
		return ": " + oneLine(st.Message)
	}
	text := st.Failure.Message
	for _, s := range st.Services {
		for _, line := range s.Log {
			if i := strings.Index(text, line); i >= 0 && strings.TrimSpace(line) != "" {
				text = text[:i]
				if j := strings.LastIndex(text, ";"); j >= 0 {
					text = text[:j] // what announced the line
				}
			}
		}
	}
	if text = oneLine(text); text == "" {
		return " (" + st.Failure.Reason + ")"
	}
	return ": " + text + " (" + st.Failure.Reason + ")"
}

func oneLine(s string) string { return cut(strings.Join(strings.Fields(s), " "), maxCause) }

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// Title of an event, for mail and push services, which show one.
func Title(e v1alpha1.NotificationEvent, ur *v1alpha1.UpdateRequest) string {
	return ur.Spec.ApplicationRef.Name + ": " + strings.ReplaceAll(Status(e), "_", " ")
}

// Occurrence is an event that happened in the life of a request.
type Occurrence struct {
	Event v1alpha1.NotificationEvent
	// Time at which it happened.
	Time time.Time
}

// Occurred lists what happened in the life of a request and is worth telling, in
// order: its start, once it is known that there is something to do, and its end.
// Dry runs, requests that found nothing to do, and those that ended before they
// began tell nothing.
func Occurred(ur *v1alpha1.UpdateRequest) []Occurrence {
	if ur.Spec.DryRun {
		return nil
	}
	var out []Occurrence
	st := &ur.Status
	began := false
	for _, s := range st.Steps {
		begins := s.Name == v1alpha1.StepBackup || s.Name == v1alpha1.StepRestore
		if begins && s.State != v1alpha1.StepSkipped && s.StartedAt != nil {
			began = true
			out = append(out, Occurrence{v1alpha1.NotifyStarted, s.StartedAt.Time})
		}
	}
	if st.FinishedAt == nil || st.StartedAt == nil {
		return out
	}
	end := func(e v1alpha1.NotificationEvent) []Occurrence {
		return append(out, Occurrence{e, st.FinishedAt.Time})
	}
	switch st.Phase {
	case v1alpha1.PhaseSucceeded:
		if began {
			return end(v1alpha1.NotifySucceeded)
		}
	case v1alpha1.PhaseRolledBack:
		return end(v1alpha1.NotifyRolledBack)
	case v1alpha1.PhaseCancelled:
		return end(v1alpha1.NotifyCancelled)
	case v1alpha1.PhaseFailed:
		if st.Failure != nil && st.Failure.Step == v1alpha1.StepBackup && st.Backup == "" {
			return end(v1alpha1.NotifyBackupFailed)
		}
		return end(v1alpha1.NotifyFailed)
	}
	return out
}
