// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
)

// The build does not look again for what the preflight has found nowhere, unless an attempt of it may have built that.
func TestFoundNone(t *testing.T) {
	for _, tt := range []struct {
		name    string
		step    v1alpha1.StepName
		attempt int32
		status  v1alpha1.ServiceUpdate
		want    bool
	}{
		{"found nowhere", v1alpha1.StepBuild, 1, v1alpha1.ServiceUpdate{Name: "web", BuildKey: "k"}, true},
		{"the preflight itself", v1alpha1.StepPreflight, 1, v1alpha1.ServiceUpdate{Name: "web", BuildKey: "k"}, false},
		{"another attempt", v1alpha1.StepBuild, 2, v1alpha1.ServiceUpdate{Name: "web", BuildKey: "k"}, false},
		{"an image that has gone since", v1alpha1.StepBuild, 1, v1alpha1.ServiceUpdate{Name: "web", BuildKey: "k", ImageID: "sha256:1"}, false},
		{"other content", v1alpha1.StepBuild, 1, v1alpha1.ServiceUpdate{Name: "web", BuildKey: "l"}, false},
		{"not known to the preflight", v1alpha1.StepBuild, 1, v1alpha1.ServiceUpdate{Name: "db", BuildKey: "k"}, false},
	} {
		s := inAttempt(tt.step, tt.attempt)
		s.Request.Status.Services = []v1alpha1.ServiceUpdate{tt.status}
		if got := s.foundNone(wanted{Service: compose.Service{Name: "web"}, buildKey: "k"}); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
