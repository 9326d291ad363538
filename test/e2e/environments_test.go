// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// Production and staging lie in one directory, with an environment file each.
func TestEnvironmentsInOneDirectory(t *testing.T) {
	t.Parallel()
	s := newSite(t, apps.Hello)
	stagingPort, err := apps.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	staging := *s.repo
	staging.Project, staging.Port = s.repo.Project+"-staging", stagingPort
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := staging.Down(ctx); err != nil {
			t.Error(err)
		}
	})
	second := *s
	second.repo, second.name = &staging, staging.Project
	t.Cleanup(second.forget)
	for name, r := range map[string]*apps.Repo{"production": s.repo, "staging": &staging} {
		env := fmt.Sprintf("COMPOSE_PROJECT_NAME=%s\nHELLO_PORT=%d\nTEST_LABEL=e2e\n", r.Project, r.Port)
		if err := os.WriteFile(filepath.Join(r.Dir, ".env."+name), []byte(env), 0o600); err != nil {
			t.Fatal(err)
		}
		out, errOut, code := s.Fairlead("adopt", r.Project, "--directory", r.Dir, "--env-file", ".env."+name)
		if code != 0 {
			t.Fatalf("adopt: %s%s", out, errOut)
		}
		s.Apply(fmt.Sprintf("apiVersion: fairlead.dev/v1alpha1\nkind: Application\nmetadata: {name: %s}\nspec:\n"+
			"  compose: {directory: %q, requestVariables: [HELLO_PORT]}\n"+
			"  rollout: {minHealthy: 500ms, soak: 1s}\n  preflight: {minFreeDisk: 256Mi, minFreeMemory: 64Mi}\n", r.Project, r.Dir))
	}
	if _, errOut, code := s.Fairlead("adopt", "third", "--directory", s.repo.Dir, "--env-file", ".env.staging"); code != 2 || !strings.Contains(errOut, staging.Project) {
		t.Errorf("a third one of the same: exit %d: %s", code, errOut)
	}
	first := s.publish("One", map[string]string{"version.txt": "one\n"})
	s.succeeds(first)
	second.succeeds(first)
	next := s.publish("Two", map[string]string{"version.txt": "two\n"})
	before := s.containers()
	second.succeeds(next)
	second.wantVersion("two")
	s.wantVersion("one")
	s.wantUntouched(before)
	// For one request alone: another port.
	third, err := apps.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(fmt.Sprintf("apiVersion: fairlead.dev/v1alpha1\nkind: UpdateRequest\nmetadata: {name: %s-refused}\nspec:\n"+
		"  applicationRef: {name: %s}\n  commit: %q\n  variables: {OTHER: x}\n", s.name, s.name, next))
	wantContains(t, "the message", s.WantEnd(s.name+"-refused", "Failed").Status.Message, "OTHER", "compose.requestVariables")
	s.Apply(fmt.Sprintf("apiVersion: fairlead.dev/v1alpha1\nkind: UpdateRequest\nmetadata: {name: %s-port}\nspec:\n"+
		"  applicationRef: {name: %s}\n  commit: %q\n  variables: {HELLO_PORT: %q}\n", s.name, s.name, next, strconv.Itoa(third)))
	s.WantEnd(s.name+"-port", "Succeeded")
	if got, err := harness.Get(t.Context(), fmt.Sprintf("http://127.0.0.1:%d/version", third)); err != nil || got != "two" {
		t.Errorf("at the port of the request: %q, %v", got, err)
	}
	second.wantVersion("two")
}
