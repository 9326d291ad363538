// SPDX-License-Identifier: Apache-2.0

package steps

import (
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
		d := deathsOf([]string{"a", "b"})
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
