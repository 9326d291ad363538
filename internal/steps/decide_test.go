// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// A container need not be looked at again for as long as a look may be old, if nothing was done to it meanwhile.
func TestRecent(t *testing.T) {
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	all := []docker.Container{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	e := &executor{}
	want := func(after time.Duration, ids ...string) {
		t.Helper()
		if got := slices.Sorted(maps.Keys(e.recent(begin.Add(after)))); !slices.Equal(got, ids) {
			t.Errorf("after %s: %v need not be looked at, want %v", after, got, ids)
		}
	}
	want(0)
	e.see(all, map[string]docker.Container{"c": {}}, begin)
	want(justNow, "a", "b")
	want(justNow + 1)
	e.touch(plan.Action{Verb: plan.VerbStart, Container: plan.Container{ID: "b"}})
	want(justNow, "a")
	e.see(all, nil, begin.Add(justNow/2)) // a was not looked at
	want(justNow, "a", "b", "c")
	want(justNow+1, "b", "c")
	e.touch(plan.Action{Verb: plan.VerbCreate, Service: "web"})
	want(justNow+1, "b", "c")
	e.ready = map[string]bool{"b": true} // it must not have ended since
	want(justNow+1, "c")
	e.ready = nil
	e.see(all[:2], nil, begin.Add(2*justNow)) // all were
	want(2*justNow, "a", "b")
	want(3*justNow, "a", "b")
	for _, verb := range []plan.Verb{plan.VerbHandOver, plan.VerbOpen, plan.VerbClose} { // whatever they do
		e.see(all, nil, begin)
		e.touch(plan.Action{Verb: verb})
		want(0)
	}
}

// What one step leaves is there for the next one, once, and serves instead of a look for as long as one may be old.
func TestLooks(t *testing.T) {
	var v sights
	seen := look{containers: []docker.Container{{ID: "a"}}, at: time.Now()}
	v.leave("one", seen)
	v.leave("two", seen)
	v.forget("two")
	if got := v.left("two"); got.recent() {
		t.Error("what is forgotten is there")
	}
	got := v.left("one")
	if len(got.containers) != 1 || v.left("one").recent() {
		t.Errorf("left %+v, and once more %+v", got, v.left("one"))
	}
	asked := `[{"Id":"b","State":"running","Labels":{"com.docker.compose.project":"shop"}}]`
	s := newRun()
	s.Docker = fakeEngine(t, asked, `{"Id":"b","Name":"/shop-web-1"}`)
	for name, tt := range map[string]struct {
		at   time.Time
		want string
	}{
		"just now": {time.Now().Add(time.Hour), "a"}, // it does not get old while the test runs
		"long ago": {time.Now().Add(-justNow - 1), "b"},
		"never":    {time.Time{}, "b"},
	} {
		seen.at = tt.at
		got, err := s.lookAt(t.Context(), "shop", seen)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.containers) != 1 || got.containers[0].ID != tt.want {
			t.Errorf("%s: %+v", name, got.containers)
		}
	}
	around, err := s.lookAround(t.Context(), "shop")
	if err != nil || len(around.containers) != 1 || around.gateways != nil || !around.recent() {
		t.Errorf("%+v: %v", around, err)
	}
}

// What the next step may go on from is left, unless a hook may change it before.
func TestLeaveLook(t *testing.T) {
	for name, hooks := range map[string][]v1alpha1.Hook{"without hooks": nil, "with one": {{Name: "migrate"}}} {
		s := newRun(func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) { a.Spec.Hooks = hooks })
		s.sights = &sights{}
		s.leaveLook(look{at: time.Now().Add(time.Hour)})
		if got := s.sights.left(s.Request.UID).recent(); got != (hooks == nil) {
			t.Errorf("%s: left %t", name, got)
		}
	}
}

// Releases that were listed beside something else serve for as long as a look may be old.
func TestListReleases(t *testing.T) {
	for name, tt := range map[string]struct {
		at   time.Time
		want int
	}{
		"just now": {time.Now().Add(time.Hour), 1}, // it does not get old while the test runs
		"long ago": {time.Now().Add(-justNow - 1), 2},
	} {
		s := newRun()
		first, second := shopOne(), shopOne()
		second.Name = "shop-2"
		for _, r := range []*v1alpha1.Release{first, second} {
			r.Namespace, r.Spec.ApplicationRef.Name = s.Application.Namespace, s.Application.Name
		}
		s.Store = storeOf(t, first)
		listed := s.listReleases(t.Context(), tt.at)
		all, err := listed(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatalf("%s: %d: %v", name, len(all), err)
		}
		all[0].Name = "written to" // which others must not see
		if err := s.Store.Client.Create(t.Context(), second); err != nil {
			t.Fatal(err)
		}
		if all, err := listed(t.Context()); err != nil || len(all) != tt.want || all[0].Name == "written to" {
			t.Errorf("%s: %d of %d: %v, %v", name, len(all), tt.want, all, err)
		}
	}
}

// A panic beside something else is an error to who waits for it.
func TestAheadPanics(t *testing.T) {
	s := newRun()
	s.log = updatelog.Lost("", nil)
	wait := ahead(s, func() (int, error) { panic("out of cheese") })
	for range 2 {
		if _, err := wait(); failure.AsPanic(err) == nil {
			t.Errorf("got %v", err)
		}
	}
}
