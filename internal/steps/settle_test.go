// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// Old containers behind a gateway are ended also where Git cannot be read, and the
// step is not done before that.
func TestSettlesWithoutGit(t *testing.T) {
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/_ping") {
			w.Header().Set("Api-Version", docker.MinAPIVersion)
			return
		}
		http.Error(w, `{"message":"database is locked"}`, http.StatusInternalServerError)
	}))
	t.Cleanup(engine.Close)
	client, err := docker.New("tcp://" + engine.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	s := newRun(func(a *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
		a.Spec.Compose.Directory = t.TempDir() // no clone
		ur.Status.ID = "20240102_030405"
		ur.Status.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepCleanUp}}
		ur.Status.Services = []v1alpha1.ServiceUpdate{{Name: "web", Gateway: true}}
	})
	s.Deps = Deps{Docker: client, Gateways: &boxes.Keeper{}}
	s.log, s.rec, s.clones = updatelog.Lost("", nil), &written{}, &clones{}
	w := &workspace{dir: s.Application.Spec.Compose.Directory}
	if err := os.MkdirAll(w.path("work"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := writeModel(w.modelPath(s.Request.Status.ID), project(t, "name: shop\nservices: {web: {image: x}}\n")); err != nil {
		t.Fatal(err)
	}
	if err := s.cleanUp(t.Context()); err == nil || isTerminal(err) || !strings.Contains(err.Error(), "database is locked") {
		t.Errorf("with an engine that answers with errors it ends with %v", err)
	}
	if err := os.Remove(w.modelPath(s.Request.Status.ID)); err != nil {
		t.Fatal(err)
	}
	if err := s.cleanUp(t.Context()); err != nil {
		t.Errorf("what cannot be done at all is to be told, not to be tried again: %v", err)
	}
	if got := s.Request.Status.Steps[0].Message; !strings.Contains(got, "run on beside") || !strings.Contains(got, "model") {
		t.Errorf("it tells %q", got)
	}
}
