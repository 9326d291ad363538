// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// handOver is what the helper does: it ends with the daemon in the new
// container, or in the old one again.
func (w *world) handOver(a Action) {
	i := slices.IndexFunc(w.containers, func(c Container) bool { return c.Self })
	from, to := &w.containers[i], w.find(a.Container.ID)
	if w.sick[a.Service] {
		to.State, to.ExitCode, to.Failed = StateExited, 1, "never became ready; the one before runs again"
		return
	}
	from.State, from.Self, from.Ready = StateExited, false, false
	from.Name, to.Name = RetiredName(from.Name, from.ID), from.Name
	to.State, to.Self, to.Ready = StateRunning, true, true
}

func self(c Container) Container {
	c.Self = true
	return c
}

func called(t Target, name string) Target {
	t.ContainerName = name
	return t
}

// project is web, and updater, in which the daemon runs and which web needs.
func project() []Target {
	return []Target{
		called(replace("updater", stopFirst), "shop-updater"),
		replace("web", startFirst, Dependency{Service: "updater", Condition: DependsHealthy}),
	}
}

func projectRunning() []Container {
	return []Container{named(self(running("updater", "v1", 1)), "shop-updater"), running("web", "v1", 1)}
}

func TestHandOverTranscripts(t *testing.T) {
	broken := map[string]bool{"updater": true}
	undo := func(targets []Target) RolloutInput { return RolloutInput{Targets: back(targets), Undo: true} }
	sidecar := with(replace("probe", startFirst), func(t *Target) { t.Shares = []string{"updater"} })
	tests := []struct {
		name string
		have []Container
		sick map[string]bool
		in   []RolloutInput
	}{
		{"last", projectRunning(), nil, []RolloutInput{{Targets: project()}}},
		{"alone", projectRunning(), nil, []RolloutInput{{Targets: []Target{
			project()[0], with(project()[1], func(t *Target) { t.Revision, t.Action = "v1", v1alpha1.ActionKeep }),
		}}}},
		{"kept", projectRunning(), nil, []RolloutInput{{Targets: []Target{
			with(project()[0], func(t *Target) { t.Revision, t.Action = "v1", v1alpha1.ActionKeep }), project()[1],
		}}}},
		{"depends-on-others", projectRunning(), nil, []RolloutInput{{Targets: []Target{
			replace("updater", stopFirst, Dependency{Service: "web", Condition: DependsHealthy}), replace("web", stopFirst),
		}}}},
		{"broken-and-back", projectRunning(), broken, []RolloutInput{{Targets: project()}, undo(project())}},
		// Verification failed after the daemon was replaced.
		{"undone", projectRunning(), nil, []RolloutInput{{Targets: project()}, undo(project())}},
		{"undo-fails", []Container{
			ended1(named(running("updater", "v1", 1), "shop-updater-retired-old1-upd")), mine(self(named(running("updater", "v2", 2), "shop-updater"))),
			ended1(running("web", "v1", 1)), mine(running("web", "v2", 2)),
		}, broken, []RolloutInput{undo(project())}},
		{"force", []Container{self(running("updater", "v2", 1))}, nil, []RolloutInput{
			{Targets: []Target{replace("updater", stopFirst)}, Fresh: map[string]bool{"updater": true}},
		}},
		// The daemon does not stop itself, whatever the Compose file says.
		{"removed", projectRunning(), nil, []RolloutInput{{Targets: []Target{
			{Service: Service{Name: "updater"}, Action: v1alpha1.ActionRemove}, replace("web", startFirst),
		}}}},
		{"no-replicas", projectRunning(), nil, []RolloutInput{{Targets: []Target{
			with(project()[0], func(t *Target) { t.Replicas = 0 }),
		}}}},
		{"displaced", projectRunning(), nil, []RolloutInput{{Targets: []Target{
			{Service: Service{Name: "updater"}, Action: v1alpha1.ActionRemove},
			with(replace("fairlead", stopFirst), func(t *Target) { t.Displaces = []string{"updater"} }),
		}}}},
		{"neighbour-in-its-network", append(projectRunning(), running("probe", "v1", 1)), nil, []RolloutInput{{Targets: append(project(), sidecar)}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &world{containers: slices.Clone(tt.have), sick: tt.sick, next: 10}
			for i, in := range tt.in {
				if i > 0 {
					fmt.Fprintf(&w.out, "--- going back\n")
					for c := range w.containers {
						w.containers[c].Failed, w.containers[c].Started = "", false
						w.containers[c].Ready = w.containers[c].State == StateRunning && !w.containers[c].Mine
					}
				}
				w.undo = in.Undo
				w.play(t, in)
				if n := len(slices.DeleteFunc(slices.Clone(w.containers), func(c Container) bool { return !c.Self || !c.up() })); n != 1 {
					t.Errorf("the daemon runs in %d containers:\n%s", n, w.out.String())
				}
			}
			w.state()
			golden(t, "handover-"+tt.name, w.out.String())
		})
	}
}

// TestHandOverGoesOnFromAnyPoint forgets after every number of actions all that
// is not on the engine.
func TestHandOverGoesOnFromAnyPoint(t *testing.T) {
	goesOn(t, projectRunning(), RolloutInput{Targets: project()})
}
