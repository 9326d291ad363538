// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: run go test -update", err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run go test -update and read the diff. Got:\n%s", path, got)
	}
}

// history is a world with something of every kind.
func history(t *testing.T) *world {
	t.Helper()
	current, previous := release(7, v1alpha1.ReleaseCurrent, ""), release(6, v1alpha1.ReleasePrevious, "backup_20260303_010203")
	current.Status.Verified = true
	backup := &v1alpha1.Backup{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shop-20260303-010203", CreationTimestamp: metav1.NewTime(testTime.Add(-28 * time.Hour))}}
	backup.Spec = v1alpha1.BackupSpec{ID: "backup_20260303_010203", Commit: oldSHA, Release: "shop-6"}
	backup.Spec.ApplicationRef.Name = "shop"
	backup.Status = v1alpha1.BackupStatus{Path: "/opt/shop/.update/backups/backup_20260303_010203", Size: "12.3 MiB", Verified: "Checksums", Warnings: []string{"cache"}}
	other := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "blog"}}
	other.Spec.Compose.Directory = "/opt/blog"
	w := newWorld(t, &current, &previous, backup, other,
		request("shop-new", func(ur *v1alpha1.UpdateRequest) {
			ur.Spec.Commit = "main"
			ur.CreationTimestamp = metav1.NewTime(testTime.Add(-65 * time.Second))
			ur.Status = v1alpha1.UpdateRequestStatus{Phase: v1alpha1.PhaseRollingOut, Step: v1alpha1.StepRollout, Commit: newSHA, StartedAt: &metav1.Time{Time: testTime.Add(-time.Minute)},
				Steps: []v1alpha1.StepStatus{{Name: v1alpha1.StepRollout, State: v1alpha1.StepRunning, StartedAt: &metav1.Time{Time: testTime.Add(-time.Minute)}, Message: "waiting for web"}}}
		}),
		request("shop-old", func(ur *v1alpha1.UpdateRequest) {
			ur.Spec.RollbackTo = &v1alpha1.LocalReference{Name: "shop-6"}
			ur.CreationTimestamp = metav1.NewTime(testTime.Add(-50 * time.Hour))
			ur.Status = v1alpha1.UpdateRequestStatus{Phase: v1alpha1.PhaseFailed, Duration: "3s", Message: "two\nlines\x1b[2J"}
		}))
	var shop v1alpha1.Application
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "shop"}, &shop); err != nil {
		t.Fatal(err)
	}
	shop.Status = v1alpha1.ApplicationStatus{
		Project: "shop", Commit: oldSHA, Branch: "main", Release: "shop-7", Healthy: "1/2", ActiveRequest: "shop-new",
		Services: []v1alpha1.ServiceStatus{
			{Name: "web", Image: "shop-web:abc", State: "Running", Health: "Healthy", Replicas: 2},
			{Name: "worker", Image: "shop-worker:abc", State: "Restarting"},
		},
		LastRequest:   &v1alpha1.RequestSummary{Name: "shop-old", Phase: v1alpha1.PhaseFailed, FinishedAt: &metav1.Time{Time: testTime.Add(-50 * time.Hour)}},
		FailedCommits: []v1alpha1.FailedCommit{{Commit: newSHA, Request: "shop-old", Reason: v1alpha1.ReasonBuildFailed}},
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonObserved},
			{Type: v1alpha1.ConditionHealthy, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonServicesUnhealthy, Message: "worker restarts again and again"},
		},
	}
	if err := w.client.Status().Update(t.Context(), &shop); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestListings(t *testing.T) {
	var all strings.Builder
	for _, line := range []string{
		"apps", "apps -A", "apps -n empty", "releases", "releases shop -o wide --no-headers", "backups shop", "requests shop", "requests -o wide", "requests -o name",
		"status", "status shop", "status ur/shop-new", "status shop-old",
	} {
		w := history(t)
		err := w.run(t.Context(), strings.Fields(line)...)
		exits(t, err, ExitOK)
		all.WriteString("$ fairlead " + line + "\n" + w.stderr() + strings.ReplaceAll(w.stdout(), w.dir, "/opt/shop"))
	}
	if strings.Contains(all.String(), "\x1b") {
		t.Errorf("escape sequences in %q", all.String())
	}
	golden(t, "listings", all.String())
}

func TestListObjects(t *testing.T) {
	var list struct {
		Kind, APIVersion string
		Items            []v1alpha1.Release
	}
	w := history(t)
	exits(t, w.run(t.Context(), "releases", "shop", "-o", "json"), ExitOK)
	if err := json.Unmarshal([]byte(w.stdout()), &list); err != nil {
		t.Fatal(err)
	}
	if list.Kind != "List" || list.APIVersion != "v1" || len(list.Items) != 2 || list.Items[0].Kind != "Release" || list.Items[0].Spec.Commit != oldSHA {
		t.Errorf("%+v", list)
	}
	w = history(t)
	exits(t, w.run(t.Context(), "status", "shop", "-o", "yaml"), ExitOK)
	var app v1alpha1.Application
	if err := yaml.Unmarshal([]byte(w.stdout()), &app); err != nil || app.Kind != "Application" || app.Status.Healthy != "1/2" {
		t.Errorf("%v\n%s", err, w.stdout())
	}
	w = history(t)
	exits(t, w.run(t.Context(), "backups", "-n", "empty", "-o", "json"), ExitOK)
	if err := json.Unmarshal([]byte(w.stdout()), &list); err != nil || !strings.Contains(w.stdout(), `"items": []`) {
		t.Errorf("%v\n%s", err, w.stdout())
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	resource := schema.GroupResource{Group: "fairlead.dev", Resource: "updaterequests"}
	tests := []struct {
		line string
		down error
		code int
		says []string
	}{
		{"update shpo", nil, ExitFailed, []string{`no application "shpo" in namespace default`, "shop, blog (-n prod)"}},
		{"releases shpo", nil, ExitFailed, []string{"shop, blog"}},
		{"status ur/none", nil, ExitFailed, []string{"fairlead requests -n default"}},
		{"logs none", nil, ExitFailed, []string{"no application"}},
		{"logs shop", nil, ExitFailed, []string{"RollingOut", "no log yet", "--follow"}},
		{"cancel shop", nil, ExitFailed, []string{"is an application", "fairlead cancel shop-new"}},
		{"status blog -n prod --watch", nil, ExitFailed, []string{"no request of blog is running"}},
		{"update shop", apierrors.NewForbidden(resource, "", nil), ExitFailed, []string{"fairlead-viewer", "rolebinding"}},
		{"apps", apierrors.NewUnauthorized("who"), ExitFailed, []string{"/test/kubeconfig", "--kubeconfig"}},
		{"apps", syscall.ECONNREFUSED, ExitUnknown, []string{"https://127.0.0.1:6443", "/test/kubeconfig", "fairlead serve"}},
		{"apps", apierrors.NewServiceUnavailable("starting"), ExitUnknown, []string{"cannot reach"}},
		{"apps", apierrors.NewGenericServerResponse(404, "GET", resource, "", "", 0, false), ExitFailed, []string{"does not know Fairlead's objects"}},
		{"update", nil, ExitUsage, []string{"Usage: fairlead update APPLICATION"}},
		{"update shop a b", nil, ExitUsage, nil},
		{"update shop --frob", nil, ExitUsage, []string{"--frob", "--help"}},
		{"update shop --timeout -1s", nil, ExitUsage, []string{"--timeout"}},
		{"update shop -o wide", nil, ExitUsage, []string{"json, yaml or name"}},
		{"apps -o xml", nil, ExitUsage, []string{"json, yaml, name or wide"}},
		{"releases shop -A", nil, ExitUsage, []string{"not both"}},
		{"status --watch", nil, ExitUsage, []string{"--watch needs"}},
		{"logs shop --tail -7", nil, ExitUsage, []string{"--tail"}},
		{"token create", nil, ExitUsage, []string{"--role", "operator"}},
		{"token create --role boss", nil, ExitUsage, []string{"boss", "operator"}},
		{"token create --role viewer --for 5m", nil, ExitUsage, []string{"10m"}},
		{"token create A_b --role viewer", nil, ExitUsage, []string{"A_b"}},
		{"rollback blog -n prod", nil, ExitFailed, []string{"no releases yet"}},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			w := history(t)
			w.setDown(tt.down)
			exits(t, w.run(t.Context(), strings.Fields(tt.line)...), tt.code, tt.says...)
		})
	}
}

func TestWriteNeedsTheOperatorRole(t *testing.T) {
	s := &session{namespace: "prod"}
	err := s.explain(apierrors.NewForbidden(schema.GroupResource{Resource: "updaterequests"}, "", nil), true)
	exits(t, err, ExitFailed, "fairlead-operator", "-n prod")
}

func TestConnect(t *testing.T) {
	o := Options{Out: io.Discard, Err: io.Discard, Load: func(kubeconfig, namespace string) (*rest.Config, string, error) {
		return &rest.Config{Host: "https://127.0.0.1:1"}, namespace, nil
	}}
	for _, cmd := range Commands(o) {
		if cmd.Name() == "apps" {
			cmd.SetArgs([]string{"-n", "prod"})
			exits(t, cmd.ExecuteContext(t.Context()), ExitUnknown, "cannot reach the API server at https://127.0.0.1:1")
		}
	}
}

func TestLogs(t *testing.T) {
	named := func(w *world, phase v1alpha1.Phase) *v1alpha1.UpdateRequest {
		ur := request("shop-1", func(ur *v1alpha1.UpdateRequest) { ur.Status.Phase, ur.Status.LogFile = phase, w.logPath() })
		if err := w.client.Create(t.Context(), ur.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		<-w.created
		w.set(ur, func(st *v1alpha1.UpdateRequestStatus) { *st = ur.Status })
		return ur
	}
	t.Run("whole and tail", func(t *testing.T) {
		w := newWorld(t)
		named(w, v1alpha1.PhaseFailed)
		w.log("one", "\x1b[31mtwo\x1b[0m")
		exits(t, w.run(t.Context(), "logs", "shop"), ExitOK)
		if got := w.stdout(); got != "2026-03-04T05:06:07.000Z  [Build] one\n2026-03-04T05:06:07.000Z  [Build] two\n" {
			t.Errorf("%q", got)
		}
		exits(t, w.run(t.Context(), "logs", "ur/shop-1", "--tail", "1", "-f"), ExitOK)
		if !strings.HasSuffix(w.stdout(), "[Build] two\n2026-03-04T05:06:07.000Z  [Build] two\n") {
			t.Errorf("%q", w.stdout())
		}
	})
	t.Run("follow to the end marker", func(t *testing.T) {
		w := newWorld(t)
		named(w, v1alpha1.PhaseBuilding)
		l := w.log("one")
		result := w.start(t.Context(), "logs", "shop-1", "-f")
		w.eventually("one")
		if err := l.Summary(updatelog.Summary{Result: "Succeeded"}); err != nil {
			t.Fatal(err)
		}
		exits(t, <-result, ExitOK)
		w.says("Succeeded", "[End] log complete")
	})
	t.Run("pruned", func(t *testing.T) {
		w := newWorld(t)
		named(w, v1alpha1.PhaseFailed)
		exits(t, w.run(t.Context(), "logs", "shop"), ExitFailed, "retention")
	})
	t.Run("server without logs", func(t *testing.T) {
		w := newWorld(t)
		named(w, v1alpha1.PhaseFailed)
		w.logs.Config.Handler = nil // the generic 404
		exits(t, w.run(t.Context(), "logs", "shop"), ExitFailed, "does not serve", w.logPath())
	})
}

func TestCompletion(t *testing.T) {
	w := history(t)
	for _, tt := range []struct {
		command string
		args    []string
		prefix  string
		want    string
	}{
		{"update", nil, "", "shop\t0123456"},
		{"update", nil, "x", ""},
		{"update", []string{"shop"}, "", ""},
		{"rollback", []string{"shop"}, "", "shop-6\t0123456 A subject"},
		{"cancel", nil, "", "shop-new\tRollingOut"},
		{"logs", nil, "ur/shop-o", "ur/shop-old\tFailed"},
	} {
		for _, cmd := range Commands(w.options()) {
			if cmd.Name() != tt.command {
				continue
			}
			got, _ := cmd.ValidArgsFunction(cmd, tt.args, tt.prefix)
			if strings.Join(got, ",") != tt.want {
				t.Errorf("%s %v %q: %q", tt.command, tt.args, tt.prefix, got)
			}
		}
	}
}
