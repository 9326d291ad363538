// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/datadir"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

// wants checks that a trouble is named, with its remedy.
func wants(t *testing.T, findings []Finding, check string, result Result, found, do string) {
	t.Helper()
	for _, f := range findings {
		if f.Check == check && f.Result == result && strings.Contains(f.Found, found) && strings.Contains(f.Do, do) {
			return
		}
	}
	t.Errorf("no %s of %s tells of %q and says %q:\n%+v", result, check, found, do, findings)
}

func wantsNone(t *testing.T, findings []Finding) {
	t.Helper()
	for _, f := range findings {
		if f.Result != OK {
			t.Errorf("a trouble that is none: %+v", f)
		}
	}
}

func newDoctor(t *testing.T) *Doctor {
	t.Helper()
	engine, err := docker.New("unix://" + filepath.Join(t.TempDir(), "none.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	return &Doctor{Deps: steps.Deps{Docker: engine, Clock: clock.RealClock{}}, DataDir: t.TempDir(), Listen: "127.0.0.1:1", APIError: errors.New("no kubeconfig found")}
}

func TestUpdaterUnreachable(t *testing.T) {
	d := newDoctor(t)
	r := d.Examine(t.Context(), nil)
	wants(t, r.Findings, "daemon", Problem, "no daemon holds", "systemctl start fairlead")
	wants(t, r.Findings, "api", Problem, "no kubeconfig found", "rollback-offline")
	wants(t, r.Findings, "http", Problem, "connection refused", "systemctl start fairlead")
	if r.Problems < 4 {
		t.Errorf("%d problems are counted", r.Problems)
	}

	held, err := datadir.Open(d.DataDir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }()
	wants(t, []Finding{d.holder()}, "daemon", OK, fmt.Sprintf("process %d", os.Getpid()), "")

	ready := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !ready {
			http.Error(w, "etcd: the disk is full", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	d.Listen = strings.TrimPrefix(server.URL, "http://")
	asked := func() []Finding {
		f, _ := d.http(t.Context())
		return []Finding{f}
	}
	wants(t, asked(), "http", Problem, "the disk is full", "mend")
	ready = true
	wantsNone(t, asked())
	secure := httptest.NewTLSServer(server.Config.Handler)
	defer secure.Close()
	d.Listen = strings.TrimPrefix(secure.URL, "https://")
	wantsNone(t, asked())
	if _, certificates := d.http(t.Context()); len(certificates) == 0 {
		t.Error("the certificate of the HTTP endpoints is not looked at")
	}
	ready = false
	wants(t, asked(), "http", Problem, "the disk is full", "mend")
}

func TestEngineAway(t *testing.T) {
	d := newDoctor(t)
	wants(t, d.engine(t.Context()), "engine", Problem, "no Docker engine answers", "systemctl start docker")
	wants(t, []Finding{engineAway(fmt.Errorf("no permission: %w", fs.ErrPermission))}, "engine", Problem, "permission", "usermod -aG docker")
}

func TestHost(t *testing.T) {
	wants(t, []Finding{judgeInodes("/d", pruneEngine, 4, 100)}, "inodes", Problem, "/d has 4 of 100 inodes", "docker image prune")
	wantsNone(t, []Finding{judgeInodes("/d", pruneEngine, 6, 100), judgeInodes("/btrfs", pruneEngine, 0, 0)})
	wants(t, []Finding{judgeUnused(docker.Usage{UnusedImages: 15 << 30, UnusedBuildCache: 10 << 30}, 100<<30)}, "images", Warning, "15.0 GiB", "docker image prune")
	wantsNone(t, []Finding{judgeUnused(docker.Usage{UnusedImages: 15 << 30}, 100<<30), judgeUnused(docker.Usage{UnusedImages: 15 << 30}, 0)})
	now := time.Now()
	wants(t, []Finding{judgeSkew(now.Add(-time.Minute), now, now)}, "clock", Problem, "1 min apart", "set-ntp")
	wants(t, []Finding{judgeSkew(now.Add(time.Minute), now, now)}, "clock", Problem, "1 min apart", "set-ntp")
	wantsNone(t, []Finding{judgeSkew(now.Add(-time.Second), now.Add(-2*time.Second), now)})
	expired, _ := judgeCertificate("it", "renew it", now.Add(-time.Hour), now)
	soon, _ := judgeCertificate("it", "renew it", now.Add(time.Hour), now)
	wants(t, []Finding{expired}, "certificates", Problem, "it ended", "renew it")
	wants(t, []Finding{soon}, "certificates", Warning, "it ends", "renew it")
	if _, bad := judgeCertificate("it", "renew it", now.Add(90*24*time.Hour), now); bad {
		t.Error("a certificate that holds for three months is told of")
	}
}

// app is an application in a clone, with an origin.
func app(t *testing.T, compose string) (*v1alpha1.Application, func(args ...string)) {
	t.Helper()
	base := t.TempDir()
	dir := filepath.Join(base, "app")
	in := func(dir string) func(args ...string) {
		return func(args ...string) {
			t.Helper()
			cmd := exec.Command("git", args...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("git %v: %v: %s", args, err, out)
			}
		}
	}
	in(base)("init", "-q", "-b", "main", "work")
	write(t, filepath.Join(base, "work/docker-compose.yml"), compose)
	work := in(filepath.Join(base, "work"))
	work("add", "-A")
	work("commit", "-q", "-m", "one")
	in(base)("clone", "-q", "--bare", "work", "origin.git")
	in(base)("clone", "-q", "origin.git", "app")
	a := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shop"}}
	a.Spec.Compose.Directory = dir
	return a, in(dir)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

const plain = "services:\n  web:\n    image: example.test/web:1\n    environment: {A: '${A}'}\n"

func TestDirectory(t *testing.T) {
	a, _ := app(t, plain)
	wantsNone(t, []Finding{directory(a.Spec.Compose.Directory)})
	wants(t, []Finding{directory("/no/such")}, "directory", Problem, "does not exist", "clone the repository")
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	wants(t, []Finding{directory(file)}, "directory", Problem, "is no directory", "compose.directory")
}

func TestGitPermission(t *testing.T) {
	d := newDoctor(t)
	a, _ := app(t, plain)
	dir := a.Spec.Compose.Directory
	wantsNone(t, d.clone(dir))

	lock := filepath.Join(dir, ".git/index.lock")
	write(t, lock, "")
	wantsNone(t, d.clone(dir)) // somebody is at work
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(lock, old, old); err != nil {
		t.Fatal(err)
	}
	wants(t, d.clone(dir), "git-lock", Problem, "index.lock is 1 h", "rm "+lock)

	if os.Geteuid() == 0 {
		// Somebody used git as root in the clone of another user.
		if err := os.Chown(dir, 4242, 4242); err != nil {
			t.Fatal(err)
		}
		wants(t, d.clone(dir), "git-permission", Warning, "dubious ownership", "chown -R")
		return
	}
	if err := os.Chmod(filepath.Join(dir, ".git/objects"), 0o500); err != nil {
		t.Fatal(err)
	}
	wants(t, d.clone(dir), "git-permission", Problem, "may not write", "chown -R")
}

// What the preflight finds is found here too.
func TestPreflightIsAsked(t *testing.T) {
	d := newDoctor(t)
	a, git := app(t, plain)
	git("remote", "set-url", "origin", filepath.Join(t.TempDir(), "gone.git"))
	wants(t, ofPreflight(steps.Examine(t.Context(), d.Deps, a)), "commit", Problem, "not found", "credentials")

	b, _ := app(t, plain)
	if err := os.RemoveAll(filepath.Join(b.Spec.Compose.Directory, ".git")); err != nil {
		t.Fatal(err)
	}
	wants(t, ofPreflight(steps.Examine(t.Context(), d.Deps, b)), "repository", Problem, "not a git repository", "must be a Git clone")

	c, _ := app(t, plain)
	write(t, filepath.Join(c.Spec.Compose.Directory, ".update"), "a file in its place")
	wants(t, ofPreflight(steps.Examine(t.Context(), d.Deps, c)), "backupdirectory", Problem, "writable", "root")
}

func TestCompose(t *testing.T) {
	d := newDoctor(t)
	for compose, want := range map[string][3]string{
		"services:\n  web:\n    image: x:${TAG:?set it}\n": {string(Problem), "TAG", ".env in the deployment directory: TAG"},
		"services:\n  web:\n    imag: x\n":                 {string(Problem), "imag", "docker compose config"},
		plain:                                              {string(Warning), "A", "set them in the .env"},
	} {
		a, _ := app(t, compose)
		_, f := d.model(t.Context(), a)
		wants(t, []Finding{f}, "compose", Result(want[0]), want[1], want[2])
	}
}

func TestBackups(t *testing.T) {
	dir := t.TempDir()
	wantsNone(t, []Finding{backups(dir), interruptedRestore(dir)})
	write(t, filepath.Join(dir, ".update/backups/backup_20231201_143022/manifest.json"), "{")
	wants(t, []Finding{backups(dir)}, "backups", Warning, "backup_20231201_143022", "remove them")
	write(t, filepath.Join(dir, ".update/rollback-offline.json"), "{}")
	wants(t, []Finding{interruptedRestore(dir)}, "restore", Problem, "did not come to its end", "again")
}

func TestApplicationStatus(t *testing.T) {
	a, _ := app(t, plain)
	wantsNone(t, judgeApplication(a))
	a.Spec.Suspend = true
	a.Status.FailedCommits = []v1alpha1.FailedCommit{{Commit: strings.Repeat("a", 40), Request: "shop-1", Reason: "BuildFailed"}}
	a.Status.Conditions = []metav1.Condition{
		{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Message: "the clone is gone"},
		{Type: v1alpha1.ConditionDrifted, Status: metav1.ConditionTrue, Message: "web runs another image"},
		{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Message: "no credentials"},
	}
	got := judgeApplication(a)
	wants(t, got, "application", Problem, "the clone is gone", "mend")
	wants(t, got, "application", Problem, "no credentials", "mend")
	wants(t, got, "drift", Warning, "web runs another image", "--force")
	wants(t, got, "application", Warning, "suspended", "kubectl patch")
	wants(t, got, "failed-commits", Warning, "BuildFailed", "--retry")
}

func TestRequests(t *testing.T) {
	a, _ := app(t, plain)
	now := time.Now()
	at := func(ago time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(-ago)} }
	request := func(name string, ago time.Duration, change func(*v1alpha1.UpdateRequest)) v1alpha1.UpdateRequest {
		r := v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, CreationTimestamp: *at(ago)}}
		r.Status.Step = v1alpha1.StepBuild
		change(&r)
		return r
	}
	failed := request("failed", time.Hour, func(r *v1alpha1.UpdateRequest) {
		r.Status.Phase, r.Status.FinishedAt, r.Status.Message = v1alpha1.PhaseFailed, at(0), "no space left on device"
		r.Status.Backup, r.Status.BackupPath = "backup_1", "/b"
	})
	good := request("good", time.Minute, func(r *v1alpha1.UpdateRequest) { r.Status.Phase, r.Status.FinishedAt = v1alpha1.PhaseSucceeded, at(0) })
	stalled := request("stalled", time.Second, func(r *v1alpha1.UpdateRequest) {
		r.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Message: "the registry does not answer"}}
	})
	slow := request("slow", time.Second, func(r *v1alpha1.UpdateRequest) {
		r.Status.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepBuild, StartedAt: at(time.Hour)}}
	})
	undone := request("undone", time.Second, func(r *v1alpha1.UpdateRequest) {
		r.Status.Phase, r.Status.FinishedAt, r.Status.Message = v1alpha1.PhaseRolledBack, at(0), "web did not become healthy"
	})
	judge := func(rs ...v1alpha1.UpdateRequest) []Finding { return judgeRequests(a, rs, now) }
	wants(t, judge(failed), "requests", Problem, "no space left", "rollback-offline backup_1")
	wants(t, judge(good, stalled), "requests", Problem, "stuck in Build: the registry", "fairlead cancel stalled")
	wants(t, judge(slow), "requests", Warning, "in Build for 1 h", "fairlead logs ur/slow")
	wants(t, judge(undone), "requests", Warning, "did not become healthy", "fairlead status ur/undone")
	wantsNone(t, judge(failed, good)) // what came after it went well
	wantsNone(t, judge())
}

func TestEvents(t *testing.T) {
	a, _ := app(t, plain)
	event := func(kind, name, reason, message string) corev1.Event {
		return corev1.Event{Type: corev1.EventTypeWarning, Reason: reason, Message: message, InvolvedObject: corev1.ObjectReference{Namespace: "default", Kind: kind, Name: name}}
	}
	ended := metav1.Now()
	requests := []v1alpha1.UpdateRequest{{ObjectMeta: metav1.ObjectMeta{Name: "done"}, Status: v1alpha1.UpdateRequestStatus{FinishedAt: &ended}}}
	got := judgeEvents(a, requests, []corev1.Event{
		event("UpdateRequest", "done", "NotificationFailed", "503 from the chat"), event("UpdateRequest", "done", "Failed", "long over"),
		event("Application", "shop", "FetchFailed", "no route"), event("Application", "other", "FetchFailed", "not ours"),
	})
	wants(t, got, "notifications", Warning, "503 from the chat", "receiver")
	wants(t, got, "events", Warning, "no route", "kubectl describe application shop")
	if len(got) != 2 {
		t.Errorf("%+v", got)
	}
}

func TestShow(t *testing.T) {
	var r Report
	r.add(ok("git", "git 2.39"), warning("ntp", "install chrony", "no"), problem("engine", "start it", "away"))
	var b, all strings.Builder
	r.Show(&b, false)
	r.Show(&all, true)
	want := "PROBLEM  engine: away\n         -> start it\nWARNING  ntp: no\n         -> install chrony\n3 checks: 1 problems, 1 warnings\n"
	if b.String() != want || !strings.Contains(all.String(), "OK       git: git 2.39\n") {
		t.Errorf("got:\n%s\n%s", b.String(), all.String())
	}
	if !slices.IsSorted([]int{strings.Index(all.String(), "PROBLEM"), strings.Index(all.String(), "WARNING"), strings.Index(all.String(), "OK  ")}) {
		t.Error("what is worst does not come first")
	}
}
