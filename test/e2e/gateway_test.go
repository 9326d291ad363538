// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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

// wantLossless checks that no request failed, and that versions answered.
func wantLossless(t *testing.T, l *harness.Load, versions ...string) harness.LoadResult {
	t.Helper()
	r := l.End()
	t.Logf("%d requests over %d connections, %d failed, longest gap %s, slowest %s, answers %v", r.Sent, r.Connections, r.Failed, r.Longest, r.Slowest, r.Bodies)
	if r.Failed > 0 || r.Sent < 20 {
		t.Errorf("%d of %d requests failed: %s", r.Failed, r.Sent, strings.Join(r.Errors, "; "))
	}
	for _, v := range versions {
		if r.Bodies[v+"\n"] == 0 {
			t.Errorf("version %s never answered: %v", v, r.Bodies)
		}
	}
	return r
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
	t.Run("database", func(t *testing.T) {
		s := s.in(t)
		before := s.containers()
		rows := harness.Rows(t, s.repo.Project, "visits")
		l := s.load("/")
		r := s.succeeds("", harness.Force)
		got := l.End()
		if got.Failed > 0 {
			t.Errorf("%d of %d requests failed: %s", got.Failed, got.Sent, strings.Join(got.Errors, "; "))
		}
		s.wantReplaced(before, "db", "web", "front")
		if now := harness.Rows(t, s.repo.Project, "visits"); now < rows+got.Sent-got.Failed {
			t.Errorf("%d rows and %d requests became %d rows", rows, got.Sent, now)
		}
		if !strings.Contains(s.Log(r), "requests wait at the gateway") {
			t.Errorf("nothing was held:\n%s", s.Log(r))
		}
	})
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

// An application that publishes its port itself comes behind a gateway, with one gap, and
// leaves it again.
func TestGatewayTakeover(t *testing.T) {
	t.Parallel()
	s := running(t, apps.Hello, "")
	t.Cleanup(func() { s.removeGateways() })
	s.apply(gatewayOn)
	r := s.succeeds("")
	s.wantVersion("1")
	s.wantBehind("web")
	if got := r.Status.Plan.Services[0].Interruption; !strings.Contains(got, "once, as the gateway takes over 127.0.0.1:") {
		t.Errorf("the plan says of the interruption: %q", got)
	}
	l := s.load("/version")
	s.succeeds(s.publish("Two", map[string]string{"version.txt": "2\n"}))
	wantLossless(t, l, "1", "2")
	s.apply("  gateway: {mode: \"Off\"}\n")
	r = s.succeeds("")
	s.wantVersion("2")
	if got := r.Status.Plan.Services[0].Interruption; !strings.Contains(got, "gives back") {
		t.Errorf("the plan says of the interruption: %q", got)
	}
	if left := s.gateways(); len(left) > 0 {
		t.Errorf("%d gateways are left", len(left))
	}
	if cs := s.containers()["web"]; len(cs) != 1 {
		t.Errorf("web has %v", identities(cs))
	}
}

// publishing is the Compose file of apps.Hello with further ports.
func (s *site) publishing(ports ...string) map[string]string {
	s.t.Helper()
	const mark = "    ports:\n"
	data, err := os.ReadFile(filepath.Join(s.repo.Dir, "docker-compose.yml"))
	if err != nil {
		s.t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(data), mark)
	if !ok {
		s.t.Fatalf("the Compose file publishes nothing:\n%s", data)
	}
	for _, port := range ports {
		rest = "      - " + port + "\n" + rest
	}
	return map[string]string{"docker-compose.yml": head + mark + rest}
}

// takenAndFree are two ports in a row: something listens on the first one, but no container.
func takenAndFree(t *testing.T) (low int, release func()) {
	t.Helper()
	for range 50 {
		var lc net.ListenConfig
		taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		low = taken.Addr().(*net.TCPAddr).Port
		if next, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(low+1)); err == nil && next.Close() == nil {
			return low, func() { _ = taken.Close() }
		}
		_ = taken.Close()
	}
	t.Fatal("no two ports in a row")
	return 0, nil
}

// otherPorts of the host that a gateway publishes, but for one.
func (s *site) otherPorts(but int) (ports []int) {
	for _, c := range s.gateways() {
		for _, p := range c.Ports {
			if int(p.PublicPort) != but && p.PublicPort != 0 {
				ports = append(ports, int(p.PublicPort))
			}
		}
	}
	slices.Sort(ports)
	return ports
}

// planOf is what the plan of a request says of a service.
func planOf(r *v1alpha1.UpdateRequest, service string) v1alpha1.ServicePlan {
	i := slices.IndexFunc(r.Status.Plan.Services, func(p v1alpha1.ServicePlan) bool { return p.Name == service })
	if i < 0 {
		return v1alpha1.ServicePlan{}
	}
	return r.Status.Plan.Services[i]
}

// A port that is not published any more is free; the front of the others gives way to one that is ready before. Ports
// that were left open stay as they were chosen.
func TestGatewayPortRemoved(t *testing.T) {
	t.Parallel()
	s := siteOf(t, shared, apps.Hello)
	t.Cleanup(func() { s.removeGateways() })
	more, err := apps.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	low, release := takenAndFree(t)
	defer release()
	open := []string{fmt.Sprintf("127.0.0.1:%d-%d:8080", low, low+1), `"127.0.0.1::8080"`}
	one, two := s.publishing(open...), s.publishing(append(open, fmt.Sprintf("127.0.0.1:%d:8080", more))...)
	// A service that leaves the gateway takes its name along, and the inner gateway has to be another one.
	// What finds it there, and listens nowhere itself, has to look elsewhere from then on.
	const mate = "  mate:\n    image: fairlead-test/redis:7\n    labels: *labels\n    entrypoint: [sleep, infinity]\n    init: true\n    x-fairlead: {gateway: \"Off\"}\n"
	side := "services:\n" + mate + "  side:\n    image: fairlead-test/redis:7\n    labels: *labels\n"
	two["docker-compose.yml"] = strings.Replace(two["docker-compose.yml"], "services:\n", side, 1)
	one["docker-compose.yml"] = strings.Replace(one["docker-compose.yml"], "services:\n", side+"    x-fairlead: {gateway: \"Off\"}\n", 1)
	s.apply(gatewayOn)
	s.succeeds(s.publish("Two ports", two))
	s.wantBehind("web", "side")
	mates := s.containers()["mate"]
	s.finds(mates[0], "web", "side")
	further := "http://127.0.0.1:" + strconv.Itoa(more) + "/version"
	if _, err := harness.Get(t.Context(), further); err != nil {
		t.Errorf("the further port: %v", err)
	}
	own, _ := strconv.Atoi(strings.TrimPrefix(s.repo.URL(""), "http://127.0.0.1:"))
	chosen := slices.DeleteFunc(s.otherPorts(own), func(port int) bool { return port == more })
	if len(chosen) != 2 || !slices.Contains(chosen, low+1) {
		t.Fatalf("chosen are %v, with %d taken", chosen, low)
	}
	for _, c := range s.containers()["web"] {
		full, err := harness.Engine(t).ContainerInspect(t.Context(), c.ID)
		if err != nil || len(full.HostConfig.PortBindings) > 0 {
			t.Errorf("web publishes ports itself: %+v, %v", full.HostConfig, err)
		}
	}
	before := map[string]bool{}
	for _, c := range s.gateways() {
		before[c.ID] = true
	}
	l := s.load("/version")
	r := s.succeeds(s.publish("One port", one))
	got := l.End()
	t.Logf("%d of %d requests failed, longest gap %s; %+v", got.Failed, got.Sent, got.Longest, r.Status.Downtime)
	s.wantVersion("1")
	if now := s.containers()["mate"]; len(now) != 1 || now[0].ID == mates[0].ID {
		t.Errorf("what found the service at the gateway is %v, and was %v", identities(now), identities(mates))
	} else {
		s.finds(now[0], "web", "side")
	}
	if reason := planOf(r, "mate").Reason; !strings.Contains(reason, "looks for side at a gateway") {
		t.Errorf("it is replaced as it %q", reason)
	}
	if plan := planOf(r, "web").Interruption; !strings.Contains(plan, "a new gateway takes over ") || !strings.Contains(plan, strings.TrimPrefix(s.repo.URL(""), "http://")) {
		t.Errorf("the plan says of the interruption: %q", plan)
	}
	if !strings.Contains(s.Log(r), "has taken over the ports of") {
		t.Errorf("nothing was taken over:\n%s", s.Log(r))
	}
	free, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(more))
	if err != nil {
		t.Errorf("the port that is published no more: %v", err)
	} else if err := free.Close(); err != nil {
		t.Error(err)
	}
	gateways, anew := s.gateways(), 0
	for _, c := range gateways {
		if !before[c.ID] {
			anew++
		}
	}
	if !strings.Contains(s.Log(r), "gateway-2: answers to the names of") {
		t.Errorf("no inner gateway gave way:\n%s", s.Log(r))
	}
	if len(gateways) != 2 || anew != 2 {
		t.Errorf("there are %d gateways, of which %d are new", len(gateways), anew)
	}
	release()
	l = s.load("/version")
	r = s.succeeds(s.publish("Two", map[string]string{"version.txt": "2\n"}))
	wantLossless(t, l, "1", "2")
	if now := s.otherPorts(own); !slices.Equal(now, chosen) {
		t.Errorf("chosen were %v, and are %v after a successor and an update", chosen, now)
	}
	for _, port := range chosen {
		address := "127.0.0.1:" + strconv.Itoa(port)
		if got, err := harness.Get(t.Context(), "http://"+address+"/version"); err != nil || strings.TrimSpace(got) != "2" {
			t.Errorf("%s answers %q, %v", address, got, err)
		}
		if note := planOf(r, "web").Gateway; !strings.Contains(note, address) {
			t.Errorf("%s is not in the plan: %q", address, note)
		}
	}
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
	type answer struct {
		body string
		err  error
	}
	slow, download, events := make(chan answer, 1), make(chan answer, 1), make(chan answer, 1)
	fetch := func(path string, into chan<- answer) {
		resp, err := s.open(path)
		if err != nil {
			into <- answer{err: err}
			return
		}
		go func() {
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			into <- answer{string(body), err}
		}()
	}
	fetch("/download?kib=1500", download) // some eight seconds
	fetch("/events", events)
	go func() { fetch("/slow?d=8s", slow) }()
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
