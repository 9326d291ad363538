// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const commit = "0123456789abcdef0123456789abcdef01234567"

// request is one that ran into a phase, with its steps up to then.
func request(phase v1alpha1.Phase, change ...func(*v1alpha1.UpdateRequest)) *v1alpha1.UpdateRequest {
	ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "shop-0123456", UID: "uid-1"}}
	ur.Spec.ApplicationRef.Name = "shop"
	st := &ur.Status
	began, ended := metav1.NewTime(start), metav1.NewTime(start.Add(90*time.Second))
	st.Phase, st.StartedAt, st.Commit = phase, &began, commit
	st.Changes, st.ChangesTotal = []v1alpha1.Change{{Commit: commit, Subject: `Fix <the> "login"`}}, 5
	st.Steps = []v1alpha1.StepStatus{
		{Name: v1alpha1.StepPreflight, State: v1alpha1.StepSucceeded, StartedAt: &began},
		{Name: v1alpha1.StepBackup, State: v1alpha1.StepSucceeded, StartedAt: &began},
	}
	switch phase {
	case v1alpha1.PhaseSucceeded, v1alpha1.PhaseFailed, v1alpha1.PhaseRolledBack, v1alpha1.PhaseCancelled:
		st.FinishedAt, st.Duration = &ended, "1m30s"
	}
	for _, c := range change {
		c(ur)
	}
	return ur
}

func failure(step v1alpha1.StepName, reason, message string) func(*v1alpha1.UpdateRequest) {
	return func(ur *v1alpha1.UpdateRequest) {
		ur.Status.Failure = &v1alpha1.FailureStatus{Step: step, Reason: reason, Message: message}
	}
}

func rolledBack(ur *v1alpha1.UpdateRequest) {
	ur.Status.Steps = append(ur.Status.Steps, v1alpha1.StepStatus{Name: v1alpha1.StepRollout, State: v1alpha1.StepFailed})
	ur.Status.Rollback = &v1alpha1.RollbackStatus{Release: "shop-7"}
	ur.Status.BackupPath = "/opt/shop/.update/backups/backup_1"
}

func steps(list ...v1alpha1.StepStatus) func(*v1alpha1.UpdateRequest) {
	return func(ur *v1alpha1.UpdateRequest) { ur.Status.Steps = list }
}

// restores makes it a return to a backup, whose step ended so.
func restores(state v1alpha1.StepState, safety string) func(*v1alpha1.UpdateRequest) {
	return func(ur *v1alpha1.UpdateRequest) {
		began := metav1.NewTime(start)
		ur.Spec.RestoreFrom = &v1alpha1.LocalReference{Name: "backup-1"}
		ur.Status.Steps = []v1alpha1.StepStatus{
			{Name: v1alpha1.StepPreflight, State: v1alpha1.StepSucceeded, StartedAt: &began},
			{Name: v1alpha1.StepRestore, State: state, StartedAt: &began},
		}
		if safety != "" {
			ur.Status.Backup, ur.Status.BackupPath = safety, "/opt/shop/.update/backups/"+safety
		}
	}
}

func TestOccurred(t *testing.T) {
	skipped := v1alpha1.StepStatus{Name: v1alpha1.StepBackup, State: v1alpha1.StepSkipped}
	preflight := v1alpha1.StepStatus{Name: v1alpha1.StepPreflight, State: v1alpha1.StepRunning}
	for _, tt := range []struct {
		name string
		ur   *v1alpha1.UpdateRequest
		want string
	}{
		{"in preflight", request(v1alpha1.PhasePreflight, steps(preflight)), "[]"},
		{"goes on", request(v1alpha1.PhaseBuilding), "[Started]"},
		{"rolls back", request(v1alpha1.PhaseRollingBack, failure("Rollout", "X", "")), "[Started]"},
		{"succeeded", request(v1alpha1.PhaseSucceeded), "[Started Succeeded]"},
		{"nothing to do", request(v1alpha1.PhaseSucceeded, steps(preflight, skipped)), "[]"},
		{"refused", request(v1alpha1.PhaseFailed, steps(preflight), failure("Preflight", "PreflightFailed", "")), "[Failed]"},
		{"backup failed", request(v1alpha1.PhaseFailed, failure("Backup", "BackupFailed", "")), "[Started BackupFailed]"},
		{"hook after the backup failed", request(v1alpha1.PhaseFailed, failure("Backup", "HookFailed", ""), func(ur *v1alpha1.UpdateRequest) { ur.Status.Backup = "b" }), "[Started Failed]"},
		{"rolled back", request(v1alpha1.PhaseRolledBack, failure("Verify", "X", "")), "[Started RolledBack]"},
		{"cancelled", request(v1alpha1.PhaseCancelled), "[Started Cancelled]"},
		{"restores", request(v1alpha1.PhaseRestoring, restores(v1alpha1.StepRunning, "")), "[Started]"},
		{"restored", request(v1alpha1.PhaseSucceeded, restores(v1alpha1.StepSucceeded, "backup_1")), "[Started Succeeded]"},
		{"restore failed", request(v1alpha1.PhaseFailed, restores(v1alpha1.StepFailed, "backup_1"), failure("Restore", "RestoreFailed", "")), "[Started Failed]"},
		{"superseded", request(v1alpha1.PhaseCancelled, steps(), func(ur *v1alpha1.UpdateRequest) { ur.Status.StartedAt = nil }), "[]"},
		{"dry run", request(v1alpha1.PhaseFailed, func(ur *v1alpha1.UpdateRequest) { ur.Spec.DryRun = true }), "[]"},
	} {
		got := []v1alpha1.NotificationEvent{}
		for _, o := range Occurred(tt.ur) {
			got = append(got, o.Event)
			if o.Time.IsZero() {
				t.Errorf("%s: %s has no time", tt.name, o.Event)
			}
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, got, tt.want)
		}
	}
}

func TestMessage(t *testing.T) {
	unhealthy := failure(v1alpha1.StepRollout, "HealthCheckFailed",
		"the container shop-web-3 of the service web did not become healthy: GET /healthz: 503; its last lines: password is hunter2 / bye")
	withLog := func(ur *v1alpha1.UpdateRequest) {
		ur.Status.Services = []v1alpha1.ServiceUpdate{{Name: "web", Log: []string{"", "password is hunter2", "bye"}}}
	}
	release := func(ur *v1alpha1.UpdateRequest) {
		ur.Status.Release, ur.Status.BackupPath = "shop-8", "/opt/shop/.update/backups/backup_1"
	}
	const head = `prod/shop: the update to 0123456 "Fix <the> \"login\""`
	const look = "; see: fairlead status ur/shop-0123456 -n prod"
	for _, tt := range []struct {
		event v1alpha1.NotificationEvent
		ur    *v1alpha1.UpdateRequest
		want  string
	}{
		{v1alpha1.NotifyStarted, request(v1alpha1.PhaseBackingUp), head + " has started (5 commits)"},
		{v1alpha1.NotifySucceeded, request(v1alpha1.PhaseSucceeded, release), head + " succeeded after 1m30s, this is release shop-8; backup: /opt/shop/.update/backups/backup_1"},
		{v1alpha1.NotifyRolledBack, request(v1alpha1.PhaseRolledBack, unhealthy, withLog, rolledBack), head +
			" failed in step Rollout after 1m30s and was rolled back to release shop-7: the container shop-web-3 of the service web did not become healthy: GET /healthz: 503 (HealthCheckFailed)" +
			"; data was not changed back, backup: /opt/shop/.update/backups/backup_1" + look},
		{v1alpha1.NotifyFailed, request(v1alpha1.PhaseFailed, failure(v1alpha1.StepBuild, "BuildFailed", "web:\n exit code 1")), head +
			" failed in step Build after 1m30s, nothing that runs was changed: web: exit code 1 (BuildFailed)" + look},
		{v1alpha1.NotifyFailed, request(v1alpha1.PhaseFailed, failure(v1alpha1.StepRollout, "X", "no"), rolledBack, func(ur *v1alpha1.UpdateRequest) { ur.Status.Rollback = nil }), head +
			" failed in step Rollout after 1m30s, and going back failed too: look at it at once: no (X); backup: /opt/shop/.update/backups/backup_1" + look},
		{v1alpha1.NotifyFailed, request(v1alpha1.PhaseFailed, restores(v1alpha1.StepFailed, ""), failure(v1alpha1.StepRestore, "RestoreFailed", "no image; nothing was overwritten")),
			"prod/shop: the return to the backup backup-1 (0123456) failed in step Restore after 1m30s, nothing that runs was changed: no image; nothing was overwritten (RestoreFailed)" + look},
		{v1alpha1.NotifyFailed, request(v1alpha1.PhaseFailed, restores(v1alpha1.StepFailed, "backup_1"), failure(v1alpha1.StepRestore, "RestoreFailed", "no space")),
			"prod/shop: the return to the backup backup-1 (0123456) failed in step Restore after 1m30s; data was overwritten and what runs may not be whole: look at it at once: no space (RestoreFailed)" +
				"; what was there before: /opt/shop/.update/backups/backup_1" + look},
		{v1alpha1.NotifyFailed, request(v1alpha1.PhaseFailed, restores(v1alpha1.StepSucceeded, ""), failure(v1alpha1.StepVerify, "VerifyFailed", "503")),
			"prod/shop: the return to the backup backup-1 (0123456) failed in step Verify after 1m30s; data was overwritten and what runs may not be whole: look at it at once: 503 (VerifyFailed)" + look},
		{v1alpha1.NotifyBackupFailed, request(v1alpha1.PhaseFailed, failure(v1alpha1.StepBackup, "BackupFailed", "the disk is full")), head +
			" did not begin because its backup failed: the disk is full (BackupFailed); nothing was changed" + look},
		{v1alpha1.NotifyCancelled, request(v1alpha1.PhaseCancelled), head + " was cancelled after 1m30s, nothing that runs was changed"},
		{v1alpha1.NotifyCancelled, request(v1alpha1.PhaseCancelled, rolledBack), head + " was cancelled after 1m30s and undone to release shop-7"},
		{v1alpha1.NotifyStarted, request(v1alpha1.PhaseBackingUp, func(ur *v1alpha1.UpdateRequest) {
			ur.Spec.RollbackTo = &v1alpha1.LocalReference{Name: "shop-3"}
			ur.Status.ChangesTotal = 1
		}), "prod/shop: the return to release shop-3 (0123456) has started (1 commit)"},
		{v1alpha1.NotifyFailed, request(v1alpha1.PhaseFailed, func(ur *v1alpha1.UpdateRequest) {
			ur.Status.Commit, ur.Spec.Commit, ur.Status.Duration = "", "feature/x", ""
		}, failure(v1alpha1.StepPreflight, "PreflightFailed", strings.Repeat("y", 400))),
			"prod/shop: the update to feature/x failed in step Preflight, nothing that runs was changed: " + strings.Repeat("y", 300) + "… (PreflightFailed)" + look},
	} {
		if got := Message(tt.event, tt.ur); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.event, got, tt.want)
		}
	}
}

func TestStatusWords(t *testing.T) {
	want := map[v1alpha1.NotificationEvent]string{
		v1alpha1.NotifyStarted: "started", v1alpha1.NotifySucceeded: "success", v1alpha1.NotifyFailed: "failure",
		v1alpha1.NotifyRolledBack: "rollback", v1alpha1.NotifyCancelled: "cancelled", v1alpha1.NotifyBackupFailed: "backup_failure",
	}
	for e, word := range want {
		if got := Status(e); got != word {
			t.Errorf("%s is %q, want %q", e, got, word)
		}
	}
}

func ledgers(pairs ...string) func(*v1alpha1.UpdateRequest) {
	return func(ur *v1alpha1.UpdateRequest) {
		ur.Annotations = map[string]string{"other": "x"}
		for i := 0; i < len(pairs); i += 2 {
			ur.Annotations[AnnotationOf(pairs[i])] = pairs[i+1]
		}
	}
}

func TestDue(t *testing.T) {
	chat := &v1alpha1.Notification{Name: "chat"}
	ends := &v1alpha1.Notification{Name: "chat", Events: []v1alpha1.NotificationEvent{v1alpha1.NotifySucceeded, v1alpha1.NotifyFailed}}
	for _, tt := range []struct {
		name string
		n    *v1alpha1.Notification
		ur   *v1alpha1.UpdateRequest
		want string
	}{
		{"not opened", chat, request(v1alpha1.PhaseSucceeded, ledgers("mail", "Started")), "[]"},
		{"opened", chat, request(v1alpha1.PhaseSucceeded, ledgers("chat", "")), "[Started Succeeded]"},
		{"told half", chat, request(v1alpha1.PhaseSucceeded, ledgers("chat", "Started")), "[Succeeded]"},
		{"told", chat, request(v1alpha1.PhaseSucceeded, ledgers("chat", "Started,Succeeded")), "[]"},
		{"given up", chat, request(v1alpha1.PhaseSucceeded, ledgers("chat", "!Started, !Succeeded")), "[]"},
		{"wants less", ends, request(v1alpha1.PhaseSucceeded, ledgers("chat", "")), "[Succeeded]"},
		{"wants none of it", ends, request(v1alpha1.PhaseCancelled, ledgers("chat", "")), "[]"},
	} {
		got := []v1alpha1.NotificationEvent{}
		for _, o := range Due(tt.n, tt.ur) {
			got = append(got, o.Event)
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, got, tt.want)
		}
	}
	l := ReadLedger(request(v1alpha1.PhaseSucceeded, ledgers("chat", "Started")), "chat")
	if l.With(v1alpha1.NotifySucceeded) != "Started,Succeeded" || l.WithGivenUp(v1alpha1.NotifySucceeded) != "Started,!Succeeded" {
		t.Errorf("the ledger becomes %q or %q", l.With(v1alpha1.NotifySucceeded), l.WithGivenUp(v1alpha1.NotifySucceeded))
	}
}

func TestToOpen(t *testing.T) {
	app := &v1alpha1.Application{}
	app.Spec.Notifications = []v1alpha1.Notification{{Name: "chat"}, {Name: "mail"}}
	soon, late := start.Add(10*time.Minute), start.Add(3*time.Hour)
	for _, tt := range []struct {
		name string
		ur   *v1alpha1.UpdateRequest
		now  time.Time
		want []string
	}{
		{"goes on", request(v1alpha1.PhaseBuilding), late, []string{"chat", "mail"}},
		{"a receiver is added meanwhile", request(v1alpha1.PhaseBuilding, ledgers("chat", "Started")), late, []string{"mail"}},
		{"nothing to tell yet", request(v1alpha1.PhasePreflight, steps()), soon, nil},
		{"ended unseen", request(v1alpha1.PhaseFailed), soon, []string{"chat", "mail"}},
		{"history", request(v1alpha1.PhaseFailed), late, nil},
		{"a receiver is added afterwards", request(v1alpha1.PhaseFailed, ledgers("chat", "Started,Failed")), soon, nil},
		{"all open", request(v1alpha1.PhaseBuilding, ledgers("chat", "", "mail", "")), soon, nil},
	} {
		if got := ToOpen(app, tt.ur, tt.now); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
