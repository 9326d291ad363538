// SPDX-License-Identifier: Apache-2.0

package app

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// The environment of the updater decides where the daemon listens and keeps its
// state, unless somebody gave the flags for that.
func TestUpdaterSetsTheFlags(t *testing.T) {
	// It stands in for an engine, which is only asked whether it is there, and whether
	// it has a container that this test runs in.
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", docker.MinAPIVersion)
		if !strings.HasSuffix(r.URL.Path, "/_ping") {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(engine.Close)
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "git", "init", "--quiet", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "docker-compose.yml"), []byte("services: {web: {image: web}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("COMPOSE_PROFILES=monitoring\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FORCE_ENABLE_AGENT", "true")
	t.Setenv("WORKSPACE", dir)
	t.Setenv("UPDATER_TOKEN", "t")
	t.Setenv("PORT", "9001")
	t.Setenv("REPO_BRANCH", "production")
	for name, tt := range map[string]struct {
		given map[string]bool
		want  serveFlags
	}{
		"the environment alone": {nil, serveFlags{listen: "0.0.0.0:9001", insecureHTTP: true, dataDir: filepath.Join(dir, ".update", "fairlead")}},
		"flags":                 {map[string]bool{"listen": true, "data-dir": true}, serveFlags{listen: "127.0.0.1:1", dataDir: "/data"}},
	} {
		f := serveFlags{dockerHost: "tcp://" + engine.Listener.Addr().String(), listen: "127.0.0.1:1", dataDir: "/data",
			given: func(flag string) bool { return tt.given[flag] }}
		u, err := newUpdater(t.Context(), &f, true)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if f.listen != tt.want.listen || f.insecureHTTP != tt.want.insecureHTTP || f.dataDir != tt.want.dataDir {
			t.Errorf("%s: it listens on %s (in the clear: %t), and its data is in %s; want %+v", name, f.listen, f.insecureHTTP, f.dataDir, tt.want)
		}
		if profiles := u.plan.Spec.Compose.Profiles; !slices.Equal(profiles, []string{"monitoring", "agent"}) {
			t.Errorf("%s: it has the profiles %v", name, profiles)
		}
		if ref := u.plan.Spec.Source.Ref; ref != "production" {
			t.Errorf("%s: it follows %q", name, ref)
		}
	}
}
