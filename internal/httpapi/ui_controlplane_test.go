// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package httpapi

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/auditlog"
	"github.com/fairlead-dev/fairlead/internal/hostaccess"
	"github.com/fairlead-dev/fairlead/internal/tokens"
)

// fakeHost stands for a Docker host: what is tested here is who may ask it.
type fakeHost struct{ lines []hostaccess.Line }

func (h fakeHost) Unfit(dir string) string {
	if strings.HasPrefix(dir, "/opt/") {
		return ""
	}
	return "it is no Git clone"
}

func (h fakeHost) ContainerLog(ctx context.Context, _ *v1alpha1.Application, q hostaccess.LogQuery, to hostaccess.LogReceiver) error {
	if q.Service == "none" {
		return fmt.Errorf("no container: %w", hostaccess.ErrNotFound)
	}
	state := "running"
	if q.Service == "ends" {
		state = "exited"
	}
	if err := to.Begin(hostaccess.Container{ID: "0123456789ab", Name: "web-1", Service: q.Service, State: state}); err != nil {
		return err
	}
	lines := h.lines
	if q.After != nil {
		lines = lines[slices.IndexFunc(lines, func(l hostaccess.Line) bool { return l.Position == *q.After })+1:]
	}
	if err := to.Lines(lines); err != nil || !q.Follow || q.Service == "ends" {
		return err
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (h fakeHost) OpenBackup(context.Context, *v1alpha1.Application, *v1alpha1.Backup) (hostaccess.Archive, error) {
	return fakeArchive{}, nil
}

type fakeArchive struct{}

func (fakeArchive) Close() error { return nil }

func (fakeArchive) WriteTo(w io.Writer) (int64, error) {
	tw := tar.NewWriter(w)
	err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "secret", Size: 3, Mode: 0o600})
	_, err2 := tw.Write([]byte("abc"))
	return 0, errors.Join(err, err2, tw.Close())
}

// fakeSources stands for a Git server; the application "away" has one that does not
// answer.
type fakeSources struct{}

func (fakeSources) Refs(_ context.Context, app *v1alpha1.Application) ([]hostaccess.Ref, error) {
	if app.Name == "away" {
		return nil, errors.New("git.example.com does not answer")
	}
	return []hostaccess.Ref{{Name: "main", Kind: hostaccess.KindBranch, Commit: "abc"}, {Name: "v1.0.0", Kind: hostaccess.KindTag, Commit: "def"}}, nil
}

func TestRefs(t *testing.T) {
	w := newWorld(t, withHost)
	for _, name := range []string{"shop", "away"} {
		w.byRole(t, "POST", "/applications", `{"metadata":{"name":"`+name+`"},"spec":{"compose":{"directory":"/opt/`+name+`"}}}`, map[string]int{"admin": 201})
	}
	w.byRole(t, "GET", "/applications/shop/refs", "", map[string]int{"viewer": 403, "operator": 200, "admin": 200})
	w.byRole(t, "GET", "/applications/none/refs", "", map[string]int{"operator": 404})
	w.byRole(t, "GET", "/applications/away/refs", "", map[string]int{"operator": 502})
	if a := w.do("operator", "GET", "/applications/shop/refs", ""); !strings.Contains(a.body, `{"name":"main","kind":"Branch","commit":"abc"},{"name":"v1.0.0","kind":"Tag","commit":"def"}`) {
		t.Errorf("%s", a.body)
	}
	if a := w.do("operator", "GET", "/applications/away/refs", ""); !strings.Contains(a.body, "does not answer") {
		t.Errorf("%s", a.body)
	}
}

func line(at int64, index int, text string) hostaccess.Line {
	return hostaccess.Line{Position: hostaccess.Position{Container: "0123456789ab", Time: time.Unix(at, 5).UTC(), Index: index}, Stream: "stdout", Text: text}
}

func withHost(o *Options) {
	o.Sources = fakeSources{}
	o.Host = fakeHost{lines: []hostaccess.Line{line(1, 0, "one"), line(1, 1, "<script>two"), line(2, 0, "three")}}
}

// byRole asks as each role and compares the status codes.
func (w *world) byRole(t *testing.T, method, path, body string, want map[string]int) {
	t.Helper()
	for role, code := range want {
		if a := w.do(role, method, path, body); a.code != code {
			t.Errorf("%s %s as %s: %d %s, want %d", method, path, role, a.code, a.body, code)
		} else if code == http.StatusForbidden && !strings.Contains(a.problem(t), "fairlead-") {
			t.Errorf("%s %s as %s: no role is named: %s", method, path, role, a.body)
		}
	}
}

func TestApplicationIsWritten(t *testing.T) {
	w := newWorld(t, nil)
	body := `{"metadata":{"name":"shop"},"spec":{"compose":{"directory":"/opt/shop"}}}`
	w.byRole(t, "POST", "/applications?dryRun=true", body, map[string]int{"viewer": 403, "operator": 403, "updater": 403, "admin": 201})
	if a := w.do("admin", "GET", "/applications/shop", ""); a.code != 404 {
		t.Fatalf("a dry run created it: %d", a.code)
	}
	w.byRole(t, "POST", "/applications", `{"metadata":{"name":"bad"},"spec":{"compose":{"directory":"opt"},"nonsense":1}}`, map[string]int{"admin": 400})
	a := w.do("admin", "POST", "/applications", body)
	if a.code != 201 || a.header.Get("Location") != "/api/v1/namespaces/"+w.namespace+"/applications/shop" {
		t.Fatalf("%d %s", a.code, a.body)
	}
	if lines := auditLines(t, w.auditFile, a.header.Get("Audit-Id"), `"verb":"create"`, `"resource":"applications"`, `"name":"shop"`, `"status":201`); len(lines) != 1 {
		t.Errorf("audit lines %q", lines)
	}
	var app map[string]any
	if err := json.Unmarshal([]byte(a.body), &app); err != nil {
		t.Fatal(err)
	}
	spec := app["spec"].(map[string]any)
	if spec["verify"] == nil && spec["backup"] == nil {
		t.Errorf("the answer has no defaults: %s", a.body)
	}
	// Errors name fields, nothing is changed by a trial, and nobody's change is lost.
	send := func(change func(map[string]any)) string {
		t.Helper()
		change(app)
		data, err := json.Marshal(app)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	wrong := send(func(o map[string]any) {
		o["spec"].(map[string]any)["compose"].(map[string]any)["directory"] = "relative"
	})
	a = w.do("admin", "PUT", "/applications/shop?dryRun=true", wrong)
	if a.code != 422 || !strings.Contains(a.body, `"location":"spec.compose.directory"`) {
		t.Errorf("a wrong field: %d %s", a.code, a.body)
	}
	right := send(func(o map[string]any) {
		o["spec"].(map[string]any)["compose"].(map[string]any)["directory"] = "/opt/shop"
		o["spec"].(map[string]any)["suspend"] = true
		o["status"] = map[string]any{"commit": "forged"}
	})
	w.byRole(t, "PUT", "/applications/shop", right, map[string]int{"viewer": 403, "operator": 403})
	if a = w.do("admin", "PUT", "/applications/shop?dryRun=true", right); a.code != 200 || !strings.Contains(a.body, `"suspend":true`) {
		t.Errorf("a trial: %d %s", a.code, a.body)
	}
	if a = w.do("admin", "PUT", "/applications/shop", right); a.code != 200 || strings.Contains(a.body, "forged") {
		t.Errorf("%d %s", a.code, a.body)
	}
	if a = w.do("admin", "PUT", "/applications/shop", right); a.code != 409 {
		t.Errorf("an old version: %d %s", a.code, a.body)
	}
	delete(app["metadata"].(map[string]any), "resourceVersion")
	if a = w.do("admin", "PUT", "/applications/shop", send(func(map[string]any) {})); a.code != 400 || !strings.Contains(a.body, "resourceVersion") {
		t.Errorf("without a version: %d %s", a.code, a.body)
	}
	w.byRole(t, "PATCH", "/applications/shop", `{"spec":{"suspend":null}}`, map[string]int{"viewer": 403, "operator": 403, "admin": 200})
	if a = w.do("viewer", "GET", "/applications/shop", ""); strings.Contains(a.body, `"suspend":true`) {
		t.Errorf("it is still suspended: %s", a.body)
	}
	// By the name that the format has, too, and in no other method.
	for method, code := range map[string]int{"PATCH": 200, "PUT": 415} {
		r := w.request("admin", method, "/applications/shop", `{"spec":{"retention":{"requests":7}}}`)
		r.Header.Set("Content-Type", "application/merge-patch+json; charset=utf-8")
		if a = w.send(r); a.code != code {
			t.Errorf("%s of a merge patch: %d %s", method, a.code, a.body)
		}
	}
	if a = w.do("viewer", "GET", "/applications/shop", ""); !strings.Contains(a.body, `"requests":7`) {
		t.Errorf("the patch has changed nothing: %s", a.body)
	}
	w.byRole(t, "PATCH", "/applications/shop", `{"spec":{"nonsense":1}}`, map[string]int{"admin": 400})
	w.byRole(t, "DELETE", "/applications/shop?dryRun=true", "", map[string]int{"viewer": 403, "admin": 204})
	w.byRole(t, "DELETE", "/applications/shop", "", map[string]int{"operator": 403, "admin": 204})
	w.byRole(t, "GET", "/applications/shop", "", map[string]int{"admin": 404})
}

func TestTokensOverHTTP(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.AuditLog = auditlog.Log{Kubernetes: apiAudit()} })
	body := `{"name":"ci","role":"viewer","lifetime":"1h"}`
	w.byRole(t, "GET", "/tokens", "", map[string]int{"viewer": 403, "operator": 403, "admin": 200})
	w.byRole(t, "POST", "/tokens", body, map[string]int{"viewer": 403, "operator": 403})
	for body, field := range map[string]string{
		`{"role":"god","lifetime":"1h"}`: "role", `{"role":"viewer","lifetime":"1m"}`: "lives", `{"role":"viewer","lifetime":"soon"}`: "lifetime",
		`{"role":"viewer","lifetime":"1h","name":"No Name"}`: "name",
	} {
		if a := w.do("admin", "POST", "/tokens", body); a.code != 422 || !strings.Contains(a.problem(t), field) {
			t.Errorf("%s: %d %s", body, a.code, a.body)
		}
	}
	// Not by one who has the role in one namespace only.
	if a := w.do("admin", "POST", "/tokens", `{"role":"viewer","lifetime":"1h","everywhere":true}`); a.code != 403 {
		t.Errorf("a token for everywhere: %d %s", a.code, a.body)
	}
	a := w.do("admin", "POST", "/tokens", body)
	var made createdToken
	if err := json.Unmarshal([]byte(a.body), &made); err != nil || a.code != 201 || made.Secret == "" || made.Expires == nil {
		t.Fatalf("%d %s", a.code, a.body)
	}
	if lines := auditLines(t, w.auditFile, a.header.Get("Audit-Id"), `"resource":"tokens"`, `"name":"ci"`, `"status":201`); len(lines) != 1 || strings.Contains(lines[0], made.Secret) {
		t.Errorf("audit lines %q", lines)
	}
	w.byRole(t, "POST", "/tokens", body, map[string]int{"admin": 409})
	if a := w.do("admin", "GET", "/tokens", ""); !strings.Contains(a.body, `"name":"ci"`) || strings.Contains(a.body, made.Secret) {
		t.Errorf("list %s", a.body)
	}
	w.until("the new token", func() bool { return w.do(made.Secret, "GET", "/applications", "").code == 200 })
	w.byRole(t, "DELETE", "/tokens/ci", "", map[string]int{"viewer": 403, "operator": 403})
	w.byRole(t, "DELETE", "/tokens/ci", "", map[string]int{"admin": 204})
	w.byRole(t, "DELETE", "/tokens/ci", "", map[string]int{"admin": 404})
	w.until("the end of a revoked token", func() bool { return w.do(made.Secret, "GET", "/applications", "").code == 401 })
}

func TestAuditIsForAdministrators(t *testing.T) {
	w := newWorld(t, nil)
	w.api.opts.AuditLog = auditlog.Log{HTTP: w.auditFile, Kubernetes: apiAudit()}
	var made v1alpha1.UpdateRequest
	w.must(json.Unmarshal([]byte(w.do("operator", "POST", "/requests", newRequest).body), &made))
	w.until("the name that the server chose", func() bool {
		log, err := os.ReadFile(apiAudit())
		return err == nil && strings.Contains(string(log), fmt.Sprintf(`"fairlead.dev/name":%q`, made.Name))
	})
	w.do("viewer", "POST", "/requests", newRequest)
	w.byRole(t, "GET", "/audit", "", map[string]int{"viewer": 403, "operator": 403, "updater": 403, "admin": 200})
	w.byRole(t, "GET", "//audit", "", map[string]int{"viewer": 403, "operator": 403, "admin": 403}) // of one namespace only
	w.byRole(t, "GET", "/audit?before=yesterday", "", map[string]int{"admin": 400})
	a := w.do("admin", "GET", "/audit?resource=updaterequests&limit=1", "")
	var page struct {
		Entries []auditlog.Entry
		Next    string
	}
	w.must(json.Unmarshal([]byte(a.body), &page))
	if len(page.Entries) != 1 || page.Next == "" || page.Entries[0].Status != 403 || !strings.HasSuffix(page.Entries[0].Who, "token-viewer") || page.Entries[0].Namespace != w.namespace {
		t.Fatalf("%s", a.body)
	}
	// The API server, which is another process here, has a line of its own.
	for len(page.Entries) == 1 && page.Entries[0].Status == 403 && page.Next != "" {
		a = w.do("admin", "GET", "/audit?resource=updaterequests&limit=1&before="+page.Next, "")
		page.Next = ""
		w.must(json.Unmarshal([]byte(a.body), &page))
	}
	if len(page.Entries) != 1 || page.Entries[0].Status != 201 || !strings.HasSuffix(page.Entries[0].Who, "token-operator") {
		t.Errorf("%s", a.body)
	}
	// One whose role holds in all namespaces reads everything, also of whoever was not let in.
	everywhere, secret, err := tokens.Create(t.Context(), w.admin, tokens.Request{Namespace: w.namespace, Role: "admin", Life: time.Hour, Everywhere: true})
	w.must(err)
	t.Cleanup(func() { w.must(tokens.Revoke(context.Background(), w.admin, w.namespace, everywhere.Name)) })
	w.do("wrong", "GET", "/applications", "")
	w.until("all lines", func() bool {
		a := w.do(secret, "GET", "//audit?refused=true", "")
		return a.code == 200 && strings.Contains(a.body, `"verb":"authenticate"`)
	})
}

func TestContainerLog(t *testing.T) {
	w := newWorld(t, withHost)
	all := map[string]int{"viewer": 200, "operator": 200, "admin": 200}
	w.byRole(t, "GET", "/applications/web/log?service=web", "", all)
	w.byRole(t, "GET", "/applications/web/log?service=none", "", map[string]int{"viewer": 404})
	w.byRole(t, "GET", "/applications/web/log", "", map[string]int{"viewer": 400})
	w.byRole(t, "GET", "/applications/nobody/log?service=web", "", map[string]int{"viewer": 404})
	if a := w.do(w.stranger(), "GET", "/applications/web/log?service=web", ""); a.code != 403 {
		t.Errorf("a stranger: %d", a.code)
	}
	if a := w.do("viewer", "GET", "/applications/web/log?service=web&timestamps=true", ""); a.body != "1970-01-01T00:00:01.000000005Z one\n1970-01-01T00:00:01.000000005Z <script>two\n1970-01-01T00:00:02.000000005Z three\n" {
		t.Errorf("%q", a.body)
	}
	stream := w.follow("viewer", "/applications/web/log/events?service=web", "")
	if e := stream.want(t, eventContainer); !strings.Contains(e.Data, `"name":"web-1"`) {
		t.Errorf("container %s", e.Data)
	}
	stream.want(t, eventLine)
	seen := stream.want(t, eventLine).LastEventID
	stream.close()
	// Exactly after the second of two lines of the same time.
	again := w.follow("viewer", "/applications/web/log/events?service=web", seen)
	again.want(t, eventContainer)
	if e := again.want(t, eventLine); !strings.Contains(e.Data, `"text":"three"`) || !strings.Contains(e.Data, `"stream":"stdout"`) {
		t.Errorf("after the resumption: %s", e.Data)
	}
	again.close()
	over := w.follow("viewer", "/applications/web/log/events?service=ends", seen)
	over.want(t, eventContainer)
	over.want(t, eventLine)
	ended := over.want(t, eventEnd).LastEventID
	over.end(t)
	// Who has seen the end need not come back.
	if e := w.follow("viewer", "/applications/web/log/events?service=ends", ended); e.code != http.StatusNoContent {
		t.Errorf("after the end: %d", e.code)
	}
	if bad := w.follow("viewer", "/applications/web/log/events?service=web", "12"); bad.code != 400 {
		t.Errorf("a wrong Last-Event-ID: %d", bad.code)
	}
}

func TestDownloadOfABackup(t *testing.T) {
	w := newWorld(t, withHost)
	b := &v1alpha1.Backup{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "web-1"}}
	b.Spec.ApplicationRef.Name, b.Spec.ID = "web", "backup_20260304_050607"
	w.must(w.admin.Create(t.Context(), b))
	w.byRole(t, "GET", "/backups/web-1/download", "", map[string]int{"viewer": 403, "operator": 403, "updater": 403})
	w.byRole(t, "GET", "/backups/none/download", "", map[string]int{"admin": 404})
	for role, status := range map[string]int{"operator": 403, "admin": 404} {
		name := "web-1"
		if role == "admin" {
			name = "none"
		}
		a := w.do(role, "GET", "/backups/"+name+"/download", "")
		if lines := auditLines(t, w.auditFile, a.header.Get("Audit-Id"), `"verb":"get"`, `"resource":"backups/download"`, `"reason":`, fmt.Sprintf(`"status":%d`, status)); len(lines) != 1 {
			t.Errorf("refused to the %s: audit lines %q", role, lines)
		}
	}
	a := w.do("admin", "GET", "/backups/web-1/download", "")
	if a.code != 200 || a.header.Get("Content-Type") != "application/x-tar" || !strings.Contains(a.header.Get("Content-Disposition"), `"web-1.tar"`) {
		t.Fatalf("%d %v", a.code, a.header)
	}
	if h, err := tar.NewReader(bytes.NewReader([]byte(a.body))).Next(); err != nil || h.Name != "secret" {
		t.Errorf("the archive has %+v, %v", h, err)
	}
	if lines := auditLines(t, w.auditFile, a.header.Get("Audit-Id"), `"verb":"get"`, `"resource":"backups/download"`, `"name":"web-1"`, `"status":200`); len(lines) != 1 {
		t.Errorf("audit lines %q", lines)
	}
}

func TestCandidates(t *testing.T) {
	w := newWorld(t, withHost)
	w.byRole(t, "GET", "/candidates", "", map[string]int{"admin": 403}) // hosts need a role in all namespaces
	w.byRole(t, "POST", "/candidates", `{"directory":"/opt/shop"}`, map[string]int{"viewer": 403, "operator": 403, "admin": 200})
	for body, want := range map[string]string{
		`{"directory":"/opt/shop/"}`: `"directory":"/opt/shop","fit":true`, `{"directory":"/etc"}`: `"fit":false,"message":"it is no Git clone"`,
		`{"directory":"` + w.deploy + `"}`: `"application":"` + w.namespace + `/web"`,
	} {
		if a := w.do("admin", "POST", "/candidates", body); a.code != 200 || !strings.Contains(a.body, want) {
			t.Errorf("%s: %d %s", body, a.code, a.body)
		}
	}
	if a := w.do("admin", "POST", "/candidates", `{"directory":"opt"}`); a.code != 422 {
		t.Errorf("a relative path: %d %s", a.code, a.body)
	}
}

func TestStatistics(t *testing.T) {
	w := newWorld(t, nil)
	start := metav1.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)
	for name, seconds := range map[string]int{"a": 60, "b": 30} {
		w.create(name, func(ur *v1alpha1.UpdateRequest) {
			from := metav1.NewTime(start.Add(time.Duration(seconds) * time.Minute))
			to := metav1.NewTime(from.Add(time.Duration(seconds) * time.Second))
			ur.Status.Phase, ur.Status.StartedAt, ur.Status.FinishedAt = v1alpha1.PhaseSucceeded, &from, &to
		})
	}
	w.byRole(t, "GET", "/applications/none/statistics", "", map[string]int{"viewer": 404})
	a := w.do("viewer", "GET", "/applications/web/statistics", "")
	var got statistics
	w.must(json.Unmarshal([]byte(a.body), &got))
	if len(got.Updates) != 2 || got.Updates[0].Request != "b" || got.Updates[0].Seconds != 30 || got.Updates[1].Seconds != 60 || got.Disk != nil {
		t.Errorf("%s", a.body)
	}
}

func TestWhoMay(t *testing.T) {
	w := newWorld(t, nil)
	for role, want := range map[string]map[string]bool{
		"viewer": {"applications/log get": true, "updaterequests create": false, "backups/download get": false, "auditlogs list": false, "serviceaccounts create": false,
			"dockerhosts list": false},
		"operator": {"applications/log get": true, "updaterequests create": true, "applications update": false, "backups/download get": false},
		"admin":    {"applications update": true, "backups/download get": true, "auditlogs list": true, "serviceaccounts create": true},
	} {
		var who identityBody
		w.must(json.Unmarshal([]byte(w.do(role, "GET", "//whoami?namespace="+w.namespace, "").body), &who))
		for what, may := range want {
			resource, verb, _ := strings.Cut(what, " ")
			if slices.Contains(who.May[resource], verb) != may {
				t.Errorf("%s: %s is %t, want %t (%v)", role, what, !may, may, who.May)
			}
		}
	}
}

// A restore that failed is asked for again as a restore, although it has a commit.
func TestRetryOfARestore(t *testing.T) {
	w := newWorld(t, nil)
	ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "back"}}
	ur.Spec.ApplicationRef.Name, ur.Spec.RestoreFrom = "web", &v1alpha1.LocalReference{Name: "web-1"}
	w.must(w.admin.Create(t.Context(), ur))
	w.set(ur, func(s *v1alpha1.UpdateRequestStatus) {
		s.Phase, s.Commit = v1alpha1.PhaseFailed, strings.Repeat("a", 40)
	})
	if a := w.do("operator", "POST", "/requests/back/retry", ""); a.code != 201 || !strings.Contains(a.body, `"restoreFrom":{"name":"web-1"}`) || strings.Contains(a.body, `"commit":"aaa`) {
		t.Errorf("%d %s", a.code, a.body)
	}
}
