// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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

// Each trouble is provoked in turn and must be named, with what to do.
func TestDoctor(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{})
	s := siteOf(t, d, apps.Hello)
	s.apply("")
	s.succeeds("")
	own, host := s.diagnose(s.name)
	for _, f := range own {
		if f.Result == doctor.Problem && f.Check != "disk" { // its default limit may be more than a test machine has
			t.Errorf("a problem of an application that is well: %+v", f)
		}
	}
	for _, check := range []string{"api", "http", "daemon", "certificates", "engine", "git"} {
		wantFinding(t, host, check, doctor.OK, "", "")
	}

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
