// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/webcall"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// listener is a server that hooks and notifications call.
type listener struct {
	t   *testing.T
	url string

	mu      sync.Mutex
	hooks   []string // moments, and services
	told    []string // statuses
	fail    string   // the moment at which a hook is refused
	changed chan struct{}
}

const hmacKey = "0123456789abcdef"

func newListener(t *testing.T) *listener {
	t.Helper()
	l := &listener{t: t, changed: make(chan struct{})}
	server := httptest.NewServer(l)
	l.url = server.URL
	t.Cleanup(server.Close)
	return l
}

func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get(webcall.SignatureHeader) != webcall.Sign([]byte(hmacKey), body) {
		l.t.Errorf("%s: %s has the signature %q (%v)", r.URL.Path, body, r.Header.Get(webcall.SignatureHeader), err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.URL.Path == "/told" {
		var told map[string]string
		if err := json.Unmarshal(body, &told); err != nil || len(told) != 2 || told["message"] == "" {
			l.t.Errorf("told %s (%v), want message and status alone", body, err)
		}
		l.told = append(l.told, told["status"])
		close(l.changed)
		l.changed = make(chan struct{})
		return
	}
	var event map[string]string
	if err := json.Unmarshal(body, &event); err != nil || event["commit"] == "" || event["application"] == "" {
		l.t.Errorf("a hook got %s (%v)", body, err)
	}
	moment := event["event"]
	if s := event["service"]; s != "" {
		moment += " " + s
	}
	l.hooks = append(l.hooks, moment)
	if event["event"] == l.fail {
		w.WriteHeader(http.StatusInternalServerError)
	}
	fmt.Fprintf(w, "heard of %s with %s\n", event["event"], hmacKey)
}

// refuse has the hooks at a moment fail, and forgets what was heard.
func (l *listener) refuse(moment v1alpha1.HookPoint) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail, l.hooks = string(moment), nil
}

func (l *listener) wantHooks(t *testing.T, want ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.hooks, want) {
		t.Errorf("the hooks ran at %q, want %q", l.hooks, want)
	}
}

func (l *listener) wantTold(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.NewTimer(harness.Patience)
	defer deadline.Stop()
	for {
		l.mu.Lock()
		got, changed := slices.Clone(l.told), l.changed
		l.mu.Unlock()
		if len(got) >= len(want) {
			if !slices.Equal(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("told %q, want %q", got, want)
		}
	}
}

// Hooks run at every moment, commands in the right container, what they print is in
// the log, and one that fails has the right consequence. All that is told once.
func TestHooksAndNotifications(t *testing.T) {
	t.Parallel()
	s := running(t, apps.Hello, "")
	l := newListener(t)
	s.Apply(fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s-hooks}\nstringData: {hmac-key: %q}\n", s.name, hmacKey))
	s.apply(fmt.Sprintf(`  hooks:
  - {name: hears, at: [Preflight, BeforeBackup, AfterBackup, BeforeService, AfterService, Success, Failure], http: {url: "%[1]s/hook", secretRef: {name: %[2]s-hooks}}}
  - {name: in-the-old, at: [BeforeService], services: [web], exec: {service: web, command: [/app, healthcheck]}}
  - {name: in-the-new, at: [AfterService], exec: {service: web, command: [/newapp, healthcheck]}}
  - {name: tolerated, at: [AfterBackup], onFailure: Continue, exec: {service: web, command: [/app, nonsense]}}
  notifications:
  - {name: told, webhook: {url: "%[1]s/told", secretRef: {name: %[2]s-hooks}}}
`, l.url, s.name))
	// Only what is new has /newapp.
	dockerfile := "FROM scratch\nCOPY app /app\nCOPY app /newapp\nCOPY version.txt behaviour.json /\nENTRYPOINT [\"/app\"]\nCMD [\"web\"]\n"
	all := []string{"Preflight", "BeforeBackup", "AfterBackup", "BeforeService web", "AfterService web", "Success"}

	commit := s.publish("With a second program", map[string]string{"Dockerfile": dockerfile, "version.txt": "2\n"})
	dry := s.succeeds(commit, harness.DryRun)
	l.wantHooks(t)
	wantContains(t, "the checks", fmt.Sprint(dry.Status.Checks), "Hook hears Passed not run")
	r := s.succeeds(commit)
	l.wantHooks(t, all...)
	s.wantVersion("2")
	for _, h := range r.Status.Hooks {
		want := v1alpha1.HookSucceeded
		if h.Name == "tolerated" {
			want = v1alpha1.HookFailed
		}
		if h.State != want || h.Attempt != 1 {
			t.Errorf("%+v", h)
		}
	}
	if len(r.Status.Hooks) != len(all)+3 {
		t.Errorf("the status has %d hooks: %+v", len(r.Status.Hooks), r.Status.Hooks)
	}
	wantContains(t, "the log", s.Log(r),
		"[Preflight] hears | heard of Preflight with ***", "[Backup] hook tolerated at AfterBackup: failed: app ended with exit code 1", "unknown command",
		"[Rollout] hook in-the-old at BeforeService of web: passed", "[Rollout] hook in-the-new at AfterService of web: passed",
		"[Hooks] hears | heard of Success with ***", "Result:      Succeeded")
	// The first receiver is also told of what ended in the last hour: the update
	// that brought the application up.
	told := []string{"started", "success", "started", "success"}
	l.wantTold(t, told...)

	bad := s.publish("Third version", map[string]string{"version.txt": "3\n"})
	for _, c := range []struct {
		at    v1alpha1.HookPoint
		phase v1alpha1.Phase
		step  v1alpha1.StepName
		heard int // of all, before Failure
		told  []string
	}{
		{v1alpha1.HookPreflight, v1alpha1.PhaseFailed, v1alpha1.StepPreflight, 1, []string{"failure"}},
		{v1alpha1.HookBeforeBackup, v1alpha1.PhaseFailed, v1alpha1.StepBackup, 2, []string{"started", "backup_failure"}},
		{v1alpha1.HookAfterBackup, v1alpha1.PhaseFailed, v1alpha1.StepBackup, 3, []string{"started", "failure"}},
		{v1alpha1.HookBeforeService, v1alpha1.PhaseRolledBack, v1alpha1.StepRollout, 4, []string{"started", "rollback"}},
		{v1alpha1.HookAfterService, v1alpha1.PhaseRolledBack, v1alpha1.StepRollout, 5, []string{"started", "rollback"}},
	} {
		t.Run(string(c.at), func(t *testing.T) {
			s := s.in(t)
			before := s.containers()
			l.refuse(c.at)
			r := s.ends(bad, c.phase, harness.Retry)
			wantCondition(t, r, v1alpha1.ConditionSucceeded, "False/"+v1alpha1.ReasonHookFailed)
			wantContains(t, "the message", r.Status.Message, "hears", "HTTP 500")
			if r.Status.Failure == nil || r.Status.Failure.Step != c.step {
				t.Errorf("the failure is %+v", r.Status.Failure)
			}
			l.wantHooks(t, append(slices.Clone(all[:c.heard]), "Failure")...)
			if made := c.heard >= 3; (r.Status.Backup != "") != made {
				t.Errorf("the backup is %q", r.Status.Backup)
			}
			if c.at == v1alpha1.HookAfterService {
				s.wantOldContainers(before)
			} else {
				s.wantUntouched(before)
			}
			s.wantVersion("2")
			s.wantDeployed(commit)
			told = append(told, c.told...)
			l.wantTold(t, told...)
		})
	}
	// At the end it is too late to fail anything.
	l.refuse(v1alpha1.HookSuccess)
	r = s.succeeds(bad, harness.Retry)
	l.wantHooks(t, all...)
	if last := r.Status.Hooks[len(r.Status.Hooks)-1]; last.At != v1alpha1.HookSuccess || last.State != v1alpha1.HookFailed {
		t.Errorf("the last hook is %+v", last)
	}
	s.wantVersion("3")
	l.wantTold(t, append(told, "started", "success")...)
}
