// SPDX-License-Identifier: Apache-2.0

//go:build crash

package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/test/harness"
)

func keyOf(d *harness.Daemon, name string) client.ObjectKey {
	return client.ObjectKey{Namespace: d.Namespace, Name: name}
}

// settled looks at all that must be true when the request has ended, however
// often it was interrupted.
func (u *update) settled(t *testing.T, ur *v1alpha1.UpdateRequest) {
	t.Helper()
	d := u.daemon.For(t)
	want := v1alpha1.PhaseSucceeded
	switch u.quality {
	case bad:
		want = v1alpha1.PhaseRolledBack
	case unwanted:
		want = v1alpha1.PhaseCancelled
	}
	if ur.Status.Phase != want {
		t.Fatalf("it ended as %s, want %s: %s\n%s\n%s", ur.Status.Phase, want, ur.Status.Message, d.Log(ur), d.DaemonLog())
	}
	u.containers(t, d)
	u.ledger(t)
	u.backup(t, d, ur)
	u.releases(t, d)
	if commit, err := u.repo.Deployed(t.Context()); err != nil || commit != u.commit {
		t.Errorf("the working tree is at %s (%v), want %s", commit, err, u.commit)
	}
	if log := d.Log(ur); strings.Count(log, "Result:") != 1 {
		t.Errorf("the log has not one summary:\n%s", log)
	}
	for _, s := range ur.Status.Steps {
		if s.State == v1alpha1.StepRunning {
			t.Errorf("step %s still runs by the status", s.Name)
		}
		if s.Attempt > u.attempts {
			t.Errorf("step %s took %d attempts, want at most %d: %s", s.Name, s.Attempt, u.attempts, s.Message)
		}
	}
	if t.Failed() {
		t.Fatalf("the log of the update:\n%s\nthe daemon says last:\n%s", d.Log(ur), d.DaemonLog())
	}
	u.lane.version, u.lane.commit = u.wants, u.commit
}

// containers: one of each service, of the right revision, with the right name,
// and never two at once where that must not be, or none where one is to run.
func (u *update) containers(t *testing.T, d *harness.Daemon) {
	t.Helper()
	var current *v1alpha1.Release
	releases := d.Releases(appName)
	for i := range releases {
		if releases[i].Status.State == v1alpha1.ReleaseCurrent {
			current = &releases[i]
		}
	}
	if current == nil {
		t.Fatalf("no release is the current one: %+v", releases)
	}
	all := harness.Containers(t, u.repo.Project)
	for _, want := range current.Spec.Services {
		have := all[want.Name]
		if len(have) != 1 {
			t.Errorf("%s has %d containers, want one: %+v", want.Name, len(have), have)
			continue
		}
		c := have[0]
		oneShot := want.Name == "alpha"
		if c.Running == oneShot || oneShot && c.ExitCode != 0 {
			t.Errorf("%s runs: %v, exit code %d", c.Name, c.Running, c.ExitCode)
		}
		if c.Image != want.ImageID || c.Labels[v1alpha1.LabelRevision] != want.Revision {
			t.Errorf("%s is of image %s and revision %s, the release %s of %s and %s", c.Name,
				c.Image, c.Labels[v1alpha1.LabelRevision], current.Name, want.ImageID, want.Revision)
		}
		if name := u.lane.name + "-" + want.Name; !oneShot && c.Name != name {
			t.Errorf("the container of %s is called %s, want %s", want.Name, c.Name, name)
		}
		if !oneShot {
			if got := policyOf(t, c.ID); got != "unless-stopped" {
				t.Errorf("%s has the restart policy %q, want that of the Compose file", c.Name, got)
			}
		}
	}
	if got, err := harness.Get(t.Context(), fmt.Sprintf("http://127.0.0.1:%d/version", u.port)); err != nil || got != u.wants {
		t.Errorf("beta answers version %q (%v), want %s", got, err, u.wants)
	}
	if x := u.watch.extremes(t, "beta"); x.most > 1 {
		t.Errorf("%d containers of beta ran at once", x.most)
	}
	if x := u.watch.extremes(t, "alpha"); x.most > 1 || x.starts != 1 {
		t.Errorf("alpha was started %d times, %d of it at once; want once", x.starts, x.most)
	}
	if x := u.watch.extremes(t, "gamma"); x.least < 1 && u.target != "1" {
		t.Errorf("at some time no container of gamma ran")
	}
	temporary, err := harness.Engine(t).ContainerList(t.Context(), container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", "fairlead.dev/backup-directory="+backup.Dir(u.repo.Dir)))})
	if err != nil || len(temporary) > 0 {
		t.Errorf("temporary containers of the backup are left: %+v, %v", temporary, err)
	}
}

func policyOf(t *testing.T, id string) string {
	t.Helper()
	c, err := harness.Engine(t).ContainerInspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return string(c.HostConfig.RestartPolicy.Name)
}

// ledger: the one-shot ran exactly once for the version that was asked for.
func (u *update) ledger(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(u.repo.Dir, "ledger", "runs"))
	if err != nil {
		t.Fatal(err)
	}
	runs := 0
	for _, line := range strings.Fields(string(data)) {
		if line == u.target {
			runs++
		}
	}
	if runs != 1 {
		t.Errorf("the one-shot ran %d times at version %s, want once; its ledger: %q", runs, u.target, data)
	}
}

// backup: exactly one, whole, and nothing half-made beside it.
func (u *update) backup(t *testing.T, d *harness.Daemon, ur *v1alpha1.UpdateRequest) {
	t.Helper()
	dir := backup.Dir(u.repo.Dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	mine := 0
	for _, e := range entries {
		m, err := backup.Open(dir, e.Name())
		if err != nil {
			t.Errorf("in the backups directory, %s: %v", e.Name(), err)
		} else if m.Request == string(ur.UID) {
			mine++
		}
	}
	if mine != 1 {
		t.Errorf("the request has %d backups, want one", mine)
	}
	if err := backup.Verify(t.Context(), dir, ur.Status.Backup); err != nil {
		t.Errorf("the backup of the request: %v", err)
	}
	var list v1alpha1.BackupList
	if err := d.Client.List(t.Context(), &list, client.InNamespace(d.Namespace)); err != nil {
		t.Fatal(err)
	}
	objects := 0
	for _, b := range list.Items {
		if b.Spec.Request == ur.Name {
			objects++
		}
	}
	if objects != 1 {
		t.Errorf("%d Backups are recorded for the request, want one", objects)
	}
}

// releases: one for a request that succeeded, none otherwise, and one that is
// current.
func (u *update) releases(t *testing.T, d *harness.Daemon) {
	t.Helper()
	want, mine, current := 1, 0, 0
	if u.quality != good {
		want = 0
	}
	for _, r := range d.Releases(appName) {
		if r.Spec.Request == u.name && (u.quality == good || r.Status.State != v1alpha1.ReleaseExpired) {
			mine++
		}
		if r.Status.State == v1alpha1.ReleaseCurrent {
			current++
			if r.Spec.Commit != u.commit {
				t.Errorf("the current release %s is of commit %s, want %s", r.Name, r.Spec.Commit, u.commit)
			}
		}
	}
	if mine != want || current != 1 {
		t.Errorf("there are %d releases of the request, want %d, and %d current ones, want 1", mine, want, current)
	}
}
