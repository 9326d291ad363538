// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/webcall"
)

// fakeEngine stands in for the engine: test/e2e runs hooks in real containers.
type fakeEngine struct {
	env  map[string]string
	exec func(ctx context.Context, cmd []string, o docker.ExecOptions) (int, error)
}

func (f *fakeEngine) ContainerEnvAll(context.Context, string) (map[string]string, error) {
	return f.env, nil
}

func (f *fakeEngine) Exec(ctx context.Context, _ string, cmd []string, o docker.ExecOptions) (int, error) {
	return f.exec(ctx, cmd, o)
}

type secrets map[string]map[string][]byte

func (s secrets) Secret(_ context.Context, namespace, name string) (map[string][]byte, error) {
	if name == "away" {
		return nil, errors.New("the API does not answer")
	}
	data, ok := s[namespace+"/"+name]
	if !ok {
		return nil, failure.Terminalf("SecretNotFound", "there is no Secret %s", name)
	}
	return data, nil
}

type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) say(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line)
}

func execHook(timeout time.Duration) *v1alpha1.Hook {
	return &v1alpha1.Hook{Name: "h", Exec: &v1alpha1.ExecCheck{Service: "web", Command: []string{"/bin/migrate", "--password=abc"}}, Timeout: &metav1.Duration{Duration: timeout}}
}

func event() Event {
	ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "u1", UID: "uid-1"}}
	ur.Spec.ApplicationRef.Name = "shop"
	ur.Status.Commit, ur.Status.PreviousCommit, ur.Status.Phase, ur.Status.Message = "c2", "c1", v1alpha1.PhaseRollingOut, "step Rollout runs"
	return NewEvent(v1alpha1.HookAfterService, "web", ur)
}

// isFailed checks that the hook itself failed, with all words in the message.
func isFailed(t *testing.T, err error, words ...string) {
	t.Helper()
	var f *Failed
	if !errors.As(err, &f) {
		t.Fatalf("%v (%T) does not say that the hook failed", err, err)
	}
	for _, w := range words {
		if !strings.Contains(f.Message, w) {
			t.Errorf("%q does not tell of %q", f.Message, w)
		}
	}
}

func TestExec(t *testing.T) {
	var got docker.ExecOptions
	engine := &fakeEngine{env: map[string]string{"DB_PASSWORD": "hushhush", "URL": "postgres://u:linkpw@db/x", "SECRET_MODE": "true"}}
	r := &Runner{Engine: engine}

	engine.exec = func(_ context.Context, cmd []string, o docker.ExecOptions) (int, error) {
		got = o
		_, _ = io.WriteString(o.Stdout, "with hush")
		_, _ = io.WriteString(o.Stdout, "hush\nand linkpw, true\n")
		_, _ = io.WriteString(o.Stderr, "no newline")
		return 0, nil
	}
	var log lines
	if err := r.Run(t.Context(), execHook(time.Minute), event(), "c", log.say); err != nil {
		t.Fatal(err)
	}
	if want := []string{"with ***", "and ***, true", "no newline"}; !slices.Equal(log.all, want) {
		t.Errorf("the log has %q, want %q", log.all, want)
	}
	for _, want := range []string{
		"FAIRLEAD_EVENT=AfterService", "FAIRLEAD_APPLICATION=shop", "FAIRLEAD_NAMESPACE=prod", "FAIRLEAD_REQUEST=u1",
		"FAIRLEAD_COMMIT=c2", "FAIRLEAD_PREVIOUS_COMMIT=c1", "FAIRLEAD_SERVICE=web", "FAIRLEAD_PHASE=RollingOut",
	} {
		if !slices.Contains(got.Env, want) {
			t.Errorf("%s is not in %q", want, got.Env)
		}
	}

	engine.exec = func(_ context.Context, _ []string, o docker.ExecOptions) (int, error) {
		_, _ = io.WriteString(o.Stderr, "relation of hushhush is missing\n\n")
		return 3, nil
	}
	err := r.Run(t.Context(), execHook(time.Minute), event(), "c", log.say)
	isFailed(t, err, "migrate ended with exit code 3", "relation of *** is missing")
	if strings.Contains(err.Error(), "abc") {
		t.Errorf("arguments are told: %v", err)
	}
}

func TestExecKeepsOutputInBounds(t *testing.T) {
	engine := &fakeEngine{exec: func(_ context.Context, _ []string, o docker.ExecOptions) (int, error) {
		for range 2 * MaxOutput / 1000 {
			_, _ = io.WriteString(o.Stdout, strings.Repeat("x", 999)+"\n")
		}
		_, _ = io.WriteString(o.Stdout, "the cause\n")
		return 1, nil
	}}
	var log lines
	err := (&Runner{Engine: engine}).Run(t.Context(), execHook(time.Minute), event(), "c", log.say)
	isFailed(t, err, "the cause")
	size, notes := 0, 0
	for _, l := range log.all {
		size += len(l) + 1
		if strings.Contains(l, "further output is left out") {
			notes++
		}
	}
	if size > MaxOutput+200 || notes != 1 {
		t.Errorf("%d bytes were logged, with %d notes", size, notes)
	}
}

func TestExecErrors(t *testing.T) {
	engine := &fakeEngine{}
	r := &Runner{Engine: engine}
	hang := func(ctx context.Context, _ []string, _ docker.ExecOptions) (int, error) {
		<-ctx.Done()
		return -1, context.Cause(ctx)
	}
	engine.exec = hang
	isFailed(t, r.Run(t.Context(), execHook(20*time.Millisecond), event(), "c", func(string) {}), "timeout of 20ms", "may still run")

	cause := errors.New("the daemon stops")
	ctx, cancel := context.WithCancelCause(t.Context())
	engine.exec = func(ctx context.Context, cmd []string, o docker.ExecOptions) (int, error) {
		cancel(cause)
		return hang(ctx, cmd, o)
	}
	if err := r.Run(ctx, execHook(time.Minute), event(), "c", func(string) {}); !errors.Is(err, cause) {
		t.Errorf("an interruption is told as %v", err)
	}

	engine.exec = func(context.Context, []string, docker.ExecOptions) (int, error) {
		return -1, errors.New("no such container")
	}
	isFailed(t, r.Run(t.Context(), execHook(time.Minute), event(), "c", func(string) {}), "no such container")
	isFailed(t, r.Run(t.Context(), &v1alpha1.Hook{Name: "h"}, event(), "", func(string) {}), "neither exec nor http")
}

func httpHook(url string, timeout time.Duration) *v1alpha1.Hook {
	return &v1alpha1.Hook{
		Name: "h", HTTP: &v1alpha1.HTTPHook{URL: url, SecretRef: &v1alpha1.LocalReference{Name: "keys"}},
		Timeout: &metav1.Duration{Duration: timeout},
	}
}

func TestHTTP(t *testing.T) {
	store := secrets{"prod/keys": {"token": []byte("tokentoken\n"), "hmac-key": []byte("hmackey")}}
	r := &Runner{Secrets: store}
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		var ev map[string]string
		if err := json.Unmarshal(body, &ev); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		want := map[string]string{
			"event": "AfterService", "application": "shop", "namespace": "prod", "request": "u1", "commit": "c2", "previousCommit": "c1",
			"service": "web", "phase": "RollingOut", "message": "step Rollout runs", "backup": "",
		}
		if fmt.Sprint(ev) != fmt.Sprint(want) {
			t.Errorf("the body is %v, want %v", ev, want)
		}
		if req.Header.Get(webcall.SignatureHeader) != webcall.Sign([]byte("hmackey"), body) || req.Header.Get("Authorization") != "Bearer tokentoken" {
			t.Errorf("the headers are %v", req.Header)
		}
		if req.Header.Get(webcall.DeliveryHeader) != "uid-1/AfterService/web/h" {
			t.Errorf("the delivery is %q", req.Header.Get(webcall.DeliveryHeader))
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "first\nyou sent tokentoken")
	}))
	defer server.Close()
	var log lines
	if err := r.Run(t.Context(), httpHook(server.URL, time.Minute), event(), "", log.say); err != nil {
		t.Fatal(err)
	}
	if want := []string{"first", "you sent ***"}; !slices.Equal(log.all, want) {
		t.Errorf("the log has %q", log.all)
	}
	status = http.StatusFound
	isFailed(t, r.Run(t.Context(), httpHook(server.URL, time.Minute), event(), "", log.say), "HTTP 302", "you sent ***")

	none := httpHook(server.URL, time.Minute)
	none.HTTP.SecretRef.Name = "none"
	isFailed(t, r.Run(t.Context(), none, event(), "", log.say), "there is no Secret none")
	none.HTTP.SecretRef.Name = "away"
	var f *Failed
	if err := r.Run(t.Context(), none, event(), "", log.say); err == nil || errors.As(err, &f) {
		t.Errorf("an API that is away is told as %v", err)
	}
}

// A server that starts late is waited for, within the timeout.
func TestHTTPWaitsForItsServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	h := httpHook("http://"+address+"/secretpath", 400*time.Millisecond)
	h.HTTP.SecretRef = nil
	r := &Runner{}
	err = r.Run(t.Context(), h, event(), "", func(string) {})
	isFailed(t, err, "could not be reached", "connection refused")
	if strings.Contains(err.Error(), "secretpath") {
		t.Errorf("the URL is told: %v", err)
	}

	h.Timeout.Duration = 30 * time.Second
	done := make(chan error, 1)
	go func() { done <- r.Run(t.Context(), h, event(), "", func(string) {}) }()
	if listener, err = net.Listen("tcp", address); err != nil {
		t.Fatalf("somebody else took the port: %v", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
