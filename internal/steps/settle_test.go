// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// Old containers behind a gateway are ended also where Git cannot be read, and the
// step is not done before that.
func TestSettlesWithoutGit(t *testing.T) {
	client := engineOn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/_ping") {
			w.Header().Set("Api-Version", docker.MinAPIVersion)
			return
		}
		http.Error(w, `{"message":"database is locked"}`, http.StatusInternalServerError)
	}))
	s := newRun(func(a *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
		a.Spec.Compose.Directory = t.TempDir() // no clone
		ur.Status.ID = "20240102_030405"
		ur.Status.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepCleanUp}}
		ur.Status.Services = []v1alpha1.ServiceUpdate{{Name: "web", Gateway: true}}
	})
	s.Deps = Deps{Docker: client, Gateways: &boxes.Keeper{}, Store: storeOf(t)}
	s.log, s.rec, s.clones = updatelog.Lost("", nil), &written{}, &clones{}
	model := modelOf(t, s)
	if err := s.cleanUp(t.Context()); err == nil || isTerminal(err) || !strings.Contains(err.Error(), "database is locked") {
		t.Errorf("with an engine that answers with errors it ends with %v", err)
	}
	if err := os.Remove(model); err != nil {
		t.Fatal(err)
	}
	if err := s.cleanUp(t.Context()); err != nil {
		t.Errorf("what cannot be done at all is to be told, not to be tried again: %v", err)
	}
	if got := s.Request.Status.Steps[0].Message; !strings.Contains(got, "run on beside") || !strings.Contains(got, "model") {
		t.Errorf("it tells %q", got)
	}
}

// A fault of Fairlead's own while old containers are ended does not make them ended.
func TestSettlesAgainAfterAPanic(t *testing.T) {
	s := newRun(func(a *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
		a.Spec.Compose.Directory = t.TempDir()
		ur.Status.ID = "20240102_030405"
		ur.Status.Services = []v1alpha1.ServiceUpdate{{Name: "web", Gateway: true}}
	})
	s.Deps = Deps{Gateways: &boxes.Keeper{}, Store: storeOf(t)} // without an engine, which is the fault
	s.log, s.rec, s.clones = updatelog.Lost("", nil), &written{}, &clones{}
	modelOf(t, s)
	if err := s.cleanUp(t.Context()); failure.AsPanic(err) == nil || isTerminal(err) {
		t.Errorf("it ends with %v, want the panic, so that it is tried again", err)
	}
}

// A clean-up that is done again after it removed the model finds nothing to end, and says nothing else.
func TestSettlesTwice(t *testing.T) {
	for state, settled := range map[string]bool{"exited": true, "running": false} {
		client := fakeEngine(t, `[{"Id":"c1","State":"`+state+`","Labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"web"}}]`,
			`{"Id":"c1","Name":"/shop-web-1","State":{"Status":"`+state+`"},"Config":{"Labels":{"com.docker.compose.service":"web","fairlead.dev/revision":"w1"}},"HostConfig":{}}`)
		s := newRun(func(a *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
			a.Spec.Compose.Directory, a.Status.Project = t.TempDir(), "shop"
			ur.UID, ur.Status.ID = "uid", "20240102_030405"
			ur.Status.Services = []v1alpha1.ServiceUpdate{{Name: "web", Action: v1alpha1.ActionReplace, Gateway: true, Revision: "w2"}}
		})
		s.Deps = Deps{Docker: client, Gateways: &boxes.Keeper{}}
		if err := s.settle(t.Context(), func() ([]v1alpha1.Release, error) { return nil, nil }, look{}, old{}); (err == nil) != settled || !settled && !isTerminal(err) {
			t.Errorf("the old container is %s: %v", state, err)
		}
	}
}

// fakeEngine stands in for an engine with one container.
func fakeEngine(t *testing.T, list, inspect string) *docker.Client {
	t.Helper()
	return engineOn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, "/_ping"):
			w.Header().Set("Api-Version", docker.MinAPIVersion)
		case strings.HasSuffix(path, "/containers/json"):
			_, _ = io.WriteString(w, list)
		default:
			_, _ = io.WriteString(w, inspect)
		}
	}))
}

// modelOf writes the model that Build leaves to the steps after it, and returns its path.
func modelOf(t *testing.T, s *run) string {
	t.Helper()
	w := &workspace{dir: s.Application.Spec.Compose.Directory}
	if err := os.MkdirAll(w.path("work"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := w.modelPath(s.Request.Status.ID)
	if _, err := writeModel(path, project(t, "name: shop\nservices: {web: {image: x}}\n")); err != nil {
		t.Fatal(err)
	}
	return path
}
