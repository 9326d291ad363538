// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"strings"

	"github.com/fairlead-dev/fairlead/test/apps"
)

// Manifest is an Application for a test application, with times and limits that
// suit a test. extra are fields of the spec, as YAML with an indentation of two
// spaces; one of them replaces the field of that name.
func Manifest(name string, r *apps.Repo, extra string) string {
	fields := []struct{ name, value string }{
		{"compose", fmt.Sprintf("{directory: %q}", r.Dir)},
		{"rollout", "{healthTimeout: 60s, minHealthy: 500ms, stopTimeout: 3s, soak: 1s, services: [{name: web, healthTimeout: 8s}]}"},
		{"verify", "{attempts: 10, interval: 500ms}"},
		{"preflight", "{minFreeDisk: 256Mi, minFreeMemory: 64Mi}"},
	}
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: fairlead.dev/v1alpha1\nkind: Application\nmetadata: {name: %s}\nspec:\n", name)
	for _, f := range fields {
		if !strings.Contains("\n"+extra, "\n  "+f.name+":") {
			fmt.Fprintf(&b, "  %s: %s\n", f.name, f.value)
		}
	}
	b.WriteString(extra)
	return b.String()
}
