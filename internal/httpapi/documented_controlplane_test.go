// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"

	"github.com/fairlead-dev/fairlead/internal/httpapi/audit"
)

// described are the operations of the document by method and path.
var described = sync.OnceValues(func() (map[string]describedOperation, error) {
	var doc struct {
		Paths map[string]map[string]describedOperation
	}
	all := map[string]describedOperation{}
	text, err := New(Options{Audit: audit.Open(zap.NewNop(), "")}).document.bytes()
	if err == nil {
		err = json.Unmarshal(text, &doc)
	}
	for path, methods := range doc.Paths {
		for method, operation := range methods {
			all[strings.ToUpper(method)+" "+path] = operation
		}
	}
	return all, err
})

type describedOperation struct {
	OperationID string
	Responses   map[string]struct{ Content map[string]any }
}

// documented fails where the answer to an operation is none that the document has for it.
func (w *world) documented(r *http.Request, a answer) {
	w.Helper()
	operations, err := described()
	w.must(err)
	segments := strings.Split(r.URL.Path, "/")
	for key, operation := range operations {
		method, path, _ := strings.Cut(key, " ")
		if method != r.Method || !fits(strings.Split(path, "/"), segments) {
			continue
		}
		response, ok := operation.Responses[strconv.Itoa(a.code)]
		kind, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
		if _, known := response.Content[kind]; !ok || !known && a.body != "" {
			w.Errorf("%s: the document does not have the answer %d of %q", key, a.code, kind)
		}
	}
}

// fits reports whether a path is one of a template.
func fits(template, path []string) bool {
	if len(template) != len(path) {
		return false
	}
	for i, segment := range template {
		if segment != path[i] && !strings.HasPrefix(segment, "{") {
			return false
		}
	}
	return true
}

// A viewer who tries each write that there is, whatever comes to be one, is refused and
// written down.
func TestViewerWritesNothing(t *testing.T) {
	w := newWorld(t, withHost)
	const application = `{"metadata":{"name":"web","resourceVersion":"1"},"spec":{"compose":{"directory":"/opt/web"}}}`
	bodies := map[string]string{
		"createRequest": newRequest, "plan": newRequest, "createApplication": application, "replaceApplication": application,
		"patchApplication": `{"spec":{"suspend":true}}`, "createToken": `{"name":"mine","role":"admin","lifetime":"24h"}`,
		"checkCandidate": `{"directory":"/opt/web"}`,
	}
	w.create("web", nil) // as the application, and a token below, so that each path leads to something
	w.token("web", "viewer")
	operations, err := described()
	w.must(err)
	tried := 0
	for key, operation := range operations {
		method, path, _ := strings.Cut(key, " ")
		if !writes(method) {
			continue
		}
		tried++
		path = strings.NewReplacer("/api/v1", "/", "{namespace}", w.namespace, "{name}", "web").Replace(path)
		a := w.do("viewer", method, path, bodies[operation.OperationID])
		if a.code != http.StatusForbidden {
			t.Errorf("%s, %s: %d %s", operation.OperationID, key, a.code, a.body)
		}
		lines := auditLines(t, w.auditFile, a.header.Get("Audit-Id"), "fairlead-token-viewer", `"status":403`, `"resource":`, `"reason":`)
		if len(lines) != 1 {
			t.Errorf("%s: %d audit lines: %q", key, len(lines), lines)
		}
	}
	if tried < len(bodies) {
		t.Errorf("only %d operations were tried", tried)
	}
}
