// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/webui/session"
)

// fakeAPI stands for the HTTP API: it knows tokens, has objects to read, and notes
// what it is asked.
type fakeAPI struct {
	mu sync.Mutex
	// tokens are roles by token.
	tokens map[string]string
	// objects are answers to GET, by path below /api/v1/ without a query.
	objects map[string]any
	// calls that came in, as "METHOD path".
	calls  []string
	bodies []string
	// queries of these calls.
	queries []string
	// stream, if set, serves paths that end in "events".
	stream http.HandlerFunc
}

var roles = map[string]map[string][]string{
	"viewer": {"applications": {"get", "list", "watch"}, "updaterequests": {"get", "list", "watch"}, "updaterequests/log": {"get"}, "releases": {"get", "list"}, "backups": {"get", "list"}},
	"admin": {"applications": {"get", "list", "patch", "update"}, "updaterequests": {"get", "list", "create", "patch", "delete"}, "updaterequests/log": {"get"},
		"releases": {"get", "list"}, "backups": {"get", "list"}},
	"owner":          {"applications": {"get", "list", "create"}, "serviceaccounts": {"list", "create"}},
	"guest":          {"applications": {"get", "list"}},
	"guest in other": {"applications": {"get", "list"}, "serviceaccounts": {"list"}},
	"operator": {"applications": {"get", "list"}, "updaterequests": {"get", "list", "create", "patch", "delete"}, "updaterequests/log": {"get"},
		"releases": {"get", "list"}, "backups": {"get", "list"}},
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "title": http.StatusText(status), "detail": detail})
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	path := strings.TrimPrefix(r.URL.Path, "/api/v1/")
	f.mu.Lock()
	role, known := f.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	if path != "whoami" {
		f.calls, f.bodies = append(f.calls, r.Method+" "+path), append(f.bodies, string(body))
		f.queries = append(f.queries, r.URL.RawQuery)
	}
	object, found := f.objects[path]
	stream := f.stream
	f.mu.Unlock()
	switch {
	case !known:
		problem(w, http.StatusUnauthorized, "the token is not valid")
	case path == "whoami":
		may, special := roles[role+" in "+r.URL.Query().Get("namespace")]
		if !special {
			may = roles[role]
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"username": "system:serviceaccount:default:fairlead-token-" + role, "may": may})
	case strings.HasSuffix(path, "events") && stream != nil:
		stream(w, r)
	case role == "nobody", r.Method != http.MethodGet && role == "viewer":
		problem(w, http.StatusForbidden, "you may not")
	case r.Method != http.MethodGet:
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(request("made", v1alpha1.PhasePending))
	case !found:
		problem(w, http.StatusNotFound, "there is no "+path)
	default:
		if text, ok := object.(string); ok {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = io.WriteString(w, text)
			return
		}
		_ = json.NewEncoder(w).Encode(object)
	}
}

func (f *fakeAPI) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

func (f *fakeAPI) revoke(token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.tokens, token)
}

// hostile is text that would be a script if it were not escaped.
const hostile = `<script>alert(1)</script>"'&<img src=x onerror=alert(2)>`

var at = metav1.NewTime(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC))

var twoGiB = int64(2 << 30)

const sha, oldSHA = "0123456789abcdef0123456789abcdef01234567", "fedcba9876543210fedcba9876543210fedcba98"

func request(name string, phase v1alpha1.Phase) *v1alpha1.UpdateRequest {
	ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, CreationTimestamp: at,
		Annotations: map[string]string{v1alpha1.AnnotationRequestedBy: hostile}}}
	ur.Spec.ApplicationRef.Name = "shop"
	st := &ur.Status
	st.Phase, st.Commit, st.PreviousCommit, st.StartedAt = phase, sha, oldSHA, &at
	st.Message, st.LogFile = hostile, "/srv/shop/"+hostile
	st.Changes, st.ChangesTotal = []v1alpha1.Change{{Commit: sha, Subject: hostile, Author: hostile, Time: at, URL: "javascript:alert(3)"}}, 1
	st.Plan = &v1alpha1.UpdatePlan{Summary: hostile, Backup: []string{hostile}, Services: []v1alpha1.ServicePlan{
		{Name: "web", Action: v1alpha1.ActionReplace, Reason: hostile, Interruption: hostile, OrderReason: hostile}},
		Disk: []v1alpha1.DiskForecast{{Path: hostile, Free: 1 << 30, Needs: []v1alpha1.DiskNeed{{For: v1alpha1.DiskForBackup, Basis: hostile}, {For: v1alpha1.DiskForBuild, Bytes: &twoGiB, Basis: hostile}}}}}
	ur.Spec.Variables = map[string]string{hostile: hostile}
	st.Services = []v1alpha1.ServiceUpdate{{Name: hostile, Action: v1alpha1.ActionReplace, Reason: hostile, Health: hostile, Log: []string{hostile},
		OldContainers: []string{"0123456789ab"}, NewContainers: []string{"ba9876543210"}}}
	st.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepPreflight, State: v1alpha1.StepSucceeded, StartedAt: &at, FinishedAt: &at, Message: hostile}}
	st.Checks = []v1alpha1.CheckResult{{Name: hostile, Result: "Warning", Message: hostile}}
	if phase == v1alpha1.PhaseRollingOut {
		st.Steps = append(st.Steps, v1alpha1.StepStatus{Name: v1alpha1.StepBackup, State: v1alpha1.StepRunning, StartedAt: &at,
			Progress: &v1alpha1.StepProgress{Done: 3 << 20, Total: 4 << 20, Unit: v1alpha1.ProgressBytes, Estimated: true, Message: hostile}})
	}
	switch phase {
	case v1alpha1.PhaseSucceeded, v1alpha1.PhaseFailed, v1alpha1.PhaseRolledBack, v1alpha1.PhaseCancelled:
		status := metav1.ConditionFalse
		if phase == v1alpha1.PhaseSucceeded {
			status = metav1.ConditionTrue
		}
		st.FinishedAt = &at
		st.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionSucceeded, Status: status, Reason: "HealthCheckFailed"}}
	}
	return ur
}

func application() *v1alpha1.Application {
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shop"}}
	app.Spec.Compose.Directory = "/srv/" + hostile
	app.Spec.Source.URL, app.Spec.Source.Ref = "https://user:hidden@git.example.com/shop.git", hostile
	app.Spec.Hooks = []v1alpha1.Hook{{Name: hostile, At: []v1alpha1.HookPoint{v1alpha1.HookSuccess}, HTTP: &v1alpha1.HTTPHook{URL: "https://hooks.example.com/hidden"}}}
	app.Spec.Notifications = []v1alpha1.Notification{{Name: hostile, Webhook: &v1alpha1.WebhookNotification{URL: "https://chat.example.com/hidden"}}}
	st := &app.Status
	st.Commit, st.Branch, st.Release = oldSHA, hostile, "shop-2"
	st.Update = &v1alpha1.UpdateStatus{Ref: hostile, Commit: sha, Available: true, Behind: 3, Message: hostile, CheckedAt: &at,
		Changes: []v1alpha1.Change{{Commit: sha, Subject: hostile, Author: hostile, Time: at, URL: "https://git.example.com/c/" + sha}}}
	st.Services = []v1alpha1.ServiceStatus{{Name: "web", State: "Running", Health: "Healthy", Image: hostile}, {Name: "db", State: "Stopped"}}
	st.Drift = []v1alpha1.Drift{{Service: "db", Kind: v1alpha1.DriftStopped, Message: hostile}}
	st.LastRequest = &v1alpha1.RequestSummary{Name: "done", Phase: v1alpha1.PhaseSucceeded, FinishedAt: &at}
	st.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionHealthy, Status: metav1.ConditionFalse, Message: hostile}}
	return app
}

// summaryOf is what the API says at a glance of applications.
func summaryOf(apps ...*v1alpha1.Application) *summary[applicationSummary] {
	s := &summary[applicationSummary]{Version: hostile}
	for _, app := range apps {
		st := &app.Status
		one := applicationSummary{Name: app.Name, Commit: st.Commit, Branch: st.Branch, Update: st.Update, Services: st.Services, Last: st.LastRequest, LastBackup: &at}
		for _, c := range st.Conditions {
			one.Problems = append(one.Problems, c.Message)
		}
		s.Applications = append(s.Applications, one)
	}
	return s
}

// world is a UI with an API behind it.
type world struct {
	t      testing.TB
	api    *fakeAPI
	server *httptest.Server
	ui     *Server
	now    *time.Time
	mu     *sync.Mutex
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dry := request("dry", v1alpha1.PhaseSucceeded)
	dry.Spec.DryRun = true
	refused := request("refused", v1alpha1.PhaseFailed)
	refused.Spec.DryRun = true
	back := request("back", v1alpha1.PhaseSucceeded)
	back.Spec.DryRun, back.Spec.RollbackTo = true, &v1alpha1.LocalReference{Name: "shop-1"}
	rolled := request("rolled", v1alpha1.PhaseRolledBack)
	rolled.Status.Failure = &v1alpha1.FailureStatus{Step: v1alpha1.StepRollout, Reason: "HealthCheckFailed", Message: hostile}
	rolled.Status.Rollback = &v1alpha1.RollbackStatus{Release: "shop-2", Message: hostile}
	release := func(n int64) v1alpha1.Release {
		r := v1alpha1.Release{ObjectMeta: metav1.ObjectMeta{Name: "shop-" + string(rune('0'+n)), CreationTimestamp: at}}
		r.Spec.Number, r.Spec.Commit, r.Spec.Subject = n, sha, hostile
		r.Status.Backup, r.Status.Message = hostile, hostile
		return r
	}
	list := v1alpha1.UpdateRequestList{}
	objects := map[string]any{}
	for _, ur := range []*v1alpha1.UpdateRequest{dry, refused, back, rolled, request("done", v1alpha1.PhaseSucceeded), request("failed", v1alpha1.PhaseFailed),
		request("runs", v1alpha1.PhaseRollingOut), request("cancelled", v1alpha1.PhaseCancelled)} {
		list.Items = append(list.Items, *ur)
		objects["namespaces/default/requests/"+ur.Name] = ur
		objects["namespaces/default/requests/"+ur.Name+"/log"] = "first\n" + hostile + "\n\x1b[31mred\x1b[0m\n"
	}
	one := release(1)
	for path, object := range map[string]any{
		"namespaces":                           map[string]any{"namespaces": []string{"default"}},
		"namespaces/default/applications":      &v1alpha1.ApplicationList{Items: []v1alpha1.Application{*application()}},
		"namespaces/default/summary":           summaryOf(application()),
		"namespaces/default/requests":          &list,
		"namespaces/default/backups":           &v1alpha1.BackupList{},
		"namespaces/default/releases":          &v1alpha1.ReleaseList{Items: []v1alpha1.Release{release(1), release(2)}},
		"namespaces/default/releases/shop-1":   &one,
		"namespaces/default/applications/shop": application(),
	} {
		objects[path] = object
	}
	w := &world{t: t, api: &fakeAPI{objects: objects, tokens: map[string]string{"admin-token": "admin", "viewer-token": "viewer", "operator-token": "operator", "owner-token": "owner", "guest-token": "guest"}}, mu: &sync.Mutex{}}
	now := at.Add(time.Minute)
	w.now = &now
	w.ui = w.start(t.TempDir())
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.ui.ServeHTTP(rw, r) }))
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) start(dir string) *Server {
	w.t.Helper()
	s, err := New(Options{API: w.api, DataDir: dir, Version: "v1", Limits: session.Limits{Idle: time.Hour, Absolute: 8 * time.Hour}, Now: func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return *w.now
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.t.Cleanup(cancel)
	if err := s.Connect(ctx); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*w.now = w.now.Add(d)
}

// browser is one with cookies and without scripts.
type browser struct {
	*world
	client *http.Client
	lang   string
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &browser{world: w, client: &http.Client{Jar: jar}, lang: "en"}
}

// page is what a browser got.
type page struct {
	status int
	url    *url.URL
	header http.Header
	body   string
}

func (b *browser) do(method, path string, form url.Values, header ...string) page {
	b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.server.URL+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Accept-Language", b.lang)
	r.Header.Set("Origin", b.server.URL)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return page{status: answer.StatusCode, url: answer.Request.URL, header: answer.Header, body: string(text)}
}

func (b *browser) get(path string, header ...string) page {
	b.t.Helper()
	return b.do(http.MethodGet, path, nil, header...)
}

var csrfValue = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// csrf is the token in the forms of a page.
func (p page) csrf() string {
	if m := csrfValue.FindStringSubmatch(p.body); m != nil {
		return m[1]
	}
	return ""
}

// signIn signs in with a token.
func (b *browser) signIn(token string) page {
	b.t.Helper()
	form := b.get("/ui/sign-in")
	return b.do(http.MethodPost, "/ui/sign-in", url.Values{"csrf": {form.csrf()}, "token": {token}})
}

func (w *world) signedIn(role string) *browser {
	w.t.Helper()
	b := w.browser()
	if p := b.signIn(role + "-token"); p.status != http.StatusOK || p.url.Path != "/ui/" {
		w.t.Fatalf("signing in led to %s: %d\n%s", p.url, p.status, p.body)
	}
	return b
}
