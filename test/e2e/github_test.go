// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/github/githubtest"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

const webhookSecret = "e2e webhook secret"

// hub is a site whose repository is also on a fake of GitHub, as one of an
// Enterprise Server. Git itself goes to the real repository.
type hub struct {
	*site
	fake *githubtest.Fake
	repo *githubtest.Repo
	head string
	next int
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{site: newSite(t, apps.Hello), fake: githubtest.New("/api/v3/")}
	h.fake.Permit("e2e token", true)
	h.repo = h.fake.Repo("acme/hello", true)
	h.pushed(h.deployed())
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.Namespace, Name: h.name + "-github"},
		StringData: map[string]string{"token": "e2e token\n", "webhook-secret": webhookSecret},
	}
	if err := h.Client.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	// Nobody looks in an hour but after a webhook.
	h.apply(fmt.Sprintf("  update: {policy: Automatic, interval: 1h}\n  github: {owner: acme, repository: hello, apiURL: %q, secretRef: {name: %s}, commitStatuses: true, environment: e2e}\n",
		h.fake.Serve(t), secret.Name))
	return h
}

// pushed has GitHub know of a commit.
func (h *hub) pushed(commit string) {
	h.repo.Push("heads/main", githubtest.Commit{SHA: commit, Message: "Version " + commit[:7], Author: "Ada Lovelace", Login: "ada", Time: time.Now()})
}

// push publishes a new version and returns it with GitHub's word of it.
func (h *hub) push(message string, files map[string]string) (commit string, payload []byte) {
	h.t.Helper()
	before := h.head
	if before == "" {
		before = h.deployed()
	}
	h.head = h.publish(message, files)
	h.pushed(h.head)
	return h.head, githubtest.Push("acme/hello", "refs/heads/main", before, h.head)
}

// deliver sends a webhook and checks how it is answered.
func (h *hub) deliver(secret, event string, payload []byte, want int) {
	h.t.Helper()
	h.next++
	url := fmt.Sprintf("http://%s/api/v1/namespaces/%s/applications/%s/webhooks/github", h.Listen(), h.Namespace, h.name)
	req := githubtest.Delivery(url, event, fmt.Sprintf("%s-%d", h.name, h.next), secret, payload)
	begin := time.Now()
	resp, err := http.DefaultClient.Do(req.WithContext(h.t.Context()))
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	_, _ = body.ReadFrom(resp.Body)
	if resp.StatusCode != want {
		h.t.Fatalf("the webhook is answered %d %s, want %d", resp.StatusCode, body.String(), want)
	}
	h.t.Logf("%s answered %d after %s", event, resp.StatusCode, time.Since(begin).Round(time.Millisecond))
}

// told waits until GitHub was told that a commit's update ended in a state.
func (h *hub) told(commit, state, deployment string) {
	h.t.Helper()
	deadline := time.NewTimer(harness.Patience)
	defer deadline.Stop()
	for {
		changed := h.fake.Changed()
		statuses := h.repo.Statuses(commit)
		deployments := slices.DeleteFunc(h.repo.Deployments(), func(d githubtest.Deployment) bool { return d.SHA != commit })
		if len(statuses) > 0 && statuses[len(statuses)-1].State == state && len(deployments) == 1 && deployments[0].State() == deployment {
			if last := statuses[len(statuses)-1]; last.Context != "fairlead/"+h.Namespace+"/"+h.name {
				h.t.Errorf("the status is %+v", last)
			}
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			h.t.Fatalf("GitHub was not told of %s, %s: %+v, %+v", state, deployment, statuses, h.repo.Deployments())
		}
	}
}

// A push to GitHub is an update, and GitHub shows how it went.
func TestPushToGitHub(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	first := h.deployed()
	h.succeeds(first)
	h.told(first, "success", "success")
	h.deliver(webhookSecret, "ping", githubtest.Ping("acme/hello"), http.StatusOK)

	second, payload := h.push("Second version", version("2", "."))
	for _, bad := range []struct {
		secret string
		body   []byte
		want   int
	}{
		{"", payload, http.StatusUnauthorized},
		{"guess", payload, http.StatusUnauthorized},
		{webhookSecret, bytes.Repeat([]byte(" "), 6<<20), http.StatusRequestEntityTooLarge},
		{webhookSecret, githubtest.Push("acme/hello", "refs/heads/other", first, second), http.StatusAccepted},
	} {
		h.deliver(bad.secret, "push", bad.body, bad.want)
	}
	if made := h.requests(second); len(made) != 0 {
		t.Fatalf("there is the request %s", made[0].Name)
	}
	begin := time.Now()
	h.deliver(webhookSecret, "push", payload, http.StatusAccepted)
	h.WaitApp(h.name, "the update at work", func(app *v1alpha1.Application) bool { return app.Status.ActiveRequest != "" })
	t.Logf("push to first step: %s", time.Since(begin).Round(time.Millisecond))
	h.waitEnded(second, v1alpha1.PhaseSucceeded)
	h.wantVersion("2")
	h.told(second, "success", "success")
	h.told(first, "success", "inactive")
	h.deliver(webhookSecret, "push", payload, http.StatusConflict)

	// One that fails; who changed what is GitHub's to know.
	bad, payload := h.push("Bad version", behave(version("3", "."), ".", apps.Behaviour{Unhealthy: true}))
	h.deliver(webhookSecret, "push", payload, http.StatusAccepted)
	h.waitEnded(bad, v1alpha1.PhaseRolledBack)
	h.told(bad, "failure", "failure")
	h.told(second, "success", "success")
	h.waitUpdate("the failed commit, with its page", func(u v1alpha1.UpdateStatus) bool {
		return u.Commit == bad && u.Behind == 1 && len(u.Changes) == 1 && u.Changes[0].Author == "Ada Lovelace" &&
			u.Changes[0].URL == "https://github.com/acme/hello/commit/"+bad
	})

	// GitHub's API is down: the update goes on, and GitHub hears of it later.
	h.fake.Answer(githubtest.Outage)
	third, payload := h.push("Mended", behave(version("4", "."), ".", apps.Behaviour{}))
	h.deliver(webhookSecret, "push", payload, http.StatusAccepted)
	r := h.waitEnded(third, v1alpha1.PhaseSucceeded)
	h.wantVersion("4")
	if n := len(h.repo.Statuses(third)); n != 0 {
		t.Errorf("an API that is down took %d statuses", n)
	}
	h.fake.Answer(nil)
	h.told(third, "success", "success")

	// No secret is seen anywhere.
	var events corev1.EventList
	if err := h.Client.List(t.Context(), &events, client.InNamespace(h.Namespace)); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{h.DaemonLog(), h.Log(r), fmt.Sprint(events.Items), fmt.Sprint(h.App(h.name).Status, r.Status, r.Annotations)} {
		for _, secret := range []string{"e2e token", webhookSecret} {
			if strings.Contains(text, secret) {
				t.Errorf("a secret is told in\n%s", text)
			}
		}
	}
}
