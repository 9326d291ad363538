// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

// The gap is measured where the ports come to a gateway, and where one gives them back.
func TestProbesWithAGateway(t *testing.T) {
	behind := []docker.Container{{}, {Labels: map[string]string{v1alpha1.LabelGateway: v1alpha1.GatewayBehind}}}
	for _, tt := range []struct {
		name       string
		mode       v1alpha1.GatewayMode
		containers []docker.Container
		begun      *v1alpha1.DowntimeStatus
		want       bool
	}{
		{"no gateway", v1alpha1.GatewayOff, []docker.Container{{}}, nil, false},
		{"one that takes over", v1alpha1.GatewayAuto, []docker.Container{{}}, nil, true},
		{"one that gives the ports back", v1alpha1.GatewayOff, behind, nil, true},
		{"the steps after that", v1alpha1.GatewayOff, nil, &v1alpha1.DowntimeStatus{}, true},
	} {
		s := newRun(func(a *v1alpha1.Application, r *v1alpha1.UpdateRequest) {
			a.Spec.Gateway.Mode, r.Status.Downtime = tt.mode, tt.begun
		})
		if got := s.probes(tt.containers); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}
