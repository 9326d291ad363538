// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

// A check is about the new version: behind a gateway the old one runs beside it, and
// comes first in the engine's list.
func TestChecksAskTheNewContainer(t *testing.T) {
	s := newRun(func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
		ur.UID = "uid"
		ur.Status.Services = []v1alpha1.ServiceUpdate{
			{Name: "web", Action: v1alpha1.ActionReplace, Revision: "w2"}, {Name: "db", Action: v1alpha1.ActionKeep, Revision: "d1"},
			{Name: "down", Action: v1alpha1.ActionReplace, Revision: "n2"},
		}
	})
	made := func(id, service, revision, request string) docker.Container {
		return docker.Container{ID: id, Service: service, State: docker.StateRunning, Labels: map[string]string{v1alpha1.LabelRevision: revision, v1alpha1.LabelRequest: request}}
	}
	adopted := docker.Container{ID: "adopted", Service: "web", State: docker.StateRunning}
	stopped := made("stopped", "down", "n2", "uid")
	stopped.State = docker.StateExited
	containers := []docker.Container{
		adopted, made("old", "web", "w1", "before"), made("new", "web", "w2", "uid"), made("kept", "db", "d1", "before"),
		made("warm", "down", "n1", "before"), stopped,
	}
	for service, want := range map[string]string{"web": "new", "db": "kept", "down": "", "none": ""} {
		if got, ok := s.toAsk(containers, service); got.ID != want || ok != (want != "") {
			t.Errorf("%s: got %q, want %q", service, got.ID, want)
		}
	}
}
