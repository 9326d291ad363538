// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/health"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// startEngine stands in for an engine with one container, which it can be told to crash
// its client's command in. It keeps what it was asked for, in order.
type startEngine struct {
	mu     sync.Mutex
	state  string
	policy string
	lost   bool // commands are begun, and their end is never told
	did    []string
}

func (f *startEngine) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *startEngine) told() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.did)
}

func (f *startEngine) restart() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.policy
}

func (f *startEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/_ping"):
		w.Header().Set("Api-Version", docker.MinAPIVersion)
	case strings.HasSuffix(path, "/containers/c1/start"):
		f.state = docker.StateRunning
		f.did = append(f.did, "start")
		w.WriteHeader(http.StatusNoContent)
	case strings.HasSuffix(path, "/containers/c1/exec"):
		var body struct{ Cmd []string }
		_ = json.NewDecoder(r.Body).Decode(&body)
		f.did = append(f.did, strings.Join(body.Cmd, " "))
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"Id":"e1"}`)
	case strings.HasSuffix(path, "/exec/e1/start"):
		_, _ = io.Copy(io.Discard, r.Body) // a connection with something unread would be reset, not closed
		c, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		if !f.lost {
			_, _ = buf.WriteString("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
			_ = buf.Flush()
		}
		_ = c.Close()
	case strings.HasSuffix(path, "/exec/e1/json"):
		fmt.Fprint(w, `{"ID":"e1","Running":false,"ExitCode":0,"Pid":7}`)
	case strings.HasSuffix(path, "/containers/c1/update"):
		var body struct{ RestartPolicy struct{ Name string } }
		_ = json.NewDecoder(r.Body).Decode(&body)
		f.policy = body.RestartPolicy.Name
		f.did = append(f.did, "restart "+f.policy)
		fmt.Fprint(w, `{}`)
	case strings.HasSuffix(path, "/containers/c1/json"):
		fmt.Fprintf(w, `{"Id":"c1","Name":"/shop-web-1","State":{"Status":%q,"Running":%t},"Config":{},"HostConfig":{"RestartPolicy":{"Name":%q}}}`,
			f.state, f.state == docker.StateRunning, f.policy)
	default:
		fmt.Fprint(w, `{}`)
	}
}

// executor is one of a daemon that was just started, with the status as the API has it.
func (f *startEngine) executor(t *testing.T, api *written, model string, undo bool) *executor {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	client, err := docker.New("tcp://" + server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	s := newRun(func(a *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
		a.Spec.Rollout.MinHealthy = seconds(0)
		api.status.DeepCopyInto(&ur.Status)
	})
	s.Deps = Deps{Docker: client, Traffic: DirectTraffic{}, Prober: health.NewProber(client, 1)}
	s.log, s.rec = updatelog.Lost("", nil), api
	var state string
	f.set(func() { state = f.state })
	return &executor{
		run: s, project: project(t, model), in: plan.RolloutInput{Undo: undo}, started: map[string]bool{}, ready: map[string]bool{},
		seen: map[string]docker.Container{"c1": {ID: "c1", Service: "web", State: state}},
	}
}

// A daemon that ends between the start of a container and its post_start leaves that to the next one: before the
// container counts as ready. What ended is not done again.
func TestPostStartAfterACrash(t *testing.T) {
	const model = "services: {web: {image: x, post_start: [{command: [warm, up]}]}}\n"
	a := plan.Action{Verb: plan.VerbStart, Service: "web", Container: plan.Container{ID: "c1", Name: "shop-web-1", State: plan.StateCreated}}
	f, api := &startEngine{state: docker.StateCreated, policy: "no"}, &written{refuse: errors.New("conflict")}
	if err := f.executor(t, api, model, false).do(t.Context(), a); err == nil || len(f.told()) > 0 {
		t.Fatalf("it did %q before it was written down: %v", f.told(), err)
	}
	api.refuse = nil
	f.set(func() { f.lost = true })
	if err := f.executor(t, api, model, false).do(t.Context(), a); err == nil {
		t.Fatal("a command of which no end was told has ended")
	}
	if want := []string{"start", "warm up"}; !slices.Equal(f.told(), want) {
		t.Fatalf("it did %q, want %q", f.told(), want)
	}
	f.set(func() { f.did, f.lost = nil, false })
	a.Verb, a.Container.State = plan.VerbGate, plan.StateRunning
	for i, want := range [][]string{{"warm up"}, nil} {
		if err := f.executor(t, api, model, false).do(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if err := api.Written(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(f.told(), want) {
			t.Errorf("start %d after it: it did %q, want %q", i+1, f.told(), want)
		}
		f.set(func() { f.did = nil })
	}
	f.set(func() { f.state = docker.StateExited })
	a.Verb, a.Container.State = plan.VerbStart, plan.StateExited
	if err := f.executor(t, api, model, false).do(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if want := []string{"start", "warm up"}; !slices.Equal(f.told(), want) {
		t.Errorf("started once more, it did %q, want %q", f.told(), want)
	}
}

// A service that the stored model does not have gets the restart policy of its old containers, whether it
// was stopped or not; one that it has gets the model's on the way forward.
func TestRestartPolicyWithoutAModel(t *testing.T) {
	const without, with = "services: {other: {image: x}}\n", "services: {web: {image: x, restart: always}}\n"
	for name, tt := range map[string]struct {
		model, old string
		undo       bool
		want       string
	}{
		"back, not in the model":           {without, "unless-stopped", true, "unless-stopped"},
		"back, in the update's model":      {with, "unless-stopped", true, "unless-stopped"},
		"back, left without one":           {with, "no", true, "always"},
		"back, of an older daemon's start": {with, "", true, "always"},
		"back, nothing is known":           {without, "", true, "no"},
		"forward":                          {with, "unless-stopped", false, "always"},
	} {
		t.Run(name, func(t *testing.T) {
			api := &written{status: v1alpha1.UpdateRequestStatus{Services: []v1alpha1.ServiceUpdate{{Name: "web", Action: v1alpha1.ActionRemove, OldRestart: tt.old}}}}
			f := &startEngine{state: docker.StateExited, policy: "no"}
			a := plan.Action{Verb: plan.VerbStart, Service: "web", Container: plan.Container{ID: "c1", Name: "shop-web-1", State: plan.StateExited}}
			if err := f.executor(t, api, tt.model, tt.undo).do(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			if got := f.restart(); got != tt.want {
				t.Errorf("started, it has the policy %s, want %s", got, tt.want)
			}
			f = &startEngine{state: docker.StateRunning, policy: "no"}
			e := f.executor(t, api, tt.model, tt.undo)
			e.in.Targets = []plan.Target{{Service: plan.Service{Name: "web"}, Action: v1alpha1.ActionReplace}}
			if err := e.restorePolicies(t.Context()); err != nil || f.restart() != tt.want {
				t.Errorf("kept running, it has the policy %s, want %s: %v", f.restart(), tt.want, err)
			}
		})
	}
}

// What is kept of restart policies can be given again.
func TestRestartWords(t *testing.T) {
	for _, p := range []docker.RestartPolicy{{Name: "no"}, {Name: "unless-stopped"}, {Name: "on-failure"}, {Name: "on-failure", MaximumRetryCount: 3}} {
		s := newRun(func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
			ur.Status.Services = []v1alpha1.ServiceUpdate{{Name: "web", OldRestart: restartWords(p)}}
		})
		e := &executor{run: s, project: project(t, "services: {other: {image: x}}\n")}
		if got, ok := e.restartOf("web"); !ok || got != p {
			t.Errorf("%+v came back as %+v", p, got)
		}
	}
}
