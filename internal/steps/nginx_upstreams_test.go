// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// An nginx that is replaced together with its upstreams begins when the new ones are ready, and the old ones may still answer to
// the name then: it would send requests to where nobody is.
func TestKnowsOldOnes(t *testing.T) {
	e := &executor{}
	before := time.Now().Add(-time.Minute)
	e.touch(plan.Action{Verb: plan.VerbStart, Service: "db", Container: plan.Container{ID: "db-2"}})
	e.touch(plan.Action{Verb: plan.VerbRetire, Service: "web", Container: plan.Container{ID: "web-1"}})
	after := time.Now().Add(time.Minute)
	for name, tt := range map[string]struct {
		changed   []string
		dependsOn string
		started   time.Time
		want      bool
	}{
		"kept, its upstream replaced":                      {[]string{"web"}, "web", before, true},
		"kept, its upstream kept":                          {[]string{"db"}, "web", before, false},
		"replaced, before the old upstream had ended":      {[]string{"front", "web"}, "web", before, true},
		"replaced, after the old upstream had ended":       {[]string{"front", "web"}, "web", after, false},
		"replaced, its upstream kept":                      {[]string{"front"}, "web", before, false},
		"replaced, where there was no old one to be ended": {[]string{"front", "db"}, "db", before, false},
	} {
		changed := map[string]bool{}
		for _, service := range tt.changed {
			changed[service] = true
		}
		svc := compose.Service{DependsOn: []compose.Dependency{{Service: tt.dependsOn}}}
		if got := e.knowsOldOnes(docker.Container{Service: "front", StartedAt: tt.started}, svc, changed); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
