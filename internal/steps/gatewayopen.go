// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// choicesTried is how many times a gateway is opened with ports of the host that turn out to be taken: by what is no
// container, as those of containers are known.
const choicesTried = 20

// open makes and starts a gateway. Where a port that was chosen for it is taken, it chooses another one.
func (e *executor) open(ctx context.Context, a plan.Action, b layout.Box) error {
	e.say("gateway %s: starting (%s)", a.Gateway, a.Reason)
	for n := 1; ; n++ {
		err := e.openAs(ctx, b)
		if err == nil {
			e.sayChosen(b)
			return e.endReplaced(ctx, b)
		}
		next, ok := e.gw.chooseAgain(b, err)
		if !ok || n == choicesTried {
			return err
		}
		e.say("gateway %s: is to have another port of the host: %v", a.Gateway, err)
		b = next
	}
}

// openAs makes and starts a gateway, tells it where traffic goes, and then lets it have its names: who asks for one
// comes at once, and is served.
func (e *executor) openAs(ctx context.Context, b layout.Box) error {
	g := e.gw
	if p, lacks := b.Unchosen(); lacks {
		return fmt.Errorf("port is already allocated: each one out of %s that %s could be published as is taken on this host: free one, or widen the range", p.From, p.Service)
	}
	g.mu.Lock()
	from := g.replaced(b)
	g.mu.Unlock()
	open := g.keeper.Open
	front := b.Front && len(from) > 0
	if front {
		open = g.keeper.OpenBeside
	}
	if err := open(ctx, g.project, g.application, b); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	opened, err := g.find(ctx, b.Name)
	if err != nil {
		return err
	}
	e.refresh(ctx, g, opened)
	g.there[b.Name] = g.load(ctx, opened)
	if !g.there[b.Name].answers {
		return fmt.Errorf("the gateway %s does not answer", b.Name)
	}
	if err := e.tellGateways(ctx); err != nil {
		return err
	}
	if front {
		err = e.takeOver(ctx, b, from)
	} else {
		err = g.keeper.Name(ctx, b)
	}
	if err != nil {
		return err
	}
	g.there[b.Name].Named = true
	return nil
}

// openBefore makes and starts the fronts that are to have ports of a container which is about to be stopped: from then on
// nobody has them until the front does, which is connected to its networks when it is opened. What goes wrong here is
// met again there.
func (e *executor) openBefore(ctx context.Context, c docker.Container) {
	g := e.gw
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, b := range g.waiting(c) {
		if err := g.keeper.OpenBeside(ctx, g.project, g.application, b); err != nil {
			e.say("gateway %s: could not be started yet: %v", b.Name, err)
			continue
		}
		e.say("gateway %s: runs, and waits for the ports of %s", b.Name, c.Name)
	}
}

// waiting are the fronts, not there yet, that are to publish a port which a container has. It needs the lock.
func (g *gatewayRun) waiting(c docker.Container) []layout.Box {
	return slices.DeleteFunc(slices.Clone(g.wanted), func(b layout.Box) bool {
		_, lacks := b.Unchosen()
		return !b.Front || lacks || g.there[b.Name] != nil || len(blockers(b, []docker.Container{c})) == 0
	})
}

// endReplaced ends the gateways whose names b has by now. It returns when what was open there has ended, or was cut.
func (e *executor) endReplaced(ctx context.Context, b layout.Box) error {
	g := e.gw
	if b.Front {
		return nil // its ports were had by one at a time
	}
	g.mu.Lock()
	from := g.replaced(b)
	for _, name := range from {
		delete(g.there, name)
	}
	g.mu.Unlock()
	for _, name := range from {
		e.say("gateway %s: answers to the names of %s, which ends", b.Name, name)
	}
	return e.giveWay(ctx, from...)
}

// giveWay ends inner gateways whose names others have got. Links lead to these from the moment that the old ones have lost their own
// names; nginx servers, which look a name up once, do so again before the old address has nobody.
func (e *executor) giveWay(ctx context.Context, names ...string) error {
	g := e.gw
	var errs []error
	for _, name := range names {
		errs = append(errs, g.keeper.LoseName(ctx, g.project, name))
	}
	if err := errors.Join(errs...); err != nil || len(names) == 0 {
		return err
	}
	if err := e.reloadNginx(ctx, func(docker.Container, compose.Service) bool { return true }); err != nil {
		return err
	}
	for _, name := range names {
		errs = append(errs, g.keeper.Close(ctx, g.project, boxes.Retired(name)))
	}
	return errors.Join(errs...)
}

// sayChosen tells which ports of the host were chosen for a gateway that is new.
func (e *executor) sayChosen(b layout.Box) {
	for _, p := range b.Publish {
		if p.From != "" && !known(e.gw.input.Existing, p) {
			e.say("gateway %s: %s of the host leads to the port %d of %s, chosen out of %s, and stays", b.Name, p.Address(), p.Target, p.Service, p.From)
		}
	}
}

// known reports whether a gateway that was there before publishes p.
func known(existing []layout.Box, p layout.Publish) bool {
	return slices.ContainsFunc(existing, func(b layout.Box) bool {
		return slices.ContainsFunc(b.Publish, func(q layout.Publish) bool { return q.Address() == p.Address() })
	})
}

// refusedPort is a port in what the engine says of one that it cannot publish.
var refusedPort = regexp.MustCompile(`:(\d+)(?:: bind| failed)`)

// chooseAgain is the gateway b with other ports in the place of those that err says are taken, as far as they were chosen
// for it. One that clients may know by now is not exchanged.
func (g *gatewayRun) chooseAgain(b layout.Box, err error) (next layout.Box, ok bool) {
	if hostFault(err) != v1alpha1.ReasonHostConflict {
		return b, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, found := range refusedPort.FindAllStringSubmatch(err.Error(), -1) {
		for _, p := range b.Publish {
			if p.From != "" && strconv.Itoa(p.HostPort) == found[1] && !known(g.input.Existing, p) {
				g.input.Busy = append(g.input.Busy, p)
				ok = true
			}
		}
	}
	if !ok {
		return b, false
	}
	g.wanted = layout.Plan(g.input)
	i := slices.IndexFunc(g.wanted, func(w layout.Box) bool { return w.Name == b.Name })
	return g.wanted[i], true
}

// takeOver has a gateway take the ports of others. It needs the lock of the gateways.
func (e *executor) takeOver(ctx context.Context, b layout.Box, from []string) error {
	begin := e.Clock.Now()
	if err := e.gw.keeper.TakeOver(ctx, e.gw.project, b, from); err != nil {
		delete(e.gw.there, b.Name)
		return fmt.Errorf("let the gateway %s have the ports of %s: %w", b.Name, joinAnd(from), err)
	}
	for _, name := range from {
		delete(e.gw.there, name)
	}
	e.say("gateway %s: has taken over the ports of %s (within %s)", b.Name, joinAnd(from), e.Clock.Since(begin).Round(time.Millisecond))
	return nil
}

// replaced are the gateways that are there, and wanted no more, whose ports b is to publish. It needs the lock.
func (g *gatewayRun) replaced(b layout.Box) []string {
	var others []layout.Box
	for _, name := range slices.Sorted(maps.Keys(g.there)) {
		if !slices.ContainsFunc(g.wanted, func(w layout.Box) bool { return w.Name == name }) {
			others = append(others, g.there[name].Box.Box)
		}
	}
	return b.Replaces(others)
}

// succeeded reports whether another gateway has the names of an inner one by now, as after a stop between the two steps
// of endReplaced. It needs the lock.
func (g *gatewayRun) succeeded(name string) bool {
	old := g.there[name]
	for _, b := range g.there {
		if old != nil && !old.Front && b.Named && len(b.Replaces([]layout.Box{old.Box.Box})) > 0 {
			return true
		}
	}
	return false
}

// unsyncedError says that all containers are as they are to be, but a gateway does not know all of it.
type unsyncedError struct{ error }

func (e *unsyncedError) Error() string { return "all containers are in place, but " + e.error.Error() }
func (e *unsyncedError) Unwrap() error { return e.error }

// syncGateways lets the gateways know what was found out last, such as ports, when all containers
// are as they are to be. What one of them refuses by many attempts is Terminal.
func (e *executor) syncGateways(ctx context.Context) error {
	if e.gw == nil {
		return nil
	}
	e.gw.mu.Lock()
	err := e.tellGateways(context.WithoutCancel(ctx))
	e.gw.mu.Unlock()
	if err == nil {
		return nil
	}
	err = &unsyncedError{err}
	if n := e.attemptNumber(); n >= patientAttempts && stubborn(ctx, err) {
		return failure.Terminalf(cmp.Or(hostFault(err), v1alpha1.ReasonHostConflict), "tried %d times: %w", n, err)
	}
	return err
}

// find is a gateway that was just opened.
func (g *gatewayRun) find(ctx context.Context, name string) (boxes.Box, error) {
	all, err := g.keeper.List(ctx, g.project)
	if err != nil {
		return boxes.Box{}, err
	}
	i := slices.IndexFunc(all, func(b boxes.Box) bool { return b.Name == name })
	if i < 0 {
		return boxes.Box{}, fmt.Errorf("the gateway %s is gone", name)
	}
	return all[i], nil
}
