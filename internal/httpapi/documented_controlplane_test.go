// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"

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
	Responses map[string]struct{ Content map[string]any }
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
