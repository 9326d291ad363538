// SPDX-License-Identifier: Apache-2.0

//go:build bench

package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/httpapi"
	"github.com/fairlead-dev/fairlead/internal/httpapi/audit"
	"github.com/fairlead-dev/fairlead/internal/httpapi/guard"
	"github.com/fairlead-dev/fairlead/internal/identity"
	"github.com/fairlead-dev/fairlead/internal/testenv"
	"github.com/fairlead-dev/fairlead/internal/tokens"
	"github.com/fairlead-dev/fairlead/internal/webui"
)

const (
	manyApplications = 200
	renderedWithin   = 50 * time.Millisecond
)

// TestWebOverview measures the page with two hundred applications: from the request
// of somebody who is signed in to the last byte of the page, with the API server
// that is asked as that person. The applications are written into it, as nobody
// deploys two hundred of them.
func TestWebOverview(t *testing.T) {
	env := testenv.Start(t)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		must(t, add(scheme))
	}
	admin, err := client.New(env.Config, client.Options{Scheme: scheme})
	must(t, err)
	for i := range manyApplications {
		writeApplication(t, admin, i)
	}
	base := serveUI(t, env, scheme, admin.RESTMapper())
	_, token, err := tokens.Create(t.Context(), admin, tokens.Request{Namespace: "default", Name: "bench", Role: "viewer", Life: time.Hour, Everywhere: true})
	must(t, err)
	visitor := signIn(t, base, token)
	var took []time.Duration
	size := 0
	for range 40 {
		begin := time.Now()
		body := visitor.get("/ui/")
		took = append(took, time.Since(begin))
		if n := strings.Count(body, `<tr id="app-`); n != manyApplications {
			t.Fatalf("the page has %d applications", n)
		}
		size = len(body)
	}
	slices.Sort(took)
	median := took[len(took)/2]
	row("web UI: the page with 200 applications, from the request to its last byte", "under 50 ms", "%d ms (90th percentile %d ms; %d kB before compression)",
		median.Milliseconds(), took[len(took)*9/10].Milliseconds(), size/1000)
	if median > renderedWithin {
		t.Errorf("it takes %s, want %s or less", median, renderedWithin)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// writeApplication makes an application of three services, with an update that is
// there to have, and a backup.
func writeApplication(t *testing.T, admin client.Client, i int) {
	t.Helper()
	now := metav1.Now()
	sha := func(n int) string { return fmt.Sprintf("%040x", i*1000+n) }
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("shop-%03d", i)}}
	app.Spec.Compose.Directory = fmt.Sprintf("/opt/shop-%03d", i)
	must(t, admin.Create(t.Context(), app))
	st := &app.Status
	st.Commit, st.Branch, st.Release = sha(0), "main", app.Name+"-7"
	st.Update = &v1alpha1.UpdateStatus{Ref: "main", Commit: sha(5), Available: true, Behind: 5, CheckedAt: &now}
	for n := range 5 {
		st.Update.Changes = append(st.Update.Changes, v1alpha1.Change{Commit: sha(n + 1), Subject: fmt.Sprintf("Change number %d of the shop", n), Author: "Ann Example",
			Time: now, URL: "https://git.example.com/shop/commit/" + sha(n+1)})
	}
	for _, name := range []string{"backend", "db", "frontend"} {
		st.Services = append(st.Services, v1alpha1.ServiceStatus{Name: name, State: "Running", Health: "Healthy", Image: "registry.example.com/shop/" + name + ":7"})
	}
	st.LastRequest = &v1alpha1.RequestSummary{Name: app.Name + "-x", Phase: v1alpha1.PhaseSucceeded, FinishedAt: &now}
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionHealthy} {
		st.Conditions = append(st.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: "AsExpected", Message: "Everything is as it should be", LastTransitionTime: now})
	}
	must(t, admin.Status().Update(t.Context(), app))
	b := &v1alpha1.Backup{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: app.Name + "-1"}}
	b.Spec.ApplicationRef.Name, b.Spec.ID = app.Name, "backup_20260304_050607"
	must(t, admin.Create(t.Context(), b))
	b.Status.CompletedAt = &now
	must(t, admin.Status().Update(t.Context(), b))
}

// serveUI serves the web UI before the API server of env.
func serveUI(t *testing.T, env *testenv.Env, scheme *runtime.Scheme, mapper meta.RESTMapper) string {
	t.Helper()
	callers, err := identity.New(env.Config, scheme, mapper)
	must(t, err)
	log := audit.Open(zap.NewNop(), filepath.Join(t.TempDir(), "audit.log"))
	t.Cleanup(func() { _ = log.Close() })
	api := httpapi.New(httpapi.Options{Version: "bench", Audit: log, Guard: guard.New(guard.Options{Rate: 1e6, Burst: 1e6})})
	ui, err := webui.New(webui.Options{API: api, DataDir: t.TempDir(), Version: "bench"})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	memory, err := cache.New(env.Config, cache.Options{Scheme: scheme, Mapper: mapper})
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- memory.Start(ctx) }()
	t.Cleanup(func() { stop(); must(t, <-ended) })
	api.UseCache(memory)
	api.Connect(ctx, callers)
	must(t, ui.Connect(ctx))
	server := httptest.NewServer(ui)
	t.Cleanup(server.Close)
	return server.URL
}

// visitor is somebody with a browser, as far as pages go.
type visitor struct {
	*testing.T
	base   string
	client *http.Client
}

func (v *visitor) get(path string) string { v.Helper(); return v.send(http.MethodGet, path, nil) }

func (v *visitor) send(method, path string, form url.Values) string {
	v.Helper()
	r, err := http.NewRequestWithContext(v.Context(), method, v.base+path, strings.NewReader(form.Encode()))
	must(v.T, err)
	r.Header.Set("Accept", "text/html")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	answer, err := v.client.Do(r)
	must(v.T, err)
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	must(v.T, err)
	if answer.StatusCode != http.StatusOK {
		v.Fatalf("%s: %s: %s", path, answer.Status, body)
	}
	return string(body)
}

var csrf = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

func signIn(t *testing.T, base, token string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	must(t, err)
	v := &visitor{t, base, &http.Client{Jar: jar}}
	v.send(http.MethodPost, "/ui/sign-in", url.Values{"csrf": {csrf.FindStringSubmatch(v.get("/ui/sign-in"))[1]}, "token": {strings.TrimSpace(token)}})
	return v
}
