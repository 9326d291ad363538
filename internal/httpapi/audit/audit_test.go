// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// Whoever has no token can neither fill the disk nor push older lines out.
func TestRefusedAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit-http.log")
	l := Open(zap.NewNop(), path)
	l.Write(Event{ID: "first", Who: "ann", From: "192.0.2.1", Verb: "create", Resource: "updaterequests", Namespace: "prod", Name: "r", Status: 201})
	long := "/api/v1/" + strings.Repeat("é", 30_000)
	for i := range 2000 {
		l.Refuse(Event{ID: fmt.Sprint("refused-", i), From: "192.0.2.7", Verb: "authenticate", Method: "GET", Path: long, Status: 401, Reason: "no token"})
	}
	l.Refuse(Event{ID: "another", From: "192.0.2.8", Verb: "authenticate", Path: "/api/v1/whoami", Status: 401, Reason: "no token"})
	l.Write(Event{ID: "last", Who: "ann", From: "192.0.2.1", Verb: "delete", Name: long, Path: long, Reason: long, Status: 404})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 100_000 {
		t.Errorf("the file has %d bytes", len(data))
	}
	for _, want := range []string{`"auditID":"first"`, `"auditID":"refused-0"`, `"auditID":"another"`, `"auditID":"last"`, `"more":1989`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("there is no line with %s", want)
		}
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("files: %v, %v", files, err)
	}
}

func TestCut(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "short": "short", strings.Repeat("a", 256): strings.Repeat("a", 256),
		strings.Repeat("a", 257):         strings.Repeat("a", 256) + "… (257 bytes)",
		"a" + strings.Repeat("é", 1<<10): "a" + strings.Repeat("é", 127) + "… (2049 bytes)",
	} {
		if got := Cut(text); got != want {
			t.Errorf("%q is cut to %q", text, got)
		}
	}
}
