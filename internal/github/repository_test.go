// SPDX-License-Identifier: Apache-2.0

package github_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/github"
	"github.com/fairlead-dev/fairlead/internal/github/client"
	"github.com/fairlead-dev/fairlead/internal/github/githubtest"
)

func TestParseURL(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://github.com/acme/shop":                   "github.com acme/shop",
		"https://github.com/acme/shop.git":               "github.com acme/shop",
		"https://GitHub.com/Acme/Shop/":                  "github.com Acme/Shop",
		"https://www.github.com/acme/shop":               "github.com acme/shop",
		"http://github.com/acme/shop":                    "github.com acme/shop",
		"https://someone@github.com/acme/shop.git":       "github.com acme/shop",
		"https://x-access-token:pw@github.com/acme/shop": "github.com acme/shop",
		"git://github.com/acme/shop.git":                 "github.com acme/shop",
		"git@github.com:acme/shop.git":                   "github.com acme/shop",
		"git@github.com:/acme/shop.git":                  "github.com acme/shop",
		"github.com:acme/shop":                           "github.com acme/shop",
		"ssh://git@github.com/acme/shop.git":             "github.com acme/shop",
		"git+ssh://git@github.com/acme/shop":             "github.com acme/shop",
		"ssh://git@ssh.github.com:443/acme/shop.git":     "github.com acme/shop",
		"https://github.example.com:8443/acme/shop.git":  "github.example.com acme/shop",
		"ssh://git@github.example.com:2222/acme/shop":    "github.example.com acme/shop",
		"org-1234@github.com:acme/shop.js.git":           "github.com acme/shop.js",
		"https://acme.ghe.com/acme/.github":              "acme.ghe.com acme/.github",
		"https://gitlab.example.com/group/sub/shop.git":  "",
		"https://github.com/acme":                        "",
		"https://github.com/acme/shop/tree/main":         "",
		"https://github.com/acme/..":                     "",
		"https://github.com/ac%20me/shop":                "",
		"https:///acme/shop":                             "",
		"file:///srv/git/shop.git":                       "",
		"/srv/git/shop.git":                              "",
		"../shop.git":                                    "",
		"./a:b/shop.git":                                 "",
		"ext::sh -c touch% x":                            "",
		"":                                               "",
		"https://github.com:port/acme/shop":              "",
	} {
		got, err := github.ParseURL(raw)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q is taken as %+v", raw, got)
		case want != "" && (err != nil || got.Host+" "+got.String() != want):
			t.Errorf("%q: got %+v, %v, want %s", raw, got, err, want)
		case err != nil && strings.Contains(err.Error(), "pw"):
			t.Errorf("the error tells a password: %v", err)
		}
	}
}

// secrets are Secrets of the namespace "ns", by name.
type secrets map[string]map[string][]byte

func (s secrets) Secret(_ context.Context, namespace, name string) (map[string][]byte, error) {
	if data, ok := s[name]; ok && namespace == "ns" {
		return data, nil
	}
	return nil, errors.New("there is no Secret " + name)
}

func app(change func(*v1alpha1.ApplicationSpec)) *v1alpha1.Application {
	a := &v1alpha1.Application{}
	a.Namespace, a.Name, a.Spec.Compose.Directory = "ns", "shop", "/opt/shop"
	change(&a.Spec)
	return a
}

func ref(name string) *v1alpha1.LocalReference { return &v1alpha1.LocalReference{Name: name} }

func TestTarget(t *testing.T) {
	t.Parallel()
	type spec = v1alpha1.ApplicationSpec
	tests := map[string]struct {
		spec   func(*spec)
		origin string
		want   github.Target
		err    string
	}{
		"on github.com, nothing said": {
			func(s *spec) { s.Source.SecretRef = ref("git") }, "git@github.com:acme/shop.git",
			github.Target{Repo: client.Repo{Owner: "acme", Name: "shop"}, APIURL: client.DefaultAPI, Secret: "git"}, "",
		},
		"source.url wins over the clone": {
			func(s *spec) { s.Source.URL = "https://github.com/acme/other" }, "https://gitlab.com/a/b",
			github.Target{Repo: client.Repo{Owner: "acme", Name: "other"}, APIURL: client.DefaultAPI}, "",
		},
		"elsewhere, nothing said": {func(*spec) {}, "https://gitlab.com/acme/shop", github.Target{}, "not on GitHub"},
		"no origin, nothing said": {func(*spec) {}, "", github.Target{}, "origin of /opt/shop is not known"},
		"elsewhere, without the API": {
			func(s *spec) { s.GitHub = &v1alpha1.GitHubSpec{} }, "https://git.example.com/acme/shop", github.Target{}, "set github.apiURL, such as https://git.example.com/api/v3/",
		},
		"enterprise server": {
			func(s *spec) {
				s.GitHub = &v1alpha1.GitHubSpec{APIURL: "https://git.example.com/api/v3/"}
				s.Source.SecretRef = ref("git")
			}, "ssh://git@git.example.com:2222/acme/shop.git",
			github.Target{Repo: client.Repo{Owner: "acme", Name: "shop"}, APIURL: "https://git.example.com/api/v3/", Secret: "git"}, "",
		},
		"enterprise cloud": {
			func(s *spec) { s.GitHub = &v1alpha1.GitHubSpec{}; s.Source.SecretRef = ref("git") }, "https://acme.ghe.com/acme/shop",
			github.Target{Repo: client.Repo{Owner: "acme", Name: "shop"}, APIURL: "https://api.acme.ghe.com/", Secret: "git"}, "",
		},
		"a mirror: its token is not GitHub's": {
			func(s *spec) {
				s.GitHub = &v1alpha1.GitHubSpec{Owner: "acme", Repository: "shop"}
				s.Source.SecretRef = ref("mirror")
			}, "https://gitlab.com/mirrors/shop",
			github.Target{Repo: client.Repo{Owner: "acme", Name: "shop"}, APIURL: client.DefaultAPI}, "",
		},
		"all is named, the clone has no origin": {
			func(s *spec) {
				s.GitHub = &v1alpha1.GitHubSpec{Owner: "acme", Repository: "shop", SecretRef: ref("gh")}
			}, "",
			github.Target{Repo: client.Repo{Owner: "acme", Name: "shop"}, APIURL: client.DefaultAPI, Secret: "gh"}, "",
		},
		"only the owner differs": {
			func(s *spec) { s.GitHub = &v1alpha1.GitHubSpec{Owner: "upstream"} }, "https://github.com/acme/shop",
			github.Target{Repo: client.Repo{Owner: "upstream", Name: "shop"}, APIURL: client.DefaultAPI}, "",
		},
		"not named, and the source is a path": {
			func(s *spec) { s.GitHub = &v1alpha1.GitHubSpec{} }, "/srv/shop.git", github.Target{}, "set github.owner and github.repository",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := func(_ context.Context, dir string) (string, error) {
				if dir != "/opt/shop" || test.origin == "" {
					return "", errors.New("no remote")
				}
				return test.origin, nil
			}
			r := github.NewResolver(secrets{}, origin, client.NewPool(client.Options{}))
			got, err := r.Target(t.Context(), app(test.spec))
			if test.err != "" {
				if !errors.Is(err, github.ErrNotGitHub) || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %s", err, test.err)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

func TestOriginIsAskedOnceInAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		r := github.NewResolver(secrets{}, func(context.Context, string) (string, error) {
			asked++
			return "https://github.com/acme/shop", nil
		}, client.NewPool(client.Options{}))
		ask := func(want int) {
			t.Helper()
			if _, err := r.Target(t.Context(), app(func(*v1alpha1.ApplicationSpec) {})); err != nil || asked != want {
				t.Errorf("asked %d times, want %d; %v", asked, want, err)
			}
		}
		ask(1)
		ask(1)
		time.Sleep(2 * time.Minute) //nolint:forbidigo // the time of the test's bubble
		ask(2)
	})
}

func TestHeadAndEnrich(t *testing.T) {
	t.Parallel()
	sha := func(c string) string { return c + strings.Repeat("0", 40-len(c)) }
	f := githubtest.New("/")
	f.Permit("good", false)
	f.Repo("acme/shop", false).Push("heads/main", githubtest.Commit{SHA: sha("a0"), Message: "Begin"}, githubtest.Commit{SHA: sha("a1"), Message: "Go on", Author: "Ada"})
	r := github.NewResolver(secrets{"gh": {"token": []byte("good\n")}, "two": {"token": []byte("a\nb")}, "bad": {"token": []byte("revoked")}},
		func(context.Context, string) (string, error) { return "https://github.com/acme/shop.git", nil }, client.NewPool(client.Options{Transport: f}))
	with := func(secret string) *v1alpha1.Application {
		return app(func(s *v1alpha1.ApplicationSpec) {
			if secret != "" {
				s.GitHub = &v1alpha1.GitHubSpec{SecretRef: ref(secret)}
			}
		})
	}
	if got, ok, err := r.Head(t.Context(), with("gh"), "refs/heads/main"); err != nil || !ok || got != sha("a1") {
		t.Errorf("Head: %s, %v, %v", got, ok, err)
	}
	before := len(f.Calls())
	if _, ok, err := r.Head(t.Context(), with(""), "refs/heads/main"); ok || err != nil || len(f.Calls()) != before {
		t.Errorf("without a token Head asks GitHub: %v, %v", ok, err)
	}
	gitlab := app(func(s *v1alpha1.ApplicationSpec) { s.Source.URL = "https://gitlab.com/a/b" })
	if _, ok, err := r.Head(t.Context(), gitlab, "refs/heads/main"); ok || err != nil {
		t.Errorf("elsewhere: %v, %v", ok, err)
	}
	for _, secret := range []string{"", "gh"} {
		changes, behind, err := r.Enrich(t.Context(), with(secret), sha("a0"), sha("a1"))
		if err != nil || behind != 1 || len(changes) != 1 || changes[0].Author != "Ada" || changes[0].URL != "https://github.com/acme/shop/commit/"+sha("a1") {
			t.Errorf("Enrich: %+v, %d, %v", changes, behind, err)
		}
	}
	if _, _, err := r.Enrich(t.Context(), with("gh"), sha("fe"), sha("a1")); !errors.Is(err, client.ErrUnknownCommit) {
		t.Errorf("a commit that was never pushed: %v", err)
	}
	if _, _, err := r.Enrich(t.Context(), gitlab, sha("a0"), sha("a1")); !errors.Is(err, github.ErrNotGitHub) {
		t.Errorf("elsewhere: %v", err)
	}
	for secret, want := range map[string]string{"two": "must be one line", "none": "there is no Secret none", "bad": "refuses the token"} {
		if _, _, err := r.Enrich(t.Context(), with(secret), sha("a0"), sha("a1")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", secret, err, want)
		}
	}
}

func TestWebhookSecret(t *testing.T) {
	t.Parallel()
	r := github.NewResolver(secrets{"gh": {"webhook-secret": []byte("s3\n")}, "git": {"webhook-secret": []byte("from git")}, "empty": {"webhook-secret": []byte("\n")}}, nil, nil)
	tests := map[string]struct {
		spec func(*v1alpha1.ApplicationSpec)
		want string
	}{
		"none":  {func(*v1alpha1.ApplicationSpec) {}, ""},
		"empty": {func(s *v1alpha1.ApplicationSpec) { s.GitHub = &v1alpha1.GitHubSpec{SecretRef: ref("empty")} }, ""},
		"github's": {func(s *v1alpha1.ApplicationSpec) {
			s.GitHub = &v1alpha1.GitHubSpec{SecretRef: ref("gh")}
			s.Source.SecretRef = ref("git")
		}, "s3"},
		"of the source": {func(s *v1alpha1.ApplicationSpec) { s.Source.SecretRef = ref("git") }, "from git"},
	}
	for name, test := range tests {
		if got, err := r.WebhookSecret(t.Context(), app(test.spec)); err != nil || string(got) != test.want || (got == nil) != (test.want == "") {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}
