// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"slices"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

func TestDeaths(t *testing.T) {
	stopped := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(seconds int, action, id string) docker.Event {
		return docker.Event{Action: action, ID: id, Time: stopped.Add(time.Duration(seconds) * time.Second)}
	}
	for _, tt := range []struct {
		name   string
		events []docker.Event
		over   bool
	}{
		{"told and ended", []docker.Event{at(0, "kill", "a"), at(0, "kill", "b"), at(1, "die", "b"), at(1, "die", "a")}, true},
		{"one of two", []docker.Event{at(0, "kill", "a"), at(0, "kill", "b"), at(1, "die", "b")}, false},
		{"heard twice", []docker.Event{at(0, "kill", "a"), at(0, "kill", "a"), at(1, "die", "a"), at(1, "die", "a")}, false},
		{"ended by itself, and started again", []docker.Event{at(0, "die", "a"), at(0, "kill", "a"), at(0, "kill", "b"), at(1, "die", "b")}, false},
		{"restarted by somebody while it drained", []docker.Event{
			at(-3, "kill", "a"), at(-2, "die", "a"), at(-1, "start", "a"), at(0, "kill", "b"), at(1, "die", "b"),
		}, false},
		{"restarted by somebody since", []docker.Event{
			at(0, "kill", "a"), at(1, "die", "a"), at(2, "start", "a"), at(2, "kill", "b"), at(3, "die", "b"),
		}, false},
		{"and ended again", []docker.Event{
			at(0, "kill", "a"), at(1, "die", "a"), at(2, "start", "a"), at(2, "kill", "b"), at(3, "die", "b"), at(4, "kill", "a"), at(5, "die", "a"),
		}, true},
		{"a signal of somebody's, and an end by itself", []docker.Event{at(-1, "kill", "a"), at(0, "die", "a"), at(0, "kill", "b"), at(1, "die", "b")}, false},
		{"not told yet", []docker.Event{at(0, "kill", "c"), at(1, "die", "c")}, false},
		{"a subscription that begins", []docker.Event{{Resync: true}}, false},
	} {
		d := deathsOf([]docker.Container{{ID: "a"}, {ID: "b"}})
		d.stop("a", stopped)
		d.stop("b", stopped)
		over := false
		for _, ev := range tt.events {
			over = d.see(ev)
		}
		if over != tt.over {
			t.Errorf("%s: over %v, ended %v", tt.name, over, d.ended)
		}
	}
}

// The kernel tells of the process that was there when the container was told to end, and the engine that it had sent the
// signal.
func TestDeathsOfProcesses(t *testing.T) {
	stopped := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(action, id string) docker.Event { return docker.Event{Action: action, ID: id, Time: stopped} }
	left := func(id string) docker.Event { return docker.Event{Action: "left", ID: id} } // which no engine tells
	resync := docker.Event{Resync: true}
	for _, tt := range []struct {
		name   string
		before []string // what ended before it was told to
		events []docker.Event
		over   bool
	}{
		{"told and ended", nil, []docker.Event{at("kill", "a"), left("a"), at("kill", "b"), left("b")}, true},
		{"ended before the engine had told of the signal", nil, []docker.Event{left("a"), left("b"), at("kill", "a"), at("kill", "b")}, true},
		{"one of two", nil, []docker.Event{at("kill", "a"), left("a"), at("kill", "b")}, false},
		{"one that the engine tells of", nil, []docker.Event{at("kill", "a"), left("a"), at("kill", "b"), at("die", "b")}, true},
		{"ended without the signal", nil, []docker.Event{left("a"), at("kill", "b"), left("b")}, false},
		{"ended by itself before it was told to", []string{"a"}, []docker.Event{at("kill", "a"), at("kill", "b"), left("b")}, false},
		{"which the engine tells of in the end", []string{"a"}, []docker.Event{at("kill", "a"), at("kill", "b"), left("b"), at("die", "a")}, true},
		{"ended by itself and started again", nil, []docker.Event{
			left("a"), at("die", "a"), at("start", "a"), at("kill", "a"), at("kill", "b"), left("b"),
		}, false},
		{"started again since", nil, []docker.Event{at("kill", "a"), left("a"), at("start", "a"), at("kill", "b"), left("b")}, false},
		{"ended while the engine could not be heard", nil, []docker.Event{left("a"), resync, at("kill", "a"), at("kill", "b"), left("b")}, false},
		{"ended after that", nil, []docker.Event{resync, at("kill", "a"), left("a"), at("kill", "b"), left("b")}, true},
	} {
		d := deathsOf([]docker.Container{{ID: "a"}, {ID: "b"}})
		for _, id := range d.ids {
			d.stop(id, stopped)
			d.alive[id] = !slices.Contains(tt.before, id)
		}
		over := false
		for _, ev := range tt.events {
			if ev.Action == "left" {
				over = d.left(ev.ID)
				continue
			}
			over = d.see(ev)
		}
		if over != tt.over {
			t.Errorf("%s: over %v", tt.name, over)
		}
	}
}
