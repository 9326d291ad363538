// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// TestAgent has one daemon that only serves the API, as a cluster would, and
// another one that works against it.
func TestAgent(t *testing.T) {
	t.Parallel()
	cluster := harness.Start(t, harness.Options{Args: []string{"--controllers=false"}})
	agent := harness.Start(t, harness.Options{Args: []string{"--kubeconfig", cluster.Kubeconfig}})
	s := siteOf(t, agent, apps.Hello)
	s.apply("")
	r := s.succeeds("")
	s.wantVersion("1")
	s.wantRelease(r, s.deployed())

	good := s.publish("Two", map[string]string{"version.txt": "2\n"})
	s.succeeds(good)
	s.wantVersion("2")

	bad := s.ends(s.publish("Never healthy", map[string]string{"version.txt": "3\n", "behaviour.json": apps.Behaviour{Unhealthy: true}.JSON()}), v1alpha1.PhaseRolledBack)
	wantCondition(t, bad, v1alpha1.ConditionSucceeded, "False/HealthCheckFailed")
	s.wantVersion("2")
	s.wantDeployed(good)
}
