// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

func TestFollow(t *testing.T) {
	now := moment(t, "2026-03-02T12:00:00Z")
	facts := func(change ...func(*FollowFacts)) FollowFacts {
		f := FollowFacts{
			Spec: v1alpha1.UpdateSpec{Policy: v1alpha1.UpdateAutomatic}, Looked: true, Ref: "refs/heads/main",
			Newest: "c2c2c2c2c2", Running: "c1c1c1c1c1", Deployed: true, Now: now,
		}
		for _, c := range change {
			c(&f)
		}
		return f
	}
	requests := func(rs ...FollowRequest) func(*FollowFacts) { return func(f *FollowFacts) { f.Requests = rs } }
	cooldown := func(d time.Duration, ended time.Duration) func(*FollowFacts) {
		return func(f *FollowFacts) {
			f.Spec.Cooldown, f.LastEnd = &metav1.Duration{Duration: d}, now.Add(-ended)
		}
	}
	window := func(start, end string) func(*FollowFacts) {
		return func(f *FollowFacts) { f.Spec.Windows = []v1alpha1.UpdateWindow{{Start: start, End: end}} }
	}
	const nothing, wait, request = FollowNothing, FollowWait, FollowRequestIt
	tests := []struct {
		name    string
		facts   FollowFacts
		want    FollowKind
		until   string
		message string // "" for none
	}{
		{"something newer", facts(), request, "", ""},
		{"it runs", facts(func(f *FollowFacts) { f.Running = f.Newest }), nothing, "", ""},
		{"manual", facts(func(f *FollowFacts) { f.Spec.Policy = v1alpha1.UpdateManual }), nothing, "", ""},
		{"not looked at since the spec changed", facts(func(f *FollowFacts) { f.Looked = false }), nothing, "", ""},
		{"not reachable", facts(func(f *FollowFacts) { f.Unreachable = true }), nothing, "", ""},
		{"nothing there", facts(func(f *FollowFacts) { f.Newest = "" }), nothing, "", ""},
		{"suspended", facts(func(f *FollowFacts) { f.Suspended = true }), nothing, "", "suspended"},
		{"nothing ever ran", facts(func(f *FollowFacts) { f.Deployed = false }), nothing, "", "ask for the first update yourself"},
		{"older than what runs", facts(func(f *FollowFacts) { f.Behind = true }), nothing, "", "is not gone back by itself"},
		{"it is being brought", facts(requests(FollowRequest{Name: "r", Commit: "c2c2c2c2c2", Started: true})), nothing, "", "the request r brings"},
		{"it is queued", facts(requests(FollowRequest{Name: "r", Commit: "c2c2c2c2c2", ByPolicy: true})), nothing, "", "the request r brings"},
		{"another one is carried out", facts(requests(FollowRequest{Name: "r", Commit: "c0", ByPolicy: true, Started: true})), nothing, "", "waits for the request r"},
		{"a person's waits", facts(requests(FollowRequest{Name: "r"})), nothing, "", "waits for the request r"},
		{"an older one of its own is queued, and superseded", facts(requests(FollowRequest{Name: "r", Commit: "c0", ByPolicy: true})), request, "", ""},
		{"it failed", facts(func(f *FollowFacts) {
			f.Failed = []v1alpha1.FailedCommit{{Commit: "c2c2c2c2c2", Request: "r", Reason: "BuildFailed"}}
		}), nothing, "", "failed in the request r (BuildFailed)"},
		{"an older one failed", facts(func(f *FollowFacts) { f.Failed = []v1alpha1.FailedCommit{{Commit: "c0"}} }), request, "", ""},
		{"it was asked for", facts(func(f *FollowFacts) { f.Attempted = f.Newest }), nothing, "", "is not asked for again by itself"},
		{"an older one was asked for", facts(func(f *FollowFacts) { f.Attempted = "c0" }), request, "", ""},
		{"in the window", facts(window("11:00", "13:00")), request, "", ""},
		{"before the window", facts(window("22:00", "04:00")), wait, "2026-03-02T22:00:00Z", "opens at 2026-03-02T22:00:00Z"},
		{"a window that is none", facts(func(f *FollowFacts) {
			f.Spec.Windows = []v1alpha1.UpdateWindow{{Start: "22:00", End: "04:00", TimeZone: "Nowhere"}}
		}), nothing, "", "no time zone"},
		{"cooling down", facts(cooldown(time.Hour, 20*time.Minute)), wait, "2026-03-02T12:40:00Z", "cooldown is 1h0m0s"},
		{"cooled down", facts(cooldown(time.Hour, time.Hour)), request, "", ""},
		{"no update before", facts(cooldown(time.Hour, 0), func(f *FollowFacts) { f.LastEnd = time.Time{} }), request, "", ""},
		{"cooled down before the window", facts(cooldown(time.Hour, 20*time.Minute), window("22:00", "04:00")), wait, "2026-03-02T22:00:00Z", "opens at"},
		{"cooling down when the window opens", facts(cooldown(12*time.Hour, 0), window("22:00", "04:00")), wait, "2026-03-03T00:00:00Z", "cooldown"},
		{"what cannot be is said before what must wait", facts(cooldown(time.Hour, 0), func(f *FollowFacts) { f.Attempted = f.Newest }), nothing, "", "asked for"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := Follow(tt.facts)
			if d.Kind != tt.want || (d.Message == "") != (tt.message == "") || !strings.Contains(d.Message, tt.message) {
				t.Fatalf("got %+v, want %s with %q", d, tt.want, tt.message)
			}
			if tt.until != "" && !d.Until.Equal(moment(t, tt.until)) {
				t.Errorf("until %s, want %s", d.Until, tt.until)
			}
			if d.Kind == request && d.Commit != tt.facts.Newest {
				t.Errorf("the request is for %q", d.Commit)
			}
		})
	}
}

// story plays days in the life of an application: it asks the policy whenever
// something happened or the policy said so, and carries out what it asks for.
type story struct {
	FollowFacts
	bad map[string]bool // commits that fail
	out strings.Builder
}

func (s *story) say(format string, args ...any) {
	fmt.Fprintf(&s.out, "%s  %s\n", s.Now.In(time.UTC).Format("Mon 02 15:04"), fmt.Sprintf(format, args...))
}

// settle asks until there is nothing more to do, or only later.
func (s *story) settle() (until time.Time) {
	for range 10 {
		d := Follow(s.FollowFacts)
		switch d.Kind {
		case FollowRequestIt:
			s.Attempted = d.Commit
			s.Now = s.Now.Add(5 * time.Minute)
			s.LastEnd = s.Now
			if s.bad[d.Commit] {
				s.Failed = append(s.Failed, v1alpha1.FailedCommit{Commit: d.Commit, Request: "shop-" + d.Commit, Reason: "HealthCheckFailed"})
				s.say("UPDATE to %s, rolled back", d.Commit)
			} else {
				s.Running = d.Commit
				s.say("UPDATE to %s", d.Commit)
			}
			continue
		case FollowWait:
			s.say("waits: %s", d.Message)
			return d.Until
		}
		if d.Message != "" {
			s.say("nothing: %s", d.Message)
		}
		return time.Time{}
	}
	s.say("it does not settle")
	return time.Time{}
}

// Days of an application, written down.
func TestFollowForDays(t *testing.T) {
	type happens struct {
		at, what string
		do       func(*story)
	}
	push := func(at, commit string) happens {
		return happens{at, "push " + commit, func(s *story) { s.Newest, s.Behind = commit, false }}
	}
	person := func(at, what string, do func(*story)) happens { return happens{at, "a person " + what, do} }
	nights := []v1alpha1.UpdateWindow{{Days: []v1alpha1.Weekday{"Mon", "Tue", "Wed", "Thu"}, Start: "22:00", End: "04:00"}}
	tests := []struct {
		name   string
		spec   v1alpha1.UpdateSpec
		bad    []string
		events []happens
	}{
		{"at-once", v1alpha1.UpdateSpec{}, []string{"c3"}, []happens{
			push("2026-03-02T09:00:00Z", "c2"), push("2026-03-02T10:00:00Z", "c3"),
			{"2026-03-02T11:00:00Z", "the daemon restarts", func(*story) {}}, push("2026-03-02T12:00:00Z", "c4"),
		}},
		{"nights-and-cooldown", v1alpha1.UpdateSpec{Windows: nights, Cooldown: &metav1.Duration{Duration: 2 * time.Hour}}, nil, []happens{
			push("2026-03-02T09:00:00Z", "c2"), push("2026-03-02T17:00:00Z", "c3"), push("2026-03-02T22:30:00Z", "c4"),
			push("2026-03-03T02:30:00Z", "c5"), push("2026-03-06T09:00:00Z", "c6"), // a Friday
		}},
		{"a-person-decides", v1alpha1.UpdateSpec{}, nil, []happens{
			push("2026-03-02T09:00:00Z", "c2"),
			person("2026-03-02T10:00:00Z", "goes back to c1", func(s *story) { s.Running = "c1" }),
			{"2026-03-02T11:00:00Z", "the source is looked at", func(*story) {}},
			push("2026-03-02T12:00:00Z", "c3"),
			person("2026-03-02T13:00:00Z", "suspends the application", func(s *story) { s.Suspended = true }),
			push("2026-03-02T14:00:00Z", "c4"),
			person("2026-03-02T15:00:00Z", "takes it up again", func(s *story) { s.Suspended = false }),
			{"2026-03-02T16:00:00Z", "the branch is set back to c3", func(s *story) { s.Newest, s.Behind = "c3", true }},
			push("2026-03-02T17:00:00Z", "c5"),
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &story{bad: map[string]bool{}}
			for _, c := range tt.bad {
				s.bad[c] = true
			}
			s.Spec, s.Looked, s.Deployed, s.Running, s.Newest = tt.spec, true, true, "c1", "c1"
			s.Spec.Policy = v1alpha1.UpdateAutomatic
			end := moment(t, "2026-03-10T00:00:00Z")
			events := slices.Clone(tt.events)
			wake := time.Time{}
			for len(events) > 0 || !wake.IsZero() && wake.Before(end) {
				if len(events) > 0 && (wake.IsZero() || moment(t, events[0].at).Before(wake)) {
					s.Now = moment(t, events[0].at)
					s.say("%s", events[0].what)
					events[0].do(s)
					events = events[1:]
				} else {
					s.Now = wake
				}
				wake = s.settle()
			}
			golden(t, "follow-"+tt.name, s.out.String())
		})
	}
}
