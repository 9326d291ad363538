// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"k8s.io/utils/clock"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// gitWithoutRoom puts a git on PATH whose command fails as on a full disk. It stands in for one:
// to fill a disk takes a file system of one's own.
func gitWithoutRoom(t *testing.T, command string) {
	t.Helper()
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nfor a; do\n  if [ \"$a\" = %s ]; then echo 'fatal: write error: No space left on device' >&2; exit 128; fi\ndone\nexec %s \"$@\"\n", command, git)
	if err := os.WriteFile(filepath.Join(dir, "git"), []byte(script), 0o700); err != nil { //nolint:gosec // to be run
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// A disk that is full before anything was touched ends the request and says so; nobody can tell from "try
// again" that room has to be made.
func TestFullDiskBeforeAnythingIsTouched(t *testing.T) {
	dir, commit := committed(t, map[string]string{"compose.yaml": "services: {web: {image: web}}\n"})
	for name, tt := range map[string]struct {
		command string
		run     func(s *run) error
	}{
		"fetch in preflight": {"fetch", func(s *run) error {
			p := &preflightRun{run: s}
			if _, err := p.checkRepository(t.Context()); err != nil {
				return err
			}
			_, err := p.checkCommit(t.Context())
			return err
		}},
		"checkout in preflight": {"read-tree", func(s *run) error {
			p := &preflightRun{run: s}
			for _, ask := range []func() (string, error){
				func() (string, error) { return p.checkRepository(t.Context()) },
				func() (string, error) { return p.checkCommit(t.Context()) },
			} {
				if _, err := ask(); err != nil {
					return fmt.Errorf("an earlier check: %w", err)
				}
			}
			_, err := p.checkCompose(t.Context())
			return err
		}},
		"checkout in fetch": {"read-tree", func(s *run) error { return s.fetch(t.Context()) }},
	} {
		t.Run(name, func(t *testing.T) {
			gitWithoutRoom(t, tt.command)
			s := newRun(func(a *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
				a.Spec.Compose.Directory, a.Spec.Source.URL = dir, "file://"+dir
				a.Spec.Source.Commits = v1alpha1.CommitsAny
				ur.UID, ur.Status.ID, ur.Spec.Commit = "uid", "20240102_030405", "main"
				if tt.command == "read-tree" {
					ur.Status.Commit, ur.Spec.Commit = commit, commit
				}
			})
			s.Clock, s.log, s.rec, s.clones = clock.RealClock{}, updatelog.Lost("", nil), &written{}, &clones{}
			err := tt.run(s)
			if terminal := failure.AsTerminal(err); terminal == nil || terminal.Reason != v1alpha1.ReasonNoSpace {
				t.Errorf("it ends with %v", err)
			}
		})
	}
}
