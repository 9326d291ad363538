// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	"github.com/pb33f/libopenapi-validator/schema_validation"
	"go.uber.org/zap"

	"github.com/fairlead-dev/fairlead/config"
	"github.com/fairlead-dev/fairlead/internal/httpapi/audit"
)

var update = flag.Bool("update", false, "write the golden files anew")

func makeDocument(t *testing.T) []byte {
	t.Helper()
	definitions, err := config.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	a := New(Options{Version: "test", Definitions: definitions, Audit: audit.Open(zap.NewNop(), "")})
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest(http.MethodGet, documentPath, nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.Bytes()
}

func TestDocumentIsOpenAPI31(t *testing.T) {
	document, err := libopenapi.NewDocument(makeDocument(t))
	if err != nil {
		t.Fatal(err)
	}
	if version := document.GetVersion(); !strings.HasPrefix(version, "3.1") {
		t.Errorf("version %s", version)
	}
	if ok, errs := schema_validation.ValidateOpenAPIDocument(document); !ok {
		for _, e := range errs {
			t.Error(e)
			for _, s := range e.SchemaValidationErrors {
				t.Error("  ", s.Location, s.Reason)
			}
		}
	}
	// Every reference leads somewhere.
	if _, err := document.BuildV3Model(); err != nil {
		t.Error(err)
	}
}

// operations of the API: what is not in the document does not exist for its
// readers.
var wantOperations = []string{
	"GET /api/v1/dockerhosts", "GET /api/v1/dockerhosts/{name}", "GET /api/v1/whoami", "GET /api/v1/namespaces",
	"GET /api/v1/namespaces/{namespace}/applications", "GET /api/v1/namespaces/{namespace}/applications/{name}",
	"GET /api/v1/namespaces/{namespace}/applications/{name}/version", "POST /api/v1/namespaces/{namespace}/applications/{name}/check",
	"GET /api/v1/namespaces/{namespace}/backups", "GET /api/v1/namespaces/{namespace}/backups/{name}",
	"GET /api/v1/namespaces/{namespace}/events", "POST /api/v1/namespaces/{namespace}/plan",
	"GET /api/v1/namespaces/{namespace}/releases", "GET /api/v1/namespaces/{namespace}/releases/{name}",
	"GET /api/v1/namespaces/{namespace}/requests", "POST /api/v1/namespaces/{namespace}/requests",
	"GET /api/v1/namespaces/{namespace}/requests/{name}", "DELETE /api/v1/namespaces/{namespace}/requests/{name}",
	"POST /api/v1/namespaces/{namespace}/requests/{name}/cancel", "POST /api/v1/namespaces/{namespace}/requests/{name}/retry",
	"GET /api/v1/namespaces/{namespace}/requests/{name}/events", "GET /api/v1/namespaces/{namespace}/requests/{name}/log",
	"GET /api/v1/namespaces/{namespace}/requests/{name}/log/events",
	"POST /api/v1/namespaces/{namespace}/applications", "PUT /api/v1/namespaces/{namespace}/applications/{name}",
	"PATCH /api/v1/namespaces/{namespace}/applications/{name}", "DELETE /api/v1/namespaces/{namespace}/applications/{name}",
	"GET /api/v1/namespaces/{namespace}/applications/{name}/statistics", "GET /api/v1/namespaces/{namespace}/applications/{name}/refs",
	"GET /api/v1/namespaces/{namespace}/summary", "GET /api/v1/namespaces/{namespace}/summary/events",
	"GET /api/v1/namespaces/{namespace}/applications/{name}/log", "GET /api/v1/namespaces/{namespace}/applications/{name}/log/events",
	"GET /api/v1/namespaces/{namespace}/backups/{name}/download",
	"GET /api/v1/namespaces/{namespace}/candidates", "POST /api/v1/namespaces/{namespace}/candidates",
	"GET /api/v1/namespaces/{namespace}/tokens", "POST /api/v1/namespaces/{namespace}/tokens",
	"DELETE /api/v1/namespaces/{namespace}/tokens/{name}",
	"GET /api/v1/namespaces/{namespace}/audit", "GET /api/v1/audit",
}

func TestDocumentNamesEveryOperation(t *testing.T) {
	var doc struct {
		Paths      map[string]map[string]json.RawMessage
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal(makeDocument(t), &doc); err != nil {
		t.Fatal(err)
	}
	var got []string
	for path, methods := range doc.Paths {
		for method := range methods {
			got = append(got, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(got)
	want := slices.Sorted(slices.Values(wantOperations))
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, kind := range []string{"Application", "UpdateRequest", "Release", "Backup", "DockerHost"} {
		if len(doc.Components.Schemas[kind]) < 500 || doc.Components.Schemas[kind+"List"] == nil {
			t.Errorf("no schema of %s or its list", kind)
		}
	}
}

// The golden has the document without the schemas of the objects, which are those
// of config/crd/bases.
func TestDocumentGolden(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal(makeDocument(t), &doc); err != nil {
		t.Fatal(err)
	}
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	for _, kind := range []string{"Application", "UpdateRequest", "Release", "Backup", "DockerHost"} {
		delete(schemas, kind)
	}
	got, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const golden = "testdata/openapi.golden.json"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the document has changed; look at it, and run: go test ./internal/httpapi -run Golden -update && git diff")
	}
}

func TestNotReadyIsAProblem(t *testing.T) {
	w := httptest.NewRecorder()
	NotReady(w, "starting")
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if w.Code != 503 || p.Status != 503 || w.Header().Get("Content-Type") != "application/problem+json" || !strings.Contains(p.Detail, "starting") ||
		p.Type != "urn:fairlead:problem:ServiceUnavailable" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}
