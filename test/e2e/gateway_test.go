// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// gatewayOn puts an application behind a gateway; its verification takes a moment.
const gatewayOn = "  gateway: {mode: Auto}\n"

// behindGateway is running, with a gateway from the beginning.
func behindGateway(t *testing.T, d *harness.Daemon, app apps.App, extra string) *site {
	t.Helper()
	s := siteOf(t, d, app)
	t.Cleanup(func() { s.removeGateways() })
	s.apply(gatewayOn + extra)
	s.succeeds("")
	return s
}

// gateways are the gateways' containers.
func (s *site) gateways() []container.Summary {
	s.t.Helper()
	return harness.Gateways(s.t, s.repo.Project)
}

// removeGateways comes after the application's end, and before that of its networks.
func (s *site) removeGateways() {
	s.forget()
	harness.RemoveGateways(s.t, s.repo.Project)
}

// load sends some eighty requests a second over kept connections, which leaves the
// processors to the other tests; as many as there can be are sent by `make soak`.
func (s *site) load(path string) *harness.Load {
	return harness.StartLoad(s.repo.URL(path), 8, 100*time.Millisecond)
}

// wantLossless checks that no request failed, and that versions answered, and nothing else.
func wantLossless(t *testing.T, l *harness.Load, versions ...string) harness.LoadResult {
	t.Helper()
	r := l.End()
	t.Logf("%d requests over %d connections, %d failed, longest gap %s, slowest %s, answers %v", r.Sent, r.Connections, r.Failed, r.Longest, r.Slowest, r.Bodies)
	if r.Failed > 0 || r.Sent < 20 {
		t.Errorf("%d of %d requests failed: %s", r.Failed, r.Sent, strings.Join(r.Errors, "; "))
	}
	if len(versions) > 0 {
		wantVersions(t, r, versions)
	}
	return r
}

// wantVersions checks that versions answered, and nothing else but those that may have.
func wantVersions(t *testing.T, r harness.LoadResult, must []string, may ...string) {
	t.Helper()
	answered := 0
	for _, v := range must {
		if r.Bodies[v+"\n"] == 0 {
			t.Errorf("version %s never answered: %v", v, r.Bodies)
		}
	}
	for _, v := range append(may, must...) {
		answered += r.Bodies[v+"\n"]
	}
	if answered != r.Sent-r.Failed {
		t.Errorf("something else than the versions %v and %v answered: %v", must, may, r.Bodies)
	}
}

// wantBehind checks that the gateway alone has the ports of the host and the names of services.
func (s *site) wantBehind(services ...string) {
	s.t.Helper()
	all := s.containers()
	for _, service := range services {
		if len(all[service]) != 1 {
			s.t.Errorf("%s has %v", service, identities(all[service]))
		}
		for _, c := range all[service] {
			full, err := harness.Engine(s.t).ContainerInspect(s.t.Context(), c.ID)
			if err != nil {
				s.t.Fatal(err)
			}
			if len(full.HostConfig.PortBindings) > 0 {
				s.t.Errorf("%s publishes %v itself", c.Name, full.HostConfig.PortBindings)
			}
			for name, n := range full.NetworkSettings.Networks {
				if slices.Contains(n.Aliases, service) {
					s.t.Errorf("%s has the name %s in %s itself", c.Name, service, name)
				}
			}
		}
	}
}

// One service with a published port is updated, fails to be, and goes back, under load.
func TestGatewayOneService(t *testing.T) {
	t.Parallel()
	s := behindGateway(t, shared, apps.Hello, "")
	s.wantVersion("1")
	s.wantBehind("web")
	if n := len(s.gateways()); n != 2 {
		t.Errorf("%d gateways, want one for the names and one for the ports", n)
	}
	t.Run("update", func(t *testing.T) {
		s := s.in(t)
		before := s.containers()
		l := s.load("/version")
		r := s.succeeds(s.publish("Two", map[string]string{"version.txt": "2\n"}))
		wantLossless(t, l, "1", "2")
		s.wantVersion("2")
		s.wantReplaced(before, "web")
		s.wantBehind("web")
		if got := r.Status.Plan.Services[0]; got.Order != v1alpha1.OrderStartFirst || got.Interruption != "none" {
			t.Errorf("the plan says %s, %q", got.Order, got.Interruption)
		}
		if d := r.Status.Downtime; d == nil || d.Failed != 0 || d.Probes == 0 || d.LongestGap != "0s" {
			t.Errorf("seen from outside was %+v", d)
		}
	})
	t.Run("failing update", func(t *testing.T) {
		s := s.in(t)
		before := s.containers()
		l := s.load("/version")
		s.ends(s.publish("Bad", map[string]string{"version.txt": "3\n", "behaviour.json": apps.Behaviour{Unhealthy: true}.JSON()}), v1alpha1.PhaseRolledBack)
		wantLossless(t, l, "2")
		s.wantVersion("2")
		s.wantUntouched(before)
	})
	t.Run("new version dies after the switch", func(t *testing.T) {
		s := s.in(t)
		before := s.containers()
		s.apply(gatewayOn + "  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 20s}\n")
		l := s.load("/version")
		s.ends(s.publish("Dies", map[string]string{"version.txt": "4\n", "behaviour.json": apps.Behaviour{CrashAfter: "6s"}.JSON()}), v1alpha1.PhaseRolledBack)
		wantLossless(t, l, "2", "4")
		s.wantVersion("2")
		s.wantUntouched(before) // back by a switch, not by a start
	})
}

// shopBehindGateway is a shop of which the gateway knows what everything listens on.
func shopBehindGateway(t *testing.T) *site {
	t.Helper()
	s := behindGateway(t, shared, apps.Shop, "")
	s.visit(3) // rows that an update could cost
	// What web listens on is written nowhere, and was not known before it ran.
	s.succeeds("")
	s.wantVersion("1")
	s.wantBehind("db", "front", "web")
	return s
}

// nginx resolves its upstream once and for all; what is behind it changes all the
// same, and the database is replaced while requests wait.
func TestGatewayShop(t *testing.T) {
	t.Parallel()
	s := shopBehindGateway(t)
	t.Run("behind nginx", func(t *testing.T) {
		s := s.in(t)
		before := s.containers()
		l := s.load("/version")
		s.succeeds(s.publish("Two", version("2", "web", "worker")))
		wantLossless(t, l, "1", "2")
		s.wantReplaced(before, "web", "worker")
		s.wantUntouched(before, "front", "db")
	})
	t.Run("database", func(t *testing.T) { s.in(t).replaceDatabase() })
	// The inner gateway gives way to one of another address, which the old nginx has to learn of while it serves.
	t.Run("database leaves", func(t *testing.T) {
		s := s.in(t)
		l := s.load("/version")
		s.apply(gatewayOn + "  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 1s, services: [{name: db, gateway: \"Off\"}]}\n")
		r := s.succeeds("")
		wantLossless(t, l, "2")
		if log := s.Log(r); !strings.Contains(log, "answers to the names of") || !strings.Contains(log, "reloading the nginx") {
			t.Errorf("no gateway gave way, or nginx was not told:\n%s", log)
		}
	})
}

// The daemon is killed while it moves traffic, and goes on.
func TestGatewayDaemonKilled(t *testing.T) {
	t.Parallel()
	s := behindGateway(t, harness.Start(t, harness.Options{}), apps.Hello, "")
	l := s.load("/version")
	r := s.Update(s.name, s.publish("Two", slowly("2", "1s")))
	s.waitLog(r.Name, "the gateway sends what is new for web")
	s.Kill9()
	s.Restart()
	s.WantEnd(r.Name, v1alpha1.PhaseSucceeded)
	wantLossless(t, l, "1", "2")
	s.wantOneOfEach()
	s.wantVersion("2")
}

// What was under way when the traffic moved comes to its end: a request, a download, and a
// stream of events, which has none and is cut when its time is over.
func TestGatewayUnderWay(t *testing.T) {
	t.Parallel()
	s := behindGateway(t, shared, apps.Hello, "  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 1s, drainTimeout: 15s}\n")
	download, events := s.begin("/download?kib=1500"), s.begin("/events") // the download takes some eight seconds
	slow := s.begin("/slow?d=8s")
	s.succeeds(s.publish("Two", map[string]string{"version.txt": "2\n"}))
	if got := <-slow; got.err != nil || got.body != "1\n" {
		t.Errorf("the request that was under way got %q, %v", got.body, got.err)
	}
	if got := <-download; got.err != nil || len(got.body) != 1500<<10 {
		t.Errorf("the download has %d bytes: %v", len(got.body), got.err)
	}
	if got := <-events; !strings.Contains(got.body, "data: 1\n") || strings.Contains(got.body, "data: 2\n") {
		t.Errorf("the stream of events was %.200q", got.body)
	}
	s.wantVersion("2")
	s.wantOneOfEach()
}

// whole is what a request got, and when.
type whole struct {
	body string
	err  error
	at   time.Time
}

// begin begins a request, and returns where its answer will be when it has come whole.
func (s *site) begin(path string) <-chan whole {
	answer := make(chan whole, 1)
	go func() {
		var got whole
		defer func() { got.at = time.Now(); answer <- got }()
		resp, err := s.open(path)
		if err != nil {
			got.err = err
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		got.body, got.err = string(body), err
	}()
	return answer
}

// open begins a request.
func (s *site) open(path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.repo.URL(path), nil)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(req)
}

// A daemon of another version goes on with the gateways, and has them replaced by its own program
// while requests come; what is accepted outlives a restart of the gateways' containers.
func TestGatewayProgramIsReplaced(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{})
	s := behindGateway(t, d, apps.Hello, "")
	s.waitGateways(v1alpha1.ReasonGatewaysRun)
	before := s.gateways()
	next := filepath.Join(t.TempDir(), "fairlead")
	program, err := os.ReadFile(d.Binary)
	if err != nil {
		t.Fatal(err)
	}
	// Behind the end of an ELF file is nothing: it does the same, and is another program.
	if err := os.WriteFile(next, append(program, "next"...), 0o755); err != nil {
		t.Fatal(err)
	}
	l := s.load("/version")
	s.Stop()
	s.RestartAs(next)
	s.waitGateways(v1alpha1.ReasonGatewayReplaced)
	s.succeeds(s.publish("Two", map[string]string{"version.txt": "2\n"}))
	wantLossless(t, l, "1", "2")
	s.wantVersion("2")
	for _, c := range before {
		if !slices.ContainsFunc(s.gateways(), func(n container.Summary) bool { return n.ID == c.ID }) {
			t.Errorf("the gateway %s was made anew", c.Names[0])
		}
		if err := harness.Engine(t).ContainerRestart(t.Context(), c.ID, container.StopOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	s.waitAnswer()
	s.wantVersion("2")
}

// waitGateways waits until the condition of the gateways has a reason.
func (s *site) waitGateways(reason string) {
	s.t.Helper()
	s.WaitApp(s.name, "gateways: "+reason, func(a *v1alpha1.Application) bool {
		c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionGatewayCurrent)
		return c != nil && c.Reason == reason
	})
}
