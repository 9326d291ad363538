// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// brokenEngine stands in for an engine that has one container, of the service old,
// and answers each stop with an internal error, which no real one can be brought to.
type brokenEngine struct {
	mu    sync.Mutex
	stops int
	heals int // after so many stops; 0 for never
	state string
}

func (b *brokenEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	labels := `{"com.docker.compose.project":"shop","com.docker.compose.service":"old","fairlead.dev/request":"uid"}`
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/_ping"):
		w.Header().Set("Api-Version", docker.MinAPIVersion)
	case strings.HasSuffix(path, "/containers/json"):
		if b.state == "gone" {
			fmt.Fprint(w, `[]`)
			return
		}
		fmt.Fprintf(w, `[{"Id":"c1","State":%q,"Labels":%s}]`, b.state, labels)
	case strings.HasSuffix(path, "/c1/json"):
		fmt.Fprintf(w, `{"Id":"c1","Name":"/shop-old-1","State":{"Status":%q},"Config":{"Labels":%s},"HostConfig":{"RestartPolicy":{"Name":"no"}}}`, b.state, labels)
	case strings.HasSuffix(path, "/stop"):
		if b.stops++; b.heals == 0 || b.stops < b.heals {
			http.Error(w, `{"message":"cannot stop container: c1: tried to kill container, but did not receive an exit event"}`, http.StatusInternalServerError)
			return
		}
		b.state = "exited"
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodDelete:
		b.state = "gone"
		w.WriteHeader(http.StatusNoContent)
	default:
		fmt.Fprint(w, `{}`)
	}
}

func (b *brokenEngine) executor(t *testing.T, undo bool) *executor {
	t.Helper()
	b.state = docker.StateRunning
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	client, err := docker.New("tcp://" + server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	s := newRun(func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) { ur.UID = "uid" })
	s.Deps = Deps{Docker: client, Traffic: DirectTraffic{}}
	s.log, s.rec = updatelog.Lost("", nil), &written{}
	p := project(t, "name: shop\nservices: {web: {image: x}}\n")
	in := plan.RolloutInput{Undo: undo}
	if !undo {
		in.Targets = []plan.Target{{Service: plan.Service{Name: "old"}, Action: v1alpha1.ActionRemove}}
	}
	return &executor{run: s, project: p, in: in, requestID: "uid", patience: []time.Duration{0, 0}, labels: map[string]string{}}
}

// An error that stays ends the way forward, so that it is undone, and the way back,
// so that a person is told. One that passes is no matter.
func TestRefusedForGood(t *testing.T) {
	for _, c := range []struct {
		name  string
		heals int
		undo  bool
		stops int
		fails bool
	}{
		{"forward", 0, false, 3, true},
		{"back", 0, true, 3, true},
		{"back, in the end", 3, true, 3, false},
		{"forward, in the end", 2, false, 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &brokenEngine{heals: c.heals}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			err := b.executor(t, c.undo).loop(ctx)
			if isTerminal(err) != c.fails || (err == nil) == c.fails {
				t.Errorf("it ends with %v", err)
			}
			if c.fails && !strings.Contains(err.Error(), "did not receive an exit event") {
				t.Errorf("the message does not say why: %v", err)
			}
			if b.stops != c.stops {
				t.Errorf("the container was stopped %d times, want %d", b.stops, c.stops)
			}
		})
	}
}

// What only ends an old container says nothing about the commit.
func TestOldContainersAreTheHosts(t *testing.T) {
	for request, want := range map[string]string{"uid": v1alpha1.ReasonRolloutFailed, "another": v1alpha1.ReasonHostConflict} {
		e := (&brokenEngine{}).executor(t, false)
		e.requestID = request
		if got := failure.AsTerminal(e.loop(t.Context())); got == nil || got.Reason != want {
			t.Errorf("made by %s: got %+v, want the reason %s", request, got, want)
		}
	}
}

// A gateway that cannot be opened holds nothing up on the way back, and is told at its end.
func TestGatewayCannotBeOpened(t *testing.T) {
	a := plan.Action{Verb: plan.VerbOpen, Gateway: "inner"}
	for name, tt := range map[string]struct {
		attempt  int32
		undo     bool
		err      string
		terminal bool
		ends     bool
	}{
		"forward, the first time":       {1, false, "does not answer", false, true},
		"forward, again and again":      {patientAttempts, false, "does not answer", true, true},
		"forward, its port is taken":    {1, false, "port is already allocated", true, true},
		"back, the others go on":        {1, true, "no space left on device", false, false},
		"back, also in a later attempt": {patientAttempts, true, "no space left on device", false, false},
	} {
		s := newRun(func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
			ur.Status.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepRollout, Attempt: tt.attempt}}
		})
		s.Step, s.log = v1alpha1.StepRollout, updatelog.Lost("", nil)
		e := &executor{run: s, in: plan.RolloutInput{Undo: tt.undo}}
		err := e.settle(t.Context(), outcome{a, errors.New(tt.err)})
		if (err != nil) != tt.ends || isTerminal(err) != tt.terminal {
			t.Errorf("%s: %v", name, err)
		}
		if got := failure.AsTerminal(err); got != nil && got.Reason != v1alpha1.ReasonHostConflict {
			t.Errorf("%s: it is held against the commit: %v", name, got.Reason)
		}
		if tt.undo {
			if err := e.unopened(); err == nil || isTerminal(err) != (tt.attempt == patientAttempts) || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: it ends with %v", name, err)
			}
		}
	}
}

// A gateway that answers with an error is tried by many attempts at the step, as
// each looks at it anew.
func TestGatewayRefusesForGood(t *testing.T) {
	for _, c := range []struct {
		attempt  int32
		undo     bool
		err      error
		terminal bool
		hopeless bool
	}{
		{1, false, errors.New("no"), false, false},
		{patientAttempts, false, errors.New("no"), true, false},
		{patientAttempts, true, errors.New("no"), false, true},
	} {
		s := newRun(func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
			ur.Status.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepRollout, Attempt: c.attempt}}
		})
		s.Step, s.log = v1alpha1.StepRollout, updatelog.Lost("", nil)
		e := &executor{run: s, in: plan.RolloutInput{Undo: c.undo}}
		a := plan.Action{Verb: plan.VerbSwitch, Service: "web"}
		err := e.settle(t.Context(), outcome{a, c.err})
		if isTerminal(err) != c.terminal || e.hopeless(a) != c.hopeless || !c.hopeless && err == nil {
			t.Errorf("attempt %d, back %v: %v, hopeless %v", c.attempt, c.undo, err, e.hopeless(a))
		}
	}
}
