// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/downtime"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
)

func tcpPort(hostIP, published string, target uint16) compose.Port {
	return compose.Port{HostIP: hostIP, Published: published, Target: target, Protocol: "tcp"}
}

// What is asked from outside, with a gateway or without one, and what is told not to be.
func TestProbing(t *testing.T) {
	web := func(ports ...compose.Port) compose.Service {
		return compose.Service{Name: "web", Image: "shop/web", Replicas: 1, Ports: ports}
	}
	changed := func(svc compose.Service, change func(*compose.Service)) compose.Service {
		change(&svc)
		return svc
	}
	local := func(ip net.IP) bool { return ip.String() == "192.168.1.5" }
	inside := vantage{inside: true, host: "172.18.0.1", local: local}
	open := tcpPort("", "", 80)
	running := []docker.Container{{Service: "web", State: docker.StateRunning, Ports: []docker.Port{
		{ContainerPort: 80, Protocol: "tcp", HostIP: "0.0.0.0", HostPort: 32768}, {ContainerPort: 81, Protocol: "tcp", HostPort: 32769},
	}}}
	behind := []docker.Container{{Labels: map[string]string{v1alpha1.LabelGateway: v1alpha1.GatewayBehind}}}
	chosen := []boxes.Box{{Box: layout.Box{Publish: []layout.Publish{{Service: "web", Target: 80, HostPort: 40001, From: layout.AnyPort}}}}}
	action := func(a v1alpha1.ServiceAction) func(*v1alpha1.Application, *v1alpha1.UpdateRequest) {
		return func(_ *v1alpha1.Application, r *v1alpha1.UpdateRequest) {
			r.Status.Services = []v1alpha1.ServiceUpdate{{Name: "web", Action: a}}
		}
	}
	proxied := func(mode v1alpha1.GatewayMode) func(*v1alpha1.Application, *v1alpha1.UpdateRequest) {
		return func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) {
			yes := true
			a.Spec.Gateway.Mode, a.Spec.Gateway.AcceptProxyProtocol = mode, &yes
		}
	}
	yes, no := new(bool), new(bool)
	*yes = true
	measuring := func(all, service *bool) func(*v1alpha1.Application, *v1alpha1.UpdateRequest) {
		return func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) {
			a.Spec.Rollout.MeasureDowntime, a.Spec.Rollout.Services = all, []v1alpha1.ServiceRollout{{Name: "web", MeasureDowntime: service}}
		}
	}
	many := web()
	for n := range 20 {
		many.Ports = append(many.Ports, tcpPort("", fmt.Sprint(8000+n), uint16(80+n)))
	}
	tests := []struct {
		name       string
		services   []compose.Service
		change     func(*v1alpha1.Application, *v1alpha1.UpdateRequest)
		containers []docker.Container
		gateways   []boxes.Box
		from       vantage
		want       string // addresses; those that are connected to only with +
		not        string
	}{
		{name: "no gateway", services: []compose.Service{web(tcpPort("", "8080", 80), tcpPort("192.168.1.5", "81", 81), tcpPort("::", "82", 82))},
			from: vantage{local: local}, want: "127.0.0.1:8080 192.168.1.5:81 [::1]:82"},
		{name: "another machine's address", services: []compose.Service{web(tcpPort("", "80", 80), tcpPort("192.168.1.6", "81", 81))},
			from: vantage{local: local}, want: "127.0.0.1:80", not: "web 192.168.1.6:81/tcp: " + notOurs},
		{name: "twice the same", services: []compose.Service{web(tcpPort("", "80", 80), tcpPort("0.0.0.0", "80", 80))}, want: "127.0.0.1:80"},
		{name: "nothing is published", services: []compose.Service{web()}, not: noPorts},
		{name: "UDP", services: []compose.Service{web(tcpPort("", "53", 53), compose.Port{HostIP: "127.0.0.1", Published: "53", Target: 53, Protocol: "udp"})},
			want: "127.0.0.1:53", not: "web 127.0.0.1:53/udp: " + notTCP},
		{name: "the engine chooses", services: []compose.Service{web(open)}, change: action(v1alpha1.ActionReplace), containers: running, not: "web 80/tcp: " + movingPort},
		{name: "the engine has chosen", services: []compose.Service{web(open)}, change: action(v1alpha1.ActionKeep), containers: running, want: "127.0.0.1:32768"},
		{name: "the gateway has chosen", services: []compose.Service{web(open)}, change: action(v1alpha1.ActionReplace), gateways: chosen, want: "127.0.0.1:40001"},
		{name: "the host's network", services: []compose.Service{changed(web(), func(s *compose.Service) { s.NetworkMode = "host" })}, not: "web: " + hostNetwork},
		{name: "the host's network, with ports", services: []compose.Service{changed(web(), func(s *compose.Service) { s.NetworkMode, s.Expose = "host", []string{"9000", "53/udp"} })},
			want: "127.0.0.1:9000", not: "web 53/udp: " + notTCP},
		{name: "the PROXY protocol", services: []compose.Service{web(tcpPort("", "80", 80))}, change: proxied(v1alpha1.GatewayAuto), not: "web 80/tcp: " + proxyHeader},
		{name: "the PROXY protocol, in a gateway that goes", services: []compose.Service{web(tcpPort("", "80", 80))}, change: proxied(v1alpha1.GatewayOff), containers: behind, not: "web 80/tcp: " + proxyHeader},
		{name: "the PROXY protocol without a gateway", services: []compose.Service{web(tcpPort("", "80", 80))}, change: proxied(v1alpha1.GatewayOff), want: "127.0.0.1:80"},
		{name: "turned off", services: []compose.Service{web(tcpPort("", "80", 80), open), changed(web(), func(s *compose.Service) { s.Name, s.NetworkMode = "host", "host" }), changed(web(), func(s *compose.Service) { s.Name = "inner" })},
			change: measuring(no, nil), not: "web: " + turnedOff + "; host: " + turnedOff},
		{name: "turned off for a service", services: []compose.Service{web(tcpPort("", "80", 80)), changed(web(tcpPort("", "81", 81)), func(s *compose.Service) { s.Name = "api" })},
			change: measuring(nil, no), want: "127.0.0.1:81", not: "web: " + turnedOff},
		{name: "turned off but for a service", services: []compose.Service{web(tcpPort("", "80", 80)), changed(web(tcpPort("", "81", 81)), func(s *compose.Service) { s.Name = "api" })},
			change: measuring(no, yes), want: "127.0.0.1:80", not: "api: " + turnedOff},
		{name: "turned off in the Compose file", services: []compose.Service{changed(web(tcpPort("", "80", 80)), func(s *compose.Service) { s.Extension.MeasureDowntime = no })},
			change: measuring(yes, nil), not: "web: " + turnedOff},
		{name: "turned off in the Compose file, and on again", services: []compose.Service{changed(web(tcpPort("", "80", 80)), func(s *compose.Service) { s.Extension.MeasureDowntime = no })},
			change: measuring(nil, yes), want: "127.0.0.1:80"},
		{name: "a database", services: []compose.Service{changed(web(tcpPort("", "5432", 5432)), func(s *compose.Service) { s.Image = "postgres:17" })}, want: "+127.0.0.1:5432"},
		{name: "one that blocks", services: []compose.Service{changed(web(tcpPort("", "33060", 33060)), func(s *compose.Service) { s.Image = "percona/percona-server:8" })}, not: "web 33060/tcp: " + blocksProbes},
		{name: "SSH", services: []compose.Service{web(tcpPort("", "2222", 22))}, not: "web 2222/tcp: " + blocksProbes},
		{name: "app_protocol", services: []compose.Service{web(compose.Port{Published: "25", Target: 25, Protocol: "tcp", App: "tcp"})}, want: "+127.0.0.1:25"},
		{name: "in a container", services: []compose.Service{web(tcpPort("", "80", 80), tcpPort("127.0.0.1", "81", 81), tcpPort("192.168.1.5", "82", 82), tcpPort("::", "83", 83))}, from: inside,
			want: "172.18.0.1:80 192.168.1.5:82", not: "web 127.0.0.1:81/tcp, [::]:83/tcp: " + outOfReach},
		{name: "in a container without a way out", services: []compose.Service{web(tcpPort("", "80", 80))}, from: vantage{inside: true, reason: outOfReach}, not: "web 80/tcp: " + outOfReach},
		{name: "in a container of a macvlan network", services: []compose.Service{web(tcpPort("", "80", 80), tcpPort("192.168.1.5", "81", 81))},
			from: vantage{inside: true, reason: noBridge, local: local}, not: "web 80/tcp, 192.168.1.5:81/tcp: " + noBridge},
		{name: "another machine's address, in a container", services: []compose.Service{web(tcpPort("192.168.1.6", "80", 80))}, from: inside, not: "web 192.168.1.6:80/tcp: " + notOurs},
		{name: "itself", services: []compose.Service{web(tcpPort("", "80", 80))}, from: vantage{service: "web"}, not: "web 80/tcp: " + itself},
		{name: "what runs once, and what does not", services: []compose.Service{
			changed(web(tcpPort("", "80", 80)), func(s *compose.Service) { s.OneShot = true }), changed(web(tcpPort("", "81", 80)), func(s *compose.Service) { s.Replicas = 0 }),
		}, not: noPorts},
		{name: "more than enough", services: []compose.Service{many, changed(web(tcpPort("", "90", 80)), func(s *compose.Service) { s.Name = "last" })},
			want: "127.0.0.1:8000 127.0.0.1:90 127.0.0.1:8001 127.0.0.1:8002 127.0.0.1:8003 127.0.0.1:8004 127.0.0.1:8005 127.0.0.1:8006 127.0.0.1:8007 " +
				"127.0.0.1:8008 127.0.0.1:8009 127.0.0.1:8010 127.0.0.1:8011 127.0.0.1:8012 127.0.0.1:8013 127.0.0.1:8014",
			not: "web 8015/tcp, 8016/tcp, 8017/tcp, 8018/tcp, 8019/tcp: " + tooManyPorts},
	}
	for _, tt := range tests {
		s := newRun()
		if tt.change != nil {
			tt.change(s.Application, s.Request)
		}
		p := s.probing(tt.services, tt.containers, tt.gateways, tt.from)
		var got []string
		for _, target := range p.targets {
			address := target.Address
			if target.TCP {
				address = "+" + address
			}
			got = append(got, address)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: it asks %v, want %s", tt.name, got, tt.want)
		}
		if not := unmeasuredText(p.unmeasured); not != tt.not {
			t.Errorf("%s: not measured is %q, want %q", tt.name, not, tt.not)
		}
	}
}

// What one step could not ask, another one has not measured.
func TestUnaskedStaysTold(t *testing.T) {
	unasked := v1alpha1.UnmeasuredPorts{Reason: notAsked}
	p := &probing{unmeasured: []v1alpha1.UnmeasuredPorts{{Service: "dns", Ports: "53/udp", Reason: notTCP}}}
	p.keep([]v1alpha1.UnmeasuredPorts{unasked, {Service: "web", Ports: "80/tcp", Reason: silentPort}})
	p.keep([]v1alpha1.UnmeasuredPorts{unasked})
	p.keep([]v1alpha1.UnmeasuredPorts{{Reason: cutOff}}) // told by a daemon before
	if len(p.unmeasured) != 3 || p.unmeasured[1] != unasked || p.unmeasured[2].Reason != cutOff {
		t.Errorf("told: %+v", p.unmeasured)
	}
}

// A daemon that goes on knows how ports stood; one that was restarted within an update knows what it does not know.
func TestSights(t *testing.T) {
	var v sights
	v.meet("a", sight{})
	v.meet("a", sight{lost: true, settled: downtime.Result{Probes: 9}}) // the next step, in the same process
	if left := v.of("a"); left.lost || left.settled.Probes > 0 {
		t.Error("nothing was lost")
	}
	at := time.Unix(1, 0)
	v.keep("a", sight{standing: downtime.Standing{"127.0.0.1:80": {Open: at}}})
	if got := v.of("a").standing["127.0.0.1:80"].Open; !got.Equal(at) {
		t.Errorf("it stood since %s", got)
	}
	v.forget("a")
	if v.meet("a", sight{lost: true, settled: downtime.Result{Probes: 9}}); !v.of("a").lost || v.of("a").settled.Probes != 9 {
		t.Error("after a restart it thinks that it saw all")
	}
}

// What the steps of a request tell to a daemon that did not carry them out.
func TestBefore(t *testing.T) {
	step := func(name v1alpha1.StepName, state v1alpha1.StepState, attempt int32) v1alpha1.StepStatus {
		return v1alpha1.StepStatus{Name: name, State: state, Attempt: attempt}
	}
	const rollout, verify, running, succeeded = v1alpha1.StepRollout, v1alpha1.StepVerify, v1alpha1.StepRunning, v1alpha1.StepSucceeded
	for _, tt := range []struct {
		name         string
		step         v1alpha1.StepName
		steps        []v1alpha1.StepStatus
		lost, before bool
	}{
		{"nothing is replaced yet", v1alpha1.StepBuild, []v1alpha1.StepStatus{step(v1alpha1.StepBuild, running, 2)}, false, false},
		{"the first attempt", rollout, []v1alpha1.StepStatus{step(rollout, running, 1)}, false, false},
		{"cut off in the rollout", rollout, []v1alpha1.StepStatus{step(rollout, running, 2)}, true, true},
		{"restarted between two steps", verify, []v1alpha1.StepStatus{step(rollout, succeeded, 1), step(verify, running, 1)}, false, true},
		{"the same, after a rollout that was cut off before that", verify, []v1alpha1.StepStatus{step(rollout, succeeded, 2), step(verify, running, 1)}, false, true},
		{"cut off in the verification", verify, []v1alpha1.StepStatus{step(rollout, succeeded, 1), step(verify, running, 2)}, true, true},
		{"cut off in the rollout, and cancelled", v1alpha1.StepRollback, []v1alpha1.StepStatus{step(rollout, v1alpha1.StepInterrupted, 1), step(v1alpha1.StepRollback, running, 1)}, true, true},
		{"restarted before the way back", v1alpha1.StepRollback, []v1alpha1.StepStatus{step(rollout, v1alpha1.StepFailed, 1), step(v1alpha1.StepRollback, running, 1)}, true, true},
		{"nothing was to be replaced", verify, []v1alpha1.StepStatus{step(rollout, v1alpha1.StepSkipped, 1), step(verify, running, 1)}, false, false},
		{"at the end", v1alpha1.StepCleanUp, []v1alpha1.StepStatus{step(rollout, succeeded, 1), step(verify, succeeded, 1)}, false, true},
	} {
		s := newRun(func(_ *v1alpha1.Application, r *v1alpha1.UpdateRequest) { r.Status.Steps = tt.steps })
		s.Step = tt.step
		if got := s.before(); got.lost != tt.lost || got.missed != tt.before {
			t.Errorf("%s: lost %t, missed %t", tt.name, got.lost, got.missed)
		}
	}
}

func TestDowntimeText(t *testing.T) {
	st := &v1alpha1.UpdateRequestStatus{}
	if got := downtimeText(st); got != "" {
		t.Errorf("nothing is told as %q", got)
	}
	st.Unmeasured = []v1alpha1.UnmeasuredPorts{{Reason: noPorts}}
	if got := downtimeText(st); got != "not measured: "+noPorts {
		t.Errorf("no ports are told as %q", got)
	}
	st.Downtime = &v1alpha1.DowntimeStatus{LongestGap: "1s", Probes: 9, Failed: 2, Slowest: "2ms", Target: "127.0.0.1:80"}
	st.Unmeasured = []v1alpha1.UnmeasuredPorts{{Service: "dns", Ports: "53/udp", Reason: notTCP}}
	if got := downtimeText(st); !strings.HasPrefix(got, "longest gap 1s, 2 of 9 probes failed, ") || !slices.Contains(strings.Split(got, "; "), "not measured: dns 53/udp: "+notTCP) {
		t.Errorf("both are told as %q", got)
	}
}
