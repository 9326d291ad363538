// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package e2e updates real applications on a real engine through a real daemon,
// and compares what the API says with what the engine has.
package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// shared is the daemon of all tests that do not harm it.
var shared *harness.Daemon

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	if os.Getenv(networkVariable) != "" {
		return m.Run() // a single test with a daemon of its own
	}
	dir, err := os.MkdirTemp("", "fairlead-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if shared, err = harness.New(context.Background(), harness.Options{Dir: dir}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := shared.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	defer removeOwnImage()
	return m.Run()
}

// site is one application with its daemon.
type site struct {
	*harness.Daemon
	t    *testing.T
	repo *apps.Repo
	name string // of the Application
	rows *rows  // nil where the application has no database
}

// newSite makes the repositories of an application. Nothing runs yet and the API
// does not know of it: see apply.
func newSite(t *testing.T, app apps.App) *site {
	t.Helper()
	return siteOf(t, shared, app)
}

func siteOf(t *testing.T, d *harness.Daemon, app apps.App) *site {
	t.Helper()
	return siteWith(t, d, app, nil)
}

// siteWith is siteOf for an application with variables. Without HEALTH_INTERVAL
// the engine asks its containers every 30 s, as is usual: what is to become
// healthy earlier must have been asked by Fairlead.
func siteWith(t *testing.T, d *harness.Daemon, app apps.App, env map[string]string) *site {
	t.Helper()
	repo := apps.ForTest(t, app, apps.Options{Label: "e2e", Env: env})
	s := &site{Daemon: d.For(t), t: t, repo: repo, name: repo.Project}
	if app == apps.Shop {
		s.rows = &rows{}
	}
	// Before the engine is cleaned: the daemon must not work on it then.
	t.Cleanup(func() { s.forget() })
	return s
}

// forget deletes the application and its requests, and waits for the end of work.
func (s *site) forget() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.name}}
	if err := s.Client.Get(ctx, client.ObjectKeyFromObject(app), app); err != nil {
		return // never applied
	}
	var list v1alpha1.UpdateRequestList
	if err := s.Client.List(ctx, &list, client.InNamespace(s.Namespace)); err != nil {
		s.t.Errorf("%v", err)
	}
	for i := range list.Items {
		if r := &list.Items[i]; r.Spec.ApplicationRef.Name == s.name {
			if err := s.Client.Delete(ctx, r); client.IgnoreNotFound(err) != nil {
				s.t.Errorf("%v", err)
			}
		}
	}
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for busy := true; busy; {
		select {
		case <-ctx.Done():
			s.t.Errorf("the requests of %s do not end", s.name)
			return
		case <-ticker.C:
		}
		if err := s.Client.List(ctx, &list, client.InNamespace(s.Namespace)); err != nil {
			s.t.Errorf("%v", err)
			return
		}
		busy = slices.ContainsFunc(list.Items, func(r v1alpha1.UpdateRequest) bool { return r.Spec.ApplicationRef.Name == s.name })
	}
	if err := s.Client.Delete(ctx, app); client.IgnoreNotFound(err) != nil {
		s.t.Errorf("%v", err)
	}
}

// apply tells the API of the application. extra are fields of its spec.
func (s *site) apply(extra string) {
	s.t.Helper()
	s.Apply(harness.Manifest(s.name, s.repo, extra))
}

// running makes a site whose application was brought up by a first update.
func running(t *testing.T, app apps.App, extra string) *site {
	t.Helper()
	s := newSite(t, app)
	s.apply(extra)
	s.succeeds("")
	return s
}

// publish commits files and pushes them.
func (s *site) publish(message string, files map[string]string) (sha string) {
	s.t.Helper()
	sha, err := s.repo.Publish(s.t.Context(), message, files)
	if err != nil {
		s.t.Fatal(err)
	}
	return sha
}

// ends updates to commit and waits for an end in phase.
func (s *site) ends(commit string, phase v1alpha1.Phase, options ...harness.Option) *v1alpha1.UpdateRequest {
	s.t.Helper()
	return s.WantEnd(s.Update(s.name, commit, options...).Name, phase)
}

// succeeds is ends in Succeeded.
func (s *site) succeeds(commit string, options ...harness.Option) *v1alpha1.UpdateRequest {
	s.t.Helper()
	return s.ends(commit, v1alpha1.PhaseSucceeded, options...)
}

// containers of the application, by service.
func (s *site) containers() map[string][]harness.Container {
	s.t.Helper()
	return harness.Containers(s.t, s.repo.Project)
}

// wantDeployed checks the commit of the deployment directory.
func (s *site) wantDeployed(commit string) {
	s.t.Helper()
	got, err := s.repo.Deployed(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if got != commit {
		s.t.Errorf("the deployment directory is at %s, want %s", got, commit)
	}
}

// wantVersion checks what the published port answers. Once is enough: when an update
// has ended, the way in must work.
func (s *site) wantVersion(version string) {
	s.t.Helper()
	got, err := harness.Get(s.t.Context(), s.repo.URL("/version"))
	if err != nil || got != version {
		s.t.Errorf("the application answers version %q (%v), want %s", got, err, version)
	}
}

// wantUntouched checks that the containers of services, of all without an argument,
// are the same and were not started again.
func (s *site) wantUntouched(before map[string][]harness.Container, services ...string) {
	s.t.Helper()
	after := s.containers()
	if len(services) == 0 {
		if !slices.Equal(slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after))) {
			s.t.Errorf("the services were %v and are %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
		}
		services = slices.Sorted(maps.Keys(before))
	}
	for _, name := range services {
		was, is := identities(before[name]), identities(after[name])
		if len(was) == 0 || !slices.Equal(was, is) {
			s.t.Errorf("%s was touched: %v became %v", name, was, is)
		}
	}
}

// wantReplaced checks that the services run in other containers, as many as before.
func (s *site) wantReplaced(before map[string][]harness.Container, services ...string) {
	s.t.Helper()
	after := s.containers()
	for _, name := range services {
		was, is := before[name], after[name]
		if len(is) != len(was) {
			s.t.Errorf("%s has %d containers, not %d as before: %v", name, len(is), len(was), identities(is))
		}
		for _, c := range is {
			if slices.ContainsFunc(was, func(o harness.Container) bool { return o.ID == c.ID }) {
				s.t.Errorf("%s was not replaced: %s is still there", name, c.Name)
			}
		}
	}
}

// identities tell containers and their starts apart.
func identities(cs []harness.Container) []string {
	var out []string
	for _, c := range cs {
		out = append(out, fmt.Sprintf("%s %.12s started %s restarts %d", c.Name, c.ID, c.StartedAt, c.RestartCount))
	}
	return out
}

// action is what a request decided for a service.
func action(r *v1alpha1.UpdateRequest, service string) v1alpha1.ServiceAction {
	for _, s := range r.Status.Services {
		if s.Name == service {
			return s.Action
		}
	}
	return ""
}

// condition of a request: its status and reason, as "True/Succeeded".
func condition(r *v1alpha1.UpdateRequest, kind string) string {
	for _, c := range r.Status.Conditions {
		if c.Type == kind {
			return string(c.Status) + "/" + c.Reason
		}
	}
	return ""
}

// wantCondition checks a condition of a request.
func wantCondition(t *testing.T, r *v1alpha1.UpdateRequest, kind, want string) {
	t.Helper()
	if got := condition(r, kind); got != want {
		t.Errorf("condition %s of %s is %q, want %q: %s", kind, r.Name, got, want, r.Status.Message)
	}
}

// wantContains checks that a text has all parts.
func wantContains(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s does not tell of %q:\n%s", what, p, text)
		}
	}
}

// version is the files of a new version of services of shop or trio.
func version(v string, services ...string) map[string]string {
	files := map[string]string{}
	for _, s := range services {
		files[s+"/version.txt"] = v + "\n"
	}
	return files
}

// behave adds a behaviour of a service to files.
func behave(files map[string]string, service string, b apps.Behaviour) map[string]string {
	files[service+"/behaviour.json"] = b.JSON()
	return files
}

// waitLog waits until the log of a request has text.
func (s *site) waitLog(request, text string) {
	s.t.Helper()
	r := s.WaitRequest(request, "its log file", func(r *v1alpha1.UpdateRequest) bool { return r.Status.LogFile != "" })
	ctx, cancel := context.WithTimeout(s.t.Context(), harness.Patience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !strings.Contains(s.Log(r), text) {
		select {
		case <-ctx.Done():
			s.t.Fatalf("the log does not tell of %q:\n%s", text, s.Log(r))
		case <-ticker.C:
		}
	}
}

// waitAnswer waits until the published port answers, for what Fairlead did not start.
func (s *site) waitAnswer() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), harness.Patience)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		_, err := harness.Get(ctx, s.repo.URL("/version"))
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("the application does not answer: %v", err)
		case <-ticker.C:
		}
	}
}
