// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"slices"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

// What is left of a revision that is gone, or beyond the number that is wanted, is
// removed; what nobody knows, what runs, and what ran to its end is not.
func TestLeftBehind(t *testing.T) {
	of := func(id, service, revision, state string) docker.Container {
		c := docker.Container{ID: id, Service: service, State: state, Labels: map[string]string{v1alpha1.LabelRequest: "uid"}}
		if revision != "" {
			c.Labels[v1alpha1.LabelRevision] = revision
		}
		return c
	}
	const up, down, created = docker.StateRunning, docker.StateExited, docker.StateCreated
	current := v1alpha1.Release{Spec: v1alpha1.ReleaseSpec{Services: []v1alpha1.ReleaseService{
		{Name: "web", Revision: "w2", Replicas: 1}, {Name: "worker", Revision: "k", Replicas: 2},
		{Name: "migrate", Revision: "m", OneShot: true}, {Name: "off", Revision: "o"},
	}}}
	containers := []docker.Container{
		of("web-old", "web", "w1", down), of("web-1", "web", "w2", up), of("web-2", "web", "w2", down), of("web-3", "web", "w2", created),
		of("worker-1", "worker", "k", up), of("worker-2", "worker", "k", down),
		of("migrate-1", "migrate", "m", down), of("off-1", "off", "o", down),
		of("dropped-1", "dropped", "d", down), of("by-hand", "web", "", down), of("old-runs", "web", "w1", up),
	}
	var got []string
	for _, c := range newRun().leftBehind(containers, []v1alpha1.Release{current}, &current) {
		got = append(got, c.ID)
	}
	want := []string{"web-old", "web-2", "web-3", "off-1", "dropped-1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	forced := newRun(func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
		ur.UID = "another"
		ur.Status.Services = []v1alpha1.ServiceUpdate{{Name: "worker", Recreate: true}}
	})
	if !slices.ContainsFunc(forced.leftBehind(containers, []v1alpha1.Release{current}, &current), func(c docker.Container) bool { return c.ID == "worker-2" }) {
		t.Error("a container that was replaced by one of the same revision stays")
	}
}
