// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
	"github.com/fairlead-dev/fairlead/internal/health"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// routes are where the traffic of each service goes. It needs the lock of the
// gateways.
func (e *executor) routes() map[string]layout.Route {
	g := e.gw
	e.mu.Lock()
	seen := maps.Clone(e.seen)
	e.mu.Unlock()
	out := map[string]layout.Route{}
	for service, ids := range g.active {
		r := layout.Route{Held: g.waits(service, e.project), HoldUntil: g.holdUntil, Traffic: e.trafficOf(service), Ports: g.ports[service]}
		for _, id := range slices.Sorted(slices.Values(ids)) {
			t := layout.Target{ID: id, Addresses: map[string]string{}}
			c := seen[id]
			for name, n := range c.Networks {
				t.Addresses[name] = n.IP
			}
			r.Targets = append(r.Targets, t)
			for _, n := range health.ListeningPorts(c.Pid, c.ID) {
				if p := (layout.Port{Number: n}); !g.taken(service, p) {
					r.Ports = mergePorts(r.Ports, []layout.Port{p})
				}
			}
		}
		out[service] = r
	}
	return out
}

// taken reports whether a port that a service turns out to listen on is known to be another one's in the same
// gateway, which must not lose it to that. The next update parts the two.
func (g *gatewayRun) taken(service string, p layout.Port) bool {
	for _, b := range g.there {
		for _, owners := range b.Owners {
			names := slices.Collect(maps.Values(owners))
			if !slices.Contains(names, service) {
				continue
			}
			for _, other := range names {
				if other != service && slices.ContainsFunc(g.ports[other], func(o layout.Port) bool { return o.Number == p.Number && o.UDP == p.UDP }) {
					return true
				}
			}
		}
	}
	return false
}

// waits reports whether requests to a service wait: as it is held itself, or as one
// that it uses is, without which it could only fail them.
func (g *gatewayRun) waits(service string, project *compose.Project) bool {
	if g.held[service] || g.before[service] {
		return true
	}
	svc, _ := project.Service(service)
	return slices.ContainsFunc(svc.DependsOn, func(d compose.Dependency) bool { return g.held[d.Service] })
}

// hold lets requests wait: first in front of the services that use this one, until
// those have finished what they have, then in front of it. If that is broken off, they go on.
func (e *executor) hold(ctx context.Context, a plan.Action) (err error) {
	g := e.gw
	keep := context.WithoutCancel(ctx)
	limit := min(e.drainTime(a.Service), time.Duration(e.trafficOf(a.Service).Hold.MaxWait)/3)
	quiet := func(t gatewayapi.TargetStatus) bool { return t.InFlight <= t.Endless }
	var users []string
	for _, svc := range e.project.Services() {
		if _, ok := svc.DependsOnService(a.Service); ok && e.target(svc.Name).Gateway {
			users = append(users, svc.Name)
		}
	}
	defer func() {
		if err != nil {
			e.goOn(keep, append(users, a.Service)...)
		}
	}()
	e.say("%s: requests wait at the gateway (%s)", joinAnd(append([]string{a.Service}, users...)), a.Reason)
	if len(users) > 0 {
		ids, err := e.waitBefore(keep, users)
		if err == nil {
			err = e.drained(ctx, ids, limit, quiet)
		}
		if err != nil {
			return err
		}
	}
	g.mu.Lock()
	g.held[a.Service] = true
	for _, name := range users {
		delete(g.before, name) // they wait as this one is held
	}
	g.holdUntil = e.Clock.Now().Add(holdAtMost)
	err = e.tellGateways(keep)
	ids := slices.Clone(g.active[a.Service])
	g.mu.Unlock()
	if err != nil {
		return err
	}
	return e.drained(ctx, ids, limit, quiet)
}

// goOn ends the holds of services. Where that cannot be told, gateways end them by themselves.
func (e *executor) goOn(ctx context.Context, services ...string) {
	e.gw.mu.Lock()
	defer e.gw.mu.Unlock()
	for _, name := range services {
		delete(e.gw.held, name)
		delete(e.gw.before, name)
	}
	if err := e.tellGateways(ctx); err != nil {
		e.say("requests to %s may wait until the gateways let them go on by themselves: %v", joinAnd(services), err)
	}
}

// breakOff ends the holds of services whose containers were not stopped, as the rollout ends before that. The
// others stay: their requests had nowhere to go.
func (e *executor) breakOff(ctx context.Context) {
	g := e.gw
	if g == nil {
		return
	}
	g.mu.Lock()
	held := slices.Sorted(maps.Keys(g.held))
	held = slices.DeleteFunc(held, func(name string) bool { return !g.held[name] || len(g.active[name]) == 0 })
	active := maps.Clone(g.active)
	g.mu.Unlock()
	if len(held) == 0 {
		return
	}
	containers, err := e.Docker.ProjectContainersBut(ctx, e.project.Name(), nil, nil)
	if err != nil {
		return // nobody knows whether they run; the engine is away
	}
	held = slices.DeleteFunc(held, func(name string) bool {
		return slices.ContainsFunc(active[name], func(id string) bool {
			return !slices.ContainsFunc(containers, func(c docker.Container) bool { return c.ID == id && c.Running() })
		})
	})
	if len(held) > 0 {
		e.goOn(ctx, held...)
	}
}

// waitBefore has requests wait in front of services, and returns their containers.
func (e *executor) waitBefore(ctx context.Context, services []string) (ids []string, err error) {
	e.gw.mu.Lock()
	defer e.gw.mu.Unlock()
	for _, name := range services {
		e.gw.before[name] = true
		ids = append(ids, e.gw.active[name]...)
	}
	return ids, e.tellGateways(ctx)
}

// sameState compares two states but for their revisions, and for addresses, which
// the gateway finds out by itself.
func sameState(a, b *gatewayapi.DesiredState) bool {
	bare := func(s *gatewayapi.DesiredState) string {
		c := *s
		c.Revision = 0
		c.Services = slices.Clone(s.Services)
		for i := range c.Services {
			c.Services[i].Targets = slices.Clone(c.Services[i].Targets)
			for j := range c.Services[i].Targets {
				c.Services[i].Targets[j].Addresses = nil
			}
		}
		data, err := json.Marshal(c)
		if err != nil {
			panic(err) // strings and numbers only: cannot happen
		}
		return string(data)
	}
	return bare(a) == bare(b)
}

// trafficOf is how requests of a service are passed on.
func (e *executor) trafficOf(service string) layout.Traffic {
	svc, _ := e.project.Service(service)
	svc.Name = service
	return e.traffic(svc, e.drainTime(service))
}

// leaveTime is how long all that a container has may take to end. The gateway cuts each kind when its own time
// is over.
func (e *executor) leaveTime(service string) time.Duration {
	t := e.trafficOf(service)
	transfer := t.Transfer
	if transfer == 0 {
		transfer = defaultTransfer
	}
	return max(t.Drain, t.LongLived, transfer)
}

// drainTime is how long a container may finish what it has.
func (e *executor) drainTime(service string) time.Duration {
	if t := e.timings(service); t.drainSet {
		return t.drain
	}
	return defaultGatewayDrain
}

// leave sends new requests elsewhere than to c, and waits until it has none left
// or the drain timeout is over.
func (e *executor) leave(ctx context.Context, service string, c docker.Container) error {
	t := e.timings(service)
	g := e.gw
	if g == nil {
		return e.Traffic.Leave(ctx, c, t.drain)
	}
	g.mu.Lock()
	if g.held[service] {
		g.mu.Unlock()
		return nil // what was under way was waited for
	}
	serves := slices.Contains(g.active[service], c.ID)
	var err error
	if serves {
		g.active[service] = slices.DeleteFunc(slices.Clone(g.active[service]), func(id string) bool { return id == c.ID })
		err = e.tellGateways(context.WithoutCancel(ctx))
	}
	drained := !serves && g.hadDrained(c.ID)
	g.mu.Unlock()
	if err != nil {
		return err
	}
	if !serves && !isBehind(c) {
		return e.Traffic.Leave(ctx, c, t.drain)
	}
	if drained {
		return nil
	}
	return e.drained(ctx, []string{c.ID}, e.leaveTime(service), gatewayapi.TargetStatus.Drained)
}

// hadDrained reports whether a container was given nothing new and had nothing under way in any gateway when they were looked at,
// and they were not told anything since: then it has nothing now. It needs the lock.
func (g *gatewayRun) hadDrained(id string) bool {
	for _, b := range g.there {
		if b.seen == nil {
			return false
		}
		for _, s := range b.seen.Services {
			if slices.ContainsFunc(s.Targets, func(t gatewayapi.TargetStatus) bool {
				return t.ID == id && (t.State != gatewayapi.TargetDraining || !t.Drained())
			}) {
				return false
			}
		}
	}
	return true
}

// drained waits until done is true of containers in every gateway, or the time is
// over, which for one that drains already began earlier.
func (e *executor) drained(ctx context.Context, ids []string, limit time.Duration, done func(gatewayapi.TargetStatus) bool) error {
	until := e.Clock.Now().Add(limit)
	ticker := time.NewTicker(gatewayPoll)
	defer ticker.Stop()
	for {
		busy, since := e.busy(ctx, ids, done)
		if ctx.Err() != nil {
			return context.Cause(ctx) // a look that was broken off has found nothing, which means nothing
		}
		if !since.IsZero() && since.Add(limit).Before(until) {
			until = since.Add(limit)
		}
		if !busy || !e.Clock.Now().Before(until) {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// busy reports whether a gateway has something under way with one of the
// containers, and since when they drain. A gateway that does not answer knows of nothing.
func (e *executor) busy(ctx context.Context, ids []string, done func(gatewayapi.TargetStatus) bool) (busy bool, since time.Time) {
	g := e.gw
	g.mu.Lock()
	names := slices.Sorted(maps.Keys(g.there))
	g.mu.Unlock()
	for _, name := range names {
		asked, cancel := context.WithTimeout(ctx, gatewayAnswer)
		seen, err := g.keeper.Client(name).Observed(asked)
		cancel()
		if err != nil {
			continue
		}
		for _, s := range seen.Services {
			for _, t := range s.Targets {
				if slices.Contains(ids, t.ID) && !done(t) {
					busy = true
					if since.IsZero() || t.DrainingSince.After(since) {
						since = t.DrainingSince
					}
				}
			}
		}
	}
	return busy, since
}

// links are what answers to names in the networks of a new container, and
// unlinked the services that its own links must not lead to.
func (e *executor) links(svc compose.Service) (links map[string][]string, unlinked []string) {
	if e.gw == nil {
		return nil, nil
	}
	e.gw.mu.Lock()
	defer e.gw.mu.Unlock()
	links = map[string][]string{}
	behind := map[string]bool{}
	for _, t := range e.in.Targets {
		behind[t.Name] = t.Gateway
		if t.Gateway {
			unlinked = append(unlinked, t.Name)
		}
	}
	for _, n := range svc.Networks {
		taken := map[string]bool{}
		add := func(box, name string) {
			if !taken[name] {
				taken[name] = true
				links[n.Name] = append(links[n.Name], box+":"+name)
			}
		}
		for _, b := range e.gw.wanted {
			for _, name := range b.Networks[n.Name] {
				if behind[b.Owners[n.Name][name]] {
					add(b.Name, name)
				}
			}
			for service, name := range svc.LinkNames() {
				if behind[service] && b.Owners[n.Name][service] == service {
					add(b.Name, name)
				}
			}
		}
	}
	return links, unlinked
}

// keptWarm reports whether a running container is an old one that only waits for a way back.
func (s *run) keptWarm(c docker.Container, u v1alpha1.ServiceUpdate) bool {
	if u.Action != v1alpha1.ActionReplace || c.Labels[v1alpha1.LabelRequest] == string(s.Request.UID) {
		return false
	}
	return u.Recreate || c.Labels[v1alpha1.LabelRevision] != "" && c.Labels[v1alpha1.LabelRevision] != u.Revision
}
