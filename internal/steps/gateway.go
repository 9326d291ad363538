// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

const (
	// gatewayAnswer is how long a gateway may take for an answer.
	gatewayAnswer = 5 * time.Second
	// gatewayPoll is the pause between looks at what drains.
	gatewayPoll = 50 * time.Millisecond
	// holdAtMost is how long gateways hold for this process if it does not come back: longer than an old
	// container takes to end and a new one to become ready. Requests that wait end much earlier.
	holdAtMost = 15 * time.Minute
)

// gatewayRun is the executor's side of the gateways of its application: what is
// to be there, what is there, and where the traffic goes. The gateways themselves
// keep the latter: it is read from them when a step begins.
type gatewayRun struct {
	keeper      *boxes.Keeper
	project     string
	application string
	settings    layout.Settings

	mu sync.Mutex
	// wanted is what the layout makes of input, to which ports of the host are added that turn out to be taken.
	input  layout.Input
	wanted []layout.Box
	there  map[string]*gatewayBox
	// active are the containers that get the traffic of a service, and held the
	// services whose requests wait.
	active map[string][]string
	held   map[string]bool
	// holdUntil is when the gateways end holds by themselves, should this process be gone.
	holdUntil time.Time
	// ports that services were known to listen on before.
	ports map[string][]layout.Port
	// before are services in front of which requests wait as long as those that
	// they use are about to be held.
	before map[string]bool
	// begun are services whose traffic a gateway knows.
	begun map[string]bool
	// said is what each gateway was told to serve a service with, the one told last at the end, and
	// unsettled are the services about which they were told different things.
	said      map[string][][]string
	unsettled map[string]bool
	// depths of services in the dependency graph.
	depths map[string]int
}

// gatewayBox is one that exists.
type gatewayBox struct {
	boxes.Box
	answers  bool
	revision int64
	state    *gatewayapi.DesiredState
	// seen is how it was found, nil once it is told something else.
	seen *gatewayapi.ObservedState
}

// setUpGateways finds out what there is and what is to be. Without a service
// behind a gateway, and without one that is there, nothing of it is used.
func (e *executor) setUpGateways(ctx context.Context) error {
	if e.Gateways == nil {
		return nil
	}
	have := e.boxes
	if have == nil {
		var err error
		if have, err = e.Gateways.List(ctx, e.project.Name()); err != nil {
			return err
		}
	}
	behind := slices.ContainsFunc(e.in.Targets, func(t plan.Target) bool { return t.Gateway })
	if !behind && len(have) == 0 {
		return nil
	}
	g := &gatewayRun{
		keeper: e.Gateways, project: e.project.Name(), application: applicationLabel(e.Application), there: map[string]*gatewayBox{}, active: map[string][]string{},
		held: map[string]bool{}, ports: map[string][]layout.Port{}, begun: map[string]bool{}, before: map[string]bool{},
		said: map[string][][]string{}, unsettled: map[string]bool{}, depths: plan.Depths(e.in.Targets),
	}
	loaded, images := make([]*gatewayBox, len(have)), make([]docker.Image, len(e.in.Targets))
	var parts []func() error
	for i, b := range have {
		parts = append(parts, func() error {
			e.refresh(ctx, g, b)
			loaded[i] = g.load(ctx, b)
			return nil
		})
	}
	for i, t := range e.in.Targets {
		if t.Gateway && t.Action != v1alpha1.ActionRemove {
			parts = append(parts, func() (err error) { images[i], err = e.imageOf(ctx, t.Name); return err })
		}
	}
	if err := e.together(parts...); err != nil {
		return err
	}
	for _, b := range loaded {
		g.there[b.Name] = b
	}
	g.recall(e.Clock.Now)
	g.holdUntil = e.Clock.Now().Add(holdAtMost)
	maps.DeleteFunc(g.held, func(service string, _ bool) bool {
		// Those before a held one wait because of it; see routes.
		t := e.target(service)
		return t.Order != v1alpha1.OrderStopFirst || t.Action == v1alpha1.ActionKeep
	})
	if err := e.layOut(ctx, g, have, images); err != nil {
		return err
	}
	e.gw = g
	return nil
}

// listens reports whether a service is known to listen for connections. Without gateways nobody knows.
func (g *gatewayRun) listens(service string) bool {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.ports[service], func(p layout.Port) bool { return !p.UDP })
}

// refresh has a gateway that runs go on with this daemon's program: another one may not know all that it
// is told. One that cannot be replaced goes on as it is.
func (e *executor) refresh(ctx context.Context, g *gatewayRun, b boxes.Box) {
	if !b.Running {
		return
	}
	switch replaced, err := g.keeper.Refresh(ctx, b); {
	case err != nil:
		e.say("warning: the gateway %s may run another version than this daemon's: %v", b.Name, err)
	case replaced:
		e.say("gateway %s: goes on with this daemon's version, without an interruption", b.Name)
	}
}

// load asks a gateway for what it was told last.
func (g *gatewayRun) load(ctx context.Context, b boxes.Box) *gatewayBox {
	out := &gatewayBox{Box: b}
	if !b.Running {
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, gatewayAnswer)
	defer cancel()
	c := g.keeper.Client(b.Name)
	seen, err := c.Observed(ctx)
	if err != nil {
		return out
	}
	out.answers, out.revision, out.seen = true, seen.AppliedRevision, seen
	if out.state, err = c.Desired(ctx); err != nil {
		out.answers = false
	}
	return out
}

// recall finds where traffic goes: where gateways do not agree, as after a crash in
// the middle of a switch, what the last one has counts, whose containers all run still. It is
// for the plan to switch again.
func (g *gatewayRun) recall(now func() time.Time) {
	for _, name := range g.order() {
		state := g.there[name].state
		active, held := layout.Serving(state, now)
		for service, ids := range active {
			if g.begun[service] && !slices.Equal(g.active[service], ids) {
				g.unsettled[service] = true
			}
			g.said[service] = append(g.said[service], ids)
			g.active[service], g.begun[service] = ids, true
			g.held[service] = g.held[service] || held[service]
		}
		if state == nil {
			continue
		}
		for _, l := range state.Listeners {
			p := layout.Port{Number: l.TargetPort, UDP: l.Protocol == gatewayapi.ProtocolUDP}
			g.ports[l.Service] = mergePorts(g.ports[l.Service], []layout.Port{p})
		}
	}
}

// layOut decides which gateways there are to be.
func (e *executor) layOut(ctx context.Context, g *gatewayRun, have []boxes.Box, images []docker.Image) error {
	in := layout.Input{Project: e.project.Name(), Direct: map[string][]string{}, Looked: lookedFor(e.found)}
	networks := map[string]bool{}
	for i, t := range e.in.Targets {
		svc, ok := e.project.Service(t.Name)
		if !ok || t.Action == v1alpha1.ActionRemove {
			continue
		}
		if !t.Gateway {
			for network, all := range names(svc) {
				in.Direct[network] = append(in.Direct[network], all...)
			}
			continue
		}
		declared := declaredPorts(svc, images[i])
		observed := observedPorts(t.Name, e.found)
		if len(observed) > 0 {
			g.ports[t.Name] = nil // what the gateways remember may be of containers that are gone
		}
		g.ports[t.Name] = mergePorts(declared, observed, g.ports[t.Name])
		one, err := layoutService(svc, g.ports[t.Name], e.found)
		if err != nil {
			return err
		}
		in.Services = append(in.Services, one)
		for network := range one.Networks {
			networks[network] = true
		}
	}
	for _, b := range have {
		in.Existing = append(in.Existing, b.Box)
	}
	var err error
	g.settings = layout.Settings{Application: g.application, TrustedProxies: e.Application.Spec.Gateway.TrustedProxies}
	if g.settings.Subnets, in.Internal, err = e.Gateways.Subnets(ctx, slices.Sorted(maps.Keys(networks))); err != nil {
		return err
	}
	if slices.ContainsFunc(in.Services, func(s layout.Service) bool {
		return slices.ContainsFunc(s.Publish, func(p layout.Publish) bool { return p.HostPort == 0 })
	}) {
		if in.Busy, err = e.Gateways.Busy(ctx, in.Project); err != nil {
			return err
		}
	}
	g.input, g.wanted = in, layout.Plan(in)
	return nil
}

// gatewayFacts adds to the input of the plan what it has to know of gateways.
func (e *executor) gatewayFacts(in *plan.RolloutInput, containers []docker.Container) {
	g := e.gw
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.assume(in.Targets, containers, e.requestID)
	byID := map[string]docker.Container{}
	for _, c := range containers {
		byID[c.ID] = c
	}
	targets := map[string]plan.Target{}
	for i := range in.Targets {
		t := &in.Targets[i]
		targets[t.Name] = *t
		if svc, ok := e.project.Service(t.Name); ok && !t.Gateway {
			t.BlockedBy = g.holders(svc)
		}
	}
	for i := range in.Containers {
		c := &in.Containers[i]
		t := targets[c.Service]
		c.Serving = slices.Contains(g.active[c.Service], c.ID)
		c.Warm = !c.Mine && (t.Gateway && isBehind(byID[c.ID]) || t.Follows) && c.Revision == e.before[c.Service].Revision
	}
	in.Held, in.Unsettled = maps.Clone(g.held), maps.Clone(g.unsettled)
	for _, w := range g.wanted {
		have := g.there[w.Name]
		f := plan.Gateway{Name: w.Name, Front: w.Front, Wanted: true, Up: have != nil && have.answers && have.Named && have.Same(w), GivenUp: e.closed[w.Name] != nil}
		if !f.Up {
			f.BlockedBy, f.Replaces = blockers(w, containers), g.replaced(w)
		}
		in.Gateways = append(in.Gateways, f)
	}
	for _, name := range slices.Sorted(maps.Keys(g.there)) {
		if !slices.ContainsFunc(g.wanted, func(w layout.Box) bool { return w.Name == name }) {
			in.Gateways = append(in.Gateways, plan.Gateway{Name: name, Front: g.there[name].Front, Up: true})
		}
	}
	slices.SortFunc(in.Gateways, func(a, b plan.Gateway) int { return cmp.Compare(a.Name, b.Name) })
}

// assume lets, at a takeover, what runs serve, and forgets containers that are gone.
func (g *gatewayRun) assume(targets []plan.Target, containers []docker.Container, request string) {
	for _, t := range targets {
		if !t.Gateway {
			continue
		}
		gone := func(id string) bool {
			return !slices.ContainsFunc(containers, func(c docker.Container) bool { return c.ID == id })
		}
		g.active[t.Name] = slices.DeleteFunc(g.active[t.Name], gone)
		for said := g.said[t.Name]; len(g.active[t.Name]) == 0 && len(said) > 0; said = said[:len(said)-1] {
			g.active[t.Name] = slices.DeleteFunc(said[len(said)-1], gone)
		}
		delete(g.said, t.Name)
		if g.begun[t.Name] && (len(g.active[t.Name]) > 0 || t.Action != v1alpha1.ActionKeep) {
			continue
		}
		g.begun[t.Name] = true
		for _, c := range containers {
			if c.Service == t.Name && c.Running() && (request == "" || c.Labels[v1alpha1.LabelRequest] != request) {
				g.active[t.Name] = append(g.active[t.Name], c.ID)
			}
		}
	}
}

// holders are the gateways that publish a port which containers of the service are
// to publish themselves.
func (g *gatewayRun) holders(svc compose.Service) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(g.there)) {
		if slices.ContainsFunc(g.there[name].Publish, func(p layout.Publish) bool {
			return keeps(p, svc)
		}) {
			out = append(out, name)
		}
	}
	return out
}

// publishing is a container that publishes p.
func publishing(p layout.Publish) docker.Container {
	protocol := "tcp"
	if p.UDP {
		protocol = "udp"
	}
	return docker.Container{PortBindings: []docker.Port{{HostIP: p.HostIP, HostPort: p.HostPort, Protocol: protocol}}}
}

// blockers are the running containers that publish a port of b.
func blockers(b layout.Box, containers []docker.Container) []string {
	var out []string
	for _, c := range containers {
		if !c.Running() && c.State != docker.StateRestarting {
			continue
		}
		for _, p := range b.Publish {
			want := publishing(p).PortBindings[0]
			if slices.ContainsFunc(slices.Concat(c.PortBindings, c.Ports), func(h docker.Port) bool {
				return h.HostPort == want.HostPort && h.Protocol == want.Protocol && sameAddress(h.HostIP, want.HostIP)
			}) {
				out = append(out, c.ID)
				break
			}
		}
	}
	return out
}

// gateway carries out an action on gateways.
func (e *executor) gateway(ctx context.Context, a plan.Action) error {
	g := e.gw
	if g == nil {
		return errors.New("there is no gateway")
	}
	keep := context.WithoutCancel(ctx)
	switch a.Verb {
	case plan.VerbOpen:
		g.mu.Lock()
		wanted := g.wanted
		g.mu.Unlock()
		i := slices.IndexFunc(wanted, func(b layout.Box) bool { return b.Name == a.Gateway })
		if i < 0 {
			return fmt.Errorf("no gateway %s is wanted", a.Gateway)
		}
		return e.open(keep, a, wanted[i])
	case plan.VerbClose:
		e.say("gateway %s: ending (%s)", a.Gateway, a.Reason)
		g.mu.Lock()
		succeeded := g.succeeded(a.Gateway)
		g.mu.Unlock()
		var err error
		if succeeded {
			err = e.giveWay(keep, a.Gateway)
		} else {
			err = g.keeper.Close(keep, g.project, a.Gateway)
		}
		if err != nil {
			return err
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.there, a.Gateway)
		return nil
	case plan.VerbHold:
		return e.hold(ctx, a)
	case plan.VerbSwitch:
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, service := range a.Services {
			g.active[service], g.held[service], g.begun[service] = slices.Clone(a.Serve[service]), false, true
		}
		if err := e.tellGateways(keep); err != nil {
			return err
		}
		e.say("the gateway sends what is new for %s to the new containers (%s)", joinAnd(a.Services), a.Reason)
		return nil
	}
	return fmt.Errorf("there is no action %q on a gateway", a.Verb)
}

func (g *gatewayRun) put(ctx context.Context, b *gatewayBox, state *gatewayapi.DesiredState) error {
	if b.state != nil && sameState(b.state, state) {
		return nil
	}
	b.seen = nil
	ctx, cancel := context.WithTimeout(ctx, gatewayAnswer)
	defer cancel()
	c := g.keeper.Client(b.Name)
	for attempt := 0; ; attempt++ {
		state.Revision = b.revision + 1
		_, err := c.Put(ctx, state)
		if errors.Is(err, gatewayapi.ErrEnding) && attempt < 3 {
			continue // its successor answers now
		}
		if errors.Is(err, gatewayapi.ErrRevision) && attempt == 0 {
			seen, err := c.Observed(ctx)
			if err != nil {
				return err
			}
			b.revision = seen.AppliedRevision
			continue
		}
		if err != nil {
			return err
		}
		b.revision, b.state = state.Revision, state
		return nil
	}
}

// joinAnd lists names for people.
func joinAnd(names []string) string {
	switch n := len(names); n {
	case 0:
		return "nothing"
	case 1:
		return names[0]
	default:
		out := names[0]
		for _, name := range names[1 : n-1] {
			out += ", " + name
		}
		return out + " and " + names[n-1]
	}
}
