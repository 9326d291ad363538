// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/plan"
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
	e.see(all[:2], nil, begin.Add(2*justNow)) // all were
	want(2*justNow, "a", "b")
	want(3*justNow, "a", "b")
	for _, verb := range []plan.Verb{plan.VerbHandOver, plan.VerbOpen, plan.VerbClose} { // whatever they do
		e.see(all, nil, begin)
		e.touch(plan.Action{Verb: verb})
		want(0)
	}
}
