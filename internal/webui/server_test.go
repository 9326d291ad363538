// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/httpapi/guard"
)

// allPages are the paths of all pages for somebody who is signed in.
var allPages = []string{
	"/ui/", "/ui/namespaces/default/applications/shop", "/ui/namespaces/default/plans/dry", "/ui/namespaces/default/plans/refused", "/ui/namespaces/default/plans/back",
	"/ui/namespaces/default/updates/done", "/ui/namespaces/default/updates/failed", "/ui/namespaces/default/updates/rolled", "/ui/namespaces/default/updates/runs",
	"/ui/namespaces/default/updates/cancelled", "/ui/namespaces/default/updates/runs/cancel", "/ui/nowhere", "/ui/namespaces/default/updates/none",
}

func TestSignIn(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	first := b.get("/ui/namespaces/default/applications/shop")
	if first.url.Path != "/ui/sign-in" || first.url.Query().Get("next") != "/ui/namespaces/default/applications/shop" {
		t.Fatalf("without a session: %s", first.url)
	}
	form := url.Values{"csrf": {first.csrf()}, "next": {first.url.Query().Get("next")}, "token": {"wrong"}}
	if p := b.do(http.MethodPost, "/ui/sign-in", form); p.status != http.StatusUnauthorized || !strings.Contains(p.body, "not valid") {
		t.Errorf("a wrong token: %d", p.status)
	}
	form.Set("token", " admin-\n token ") // as pasted from a terminal
	p := b.do(http.MethodPost, "/ui/sign-in", form)
	if p.status != http.StatusOK || p.url.Path != "/ui/namespaces/default/applications/shop" {
		t.Fatalf("the right token: %d at %s", p.status, p.url)
	}
	for _, c := range b.client.Jar.Cookies(p.url) {
		if c.Name == sessionCookie && strings.Contains(c.Value, "admin-token") {
			t.Error("the cookie has the token")
		}
	}
	out := b.do(http.MethodPost, "/ui/sign-out", url.Values{"csrf": {p.csrf()}})
	if out.url.Path != "/ui/sign-in" {
		t.Errorf("signing out led to %s", out.url)
	}
	if p := b.get("/ui/"); p.url.Path != "/ui/sign-in" {
		t.Errorf("after signing out: %s", p.url)
	}
}

func TestCookie(t *testing.T) {
	w := newWorld(t)
	w.ui.opts.Secure = true
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/ui/sign-in", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	cookies := answer.Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d cookies", len(cookies))
	}
	c := cookies[0]
	if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("the cookie is %+v", c)
	}

	// Without HTTPS the prefix is not to be had: the other ports of the host do not
	// get it.
	b := newWorld(t).signedIn("admin")
	other, err := url.Parse(b.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	other.Path = "/ui/"
	if got := b.client.Jar.Cookies(other); len(got) == 0 {
		t.Error("the UI has no cookie")
	}
	other.Path = "/anything"
	if got := b.client.Jar.Cookies(other); len(got) != 0 {
		t.Errorf("another path has %v", got)
	}
}

func TestRateLimit(t *testing.T) {
	w := newWorld(t)
	w.ui.opts.Limiter = guard.New(guard.Options{Now: func() time.Time { return at.Time }})
	b := w.browser()
	for i := range 1001 {
		p := b.get("/ui/sign-in")
		switch {
		case i < 1000 && p.status != http.StatusOK:
			t.Fatalf("request %d: %d", i+1, p.status)
		case i == 1000 && (p.status != http.StatusTooManyRequests || p.header.Get("Retry-After") == ""):
			t.Errorf("request %d: %d, Retry-After %q", i+1, p.status, p.header.Get("Retry-After"))
		}
	}
}

// Who is not signed in cannot have a large form read.
func TestLargeForms(t *testing.T) {
	w := newWorld(t)
	large := url.Values{"token": {strings.Repeat("x", maxOpenForm)}}
	for _, path := range []string{"/ui/sign-in", "/ui/preferences"} {
		if p := w.browser().do(http.MethodPost, path, large); p.status != http.StatusBadRequest {
			t.Errorf("POST %s: %d", path, p.status)
		}
	}
	read := &countedBody{}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/ui/tokens", read)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer := httptest.NewRecorder()
	w.ui.ServeHTTP(answer, r)
	if answer.Code != http.StatusSeeOther || read.n != 0 {
		t.Errorf("a form for those signed in: %d, %d bytes of it are read", answer.Code, read.n)
	}
}

type countedBody struct{ n int }

func (b *countedBody) Read(p []byte) (int, error) {
	b.n += len(p)
	return len(p), nil
}

func TestNextIsLocal(t *testing.T) {
	for path, want := range map[string]string{
		"": Prefix, "https://evil.example": Prefix, "//evil.example": Prefix, "/ui//evil.example": Prefix, "/ui/\\evil.example": Prefix,
		"/ui/x\r\nSet-Cookie: a=b": Prefix, "/api/v1/": Prefix, "/ui/x?y=z": "/ui/x?y=z",
	} {
		if got := localPath(path); got != want {
			t.Errorf("%q leads to %q, want %q", path, got, want)
		}
	}
}

func TestSessionsEnd(t *testing.T) {
	w := newWorld(t)
	here, there, other := w.signedIn("admin"), w.signedIn("admin"), w.signedIn("viewer")
	p := here.get("/ui/")
	here.do(http.MethodPost, "/ui/sign-out", url.Values{"csrf": {p.csrf()}, "everywhere": {"true"}})
	if p := there.get("/ui/"); p.url.Path != "/ui/sign-in" {
		t.Error("signed out everywhere, and still signed in elsewhere")
	}
	if p := other.get("/ui/"); p.url.Path != "/ui/" {
		t.Error("somebody else was signed out too")
	}
	// What a page fetches by itself does not prolong the session.
	for range 3 {
		w.pass(25 * time.Minute)
		other.get("/ui/", liveHeader, "1")
	}
	if p := other.get("/ui/", liveHeader, "1"); p.status != http.StatusUnauthorized {
		t.Errorf("an idle session goes on: %d", p.status)
	}
	if p := other.get("/ui/"); p.url.Path != "/ui/sign-in" {
		t.Error("an idle session goes on")
	}
}

// A revoked token ends the session, and does not lead in circles.
func TestRevokedToken(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("admin")
	w.api.revoke("admin-token")
	if p := b.get("/ui/"); p.url.Path != "/ui/sign-in" || p.status != http.StatusOK {
		t.Errorf("with a revoked token: %d at %s", p.status, p.url)
	}
}

// Every POST needs the session's token and the right origin, and leaves no trace in
// the API without them.
func TestForgery(t *testing.T) {
	w := newWorld(t)
	b, foreign := w.signedIn("admin"), w.signedIn("admin").get("/ui/").csrf()
	right := b.get("/ui/").csrf()
	if foreign == right || right == "" {
		t.Fatalf("the tokens of two sessions are %q and %q", foreign, right)
	}
	posts := 0
	for _, r := range w.ui.routes() {
		method, pattern, _ := strings.Cut(r.pattern, " ")
		if method != http.MethodPost || pattern == "/ui/preferences" || pattern == "/ui/sign-in" {
			continue
		}
		posts++
		path := strings.NewReplacer("{namespace}", "default", "{name}", "runs").Replace(pattern)
		before := len(w.api.asked())
		for name, try := range map[string]struct {
			form   url.Values
			header []string
		}{
			"no token":             {form: url.Values{}},
			"another session's":    {form: url.Values{"csrf": {foreign}}},
			"another origin":       {form: url.Values{"csrf": {right}}, header: []string{"Origin", "https://evil.example"}},
			"another site":         {form: url.Values{"csrf": {right}}, header: []string{"Sec-Fetch-Site", "cross-site"}},
			"the token in the URL": {form: nil},
		} {
			to := path
			if try.form == nil {
				to += "?csrf=" + url.QueryEscape(right)
			}
			if p := b.do(http.MethodPost, to, try.form, try.header...); p.status != http.StatusForbidden {
				t.Errorf("POST %s with %s: %d", path, name, p.status)
			}
		}
		if calls := w.api.asked()[before:]; slices.ContainsFunc(calls, func(c string) bool { return !strings.HasPrefix(c, "GET ") }) {
			t.Errorf("POST %s reached the API: %v", path, calls)
		}
	}
	if posts < 6 {
		t.Errorf("only %d routes were tried", posts)
	}
	if p := w.browser().do(http.MethodPost, "/ui/sign-in", url.Values{"token": {"admin-token"}}); p.status != http.StatusForbidden {
		t.Errorf("signing in from elsewhere: %d", p.status)
	}
}

// Every page is HTML that the policy allows, in both languages, with all text of
// others as text.
func TestPages(t *testing.T) {
	w := newWorld(t)
	for _, lang := range []string{"en", "zh-Hans"} {
		for _, role := range []string{"admin", "viewer"} {
			b := w.signedIn(role)
			b.lang = lang
			for _, path := range append([]string{"/ui/sign-in"}, allPages...) {
				p := b.get(path)
				if p.status >= 500 {
					t.Errorf("%s as %s: %d", path, role, p.status)
				}
				for name, want := range map[string]string{"Content-Security-Policy": contentSecurityPolicy, "X-Frame-Options": "DENY",
					"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-store"} {
					if got := p.header.Get(name); got != want {
						t.Errorf("%s has %s: %q", path, name, got)
					}
				}
				if !strings.Contains(p.body, `<html lang="`+lang+`"`) {
					t.Errorf("%s is not in %s", path, lang)
				}
				if strings.Contains(p.body, "hidden@") || strings.Contains(p.body, "example.com/hidden") {
					t.Errorf("%s shows a secret of a URL", path)
				}
				wellMade(t, path, p.body)
			}
		}
	}
}

// wellMade looks at the elements of a page.
func wellMade(t *testing.T, path, body string) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	ids, headings := map[string]bool{}, 0
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
				t.Errorf("%s: <%s %s=%q>", path, n.Data, a.Key, a.Val)
			}
			if a.Key == "id" {
				if ids[a.Val] {
					t.Errorf("%s: the id %q is there twice", path, a.Val)
				}
				ids[a.Val] = true
			}
			if (a.Key == "href" || a.Key == "src" || a.Key == "action") && strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.Val)), "javascript:") {
				t.Errorf("%s: %s=%q", path, a.Key, a.Val)
			}
			if (a.Key == "src" || a.Key == "action" || n.Data == "link" && a.Key == "href") && !strings.HasPrefix(a.Val, "/ui/") {
				t.Errorf("%s: <%s> leads to %q", path, n.Data, a.Val)
			}
		}
		switch n.Data {
		case "script":
			if n.FirstChild != nil {
				t.Errorf("%s has an inline script: %s", path, n.FirstChild.Data)
			}
		case "style", "iframe", "img", "object", "embed":
			t.Errorf("%s has a <%s>", path, n.Data)
		case "h1":
			headings++
		}
	}
	if headings != 1 {
		t.Errorf("%s has %d main headings", path, headings)
	}
}

// Without scripts, only what comes to an end by itself is loaded anew: anywhere else
// that would take away what somebody types or reads.
func TestPagesThatLoadAnew(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("admin")
	for path, want := range map[string]bool{
		"/ui/": false, "/ui/namespaces/default/applications/shop": false, "/ui/namespaces/default/updates/done": false,
		"/ui/namespaces/default/updates/runs": true, "/ui/namespaces/default/plans/dry": false,
	} {
		if got := strings.Contains(b.get(path).body, `http-equiv="refresh"`); got != want {
			t.Errorf("%s is loaded anew by itself: %v", path, got)
		}
	}
	if p := b.get("/ui/namespaces/default/applications/shop"); !strings.Contains(p.body, `<noscript><p><a class="button" href="/ui/namespaces/default/applications/shop">`) {
		t.Error("without scripts nothing loads the application again")
	}
}

// A return to a backup overwrites data: it is asked for again as the first time, and
// cancelling promises nothing that does not happen.
func TestReturnToABackup(t *testing.T) {
	w := newWorld(t)
	restores := func(name string, phase v1alpha1.Phase, state v1alpha1.StepState) *v1alpha1.UpdateRequest {
		ur := request(name, phase)
		ur.Spec.RestoreFrom = &v1alpha1.LocalReference{Name: "shop-b1"}
		if state != "" {
			ur.Status.Steps = append(ur.Status.Steps, v1alpha1.StepStatus{Name: v1alpha1.StepRestore, State: state, StartedAt: &at})
		}
		w.api.objects["namespaces/default/requests/"+name] = ur
		return ur
	}
	refailed := restores("refailed", v1alpha1.PhaseFailed, v1alpha1.StepFailed)
	refailed.Status.Backup, refailed.Status.Failure = "backup_20240102_030405", &v1alpha1.FailureStatus{Reason: v1alpha1.ReasonVerifyFailed}
	restores("rewaits", v1alpha1.PhasePending, "")
	restores("restores", v1alpha1.PhaseRestoring, v1alpha1.StepRunning)
	b := w.signedIn("admin")
	failed := b.get("/ui/namespaces/default/updates/refailed").body
	if strings.Contains(failed, `/retry"`) || !strings.Contains(failed, `id="retry" href="/ui/namespaces/default/backups/shop-b1/restore"`) {
		t.Error("one click overwrites the data again")
	}
	if strings.Contains(failed, "push a commit") || !strings.Contains(failed, "or backup_20240102_030405, which was made before") || !strings.Contains(failed, "<dt>Backup made before</dt>") {
		t.Error("it is not told which backup leads back, or to push a commit")
	}
	if !strings.Contains(b.get("/ui/namespaces/default/updates/rewaits").body, `/cancel"`) {
		t.Error("one that waits cannot be cancelled")
	}
	if strings.Contains(b.get("/ui/namespaces/default/updates/restores").body, `/cancel"`) {
		t.Error("in its midst it is offered to be cancelled")
	}
	dialog := b.get("/ui/namespaces/default/updates/restores/cancel").body
	if strings.Contains(dialog, "Data is not changed back") || !strings.Contains(dialog, "nothing is undone") {
		t.Error("the dialog promises what does not happen")
	}
}

// A name that is no name leads nowhere: the API would be asked for another path.
func TestDotsAreNoNames(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("admin")
	before := len(w.api.asked())
	for _, path := range []string{"/ui/namespaces/%2E%2E/applications/shop", "/ui/namespaces/default/applications/%2E%2E", "/ui/namespaces/default/updates/%2e/log"} {
		if p := b.get(path); p.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, p.status)
		}
	}
	if calls := w.api.asked()[before:]; len(calls) > 0 {
		t.Errorf("the API was asked %v", calls)
	}
}

// What RBAC forbids is not offered, and is refused.
func TestViewer(t *testing.T) {
	w := newWorld(t)
	viewer := w.signedIn("viewer")
	for _, path := range allPages {
		p := viewer.get(path)
		_, main, found := strings.Cut(p.body, "<main")
		if !found {
			t.Errorf("%s has no main part", path)
		}
		if strings.HasSuffix(path, "/cancel") {
			continue // nothing leads there, and the API refuses
		}
		if strings.Contains(main, `method="post"`) || strings.Contains(main, `/cancel"`) {
			t.Errorf("%s offers a viewer to do something", path)
		}
	}
	csrf := viewer.get("/ui/").csrf()
	for _, path := range []string{"applications/shop/plan", "applications/shop/update", "applications/shop/check", "updates/runs/cancel", "updates/done/retry"} {
		p := viewer.do(http.MethodPost, "/ui/namespaces/default/"+path, url.Values{"csrf": {csrf}})
		if p.status != http.StatusForbidden || !strings.Contains(p.body, "you may not") {
			t.Errorf("POST %s as viewer: %d", path, p.status)
		}
	}
}

func TestUpdateIsAskedFor(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("operator")
	app := b.get("/ui/namespaces/default/applications/shop")
	if !strings.Contains(app.body, "/plan") || strings.Contains(app.body, "/check\"") {
		t.Error("an operator is offered the wrong things")
	}
	p := b.do(http.MethodPost, "/ui/namespaces/default/applications/shop/plan", url.Values{"csrf": {app.csrf()}, "commit": {" v1.2 "}, "profiles": {"a, b,a"}, "force": {"true"}})
	if p.url.Path != "/ui/namespaces/default/plans/made" {
		t.Errorf("a plan led to %s", p.url)
	}
	plan := b.get("/ui/namespaces/default/plans/dry")
	if !strings.Contains(plan.body, `name="commit" value="`+sha+`"`) {
		t.Error("the plan does not pin the commit")
	}
	b.do(http.MethodPost, "/ui/namespaces/default/applications/shop/update", url.Values{"csrf": {plan.csrf()}, "rollbackTo": {"shop-1"}})
	w.api.mu.Lock()
	defer w.api.mu.Unlock()
	var bodies []string
	for i, call := range w.api.calls {
		if strings.HasPrefix(call, "POST") {
			bodies = append(bodies, call+" "+w.api.bodies[i])
		}
	}
	want := []string{
		`POST namespaces/default/plan {"spec":{"applicationRef":{"name":"shop"},"commit":"v1.2","profiles":["a","b"],"force":true}}`,
		`POST namespaces/default/requests {"spec":{"applicationRef":{"name":"shop"},"rollbackTo":{"name":"shop-1"}}}`,
	}
	if !slices.Equal(bodies, want) {
		t.Errorf("the API was asked\n%s\nwant\n%s", strings.Join(bodies, "\n"), strings.Join(want, "\n"))
	}
}

func TestPreferences(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	p := b.do(http.MethodPost, "/ui/preferences", url.Values{"language": {"zh-Hans"}, "theme": {"dark"}, "next": {"/ui/sign-in"}})
	if !strings.Contains(p.body, `lang="zh-Hans" data-theme="dark"`) {
		t.Error("the choice is not kept")
	}
	p = b.do(http.MethodPost, "/ui/preferences", url.Values{"language": {`x" onload="`}, "theme": {`"><script>`}, "next": {"https://evil.example"}})
	if p.url.Host != strings.TrimPrefix(w.server.URL, "http://") || strings.Contains(p.body, "evil") || strings.Contains(p.body, `data-theme`) {
		t.Errorf("led to %s", p.url)
	}
}

func TestRoot(t *testing.T) {
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	for _, test := range []struct {
		method, path, accept string
		want                 int
	}{
		{"GET", "/", "text/html,*/*", http.StatusSeeOther}, {"GET", "/", "*/*", http.StatusTeapot}, {"GET", "/", "", http.StatusTeapot},
		{"POST", "/", "text/html", http.StatusTeapot}, {"GET", "/jobs", "text/html", http.StatusTeapot},
	} {
		r, err := http.NewRequestWithContext(t.Context(), test.method, test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", test.accept)
		a := &recorder{header: http.Header{}}
		Root(next).ServeHTTP(a, r)
		if a.status != test.want {
			t.Errorf("%s %s for %q: %d", test.method, test.path, test.accept, a.status)
		}
	}
}

// The first page and all that it loads, compressed, is small.
func TestFirstPageIsSmall(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("admin")
	b.client.Transport = &http.Transport{DisableCompression: true}
	sum := len(b.get("/ui/", "Accept-Encoding", "gzip").body)
	entries, err := os.ReadDir("static")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		p := b.get(w.ui.assets.prefix+e.Name(), "Accept-Encoding", "gzip")
		if p.status != http.StatusOK || !strings.Contains(p.header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d", e.Name(), p.status)
		}
		sum += len(p.body)
	}
	if sum > 100_000 {
		t.Errorf("the first page has %d bytes in all", sum)
	}
	t.Logf("%d bytes", sum)
}

func TestDownload(t *testing.T) {
	w := newWorld(t)
	p := w.signedIn("viewer").get("/ui/namespaces/default/updates/done/log?download")
	if p.header.Get("Content-Disposition") != `attachment; filename="done.log"` || !strings.HasPrefix(p.header.Get("Content-Type"), "text/plain") || !strings.Contains(p.body, hostile) {
		t.Errorf("%v\n%s", p.header, p.body)
	}
	// An error is a page to read, and no file.
	for _, path := range []string{"/ui/namespaces/default/updates/none/log?download", "/ui/namespaces/default/applications/none/logs/web/text"} {
		p := w.signedIn("viewer").get(path)
		if p.status != http.StatusNotFound || p.header.Get("Content-Disposition") != "" || !strings.HasPrefix(p.header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %d %v", path, p.status, p.header)
		}
	}
}
