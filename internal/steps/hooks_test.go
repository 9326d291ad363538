// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// hangingEngine stands in for an engine with one container, in which every command
// that is begun hangs.
func hangingEngine(t *testing.T, begun chan<- struct{}, stops chan<- string) *docker.Client {
	t.Helper()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, "/_ping"):
			w.Header().Set("Api-Version", docker.MinAPIVersion)
		case strings.HasSuffix(path, "/exec/e1/start"):
			begun <- struct{}{}
			<-release
		case strings.HasSuffix(path, "/exec"):
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, `{"Id":"e1"}`)
		case strings.HasSuffix(path, "/c1/json"):
			fmt.Fprint(w, `{"Id":"c1","Name":"/shop-web-1","State":{"Status":"running"},"Config":{},"HostConfig":{"RestartPolicy":{"Name":"no"}}}`)
		case strings.HasSuffix(path, "/stop"):
			stops <- r.URL.Query().Get("t")
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	t.Cleanup(func() { close(release); server.Close() })
	client, err := docker.New("tcp://" + server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func hookExecutor(t *testing.T, client *docker.Client, timings v1alpha1.RolloutTimings) *executor {
	t.Helper()
	s := newRun(func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) { a.Spec.Rollout.RolloutTimings = timings })
	s.Deps = Deps{Docker: client, Traffic: DirectTraffic{}}
	s.log, s.rec = updatelog.Lost("", nil), &written{}
	return &executor{
		run: s, started: map[string]bool{}, seen: map[string]docker.Container{"c1": {ID: "c1", Service: "web", State: docker.StateRunning}},
		project: project(t, "services: {web: {image: x, post_start: [{command: [hang]}], pre_stop: [{command: [hang]}]}}\n"),
	}
}

// ends returns what f ends with, and fails the test if it does not.
func ends(t *testing.T, f func() error) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- f() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("it hangs with its command")
		return nil
	}
}

// A command of the Compose file that does not end fails its container, and is left when
// the request is cancelled.
func TestHangingPostStart(t *testing.T) {
	start := plan.Action{Verb: plan.VerbStart, Service: "web", Container: plan.Container{ID: "c1", Name: "shop-web-1"}}
	begun := make(chan struct{}, 2)
	client := hangingEngine(t, begun, nil)
	e := hookExecutor(t, client, v1alpha1.RolloutTimings{HealthTimeout: seconds(1)})
	err := ends(t, func() error { return e.do(t.Context(), start) })
	if err == nil || isContextError(err) || docker.IsUnavailable(err) || !strings.Contains(err.Error(), "did not end within 1s") {
		t.Errorf("it ends with %v", err)
	}
	<-begun
	e = hookExecutor(t, client, v1alpha1.RolloutTimings{})
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("cancelled")
	go func() {
		<-begun
		cancel(gone)
	}()
	if err := ends(t, func() error { return e.do(ctx, start) }); !errors.Is(err, gone) {
		t.Errorf("cancelled, it ends with %v", err)
	}
}

// One that is on its way out is not kept by its command.
func TestHangingPreStop(t *testing.T) {
	e := hookExecutor(t, hangingEngine(t, make(chan struct{}, 1), nil), v1alpha1.RolloutTimings{})
	_ = ends(t, func() error {
		e.beforeStop(t.Context(), "web", e.seen["c1"], time.Second)
		return nil
	})
}
