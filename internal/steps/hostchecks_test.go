// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// engineOf stands in for an engine of a version that is not to be had here.
func engineOf(t *testing.T, version string) *docker.Client {
	t.Helper()
	return engineOn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/_ping") {
			w.Header().Set("Api-Version", docker.MinAPIVersion)
			return
		}
		fmt.Fprintf(w, `{"ServerVersion":%q,"OSType":"linux"}`, version)
	}))
}

// An engine and a Git that are too old are refused before anything is changed, both at once, and with what to do.
func TestPreflightRefusesAnOldHost(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte("#!/bin/sh\necho git version 2.19.6\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	s := newRun(func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) { a.Spec.Compose.Directory = t.TempDir() })
	s.log, s.rec, s.clones = updatelog.Lost("", nil), &written{}, &clones{}
	s.Docker = engineOf(t, "19.03.15")
	err := s.preflight(t.Context())
	if got := failure.AsTerminal(err); got == nil || got.Reason != v1alpha1.ReasonPreflightFailed {
		t.Fatalf("it ends with %v", err)
	}
	for name, want := range map[string][]string{
		"Engine":     {"19.03.15", "install 20.10 or newer"},
		"Repository": {"2.19.6", "2.20"},
	} {
		found := false
		for _, c := range s.Request.Status.Checks {
			if c.Name != name {
				continue
			}
			found = true
			for _, w := range want {
				if c.Result != failed || !strings.Contains(c.Message, w) || !strings.Contains(err.Error(), c.Message) {
					t.Errorf("%s is %s: %q, want it to say %q", name, c.Result, c.Message, w)
				}
			}
		}
		if !found {
			t.Errorf("%s was not checked: %+v", name, s.Request.Status.Checks)
		}
	}
	// What builds on them is told apart from what failed.
	for _, c := range s.Request.Status.Checks {
		if c.Name == "Compose" && (c.Result != skipped || strings.Contains(err.Error(), c.Message)) {
			t.Errorf("%s is %s: %v", c.Name, c.Result, err)
		}
	}
	p := &preflightRun{run: s}
	s.Docker = engineOf(t, "20.10.24+dfsg1")
	if note, err := p.checkEngine(t.Context()); err != nil || !strings.Contains(note, "20.10.24") {
		t.Errorf("one that is new enough: %q, %v", note, err)
	}
}

// What is not healthy before the update is a warning, as the update may be the cure. What the update adds is none.
func TestPreflightWarnsOfTheUnhealthy(t *testing.T) {
	model := project(t, "name: shop\nservices: {web: {image: x}, db: {image: y}, new: {image: z}}\n")
	current := &v1alpha1.Release{}
	current.Spec.Services = []v1alpha1.ReleaseService{{Name: "web", Replicas: 1}, {Name: "db", Replicas: 1}}
	container := func(service, state, health string) docker.Container {
		return docker.Container{ID: service, Service: service, State: state, Health: health}
	}
	for name, tt := range map[string]struct {
		project    *compose.Project
		current    *v1alpha1.Release
		containers []docker.Container
		warns      string
		says       string
	}{
		"all run":       {model, current, []docker.Container{container("web", docker.StateRunning, ""), container("db", docker.StateRunning, "healthy")}, "", "all services run"},
		"one exited":    {model, current, []docker.Container{container("web", docker.StateExited, ""), container("db", docker.StateRunning, "")}, "web", ""},
		"one is ill":    {model, current, []docker.Container{container("web", docker.StateRunning, ""), container("db", docker.StateRunning, "unhealthy")}, "db", ""},
		"one is gone":   {model, current, []docker.Container{container("web", docker.StateRunning, "")}, "db", ""},
		"nothing ran":   {model, nil, nil, "", "nothing runs yet"},
		"cannot be had": {nil, current, nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := &preflightRun{run: newRun(), project: tt.project, current: tt.current, containers: tt.containers}
			note, err := p.checkHealthy(context.Background())
			var w warn
			switch {
			case tt.project == nil:
				if err == nil || asError(err, &w) {
					t.Errorf("got %q, %v", note, err)
				}
			case tt.warns == "":
				if err != nil || note != tt.says {
					t.Errorf("got %q, %v", note, err)
				}
			case !asError(err, &w) || !strings.Contains(w.text, "not healthy before the update: "+tt.warns) || strings.Contains(w.text, "new"):
				t.Errorf("got %q, %v, want a warning of %s", note, err, tt.warns)
			}
		})
	}
}

// A restore brings services behind the gateway too: what no gateway can be made of is told before anything is stopped.
func TestRestoreAsksForTheGateway(t *testing.T) {
	for mode, refused := range map[v1alpha1.GatewayMode]bool{v1alpha1.GatewayAuto: true, v1alpha1.GatewayOff: false} {
		s := newRun(func(a *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
			a.Spec.Compose.Directory, a.Spec.Gateway.Mode = t.TempDir(), mode
			ur.Spec.RestoreFrom = &v1alpha1.LocalReference{Name: "monday"}
		})
		s.log, s.rec, s.Store = updatelog.Lost("", nil), &written{}, storeOf(t)
		program := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		s.Gateways = &boxes.Keeper{Dir: t.TempDir(), Program: program}
		p := &preflightRun{run: s, w: &workspace{dir: s.Application.Spec.Compose.Directory}, restore: &RestorePlan{}}
		err := p.decideRestore(t.Context())
		if refused != isTerminal(err) || !refused && err != nil {
			t.Errorf("mode %s: %v", mode, err)
		}
		if refused && (len(s.Request.Status.Checks) != 1 || s.Request.Status.Checks[0].Name != "Gateway" || s.Request.Status.Checks[0].Result != failed) {
			t.Errorf("it tells %+v", s.Request.Status.Checks)
		}
	}
}
