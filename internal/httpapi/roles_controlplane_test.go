// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package httpapi

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/httpapi/guard"
	"github.com/fairlead-dev/fairlead/internal/identity"
	"github.com/fairlead-dev/fairlead/internal/tokens"
)

const newRequest = `{"spec":{"applicationRef":{"name":"web"},"commit":"main"}}`

// TestEveryRouteForEveryRole: what a role may is what its ClusterRole says.
func TestEveryRouteForEveryRole(t *testing.T) {
	w := newWorld(t, nil)
	w.log()
	fresh := 0
	for _, c := range []struct {
		method, path, body       string
		want                     int // for those who may
		viewer, operator, nobody int // 0: want; nobody's default is 403
		prepare                  func(*v1alpha1.UpdateRequest)
	}{
		{method: "GET", path: "/applications", want: 200},
		{method: "GET", path: "/applications/web", want: 200},
		{method: "GET", path: "/applications/web/version", want: 200},
		{method: "GET", path: "/requests", want: 200},
		{method: "GET", path: "/requests?application=web&limit=1", want: 200},
		{method: "GET", path: "/requests/REQUEST", want: 200},
		{method: "GET", path: "/requests/REQUEST/events", want: 200, prepare: ended(v1alpha1.PhaseFailed)},
		{method: "GET", path: "/requests/REQUEST/log", want: 200, prepare: w.logging},
		{method: "GET", path: "/requests/REQUEST/log/events", want: 200, prepare: func(ur *v1alpha1.UpdateRequest) {
			w.logging(ur)
			ur.Status.Phase = v1alpha1.PhaseFailed
		}},
		{method: "GET", path: "/releases", want: 200},
		{method: "GET", path: "/releases/none", want: 404},
		{method: "GET", path: "/backups", want: 200},
		{method: "GET", path: "/backups/none", want: 404},
		{method: "GET", path: "//whoami", want: 200, nobody: 200},
		{method: "POST", path: "/requests", body: newRequest, want: 201, viewer: 403},
		{method: "POST", path: "/plan?wait=10ms", body: newRequest, want: 202, viewer: 403},
		{method: "POST", path: "/requests/REQUEST/cancel", want: 202, viewer: 403},
		{method: "POST", path: "/requests/REQUEST/retry", want: 201, viewer: 403, prepare: ended(v1alpha1.PhaseFailed)},
		{method: "POST", path: "/requests/REQUEST/retry", want: 409, viewer: 403},
		{method: "POST", path: "/requests/REQUEST/cancel", want: 409, viewer: 403, prepare: ended(v1alpha1.PhaseSucceeded)},
		{method: "DELETE", path: "/requests/REQUEST", want: 202, viewer: 403},
	} {
		for _, role := range []string{"admin", "operator", "updater", "viewer", "stranger"} {
			t.Run(fmt.Sprintf("%s %s as %s, %d", c.method, strings.SplitN(c.path, "?", 2)[0], role, c.want), func(t *testing.T) {
				w := *w
				w.T = t
				want := c.want
				token := role
				switch {
				case role == "viewer" && c.viewer != 0:
					want = c.viewer
				case role == "stranger":
					token = w.stranger()
					if want = c.nobody; want == 0 {
						want = http.StatusForbidden
					}
				}
				path := c.path
				if strings.Contains(path, "REQUEST") {
					fresh++
					name := "r" + strconv.Itoa(fresh)
					w.create(name, c.prepare)
					path = strings.Replace(path, "REQUEST", name, 1)
				}
				before := len(w.writesOfServer())
				a := w.do(token, c.method, path, c.body)
				if a.code != want {
					t.Fatalf("%d %s, want %d", a.code, a.body, want)
				}
				if a.code >= 400 {
					if detail := a.problem(t); a.code == http.StatusForbidden && !strings.Contains(detail, "fairlead-") {
						t.Errorf("the refusal does not say which role allows it: %s", detail)
					}
				}
				if c.method == "GET" {
					return
				}
				// Every write leaves a line here, and one in the API server; with the same ID
				// where both are one process, as they are not here.
				id := a.header.Get("Audit-Id")
				if lines := auditLines(t, w.auditFile, id, fmt.Sprintf(`"status":%d`, want), "system:serviceaccount:"); len(lines) != 1 {
					t.Errorf("%d audit lines: %q", len(lines), lines)
				}
				readBefore := role == "stranger" && strings.Contains(c.path, "REQUEST/") // refused when it read
				if len(w.writesOfServer()) == before && !readBefore {
					t.Error("no line in the audit log of the API server")
				}
			})
		}
	}
}

// writesOfServer are the lines of the API server's audit log about the namespace.
func (w *world) writesOfServer() []string {
	w.Helper()
	return auditLines(w.T, apiAudit(), `"namespace":"`+w.namespace+`"`)
}

// stranger is a token of an account without any role here.
func (w *world) stranger() string {
	w.Helper()
	if token, ok := w.tokens["stranger"]; ok {
		return token
	}
	other := env.Namespace(w.T, "elsewhere")
	_, secret, err := tokens.Create(w.Context(), w.admin, tokens.Request{Namespace: other, Role: "admin", Life: time.Hour})
	w.must(err)
	return secret
}

func TestViewerByKubernetesIsAuditedToo(t *testing.T) {
	w := newWorld(t, nil)
	viewer := *env.Config
	viewer.CertData, viewer.KeyData, viewer.BearerToken = nil, nil, w.tokens["viewer"]
	c, err := client.New(&viewer, client.Options{Scheme: w.admin.Scheme(), Mapper: w.admin.RESTMapper()})
	w.must(err)
	ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "by-kubectl"}}
	ur.Spec.ApplicationRef.Name = "web"
	if err := c.Create(t.Context(), ur); !apierrors.IsForbidden(err) {
		t.Fatalf("the viewer's creation: %v", err)
	}
	who := "system:serviceaccount:" + w.namespace + ":fairlead-token-viewer"
	if lines := auditLines(t, apiAudit(), who, `"verb":"create"`, `"code":403`, "updaterequests"); len(lines) != 1 {
		t.Errorf("audit lines %q", lines)
	}
	data, err := os.ReadFile(apiAudit())
	w.must(err)
	for _, secret := range w.tokens {
		if strings.Contains(string(data), secret) {
			t.Error("a token is in the audit log")
		}
	}
}

func TestRequestSaysWhoAsked(t *testing.T) {
	w := newWorld(t, nil)
	a := w.do("operator", "POST", "/requests", `{"metadata":{"annotations":{"fairlead.dev/requested-by":"somebody-else"}},"spec":{"applicationRef":{"name":"web"}}}`)
	var ur v1alpha1.UpdateRequest
	if err := json.Unmarshal([]byte(a.body), &ur); err != nil || a.code != 201 {
		t.Fatalf("%d %s", a.code, a.body)
	}
	if by := ur.Annotations[v1alpha1.AnnotationRequestedBy]; by != "system:serviceaccount:"+w.namespace+":fairlead-token-operator" {
		t.Errorf("requested by %s", by)
	}
	if ur.Kind != "UpdateRequest" || !strings.HasPrefix(ur.Name, "web-") || a.header.Get("Location") != "/api/v1/namespaces/"+w.namespace+"/requests/"+ur.Name {
		t.Errorf("%s %s at %s", ur.Kind, ur.Name, a.header.Get("Location"))
	}
	if got := w.do("viewer", "GET", "/requests/"+ur.Name, ""); got.code != 200 || strings.Contains(got.body, "managedFields") {
		t.Errorf("%d %s", got.code, got.body)
	}
}

func TestRetryTriesTheSameCommit(t *testing.T) {
	w := newWorld(t, nil)
	w.create("bad", func(ur *v1alpha1.UpdateRequest) {
		ur.Status.Phase, ur.Status.Commit = v1alpha1.PhaseFailed, "0123456789abcdef0123456789abcdef01234567"
	})
	a := w.do("operator", "POST", "/requests/bad/retry", "")
	var ur v1alpha1.UpdateRequest
	if err := json.Unmarshal([]byte(a.body), &ur); err != nil || a.code != 201 {
		t.Fatalf("%d %s", a.code, a.body)
	}
	if !ur.Spec.Retry || ur.Spec.Commit != "0123456789abcdef0123456789abcdef01234567" || ur.Name == "bad" {
		t.Errorf("%s: %+v", ur.Name, ur.Spec)
	}
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t, nil)
	large := `{"spec":{"applicationRef":{"name":"web"},"commit":"` + strings.Repeat("x", MaxBody) + `"}}`
	for name, c := range map[string]struct {
		method, path, body, contentType string
		code                            int
		says                            string
	}{
		"unknown field":     {method: "POST", path: "/requests", body: `{"spec":{"applicationRef":{"name":"web"},"comit":"x"}}`, code: 400, says: "comit"},
		"bad value":         {method: "POST", path: "/requests", body: `{"spec":{"applicationRef":{"name":"web"},"commit":"a..b"}}`, code: 422, says: "commit must be"},
		"no application":    {method: "POST", path: "/requests", body: `{"spec":{}}`, code: 422, says: "applicationRef"},
		"no JSON":           {method: "POST", path: "/requests", body: `{"spec":`, code: 422, says: "JSON"},
		"a list":            {method: "POST", path: "/requests", body: `[]`, code: 422, says: "array"},
		"spec is text":      {method: "POST", path: "/requests", body: `{"spec":"x"}`, code: 400, says: "spec must be"},
		"other kind":        {method: "POST", path: "/requests", body: `{"apiVersion":"v1","kind":"Secret"}`, code: 400, says: "UpdateRequest"},
		"other namespace":   {method: "POST", path: "/requests", body: `{"metadata":{"namespace":"kube-system"},"spec":{}}`, code: 400, says: "kube-system"},
		"a form":            {method: "POST", path: "/requests", body: "a=b", contentType: "application/x-www-form-urlencoded", code: 415, says: "application/json"},
		"too large":         {method: "POST", path: "/requests", body: large, code: 413, says: ""},
		"unknown path":      {method: "GET", path: "/nothing", code: 404, says: "openapi.json"},
		"unknown request":   {method: "GET", path: "/requests/none", code: 404, says: "none"},
		"log of none":       {method: "GET", path: "/requests/none/log", code: 404, says: "none"},
		"wrong method":      {method: "PUT", path: "/requests/x", body: `{}`, code: 405, says: "PUT"},
		"bad limit":         {method: "GET", path: "/requests?limit=many", code: 422, says: ""},
		"bad wait":          {method: "POST", path: "/plan?wait=9h", body: newRequest, code: 400, says: "at most 5m"},
		"taken name":        {method: "POST", path: "/requests", body: `{"metadata":{"name":"taken"},"spec":{"applicationRef":{"name":"web"}}}`, code: 409, says: "already exists"},
		"cluster's objects": {method: "GET", path: "//dockerhosts", code: 403, says: "dockerhosts"},
	} {
		t.Run(name, func(t *testing.T) {
			w := *w
			w.T = t
			if name == "taken name" {
				w.create("taken", nil)
			}
			r := w.request("operator", c.method, c.path, c.body)
			if c.contentType != "" {
				r.Header.Set("Content-Type", c.contentType)
			}
			a := w.send(r)
			if a.code != c.code {
				t.Fatalf("%d %.300s, want %d", a.code, a.body, c.code)
			}
			if a.problem(t); !strings.Contains(a.body, c.says) {
				t.Errorf("%s does not say %q", a.body, c.says)
			}
			if len(a.body) > 10_000 {
				t.Errorf("the answer has %d bytes", len(a.body))
			}
		})
	}
	// A body whose length is not told beforehand.
	r := w.request("operator", "POST", "/requests", large)
	r.ContentLength = -1
	if a := w.send(r); a.code != http.StatusRequestEntityTooLarge {
		t.Errorf("without a length: %d %.300s", a.code, a.body)
	}
}

// expired is a token as the API server made it, but for its times.
func (w *world) expired() string {
	w.Helper()
	parts := strings.Split(w.tokens["operator"], ".")
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	w.must(err)
	var claims map[string]any
	w.must(json.Unmarshal(data, &claims))
	claims["iat"], claims["nbf"], claims["exp"] = time.Now().Add(-2*time.Hour).Unix(), time.Now().Add(-2*time.Hour).Unix(), time.Now().Add(-time.Hour).Unix()
	data, err = json.Marshal(claims)
	w.must(err)
	signed := parts[0] + "." + base64.RawURLEncoding.EncodeToString(data)
	file, err := os.ReadFile(filepath.Join(filepath.Dir(env.Kubeconfig), "pki", "sa.key"))
	w.must(err)
	block, _ := pem.Decode(file)
	key, err := x509.ParseECPrivateKey(block.Bytes)
	w.must(err)
	hash := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, hash[:])
	w.must(err)
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func TestTokens(t *testing.T) {
	w := newWorld(t, nil)
	refused := func(what, token string) {
		t.Helper()
		a := w.do(token, "GET", "/applications", "")
		if a.code != http.StatusUnauthorized || a.header.Get("Www-Authenticate") == "" {
			t.Errorf("%s: %d %s", what, a.code, a.body)
		}
		a.problem(t)
		if lines := auditLines(t, w.auditFile, a.header.Get("Audit-Id"), `"verb":"authenticate"`, `"status":401`); len(lines) != 1 {
			t.Errorf("%s: %d audit lines", what, len(lines))
		}
	}
	refused("none", "")
	refused("a wrong one", "wrong")
	refused("an expired one", w.expired())
	refused("one with a wrong signature", w.tokens["operator"]+"x")

	r := w.request("", "GET", "/applications", "")
	r.Header.Set(updaterHeader, updaterToken)
	if a := w.send(r); a.code != 200 {
		t.Errorf("UPDATER_TOKEN in its own header: %d %s", a.code, a.body)
	}
	r.Header.Set(updaterHeader, w.tokens["operator"])
	if a := w.send(r); a.code != http.StatusUnauthorized {
		t.Errorf("another token in the updater's header: %d", a.code)
	}
	if a := w.do("updater", "GET", "//whoami", ""); !strings.Contains(a.body, `"username":"system:serviceaccount:fairlead-system:fairlead-updater"`) {
		t.Errorf("UPDATER_TOKEN is %s", a.body)
	}

	// It is worth the role in its own namespace, and nothing elsewhere.
	for path, want := range map[string]int{"/applications": 200, "//namespaces/" + env.Namespace(t, "other") + "/applications": 403, "//namespaces": 403, "//dockerhosts": 403} {
		if a := w.do("updater", "GET", path, ""); a.code != want {
			t.Errorf("UPDATER_TOKEN: GET %s: %d %s", path, a.code, a.body)
		}
	}
	everywhere := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: identity.UpdaterAccount},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: identity.UpdaterRole},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: identity.UpdaterAccount, Namespace: identity.UpdaterNamespace}}}
	w.must(w.admin.Create(t.Context(), everywhere))
	w.must(identity.EnsureUpdater(t.Context(), w.admin, w.namespace))
	if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(everywhere), everywhere); !apierrors.IsNotFound(err) {
		t.Errorf("the binding of earlier versions: %v", err)
	}

	token := w.token("leaver", "operator")
	w.until("the binding", func() bool { return w.do(token, "GET", "/applications", "").code == 200 })
	stream := w.follow(token, "/events", "")
	stream.want(t, eventApplication)
	w.must(tokens.Revoke(t.Context(), w.admin, w.namespace, "leaver"))
	// The API server hears of it by a watch, and asks no memory of its own.
	begin := time.Now()
	w.until("the end of a revoked token", func() bool { return w.do(token, "GET", "/applications", "").code == http.StatusUnauthorized })
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("a revoked token was good for %s more", took)
	}
	for { // its streams end too
		if _, err, ok := stream.next(); err != nil || !ok {
			break
		}
	}
}

func TestGuessing(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Guard = guard.New(guard.Options{Guesses: 3, FirstWait: time.Minute, LastWait: time.Hour})
	})
	for i := range 3 {
		if a := w.do(fmt.Sprint("guess-", i), "GET", "/applications", ""); a.code != http.StatusUnauthorized {
			t.Fatalf("guess %d: %d", i, a.code)
		}
	}
	a := w.do("guess-more", "GET", "/applications", "")
	if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); a.code != http.StatusTooManyRequests || err != nil || seconds < 50 {
		t.Errorf("%d, Retry-After %q", a.code, a.header.Get("Retry-After"))
	}
	a.problem(t)
	if a := w.do("operator", "GET", "/applications", ""); a.code != 200 {
		t.Errorf("a good token that was seen before: %d %s", a.code, a.body)
	}
}

func TestRateLimit(t *testing.T) {
	w := newWorld(t, nil)
	w.api.guard = guard.New(guard.Options{Rate: 0.001, Burst: 2})
	for i, want := range []int{200, 200, 429, 429} {
		a := w.do("viewer", "GET", "/applications", "")
		if a.code != want {
			t.Errorf("request %d: %d, want %d", i, a.code, want)
		}
		if want != http.StatusTooManyRequests {
			continue
		}
		a.problem(t)
		if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || seconds < 1 {
			t.Errorf("request %d: Retry-After %q", i, a.header.Get("Retry-After"))
		}
	}
}
