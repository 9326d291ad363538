// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/github/client"
	"github.com/fairlead-dev/fairlead/internal/github/githubtest"
)

// subject is a server that the conformance tests run on.
type subject struct {
	client, stranger *client.Client // with a token, and with a wrong one
	repo             client.Repo
	branch           string // with three commits or more
	calls            *counter
}

// counter counts the answers by their status.
type counter struct {
	base  http.RoundTripper
	codes []int
	left  []string // X-RateLimit-Remaining
}

func (c *counter) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.base.RoundTrip(req)
	if err == nil {
		c.codes = append(c.codes, resp.StatusCode)
		c.left = append(c.left, resp.Header.Get("X-RateLimit-Remaining"))
	}
	return resp, err
}

func (c *counter) last() (code int, left string) {
	return c.codes[len(c.codes)-1], c.left[len(c.left)-1]
}

func TestConformanceOfTheFake(t *testing.T) {
	t.Parallel()
	f, _, _ := fake(t)
	conform(t, &subject{repo: shop, branch: "main"}, f, "https://github.example.com/api/v3/", token)
}

// The same on the real GitHub, or on an Enterprise Server at GITHUB_CONFORMANCE_URL.
// It writes a status and a deployment to the head of the repository's branch.
func TestConformanceOfGitHub(t *testing.T) {
	token, repo := os.Getenv("GITHUB_CONFORMANCE_TOKEN"), os.Getenv("GITHUB_CONFORMANCE_REPO")
	if token == "" || repo == "" {
		t.Skip("set GITHUB_CONFORMANCE_TOKEN and GITHUB_CONFORMANCE_REPO (OWNER/NAME; its default branch main, or GITHUB_CONFORMANCE_BRANCH, " +
			"with three commits or more) to run these tests on the real GitHub")
	}
	s := &subject{branch: "main"}
	s.repo.Owner, s.repo.Name, _ = strings.Cut(repo, "/")
	if b := os.Getenv("GITHUB_CONFORMANCE_BRANCH"); b != "" {
		s.branch = b
	}
	conform(t, s, http.DefaultTransport, os.Getenv("GITHUB_CONFORMANCE_URL"), token)
}

// conform checks all that this package relies on.
func conform(t *testing.T, s *subject, transport http.RoundTripper, api, token string) {
	s.calls = &counter{base: transport}
	s.client = connect(t, s.calls, api, token)
	s.stranger = connect(t, s.calls, api, "ghp_wrong")
	ctx := t.Context()
	head, err := s.client.Head(ctx, s.repo, "refs/heads/"+s.branch)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("conditional", func(t *testing.T) {
		_, before := s.calls.last()
		again, err := s.client.Head(ctx, s.repo, "refs/heads/"+s.branch)
		code, after := s.calls.last()
		if err != nil || again != head || code != http.StatusNotModified || before != after {
			t.Errorf("got %s, %v; status %d; %s calls were left, then %s", again, err, code, before, after)
		}
	})
	t.Run("compare", func(t *testing.T) { s.compare(t, head) })
	t.Run("statuses", func(t *testing.T) { s.statuses(t, head) })
	t.Run("deployments", func(t *testing.T) { s.deployments(t, head) })
	t.Run("refusals", func(t *testing.T) { s.refusals(ctx, t, head) })
}

func (s *subject) compare(t *testing.T, head string) {
	before, err := s.client.Head(t.Context(), s.repo, head+"~1")
	if err != nil {
		// The fake knows no ~1; the first commit of its repository does as well.
		before = sha("a1")
	}
	got, err := s.client.Compare(t.Context(), s.repo, before, head)
	if err != nil || got.Relation != client.Ahead || got.Behind < 1 || got.Ahead != 0 || got.URL == "" {
		t.Fatalf("the newest does not run: %+v, %v", got, err)
	}
	if newest := got.Changes[0]; newest.Commit != head || newest.Author == "" || newest.Subject == "" || newest.Time.IsZero() || !strings.HasPrefix(newest.URL, "https://") {
		t.Errorf("the newest commit is %+v", newest)
	}
	back, err := s.client.Compare(t.Context(), s.repo, head, before)
	if err != nil || back.Relation != client.Behind || back.Behind != 0 || back.Ahead != got.Behind || len(back.Changes) != 0 {
		t.Errorf("the other way round: %+v, %v", back, err)
	}
}

func (s *subject) statuses(t *testing.T, head string) {
	long := strings.Repeat("long ", 60)
	for _, state := range []client.State{client.StatePending, client.StateFailure, client.StateError, client.StateSuccess, client.StateSuccess} {
		if err := s.client.SetCommitStatus(t.Context(), s.repo, head, client.Status{
			State: state, Context: "fairlead/conformance", Description: long, URL: "https://example.com/",
		}); err != nil {
			t.Errorf("%s: %v", state, err)
		}
	}
	err := s.client.SetCommitStatus(t.Context(), s.repo, sha("fefe"), client.Status{State: client.StatePending, Context: "fairlead/conformance"})
	if !errors.Is(err, client.ErrUnknownCommit) {
		t.Errorf("a commit that is not there: %v", err)
	}
}

func (s *subject) deployments(t *testing.T, head string) {
	d := client.Deployment{Commit: head, Environment: "fairlead-conformance", Description: "conformance", ID: time.Now().UTC().Format(time.RFC3339Nano)}
	first, err := s.client.EnsureDeployment(t.Context(), s.repo, d)
	if err != nil || first == 0 {
		t.Fatalf("%d, %v", first, err)
	}
	if again, err := s.client.EnsureDeployment(t.Context(), s.repo, d); err != nil || again != first {
		t.Errorf("the second try made another deployment: %d, %d, %v", first, again, err)
	}
	d.ID += "-other"
	if other, err := s.client.EnsureDeployment(t.Context(), s.repo, d); err != nil || other == first {
		t.Errorf("another deployment is taken for the same: %d, %d, %v", first, other, err)
	}
	for _, state := range []client.State{client.StateInProgress, client.StateError, client.StateFailure, client.StateSuccess, client.StateInactive} {
		if err := s.client.SetDeploymentStatus(t.Context(), s.repo, first, client.Status{State: state, Description: "conformance", URL: "https://example.com/"}); err != nil {
			t.Errorf("%s: %v", state, err)
		}
	}
	d.Commit = sha("fefe")
	if _, err := s.client.EnsureDeployment(t.Context(), s.repo, d); !errors.Is(err, client.ErrUnknownCommit) {
		t.Errorf("a commit that is not there: %v", err)
	}
}

func (s *subject) refusals(ctx context.Context, t *testing.T, head string) {
	if _, err := s.client.Head(ctx, s.repo, "refs/heads/there-is-no-such-branch"); !errors.Is(err, client.ErrUnknownCommit) {
		t.Errorf("no such branch: %v", err)
	}
	if _, err := s.client.Compare(ctx, s.repo, sha("fefe"), head); !errors.Is(err, client.ErrUnknownCommit) {
		t.Errorf("no such commit: %v", err)
	}
	if _, err := s.client.Head(ctx, client.Repo{Owner: s.repo.Owner, Name: "there-is-no-such-repository"}, "HEAD"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("no such repository: %v", err)
	}
	if _, err := s.stranger.Head(ctx, s.repo, "refs/heads/"+s.branch); !errors.Is(err, client.ErrUnauthorized) {
		t.Errorf("a wrong token: %v", err)
	}
}

func TestReadOnlyToken(t *testing.T) {
	t.Parallel()
	f, _, _ := fake(t)
	f.Permit("reader", false)
	err := connect(t, f, "https://github.example.com", "reader").SetCommitStatus(t.Context(), shop, sha("a0"), client.Status{State: client.StatePending, Context: "c"})
	if !errors.Is(err, client.ErrForbidden) || !strings.Contains(err.Error(), "statuses=write") {
		t.Errorf("got %v", err)
	}
}

// Other systems' statuses, and our own that is pending, hold no deployment up.
func TestDeploymentOfACommitWithABadStatus(t *testing.T) {
	t.Parallel()
	_, _, c := fake(t)
	if err := c.SetCommitStatus(t.Context(), shop, sha("a2"), client.Status{State: client.StatePending, Context: "ci"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.EnsureDeployment(t.Context(), shop, client.Deployment{Commit: sha("a2"), Environment: "production", ID: "x"}); err != nil {
		t.Error(err)
	}
}

var _ http.RoundTripper = (*githubtest.Fake)(nil)
