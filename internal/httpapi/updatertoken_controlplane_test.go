// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package httpapi

import (
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/identity"
	"github.com/fairlead-dev/fairlead/internal/tokens"
)

// UPDATER_TOKEN is an operator of one namespace: what it may there, it may nowhere
// else, and what an operator may not, it may nowhere. Each write that is refused is
// written down under its name.
func TestWhatTheUpdaterTokenMay(t *testing.T) {
	w := newWorld(t, withHost)
	other := env.Namespace(t, "other")
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: "web"}}
	app.Spec.Compose.Directory = t.TempDir()
	w.must(w.admin.Create(t.Context(), app))
	theirs := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: "theirs"}}
	theirs.Spec.ApplicationRef.Name = "web"
	w.must(w.admin.Create(t.Context(), theirs))
	b := &v1alpha1.Backup{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "web-1"}}
	b.Spec.ApplicationRef.Name, b.Spec.ID = "web", "backup_20260304_050607"
	w.must(w.admin.Create(t.Context(), b))
	_, _, err := tokens.Create(t.Context(), w.admin, tokens.Request{Namespace: w.namespace, Name: "somebody", Role: "viewer", Life: time.Hour})
	w.must(err)
	w.create("ours", nil)

	elsewhere := "//namespaces/" + other
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/applications/web", "", 200},
		{"GET", "/backups/web-1", "", 200},
		{"POST", "/requests", newRequest, 201},
		{"POST", "/requests/ours/cancel", "", 202},

		{"GET", "/backups/web-1/download", "", 403},
		{"GET", "/tokens", "", 403},
		{"GET", "/audit", "", 403},
		{"POST", "/tokens", `{"name":"mine","role":"admin","lifetime":"24h"}`, 403},
		{"DELETE", "/tokens/somebody", "", 403},
		{"POST", "/applications", `{"metadata":{"name":"mine"},"spec":{"compose":{"directory":"/opt/mine"}}}`, 403},
		{"PUT", "/applications/web", `{"metadata":{"name":"web","resourceVersion":"1"},"spec":{"compose":{"directory":"/"}}}`, 403},
		{"DELETE", "/applications/web", "", 403},

		{"GET", elsewhere + "/applications", "", 403},
		{"GET", elsewhere + "/applications/web", "", 403},
		{"GET", elsewhere + "/applications/web/version", "", 403},
		{"GET", elsewhere + "/requests/theirs", "", 403},
		{"GET", elsewhere + "/requests/theirs/log", "", 403},
		{"GET", elsewhere + "/events", "", 403},
		{"GET", elsewhere + "/releases", "", 403},
		{"GET", elsewhere + "/backups", "", 403},
		{"POST", elsewhere + "/requests", newRequest, 403},
		{"POST", elsewhere + "/plan?wait=10ms", newRequest, 403},
		{"POST", elsewhere + "/requests/theirs/cancel", "", 403},
		{"POST", elsewhere + "/requests/theirs/retry", "", 403},
		{"DELETE", elsewhere + "/requests/theirs", "", 403},
		{"GET", "//dockerhosts", "", 403},
	} {
		a := w.do("updater", c.method, c.path, c.body)
		if a.code != c.want {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, a.code, a.body, c.want)
			continue
		}
		if c.want == http.StatusForbidden {
			a.problem(t)
		}
		if c.method == http.MethodGet {
			continue
		}
		if lines := auditLines(t, w.auditFile, a.header.Get("Audit-Id"), identity.UpdaterName); len(lines) != 1 {
			t.Errorf("%s %s: %d audit lines: %q", c.method, c.path, len(lines), lines)
		}
	}
	if a := w.do("admin", "GET", elsewhere+"/requests", ""); strings.Count(a.body, `"uid"`) > 1 {
		t.Errorf("there are requests in the other namespace that nobody may have made: %s", a.body)
	}
	if a := w.do("admin", "GET", elsewhere+"/requests/theirs", ""); strings.Contains(a.body, `"cancel":true`) {
		t.Errorf("the other namespace's request was changed: %s", a.body)
	}
}
