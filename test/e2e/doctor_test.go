// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/internal/doctor"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// diagnose runs fairlead doctor on the application, and returns what it finds of
// it: the rest depends on the host and on other tests.
func (s *site) diagnose(args ...string) (own, host []doctor.Finding) {
	s.t.Helper()
	args = append([]string{"doctor", "-o", "json", "--data-dir", s.DataDir, "--listen", s.Listen()}, args...)
	out, errOut, code := harness.Run(s.t.Context(), []string{"KUBECONFIG="}, "", s.Binary, args...)
	if code != cli.ExitOK && code != cli.ExitFailed {
		s.t.Fatalf("doctor: exit %d\n%s\n%s", code, out, errOut)
	}
	report := decode[doctor.Report](s.t, out)
	if (report.Problems > 0) != (code == cli.ExitFailed) {
		s.t.Errorf("exit code %d with %d problems", code, report.Problems)
	}
	for _, f := range report.Findings {
		if f.Application == "" {
			host = append(host, f)
		} else {
			own = append(own, f)
		}
	}
	return own, host
}

func wantFinding(t *testing.T, findings []doctor.Finding, check string, result doctor.Result, found, do string) {
	t.Helper()
	if !slices.ContainsFunc(findings, func(f doctor.Finding) bool {
		return f.Check == check && f.Result == result && strings.Contains(f.Found, found) && strings.Contains(f.Do, do)
	}) {
		t.Errorf("no %s of %s tells of %q and says %q:\n%+v", result, check, found, do, findings)
	}
}

// troubleWithDisk has a build write to a disk that is full, and asks for more room
// than there is.
func (s *site) troubleWithDisk() {
	s.t.Helper()
	dockerfile, err := os.ReadFile(filepath.Join(s.repo.Work, "Dockerfile"))
	if err != nil {
		s.t.Fatal(err)
	}
	full := s.publish("Fills the disk", map[string]string{"Dockerfile": "FROM fairlead-test/base:bookworm\nRUN cat /dev/zero >/dev/full\n"})
	ended := s.ends(full, v1alpha1.PhaseFailed)
	wantCondition(s.t, ended, v1alpha1.ConditionSucceeded, "False/"+v1alpha1.ReasonNoSpace)
	own, _ := s.diagnose(s.name)
	wantFinding(s.t, own, "requests", doctor.Problem, "No space left on device", "fairlead logs ur/"+ended.Name)
	wantFinding(s.t, own, "requests", doctor.Problem, "docker system df", "")
	if slices.ContainsFunc(own, func(f doctor.Finding) bool { return f.Check == "failed-commits" }) {
		s.t.Errorf("a full disk is blamed on the commit: %+v", own)
	}
	s.apply("  preflight: {minFreeDisk: 900Pi, minFreeMemory: 800Pi}\n")
	own, _ = s.diagnose(s.name)
	wantFinding(s.t, own, "disk", doctor.Problem, "900 PiB", "preflight.minFreeDisk")
	wantFinding(s.t, own, "memory", doctor.Problem, "800 PiB", "preflight.minFreeMemory")
	s.apply("")
	s.succeeds(s.publish("Room again", map[string]string{"Dockerfile": string(dockerfile)}))
}

// troubleWithReceiver has somebody told who does not listen.
func (s *site) troubleWithReceiver() {
	s.t.Helper()
	s.apply("  notifications: [{name: pager, webhook: {url: \"http://127.0.0.1:1/hook\"}}]\n")
	s.succeeds("")
	ctx, cancel := context.WithTimeout(s.t.Context(), harness.Patience)
	defer cancel()
	w, err := s.Client.Watch(ctx, &corev1.EventList{}, client.InNamespace(s.Namespace))
	if err != nil {
		s.t.Fatal(err)
	}
	defer w.Stop()
	seen := false
	for e := range w.ResultChan() {
		if event, ok := e.Object.(*corev1.Event); ok && event.Reason == "NotificationFailed" && event.InvolvedObject.Name == s.name {
			seen = true
			break
		}
	}
	if !seen {
		s.t.Fatalf("no Event tells of the receiver: %v", ctx.Err())
	}
	own, _ := s.diagnose(s.name)
	wantFinding(s.t, own, "notifications", doctor.Warning, "pager", "its receiver answers")
	s.apply("")
}

// Each trouble is provoked in turn and must be named, with what to do.
func TestDoctor(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{})
	s := siteOf(t, d, apps.Hello)
	s.apply("")
	s.succeeds("")
	own, host := s.diagnose(s.name)
	for _, f := range own {
		if f.Result == doctor.Problem && f.Check != "disk" && f.Check != "memory" { // their default limits may be more than a test machine has
			t.Errorf("a problem of an application that is well: %+v", f)
		}
	}
	for _, check := range []string{"api", "http", "daemon", "certificates", "engine", "git"} {
		wantFinding(t, host, check, doctor.OK, "", "")
	}

	s.troubleWithDisk()
	s.troubleWithReceiver()

	bad := s.publish("Crashes", map[string]string{"version.txt": "2\n", "behaviour.json": apps.Behaviour{Crash: true}.JSON()})
	s.ends(bad, "RolledBack")
	s.write("version.txt", "by hand\n")
	s.write(".env", s.read(".env")+"\n")
	name := s.containers()["web"]
	for _, c := range name {
		if _, errOut, code := harness.Run(t.Context(), nil, "", "docker", "stop", "--time=1", c.ID); code != 0 {
			t.Fatal(errOut)
		}
	}
	own, _ = s.diagnose(s.name)
	wantFinding(t, own, "requests", doctor.Warning, "rolled back", "fairlead status ur/")
	wantFinding(t, own, "failed-commits", doctor.Warning, bad[:7], "--retry")
	wantFinding(t, own, "localedits", doctor.Problem, "version.txt", "git checkout")
	wantFinding(t, own, "services", doctor.Problem, "exited", "docker logs")

	// The daemon and the origin are gone.
	if err := os.Rename(s.repo.Origin, s.repo.Origin+".gone"); err != nil {
		t.Fatal(err)
	}
	d.Kill9()
	own, host = s.diagnose("--directory", s.repo.Dir)
	wantFinding(t, host, "daemon", doctor.Problem, "no daemon holds", "systemctl start fairlead")
	wantFinding(t, host, "api", doctor.Problem, "connection refused", "rollback-offline")
	wantFinding(t, host, "http", doctor.Problem, "connection refused", "start the daemon")
	wantFinding(t, own, "commit", doctor.Problem, filepath.Base(s.repo.Origin), "credentials")
	wantFinding(t, own, "services", doctor.Problem, "exited", "docker start")
}
