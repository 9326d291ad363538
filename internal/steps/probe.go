// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/downtime"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// watched does work while the ports that a model publishes are probed from outside,
// and adds what was seen to the status. containers are those of the application, nil where they are not known.
func (s *run) watched(ctx context.Context, project *compose.Project, containers []docker.Container, work func() error) error {
	if s.Gateways == nil || !s.probes(containers) {
		return work()
	}
	have, err := s.Gateways.List(ctx, project.Name())
	if err != nil {
		return err
	}
	targets := s.probeTargets(project, have)
	if len(targets) == 0 {
		return work()
	}
	w := downtime.Start(ctx, targets)
	err = work()
	seen := w.End()
	if seen.Probes == 0 {
		return err
	}
	s.mu.Lock()
	total := beforeNow(s.Request.Status.Downtime).Merge(seen)
	s.mu.Unlock()
	status := &v1alpha1.DowntimeStatus{
		LongestGap: round(total.LongestGap), Probes: total.Probes, Failed: total.Failed, Slowest: round(total.Slowest), Target: total.Target,
	}
	s.record(func(st *v1alpha1.UpdateRequestStatus) { st.Downtime = status })
	if seen.Failed > 0 {
		s.say("seen from outside: %s did not answer for %s (%d of %d probes failed)", seen.Target, round(seen.LongestGap), seen.Failed, seen.Probes)
	} else {
		s.say("seen from outside: all of %d probes were answered, the slowest in %s", seen.Probes, round(seen.Slowest))
	}
	observeDowntime(s.Application, seen)
	return err
}

// probes reports whether the application is asked from outside: where it is to have a gateway, and where one gives the ports back.
func (s *run) probes(containers []docker.Container) bool {
	s.mu.Lock()
	begun := s.Request.Status.Downtime != nil
	s.mu.Unlock()
	return begun || s.Application.Spec.Gateway.Mode == v1alpha1.GatewayAuto || slices.ContainsFunc(containers, isBehind)
}

func round(d time.Duration) string { return d.Round(time.Millisecond).String() }

// beforeNow is what earlier steps saw.
func beforeNow(st *v1alpha1.DowntimeStatus) downtime.Result {
	if st == nil {
		return downtime.Result{}
	}
	r := downtime.Result{Probes: st.Probes, Failed: st.Failed, Target: st.Target}
	// They were written by this program.
	r.LongestGap, _ = time.ParseDuration(st.LongestGap)
	r.Slowest, _ = time.ParseDuration(st.Slowest)
	return r
}

// probeTargets are the TCP ports of the host that a model publishes, and those that were chosen for it already. Those that want
// to be told by a proxy who asks would answer nobody here.
func (s *run) probeTargets(project *compose.Project, have []boxes.Box) []downtime.Target {
	var out []downtime.Target
	for _, svc := range project.Services() {
		traffic := s.traffic(svc, 0)
		if traffic.AcceptProxy {
			continue
		}
		database := isDatabase(svc.ImageName) || isDatabase(svc.Image)
		for _, p := range svc.Ports {
			if p.Protocol != "tcp" {
				continue
			}
			hosts := []string{net.JoinHostPort(reached(p.HostIP), p.Published)}
			if !p.Fixed() {
				hosts = nil
				for _, q := range chosenFor(svc, p, have) {
					hosts = append(hosts, net.JoinHostPort(reached(q.HostIP), strconv.Itoa(q.HostPort)))
				}
			}
			for _, host := range hosts {
				t := downtime.Target{Address: host, TCP: database || p.App == "tcp" || p.App == "" && traffic.Protocol == gatewayapi.ProtocolTCP}
				if !slices.Contains(out, t) {
					out = append(out, t)
				}
			}
		}
	}
	return out
}

// reached is where what is published on an address of the host answers.
func reached(hostIP string) string {
	switch hostIP {
	case "", "0.0.0.0":
		return "127.0.0.1"
	case "::":
		return "::1"
	}
	return hostIP
}
