// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package webui

import (
	"context"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/httpapi"
	"github.com/fairlead-dev/fairlead/internal/httpapi/audit"
	"github.com/fairlead-dev/fairlead/internal/identity"
	"github.com/fairlead-dev/fairlead/internal/oidc"
	"github.com/fairlead-dev/fairlead/internal/testenv"
	"github.com/fairlead-dev/fairlead/internal/tokens"
	"github.com/fairlead-dev/fairlead/test/idp"
)

const (
	patience     = 30 * time.Second
	updaterToken = "open-sesame-open-sesame"
)

// realm is a UI with the real API server behind it, which trusts a real provider.
type realm struct {
	*testing.T
	*idp.Provider
	ui    *Server
	base  string
	ahead atomic.Int64 // of the UI's clock, in ns
	admin client.Client
}

func newRealm(t *testing.T, users []idp.User, flags ...string) *realm {
	t.Helper()
	r := &realm{T: t}
	server := httptest.NewUnstartedServer(nil)
	r.base = "http://" + server.Listener.Addr().String()
	r.Provider = idp.Start(t, users, r.base+callbackPath)
	bin, err := testenv.Binary(t.Context())
	r.must(err)
	dir := filepath.Join(t.TempDir(), "data")
	p, err := testenv.Serve(t.Context(), bin, dir, append(append([]string{"--controllers=false"}, r.Flags()...), flags...)...)
	r.must(err)
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	config, err := clientcmd.BuildConfigFromFlags("", p.Addresses.Kubeconfig)
	r.must(err)
	config.QPS = -1
	scheme := runtime.NewScheme()
	r.must(clientgoscheme.AddToScheme(scheme))
	r.must(v1alpha1.AddToScheme(scheme))
	r.admin, err = client.New(config, client.Options{Scheme: scheme})
	r.must(err)
	callers, err := identity.New(config, scheme, r.admin.RESTMapper())
	r.must(err)
	r.must(identity.EnsureUpdater(t.Context(), r.admin, metav1.NamespaceDefault))
	log := audit.Open(zap.NewNop(), filepath.Join(t.TempDir(), "audit.log"))
	t.Cleanup(func() { _ = log.Close() })
	api := httpapi.New(httpapi.Options{Version: "test", Audit: log, UpdaterToken: updaterToken})
	r.ui, err = New(Options{API: api, DataDir: t.TempDir(), Provider: r.client(), Now: func() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) }})
	r.must(err)
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	memory, err := cache.New(config, cache.Options{Scheme: scheme})
	r.must(err)
	ended := make(chan error, 1)
	go func() { ended <- memory.Start(ctx) }()
	t.Cleanup(func() { stop(); r.must(<-ended) })
	api.UseCache(memory)
	api.Connect(ctx, callers)
	r.must(r.ui.Connect(ctx))
	server.Config.Handler = r.ui
	server.Start()
	t.Cleanup(server.Close)
	for group, role := range map[string]string{"oidc:ops": "fairlead-admin", "oidc:staff": "fairlead-viewer"} {
		r.must(r.admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "oidc-"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: group}},
		}))
	}
	return r
}

func (r *realm) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// client is a new client of the provider, which has not asked it anything yet.
func (r *realm) client() *oidc.Client {
	r.Helper()
	c := oidc.Config{IssuerURL: r.URL, ClientID: idp.ClientID, ClientSecretFile: r.SecretFile, CAFile: r.CAFile, UsernameClaim: "email", ProviderName: "Example ID"}
	r.must(c.Check())
	p, err := oidc.New(c)
	r.must(err)
	return p
}

func (r *realm) until(what string, done func() bool) {
	r.Helper()
	ticker, deadline := time.NewTicker(100*time.Millisecond), time.After(patience)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-deadline:
			r.Fatalf("%s: not in %s", what, patience)
		}
	}
}

// visitor is somebody with a browser.
type visitor struct {
	realm  *realm
	client *http.Client
}

type visit struct {
	url    *url.URL
	status int
	header http.Header
	body   string
}

func (r *realm) visitor() *visitor {
	r.Helper()
	jar, err := cookiejar.New(nil)
	r.must(err)
	return &visitor{r, &http.Client{Jar: jar, Transport: r.Provider.Client.Transport}}
}

func (v *visitor) ask(method, to string, form url.Values) visit {
	v.realm.Helper()
	if strings.HasPrefix(to, "/") {
		to = v.realm.base + to
	}
	r, err := http.NewRequestWithContext(v.realm.Context(), method, to, strings.NewReader(form.Encode()))
	v.realm.must(err)
	r.Header.Set("Accept", "text/html")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	a, err := v.client.Do(r)
	v.realm.must(err)
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	v.realm.must(err)
	return visit{a.Request.URL, a.StatusCode, a.Header, string(body)}
}

func (v *visitor) get(to string) visit { v.realm.Helper(); return v.ask(http.MethodGet, to, nil) }

var requestID = regexp.MustCompile(`name="id" value="([^"]+)"`)

var endSession = regexp.MustCompile(`id="provider" href="([^"]+)"`)

// signIn goes to the provider and back.
func (v *visitor) signIn(name, next string) visit {
	v.realm.Helper()
	there := v.get(providerPath + "?next=" + url.QueryEscape(next))
	id := requestID.FindStringSubmatch(there.body)
	if id == nil {
		v.realm.Fatalf("the provider shows no form: %d at %s: %s", there.status, there.url, there.body)
	}
	return v.ask(http.MethodPost, there.url.String(), url.Values{"id": {id[1]}, "user": {name}})
}

// signedIn is somebody who got in; the API server may need a moment at first.
func (r *realm) signedIn(name string) *visitor {
	r.Helper()
	v := r.visitor()
	r.until(name+" is signed in", func() bool { return v.signIn(name, Prefix).status == http.StatusOK })
	return v
}

func (v *visitor) wants(to string, status int, texts ...string) visit {
	v.realm.Helper()
	got := v.get(to)
	if got.status != status {
		v.realm.Errorf("%s: %d, want %d: %s", to, got.status, status, got.body)
	}
	for _, text := range texts {
		if !strings.Contains(got.body, text) {
			v.realm.Errorf("%s has no %q: %s", to, text, got.body)
		}
	}
	return got
}

// out says that a page leads to the sign-in page.
func (v *visitor) out(when string) {
	v.realm.Helper()
	if got := v.get(Prefix); got.url.Path != Prefix+"sign-in" {
		v.realm.Errorf("%s: still in, %d at %s", when, got.status, got.url)
	}
}

func TestSignInWithAProvider(t *testing.T) {
	r := newRealm(t, []idp.User{
		{Name: "ann", Email: "ann@example.com", Groups: []string{"ops"}}, {Name: "bob", Email: "bob@example.com", Groups: []string{"staff", "golf"}},
		{Name: "eve", Email: "eve@example.com"}, {Name: "mal", Email: "ann@example.com", Unverified: true, Groups: []string{"ops"}},
	})
	ann := r.signedIn("ann")

	t.Run("groups decide", func(t *testing.T) {
		ann.wants(Prefix+"tokens", 200, "oidc:ann@example.com")
		bob := r.signedIn("bob")
		bob.wants(Prefix, 200, "oidc:bob@example.com")
		if got := bob.wants(Prefix+"tokens", 403); strings.Contains(got.body, `href="/ui/tokens"`) {
			t.Error("bob is offered what he may not do")
		}
		eve := r.signedIn("eve")
		eve.wants(Prefix, 200, "one of your groups", ">oidc:eve@example.com<")
		eve.wants(Prefix+"tokens", 403)
	})
	t.Run("back to where one was", func(t *testing.T) {
		v := r.visitor()
		first := v.get(Prefix + "tokens")
		if !strings.Contains(first.body, `href="`+providerPath+`?next=%2Fui%2Ftokens"`) || !strings.Contains(first.body, "Sign in with Example ID") {
			t.Errorf("the sign-in page offers no provider: %s", first.body)
		}
		got := v.signIn("ann", Prefix+"tokens")
		if got.header.Get("Refresh") != "0;url=/ui/tokens" {
			t.Errorf("it leads to %q", got.header.Get("Refresh"))
		}
		if got := v.signIn("ann", "https://evil.example.com/"); got.header.Get("Refresh") != "0;url=/ui/" {
			t.Errorf("it leads to %q", got.header.Get("Refresh"))
		}
	})
	t.Run("an address that is not verified", func(t *testing.T) {
		v := r.visitor()
		if got := v.signIn("mal", Prefix); got.status != 403 || !strings.Contains(got.body, "does not accept its token") {
			t.Errorf("%d %s", got.status, got.body)
		}
		v.out("refused")
	})
	t.Run("forged and used callbacks", func(t *testing.T) {
		v := r.visitor()
		there := v.get(providerPath)
		id := requestID.FindStringSubmatch(there.body)[1]
		v.client.CheckRedirect = func(q *http.Request, _ []*http.Request) error {
			if q.URL.Path == callbackPath {
				return http.ErrUseLastResponse
			}
			return nil
		}
		back := v.ask(http.MethodPost, there.url.String(), url.Values{"id": {id}, "user": {"ann"}}).header.Get("Location")
		v.client.CheckRedirect = nil
		// Somebody else's browser, a state that was made up, then the right one, then it again.
		for _, c := range []struct {
			who  *visitor
			to   string
			want int
		}{
			{r.visitor(), back, 403}, {v, strings.Replace(back, "state=", "state=x", 1), 403}, {v, back, 200}, {v, back, 403},
		} {
			if got := c.who.get(c.to); got.status != c.want {
				t.Errorf("%s: %d, want %d: %s", c.to, got.status, c.want, got.body)
			}
		}
		if got := r.visitor().get(callbackPath + "?error=access_denied&error_description=%3Cscript%3E"); got.status != 403 || strings.Contains(got.body, "<script>") {
			t.Errorf("a refusal of nothing: %d %s", got.status, got.body)
		}
	})
	t.Run("signed out everywhere", func(t *testing.T) {
		one, other := r.signedIn("ann"), r.signedIn("ann")
		csrf := csrfValue.FindStringSubmatch(one.get(Prefix).body)[1]
		one.ask(http.MethodPost, Prefix+"sign-out", url.Values{"csrf": {csrf}, "everywhere": {"true"}})
		one.out("signed out")
		other.out("signed out elsewhere")
		ann.out("signed out elsewhere")
	})
	t.Run("signed out of the provider", func(t *testing.T) {
		r.Remembers.Store(true)
		v := r.signedIn("ann")
		page := v.ask(http.MethodPost, Prefix+"sign-out", url.Values{"csrf": {csrfValue.FindStringSubmatch(v.get(Prefix).body)[1]}})
		there := endSession.FindStringSubmatch(page.body)
		if page.url.Path != signedOutPath || there == nil {
			t.Fatalf("nobody is led to sign out of the provider: %d at %s: %s", page.status, page.url, page.body)
		}
		if again := v.get(providerPath); again.url.Path != callbackPath || again.status != http.StatusOK {
			t.Fatalf("the provider does not remember: %d at %s", again.status, again.url)
		}
		if back := v.get(html.UnescapeString(there[1])); back.status != http.StatusOK || back.url.Path != Prefix {
			t.Errorf("from the provider it leads to %s: %d %s", back.url, back.status, back.body)
		}
		if again := v.get(providerPath); requestID.FindStringSubmatch(again.body) == nil {
			t.Errorf("the provider still remembers: %d at %s", again.status, again.url)
		}
		r.Remembers.Store(false)
	})
	t.Run("renewal", func(t *testing.T) { r.renewal() })
	t.Run("UPDATER_TOKEN", func(t *testing.T) { r.byUpdaterToken() })
	t.Run("away", func(t *testing.T) { r.awayAtSignIn() })
}

// renewal goes over the end of ID tokens, by the UI's clock.
func (r *realm) renewal() {
	life := 10 * time.Minute
	r.Lifetime.Store(int64(life))
	bob := r.signedIn("bob")
	before := r.Renewals.Load()
	bob.wants(Prefix, 200)
	if n := r.Renewals.Load() - before; n != 0 {
		r.Fatalf("%d renewals of a fresh token", n)
	}
	// nearEnd is shortly before the end of the token that there is.
	nearEnd := func() {
		r.ahead.Store(int64(life - 15*time.Second))
		life += 10 * time.Minute
		r.Lifetime.Store(int64(life))
	}
	nearEnd()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { bob.wants(Prefix, 200) })
	}
	all.Wait()
	if n := r.Renewals.Load() - before; n != 1 {
		r.Errorf("%d renewals for what a page asks at once, want 1", n)
	}

	r.SetGroups("bob", "golf")
	bob.wants(Prefix, 200) // until the token is renewed
	nearEnd()
	bob.wants(Prefix, 200, "one of your groups")
	r.SetGroups("bob", "staff")
	nearEnd()
	bob.wants(Prefix, 200)

	nearEnd()
	r.Away.Store(true)
	bob.wants(Prefix, 200) // the token that is there is still good
	r.ahead.Add(int64(time.Minute))
	bob.wants(Prefix, 503, "identity provider does not answer")
	r.Away.Store(false)
	bob.wants(Prefix, 200) // nothing was lost

	nearEnd()
	r.Revoke(r.Context(), "bob")
	bob.out("the provider has ended it")
	r.ahead.Store(0)
	r.Lifetime.Store(0)
}

// awayAtSignIn is about a provider that does not answer from the start.
func (r *realm) awayAtSignIn() {
	r.Away.Store(true)
	r.ui.opts.Provider = r.client()
	v := r.visitor()
	page := v.wants(providerPath, http.StatusBadGateway, "Example ID does not answer", `name="token"`)
	_, secret, err := tokens.Create(r.Context(), r.admin, tokens.Request{Namespace: "default", Name: "by-token", Role: "viewer", Life: time.Hour})
	r.must(err)
	r.until("signed in by token", func() bool {
		form := url.Values{"csrf": {csrfValue.FindStringSubmatch(page.body)[1]}, "token": {secret}}
		return v.ask(http.MethodPost, Prefix+"sign-in", form).status == 200
	})
	r.Away.Store(false)
	r.signedIn("ann").wants(Prefix, 200)
}

// Without prefixes, a provider is still no way to be one of those whom Kubernetes
// trusts.
func TestProviderMakesNobodyMaster(t *testing.T) {
	r := newRealm(t, []idp.User{
		{Name: "ann", Email: "ann@example.com", Groups: []string{"ops"}}, {Name: "mal", Email: "mal@example.com", Groups: []string{"system:masters"}},
	}, "--oidc-groups-prefix=-", "--oidc-username-prefix=-")
	r.signedIn("ann").wants(Prefix, 200, "one of your groups", ">ann@example.com<")
	v := r.visitor()
	if got := v.signIn("mal", Prefix); got.status != 403 {
		t.Errorf("%d %s", got.status, got.body)
	}
	v.out("refused")
}
