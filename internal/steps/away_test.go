// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/health"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// committed is a Git clone with one commit, whose SHA it returns.
func committed(t *testing.T, files map[string]string) (dir, commit string) {
	t.Helper()
	dir = t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "main")
	for name, content := range files {
		write(t, filepath.Join(dir, name), content)
	}
	git("add", ".")
	git("commit", "-q", "-m", "one")
	return dir, git("rev-parse", "HEAD")
}

// An engine that is away, as while it is restarted, ends no step for good, whichever needs it: the step is tried again, and
// nothing is held against the commit or undone.
func TestEngineIsAway(t *testing.T) {
	const model = "name: shop\nservices: {web: {build: ., image: shop/web}, db: {image: postgres}}\n"
	dir, commit := committed(t, map[string]string{"compose.yaml": model, "Dockerfile": "FROM scratch\n"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, err := docker.New("tcp://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	creator, err := compose.NewCreator(client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = creator.Close() })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []v1alpha1.StepName{
		v1alpha1.StepPreflight, v1alpha1.StepBackup, v1alpha1.StepBuild, v1alpha1.StepRollout, v1alpha1.StepVerify, v1alpha1.StepRollback,
	} {
		t.Run(string(step), func(t *testing.T) {
			s := newRun(func(a *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
				a.Spec.Compose.Directory, a.Status.Project = dir, "shop"
				// Nobody listens there, as when the containers are down with the engine.
				a.Spec.Verify = v1alpha1.VerifySpec{Attempts: 1, Checks: []v1alpha1.Check{{Name: "web", TCP: &v1alpha1.TCPCheck{Address: l.Addr().String()}}}}
				ur.UID, ur.Status.ID = "uid", "20240102_030405"
				ur.Status.Commit, ur.Status.PreviousTree, ur.Status.PreviousRelease = commit, commit, "shop-1"
				ur.Status.Services = []v1alpha1.ServiceUpdate{
					{Name: "web", Action: v1alpha1.ActionReplace, Order: v1alpha1.OrderStartFirst, Revision: "w2"},
					{Name: "db", Action: v1alpha1.ActionKeep, Revision: "d1"},
				}
				ur.Status.Steps = []v1alpha1.StepStatus{{Name: step, State: v1alpha1.StepRunning, Attempt: 20}} // it has been away for long
			})
			previous := newRelease(s.Application, 1)
			previous.Spec.Project = "shop"
			previous.Spec.Services = []v1alpha1.ReleaseService{{Name: "web", Revision: "w1", Replicas: 1}, {Name: "db", Revision: "d1", Replicas: 1}}
			previous.Status.State = v1alpha1.ReleaseCurrent
			s.Deps = Deps{
				Docker: client, Creator: creator, Prober: health.NewProber(client, 1), Store: storeOf(t, previous), Traffic: DirectTraffic{}, Clock: clock.RealClock{},
				Builder: func(parallel int) *build.Builder {
					return build.NewBuilder(client, build.Options{Parallelism: parallel})
				},
				Puller: build.NewPuller(client, build.Options{}),
			}
			s.Step, s.log, s.rec, s.clones = step, updatelog.Lost("", nil), &written{}, &clones{}
			w := &workspace{dir: dir, app: s.Application}
			for _, d := range []string{"work", "releases"} {
				if err := os.MkdirAll(w.path(d), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := writeModel(w.modelPath(s.Request.Status.ID), project(t, model)); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- s.dispatch(t.Context()) }()
			select {
			case err = <-ended:
			case <-time.After(time.Minute):
				t.Fatal("it waits for the engine by itself, where nobody can cancel it or see why")
			}
			if err == nil || failure.AsTerminal(err) != nil || failure.AsPanic(err) != nil || !docker.IsUnavailable(err) {
				t.Errorf("it ends with %v", err)
			}
		})
	}
}
