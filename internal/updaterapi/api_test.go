// SPDX-License-Identifier: Apache-2.0

package updaterapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/httpapi/audit"
	"github.com/fairlead-dev/fairlead/internal/httpapi/guard"
	"github.com/fairlead-dev/fairlead/internal/identity"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

const token = "a-long-random-token"

// bench is the API on a fake of the API of objects.
type bench struct {
	api   *api
	t     *testing.T
	objs  client.WithWatch
	dir   string
	logs  string
	now   time.Time
	url   string
	audit []audit.Event // of what was wanted, by one client at a time
	// creating is called, if set, when an object is made.
	creating func(context.Context)
	// watching gets a word for each watch that has begun: what happens before is
	// lost, as the fake API keeps no history.
	watching chan struct{}
}

func newBench(t *testing.T) *bench {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, dir: t.TempDir(), now: time.UnixMilli(1_764_000_000_000), watching: make(chan struct{}, 64)}
	b.logs = updatelog.Dir(b.dir)
	if err := os.MkdirAll(b.logs, 0o700); err != nil {
		t.Fatal(err)
	}
	b.objs = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.UpdateRequest{}).
		WithInterceptorFuncs(interceptor.Funcs{Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if b.creating != nil {
				b.creating(ctx)
			}
			return c.Create(ctx, o, opts...)
		}, Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
			w, err := c.Watch(ctx, list, opts...)
			select {
			case b.watching <- struct{}{}:
			default: // nobody asks any more
			}
			return w, err
		}}).Build()
	handler := Handler(Options{
		Client: func() Client { return b.objs }, Namespace: "default", Application: func() string { return "shop" },
		Directory: b.dir, LogDir: b.logs, Token: token, MaxBody: 1 << 20,
		Guard: guard.New(guard.Options{Now: func() time.Time { return b.now }}), Audit: b, Now: func() time.Time { return b.now }, Log: logr.Discard(),
	})
	var ok bool
	if b.api, ok = handler.(*api); !ok {
		t.Fatalf("the handler is %T", handler)
	}
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	b.url = s.URL
	return b
}

// Write implements Audit.
func (b *bench) Write(e audit.Event) { b.audit = append(b.audit, e) }

// Refuse implements Audit.
func (b *bench) Refuse(e audit.Event) { b.audit = append(b.audit, e) }

type answer struct {
	code int
	kind string
	body string
	head http.Header
}

func (b *bench) call(method, path, body string, headers ...string) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header.Get("Content-Type"), string(data), resp.Header}
}

func (b *bench) asked(method, path, body string, headers ...string) answer {
	b.t.Helper()
	return b.call(method, path, body, append([]string{tokenHeader, token}, headers...)...)
}

func (b *bench) request(id string) *v1alpha1.UpdateRequest {
	b.t.Helper()
	var ur v1alpha1.UpdateRequest
	if err := b.objs.Get(b.t.Context(), client.ObjectKey{Namespace: "default", Name: "update-" + id}, &ur); err != nil {
		b.t.Fatal(err)
	}
	return &ur
}

// status writes what became of a job.
func (b *bench) status(id string, change func(*v1alpha1.UpdateRequestStatus)) {
	b.t.Helper()
	ur := b.request(id)
	change(&ur.Status)
	if err := b.objs.Status().Update(b.t.Context(), ur); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) file(name, content string) string {
	b.t.Helper()
	path := filepath.Join(b.logs, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

const (
	jsonKind = "application/json"
	textKind = "text/plain; charset=utf-8"
)

// Whoever wanted to start an update, or showed a wrong token, is written down once.
func TestWritesAreAudited(t *testing.T) {
	b := newBench(t)
	var asCaller identity.Caller
	b.creating = func(ctx context.Context) { asCaller, _ = identity.Of(ctx) }
	for _, tt := range []struct {
		name, method, path, body string
		headers                  []string
		want                     string // who, verb, name, status, reason; empty: no line
	}{
		{"a read", "GET", "/jobs", "", []string{tokenHeader, token}, ""},
		{"an update", "POST", "/update", `{"async":true}`, []string{tokenHeader, token}, identity.UpdaterName + " create update-1764000000000 202 "},
		{"a bad port", "POST", "/update", `{"DB_PORT":"x"}`, []string{tokenHeader, token}, identity.UpdaterName + " create  400 DB_PORT must be a port from 1 to 65535"},
		{"a large body", "POST", "/update", strings.Repeat(" ", 1<<20+1), []string{tokenHeader, token}, identity.UpdaterName + " create  413 payload_too_large"},
		{"a wrong token", "POST", "/update", "", []string{tokenHeader, "guess"}, " authenticate  401 no token, or a wrong one"},
	} {
		b.audit = nil
		b.call(tt.method, tt.path, tt.body, tt.headers...)
		got := ""
		for _, e := range b.audit {
			got += fmt.Sprintf("%s %s %s %d %s", e.Who, e.Verb, e.Name, e.Status, e.Reason)
			if e.ID == "" || e.From != "127.0.0.1" || e.Method != tt.method || e.Path != tt.path || strings.Contains(fmt.Sprintf("%+v", e), "guess") {
				t.Errorf("%s: %+v", tt.name, e)
			}
			if e.Status == 202 && e.ID != asCaller.AuditID {
				t.Errorf("%s: the API of objects knows it as %s, not as %s", tt.name, asCaller.AuditID, e.ID)
			}
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if !asCaller.Updater || asCaller.Address != "127.0.0.1" {
		t.Errorf("the request was made for %+v", asCaller)
	}
}

// The answers of the former updater, to the letter.
func TestContract(t *testing.T) {
	b := newBench(t)
	big := strings.Repeat(" ", 1<<20+1)
	for _, tt := range []struct {
		name, method, path, body string
		headers                  []string
		code                     int
		want                     string
	}{
		{"no token", "GET", "/jobs", "", nil, 401, `{"error":"unauthorized"}`},
		{"wrong token", "POST", "/update", "", []string{tokenHeader, "guess"}, 401, `{"error":"unauthorized"}`},
		{"two tokens", "GET", "/jobs", "", []string{tokenHeader, token, tokenHeader, token}, 401, `{"error":"unauthorized"}`},
		{"another path", "GET", "/", "", nil, 404, `{"error":"not_found"}`},
		{"another path with the token", "GET", "/job", "", []string{tokenHeader, token}, 404, `{"error":"not_found"}`},
		{"another method", "GET", "/update", "", []string{tokenHeader, token}, 404, `{"error":"not_found"}`},
		{"another method", "DELETE", "/jobs", "", []string{tokenHeader, token}, 404, `{"error":"not_found"}`},
		{"another method", "HEAD", "/jobs", "", []string{tokenHeader, token}, 404, ""},
		{"no jobs", "GET", "/jobs", "", []string{tokenHeader, token}, 200, `{"success":true,"jobs":[]}`},
		{"bad ID", "GET", "/jobs/abc", "", []string{tokenHeader, token}, 400, `{"success":false,"error":"invalid_job_id"}`},
		{"no ID", "GET", "/jobs/", "", []string{tokenHeader, token}, 400, `{"success":false,"error":"invalid_job_id"}`},
		{"short ID", "GET", "/jobs/1234567", "", []string{tokenHeader, token}, 400, `{"success":false,"error":"invalid_job_id"}`},
		{"long ID", "GET", "/jobs/123456789012345678901", "", []string{tokenHeader, token}, 400, `{"success":false,"error":"invalid_job_id"}`},
		{"a way out", "GET", "/jobs/..%2f..%2fetc", "", []string{tokenHeader, token}, 400, `{"success":false,"error":"invalid_job_id"}`},
		{"an encoded ID", "GET", "/jobs/%31%32345678", "", []string{tokenHeader, token}, 400, `{"success":false,"error":"invalid_job_id"}`},
		{"bad ID without a token", "GET", "/jobs/abc", "", nil, 401, `{"error":"unauthorized"}`},
		{"unknown ID", "GET", "/jobs/12345678", "", []string{tokenHeader, token}, 404, `{"success":false,"error":"log not found"}`},
		{"large body", "POST", "/update", big, []string{tokenHeader, token}, 413, `{"error":"payload_too_large"}`},
		{"large body without a token", "POST", "/update", big, nil, 401, `{"error":"unauthorized"}`},
		{"no port", "POST", "/update", `{"async":true,"DB_PORT":"5432\n  evil: x"}`, []string{tokenHeader, token}, 400,
			`{"error":"invalid_port","field":"DB_PORT","message":"DB_PORT must be a port from 1 to 65535"}`},
		{"no port", "POST", "/update", `{"async":true,"NODE_PORT":65536}`, []string{tokenHeader, token}, 400,
			`{"error":"invalid_port","field":"NODE_PORT","message":"NODE_PORT must be a port from 1 to 65535"}`},
		{"no port", "POST", "/update", `{"async":true,"BACKEND_PORT":[80]}`, []string{tokenHeader, token}, 400,
			`{"error":"invalid_port","field":"BACKEND_PORT","message":"BACKEND_PORT must be a port from 1 to 65535"}`},
	} {
		a := b.call(tt.method, tt.path, tt.body, tt.headers...)
		if a.code != tt.code || a.body != tt.want || a.kind != jsonKind {
			t.Errorf("%s: %s %s: %d %s %q; want %d %q", tt.name, tt.method, tt.path, a.code, a.kind, a.body, tt.code, tt.want)
		}
		b.now = b.now.Add(time.Hour) // the guard has forgotten
	}
	var list v1alpha1.UpdateRequestList
	if err := b.objs.List(t.Context(), &list); err != nil || len(list.Items) > 0 {
		t.Errorf("what was refused made requests: %v, %v", list.Items, err)
	}
}

func TestLargeBodyWithoutALength(t *testing.T) {
	b := newBench(t)
	r, w := io.Pipe()
	go func() {
		_, err := io.WriteString(w, strings.Repeat(" ", 1<<20+1))
		w.CloseWithError(err)
	}()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/update", r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(tokenHeader, token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if data, _ := io.ReadAll(resp.Body); resp.StatusCode != 413 || string(data) != `{"error":"payload_too_large"}` {
		t.Errorf("%s %s", resp.Status, data)
	}
}

func TestAsynchronousUpdate(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		headers    []string
		profiles   string
		variables  map[string]string
	}{
		{"header", `{"forceAgent":false}`, []string{"Prefer", "respond-async"}, "[]", nil},
		{"header among others", ``, []string{"Prefer", "wait=10, respond-async"}, "[]", nil},
		{"two headers", ``, []string{"Prefer", "wait=10", "Prefer", "respond-async"}, "[]", nil},
		{"field", `{"async":true}`, nil, "[]", nil},
		{"truth as in JavaScript", `{"async":"no","forceAgent":"false"}`, nil, "[agent]", nil},
		{"agent", `{"async":1,"forceAgent":true}`, nil, "[agent]", nil},
		{"no JSON", `{"forceAgent":true`, []string{"Prefer", "respond-async"}, "[]", nil},
		{"null", `null`, []string{"Prefer", "respond-async"}, "[]", nil},
		{"no object", `[1]`, []string{"Prefer", "respond-async"}, "[]", nil},
		{"ports", `{"async":true,"PROJECT_PORT":8080,"NODE_PORT":"3002","BACKEND_PORT":3001.0,"DB_PORT":0,"PATH":"/x"}`, nil, "[]",
			map[string]string{"PROJECT_PORT": "8080", "NODE_PORT": "3002", "BACKEND_PORT": "3001"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			a := b.asked(http.MethodPost, "/update", tt.body, tt.headers...)
			id := "1764000000000"
			want := fmt.Sprintf(`{"started":true,"job":{"id":%q,"logfile":%q}}`, id, filepath.Join(b.logs, id+".log"))
			if a.code != 202 || a.kind != jsonKind || a.body != want {
				t.Fatalf("%d %s %s, want %s", a.code, a.kind, a.body, want)
			}
			ur := b.request(id)
			if ur.Spec.ApplicationRef.Name != "shop" || !ur.Spec.Retry || fmt.Sprint(ur.Spec.Profiles) != tt.profiles || fmt.Sprint(ur.Spec.Variables) != fmt.Sprint(tt.variables) {
				t.Errorf("the request is %+v", ur.Spec)
			}
			if ur.Labels[v1alpha1.LabelJob] != id || ur.Annotations[v1alpha1.AnnotationTrigger] != "updater" {
				t.Errorf("labels %v, annotations %v", ur.Labels, ur.Annotations)
			}
		})
	}
}

func TestTwoJobsAtOnceAreTwo(t *testing.T) {
	b := newBench(t)
	b.file("1764000000001.log", "of the former updater\n")
	ids := map[string]bool{}
	for range 3 {
		a := b.asked(http.MethodPost, "/update", "", "Prefer", "respond-async")
		id := regexp.MustCompile(`"id":"(\d+)"`).FindStringSubmatch(a.body)
		if a.code != 202 || id == nil || ids[id[1]] {
			t.Fatalf("%d %s", a.code, a.body)
		}
		ids[id[1]] = true
	}
	if ids["1764000000001"] {
		t.Error("a job has the ID of an old one")
	}
	// The clock goes back to a job whose request was removed, and whose log was not.
	b.now = b.now.Add(time.Hour)
	b.asked(http.MethodPost, "/update", "", "Prefer", "respond-async")
	gone := strconv.FormatInt(b.now.UnixMilli(), 10)
	b.file(gone+".log", "what it did\n")
	if err := b.objs.Delete(t.Context(), b.request(gone)); err != nil {
		t.Fatal(err)
	}
	if a := b.asked(http.MethodPost, "/update", "", "Prefer", "respond-async"); a.code != 202 || strings.Contains(a.body, gone) {
		t.Errorf("%d %s", a.code, a.body)
	}
}

func TestGuessing(t *testing.T) {
	b := newBench(t)
	for i := range 5 {
		if a := b.call(http.MethodGet, "/jobs", "", tokenHeader, fmt.Sprint("guess", i)); a.code != 401 {
			t.Fatalf("guess %d: %d", i, a.code)
		}
	}
	b.call(http.MethodGet, "/jobs", "", tokenHeader, "one more")
	a := b.asked(http.MethodGet, "/jobs", "")
	if a.code != 429 || a.head.Get("Retry-After") != "1" || a.body != `{"error":"too_many_requests"}` {
		t.Errorf("after %d guesses: %d, Retry-After %q, %s", 6, a.code, a.head.Get("Retry-After"), a.body)
	}
	b.now = b.now.Add(time.Second)
	b.call(http.MethodGet, "/jobs", "", tokenHeader, "and one more")
	if a := b.asked(http.MethodGet, "/jobs", ""); a.code != 429 || a.head.Get("Retry-After") != "2" {
		t.Errorf("the pause does not grow: %d, Retry-After %q", a.code, a.head.Get("Retry-After"))
	}
	b.now = b.now.Add(2 * time.Second)
	if a := b.asked(http.MethodGet, "/jobs", ""); a.code != 200 {
		t.Errorf("after the pause: %d", a.code)
	}
}

// Whoever floods the API is made to wait, in the updater's own shape of an error.
// SsalgTen's backend, which asks a few times a second for many pages, never is.
func TestFlood(t *testing.T) {
	b := newBench(t)
	for i := range 20 { // 80 requests a second
		for range 60 {
			if a := b.asked(http.MethodGet, "/jobs", ""); a.code != 200 {
				t.Fatalf("in round %d: %d %s", i, a.code, a.body)
			}
		}
		b.now = b.now.Add(750 * time.Millisecond)
	}
	asked := 0
	var a answer
	for a = b.asked(http.MethodGet, "/jobs", ""); a.code == 200 && asked < 5000; asked++ {
		a = b.asked(http.MethodGet, "/jobs", "")
	}
	if a.code != 429 || a.kind != jsonKind || a.head.Get("Retry-After") != "1" || a.body != `{"error":"too_many_requests"}` || asked < 900 {
		t.Fatalf("after %d requests at once: %d %s, Retry-After %q, %s", asked, a.code, a.kind, a.head.Get("Retry-After"), a.body)
	}
	if a := b.asked(http.MethodPost, "/update", `{"async":true}`); a.code != 429 {
		t.Errorf("an update from the same address: %d %s", a.code, a.body)
	}
	b.now = b.now.Add(time.Second)
	if a := b.asked(http.MethodPost, "/update", `{"async":true}`); a.code != 202 {
		t.Errorf("after the pause that was asked for: %d %s", a.code, a.body)
	}
}

func TestTail(t *testing.T) {
	for raw, want := range map[string]int{"": 500, "0": 0, "1": 1, "12": 12, "5000": 5000, "5001": 5000, "-1": 0, "abc": 500, "1e3": 1000,
		"2.9": 2, "0x10": 16, " 7 ": 7, " ": 0, "NaN": 500, "Infinity": 500, "1e999": 500, "10x": 500} {
		if got := tailOf(raw); got != want {
			t.Errorf("tail=%q is %d, want %d", raw, got, want)
		}
	}
}

// reference is what the former updater did with a log.
func reference(content string, tail int) string {
	lines := strings.Split(strings.ReplaceAll(content, "\r\n", "\n"), "\n")
	if tail > 0 && tail < len(lines) {
		lines = lines[len(lines)-tail:]
	}
	return strings.Join(lines, "\n")
}

func TestLogOfTheFormerUpdater(t *testing.T) {
	for name, content := range map[string]string{
		"ended":   "a\nb\r\nc\n\n---\nUpdate finished with code 0\n",
		"torn":    "a\nb",
		"empty":   "",
		"newline": "\n",
		"one":     "a\n",
		"returns": "a\rb\r\n\r\nc\r",
	} {
		b := newBench(t)
		b.file("1700000000000.log", content)
		for tail := range 9 {
			a := b.asked(http.MethodGet, fmt.Sprintf("/jobs/1700000000000?tail=%d", tail), "")
			if want := reference(content, tail); a.code != 200 || a.kind != textKind || a.body != want {
				t.Errorf("%s, tail %d: %d %s %q, want %q", name, tail, a.code, a.kind, a.body, want)
			}
		}
		if a := b.asked(http.MethodGet, "/jobs/1700000000000/more", ""); a.body != reference(content, 500) {
			t.Errorf("%s: %q", name, a.body)
		}
	}
}

func TestLogsThatAreNone(t *testing.T) {
	b := newBench(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(b.logs, "1700000000001.log")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(b.logs, "1700000000002.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"1700000000001", "1700000000002"} {
		if a := b.asked(http.MethodGet, "/jobs/"+id, ""); a.code == 200 || strings.Contains(a.body, "secret\"") {
			t.Errorf("%s: %d %s", id, a.code, a.body)
		}
	}
}

func TestJobs(t *testing.T) {
	b := newBench(t)
	old := b.file("1700000000000.log", "12345\n")
	at := time.Date(2023, 12, 1, 14, 30, 22, 123_000_000, time.UTC)
	if err := os.Chtimes(old, at, at); err != nil {
		t.Fatal(err)
	}
	b.file("update_20231201_143022.log", "no job")
	b.file("notes.txt", "no job")
	b.asked(http.MethodPost, "/update", "", "Prefer", "respond-async")
	// A request without a file is a job all the same.
	b.status("1764000000000", func(st *v1alpha1.UpdateRequestStatus) {
		st.Phase = v1alpha1.PhaseSucceeded
		end := metav1.NewTime(time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC))
		st.FinishedAt, st.Message = &end, "updated"
	})
	want := `{"success":true,"jobs":[{"id":"1700000000000","sizeBytes":6,"updatedAt":"2023-12-01T14:30:22.123Z"},` +
		`{"id":"1764000000000","sizeBytes":0,"updatedAt":"2025-01-02T03:04:05.000Z"}]}`
	if a := b.asked(http.MethodGet, "/jobs", ""); a.code != 200 || a.kind != jsonKind || a.body != want {
		t.Errorf("%d %s %s\nwant %s", a.code, a.kind, a.body, want)
	}
	a := b.asked(http.MethodGet, "/jobs/1764000000000", "")
	if a.code != 200 || !strings.HasSuffix(a.body, "# updated\n\n---\nUpdate finished with code 0\n") {
		t.Errorf("a job whose log is gone: %d %q", a.code, a.body)
	}
}

func TestEndings(t *testing.T) {
	for phase, code := range map[v1alpha1.Phase]int{
		v1alpha1.PhaseSucceeded: 0, v1alpha1.PhaseFailed: 1, v1alpha1.PhaseRolledBack: 3, v1alpha1.PhaseCancelled: 4,
	} {
		b := newBench(t)
		b.asked(http.MethodPost, "/update", "", "Prefer", "respond-async")
		id := "1764000000000"
		if a := b.asked(http.MethodGet, "/jobs/"+id, ""); !strings.HasSuffix(a.body, "# queued: not looked at yet\n") {
			t.Errorf("queued: %q", a.body)
		}
		content := "line 1\nline 2\n"
		log := b.file("update_20251124_150000.log", content)
		b.status(id, func(st *v1alpha1.UpdateRequestStatus) { st.LogFile, st.Phase = log, v1alpha1.PhaseVerifying })
		if a := b.asked(http.MethodGet, "/jobs/"+id, ""); a.body != content {
			t.Errorf("running: %q", a.body)
		}
		b.status(id, func(st *v1alpha1.UpdateRequestStatus) { st.Phase = phase })
		whole := content + fmt.Sprintf("\n---\nUpdate finished with code %d\n", code)
		for tail := range 9 {
			if a := b.asked(http.MethodGet, fmt.Sprintf("/jobs/%s?tail=%d", id, tail), ""); a.body != reference(whole, tail) {
				t.Errorf("%s, tail %d: %q, want %q", phase, tail, a.body, reference(whole, tail))
			}
		}
	}
}

// What a job says is the same when its request is gone.
func TestLogOutlivesItsRequest(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(b.logs, "update_20251124_150000.log")
	l, err := updatelog.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Printf("Preflight", "hello")
	if err := l.Summary(updatelog.Summary{Result: "RolledBack", Duration: time.Second}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Base(path), filepath.Join(b.logs, "1764000000000.log")); err != nil {
		t.Fatal(err)
	}
	a := b.asked(http.MethodGet, "/jobs/1764000000000", "")
	if a.code != 200 || !strings.Contains(a.body, "hello") || !strings.HasSuffix(a.body, "log complete\n\n---\nUpdate finished with code 3\n") {
		t.Errorf("%d %s", a.code, a.body)
	}
}

func TestNotReady(t *testing.T) {
	h := Handler(Options{Client: func() Client { return nil }, Application: func() string { return "shop" }, Token: token, MaxBody: 10,
		Guard: guard.New(guard.Options{}), Log: logr.Discard()})
	for _, r := range []*http.Request{httptest.NewRequest("POST", "/update", nil), httptest.NewRequest("GET", "/jobs", nil), httptest.NewRequest("GET", "/jobs/12345678", nil)} {
		r.Header.Set(tokenHeader, token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(context.Background()))
		if w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d", r.URL, w.Code)
		}
	}
	w := httptest.NewRecorder()
	NotReady(w, "stopping")
	if w.Code != 503 || w.Header().Get("Content-Type") != jsonKind || w.Body.String() != `{"error":"stopping"}` {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}
