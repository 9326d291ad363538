// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tmaxmax/go-sse"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/config"
	"github.com/fairlead-dev/fairlead/internal/httpapi/audit"
	"github.com/fairlead-dev/fairlead/internal/httpapi/guard"
	"github.com/fairlead-dev/fairlead/internal/identity"
	"github.com/fairlead-dev/fairlead/internal/testenv"
	"github.com/fairlead-dev/fairlead/internal/tokens"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

const (
	updaterToken = "open-sesame-open-sesame"
	logID        = "20260304_050607"
	patience     = 30 * time.Second
)

var env *testenv.Env

func TestMain(m *testing.M) { os.Exit(testenv.Run(m, func(e *testenv.Env) { env = e })) }

// world is an API before the real API server, in a namespace of its own.
type world struct {
	*testing.T
	api       *API
	url       string
	namespace string
	admin     client.WithWatch  // the API server as its administrator
	tokens    map[string]string // by role
	auditFile string
	deploy    string // deployment directory of the application "web"
	stop      context.CancelFunc
}

func newWorld(t *testing.T, change func(*Options)) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	admin, err := client.NewWithWatch(env.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	callers, err := identity.New(env.Config, scheme, admin.RESTMapper())
	if err != nil {
		t.Fatal(err)
	}
	definitions, err := config.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, namespace: env.Namespace(t, "http"), admin: admin, tokens: map[string]string{}, deploy: t.TempDir(),
		auditFile: filepath.Join(t.TempDir(), "audit.log")}
	if err := identity.EnsureUpdater(t.Context(), admin, w.namespace); err != nil {
		t.Fatal(err)
	}
	log := audit.Open(zap.NewNop(), w.auditFile)
	t.Cleanup(func() { _ = log.Close() })
	o := Options{Version: "test", UpdaterToken: updaterToken, Audit: log, Definitions: definitions, Heartbeat: 50 * time.Millisecond,
		Recheck: 50 * time.Millisecond}
	if change != nil {
		change(&o)
	}
	w.api = New(o)
	server := httptest.NewServer(w.api)
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	t.Cleanup(func() { stop(); server.Close() })
	w.api.Connect(ctx, callers)
	w.url = server.URL
	for _, role := range tokens.Roles {
		w.tokens[role] = w.token(role, role)
	}
	w.tokens["updater"] = updaterToken
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "web"}}
	app.Spec.Compose.Directory = w.deploy
	w.must(admin.Create(t.Context(), app))
	w.awaitRights()
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) token(name, role string) string {
	w.Helper()
	_, secret, err := tokens.Create(w.Context(), w.admin, tokens.Request{Namespace: w.namespace, Name: name, Role: role, Life: time.Hour})
	w.must(err)
	return secret
}

// awaitRights waits until the API server has heard of the bindings, which it
// learns of from a watch.
func (w *world) awaitRights() {
	w.Helper()
	w.until("rights", func() bool {
		for role := range w.tokens {
			if w.do(role, "GET", "/requests", "").code != http.StatusOK {
				return false
			}
		}
		return true
	})
}

func (w *world) until(what string, done func() bool) {
	w.Helper()
	ticker, deadline := time.NewTicker(10*time.Millisecond), time.After(patience)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-deadline:
			w.Fatalf("%s: not in %s", what, patience)
		}
	}
}

// answer of the API.
type answer struct {
	code   int
	header http.Header
	body   string
}

// problem takes the body for one.
func (a answer) problem(t *testing.T) (detail string) {
	t.Helper()
	var p struct {
		Title, Detail string
		Status        int
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || p.Status != a.code || p.Title == "" || a.header.Get("Content-Type") != problemContentType {
		t.Errorf("no problem of RFC 9457: %d %s %s (%v)", a.code, a.header.Get("Content-Type"), a.body, err)
	}
	return p.Detail
}

func (w *world) path(path string) string {
	if strings.HasPrefix(path, "//") {
		return w.url + "/api/v1" + path[1:]
	}
	return w.url + "/api/v1/namespaces/" + w.namespace + path
}

func (w *world) request(who, method, path, body string) *http.Request {
	w.Helper()
	r, err := http.NewRequestWithContext(w.Context(), method, w.path(path), strings.NewReader(body))
	w.must(err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	token, ok := w.tokens[who]
	if !ok {
		token = who
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// do asks as a role, or with who as the token itself. The path is below the
// namespace, or below /api/v1 if it begins with two slashes.
func (w *world) do(who, method, path, body string) answer {
	w.Helper()
	return w.send(w.request(who, method, path, body))
}

func (w *world) send(r *http.Request) answer {
	w.Helper()
	response, err := http.DefaultClient.Do(r)
	w.must(err)
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	w.must(err)
	a := answer{response.StatusCode, response.Header, string(data)}
	w.documented(r, a)
	return a
}

// create makes a request by the administrator, outside of the API under test.
func (w *world) create(name string, change func(*v1alpha1.UpdateRequest)) *v1alpha1.UpdateRequest {
	w.Helper()
	ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	ur.Spec.ApplicationRef.Name = "web"
	w.must(w.admin.Create(w.Context(), ur))
	if change != nil {
		change(ur)
		w.must(w.admin.Status().Update(w.Context(), ur))
	}
	return ur
}

// set changes the status of a request, as the controller would.
func (w *world) set(ur *v1alpha1.UpdateRequest, change func(*v1alpha1.UpdateRequestStatus)) {
	w.Helper()
	w.must(w.admin.Get(w.Context(), client.ObjectKeyFromObject(ur), ur))
	change(&ur.Status)
	w.must(w.admin.Status().Update(w.Context(), ur))
}

func ended(phase v1alpha1.Phase) func(*v1alpha1.UpdateRequest) {
	return func(ur *v1alpha1.UpdateRequest) { ur.Status.Phase = phase }
}

// log opens the log of requests that say so in their status.
func (w *world) log() *updatelog.Log {
	w.Helper()
	l, err := updatelog.Open(updatelog.Path(w.deploy, logID))
	w.must(err)
	w.Cleanup(func() { _ = l.Close() })
	return l
}

func (w *world) logging(ur *v1alpha1.UpdateRequest) {
	ur.Status.Phase, ur.Status.LogFile = v1alpha1.PhaseBuilding, updatelog.Path(w.deploy, logID)
}

// events is an open stream.
type events struct {
	code   int
	next   func() (sse.Event, error, bool) // of iter.Pull2
	close  func()
	lastID string
}

func (w *world) follow(who, path, lastID string) *events {
	w.Helper()
	r := w.request(who, http.MethodGet, path, "")
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	ctx, cancel := context.WithCancel(w.Context())
	response, err := http.DefaultClient.Do(r.WithContext(ctx))
	w.must(err)
	e := &events{code: response.StatusCode}
	next, stop := iter.Pull2(iter.Seq2[sse.Event, error](sse.Read(response.Body, nil)))
	e.next = next
	e.close = func() { cancel(); stop(); _ = response.Body.Close() }
	w.Cleanup(e.close)
	return e
}

// want reads the next event, which must be of the type.
func (e *events) want(t *testing.T, kind string) sse.Event {
	t.Helper()
	got, err, ok := e.next()
	if err != nil || !ok || got.Type != kind {
		t.Fatalf("got event %q %.200q (%v, %t), want %q", got.Type, got.Data, err, ok, kind)
	}
	e.lastID = got.LastEventID
	return got
}

// end checks that the stream has ended in order.
func (e *events) end(t *testing.T) {
	t.Helper()
	if got, err, ok := e.next(); ok {
		t.Fatalf("after the end: %+v, %v", got, err)
	}
}

// auditLines are the lines of a file that have all the words.
func auditLines(t *testing.T, file string, words ...string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
line:
	for line := range bytes.Lines(data) {
		for _, word := range words {
			if !bytes.Contains(line, []byte(word)) {
				continue line
			}
		}
		found = append(found, string(line))
	}
	return found
}

// apiAudit is the audit log of the API server itself.
func apiAudit() string { return filepath.Join(filepath.Dir(env.Kubeconfig), "audit.log") }

// freeGuard lets through what many followers at once ask for.
func freeGuard(o *Options) { o.Guard = guard.New(guard.Options{Rate: 1e6, Burst: 1e6}) }
