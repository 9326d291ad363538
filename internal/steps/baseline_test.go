// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

func TestStranger(t *testing.T) {
	known := docker.Container{ID: "aaaaaaaaaaaaaaaa", State: docker.StateRunning, Labels: map[string]string{v1alpha1.LabelRevision: "r1"}}
	stopped := known
	stopped.State = docker.StateExited
	unknown := docker.Container{ID: "bbbbbbbbbbbbbbbb", State: docker.StateRunning}
	current := []v1alpha1.Release{{Status: v1alpha1.ReleaseStatus{State: v1alpha1.ReleaseCurrent}}}
	for name, c := range map[string]struct {
		releases   []v1alpha1.Release
		containers []docker.Container
		want       bool
	}{
		"nothing ran":           {},
		"as recorded":           {current, []docker.Container{known}, false},
		"started by hand":       {current, []docker.Container{known, unknown}, true},
		"the records were lost": {nil, []docker.Container{known}, true},
		"lost, and all stopped": {nil, []docker.Container{stopped}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := stranger(c.releases, c.containers); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// A record of what ran whose maker was killed before it became the current one
// is found, and nothing else is taken for one.
func TestUnsettled(t *testing.T) {
	of := func(name, request string, state string) v1alpha1.Release {
		r := v1alpha1.Release{Spec: v1alpha1.ReleaseSpec{Request: request}, Status: v1alpha1.ReleaseStatus{State: state}}
		r.Name = name
		return r
	}
	made, previous, current := of("made", "request", ""), of("previous", "", v1alpha1.ReleasePrevious), of("current", "", v1alpha1.ReleaseCurrent)
	if got := unsettled([]v1alpha1.Release{made, current, previous}); got != nil {
		t.Errorf("%s is taken for a record that was not finished", got.Name)
	}
	if got := unsettled([]v1alpha1.Release{of("cut", "", ""), current, previous}); got == nil || got.Name != "cut" {
		t.Errorf("got %v, want the record that was cut off", got)
	}
}
