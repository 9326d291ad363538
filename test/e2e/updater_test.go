// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// SsalgTen's operators put Fairlead where their updater stood and change nothing
// else.
func TestUpdaterUpdates(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, nil)
	m.want(m.call(http.MethodGet, "/health", ""), 200, "application/json", `{"ok":true}`)
	m.wantVersion("1")
	before := m.containers()
	sha := m.publish("Second version", map[string]string{"backend/version.txt": "2\n"})

	id := m.start(`{"forceAgent":false}`)
	log := m.ended(id)
	m.wantCode(log, 0)
	for _, part := range []string{"Second version", sha[:7], "log complete"} {
		if !strings.Contains(log, part) {
			t.Errorf("the log does not tell of %q:\n%s", part, log)
		}
	}
	m.wantVersion("2")
	after := m.containers()
	if after["backend"][0].ID == before["backend"][0].ID {
		t.Error("the backend was not replaced")
	}
	for _, service := range []string{"database", "updater", "frontend"} {
		if len(after[service]) != 1 || after[service][0].ID != before[service][0].ID || after[service][0].StartedAt != before[service][0].StartedAt {
			t.Errorf("%s was touched: %v became %v", service, identities(before[service]), identities(after[service]))
		}
	}
	if got := m.git("rev-parse", "HEAD"); got != sha {
		t.Errorf("the deployment directory is at %s, want %s", got, sha)
	}
}
