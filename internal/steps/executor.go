// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/health"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Times where nothing is set.
const (
	defaultHealthTimeout  = 2 * time.Minute
	defaultMinRunning     = 5 * time.Second
	defaultOneShotTimeout = 30 * time.Minute
	defaultStopTimeout    = 10 * time.Second
	// secondStart is how long the engine has until a container that it refused to
	// start is started again: it may be going down.
	secondStart = 3 * time.Second
	// failureLogLines of a container that failed are kept in the status.
	failureLogLines = 40
	maxLogLine      = 500
)

// executor carries out a rollout, forward or back: it looks, asks plan.Rollout
// what is possible now, does that, and looks again.
type executor struct {
	*run
	project *compose.Project
	// found are the project's containers before the first action, as they were at
	// foundAt; the zero time has them looked at again. boxes are its gateways then, nil if not known.
	found     []docker.Container
	foundAt   time.Time
	boxes     []boxes.Box
	releases  []v1alpha1.Release
	in        plan.RolloutInput
	requestID string
	// labels of new containers, beside those of their service.
	labels map[string]string
	// touched says which containers have to pass the gate although the request
	// did not make them: those that it started again.
	touched func(docker.Container) bool
	// images that new containers are made from, by service.
	images map[string]imageRef
	// first is what has to have ended well before a container is touched: containers
	// mount files of the working tree. nil is nothing.
	first func() error

	mu     sync.Mutex
	ready  map[string]bool
	failed map[string]string
	seen   map[string]docker.Container
	// seenAt is when those that nothing was done to since were looked at.
	seenAt map[string]time.Time
	// retired is when an old container of a service was ended last.
	retired map[string]time.Time
	// faults are the reasons why the host, and not the container, failed.
	faults map[string]string
	// started are the containers that were started and not gated since.
	started map[string]bool
	// settled are how many new containers of a service were watched long enough.
	settled map[string]int
	// lapsed are those that had been ready and exited; it is borne once, as
	// after a restart of the engine.
	lapsed map[string]bool
	// broken says why nothing can be made of a service, when going back.
	broken map[string]string
	hooks  serviceHooks
	// own is the container that this process runs in, "" if in none.
	own string
	// swapFailed says why a handover of this step failed; it is not tried again.
	swapFailed string
	// gw are the gateways, nil if the application has nothing to do with any.
	gw *gatewayRun
	// before are the services as they ran before the request.
	before map[string]v1alpha1.ReleaseService
	// patience is between the attempts at an action that is refused; the refusals
	// that stayed, and the keys of their actions, are told at the end of the way back.
	patience    []time.Duration
	refusals    []error
	refusedKeys []string
	// closed says why gateways could not be opened, on the way back.
	closed map[string]error
	// settling only ends what was kept for a way back: all that is wanted is known
	// to be ready. old is told of it, and stops, if set, of each container before it is.
	settling bool
	old      old
	stops    func(id string)
}

// imageRef is an image by the name that people know and by its ID.
type imageRef struct{ name, id string }

type outcome struct {
	action plan.Action
	err    error
}

// loop goes on until nothing is left to do. Actions that can be done at the
// same time are; one that fails lets the others end first.
func (e *executor) loop(ctx context.Context) (err error) {
	e.begin()
	if e.settling {
		for _, c := range e.found {
			e.ready[c.ID] = c.State == docker.StateRunning
		}
	}
	e.hooks.before, e.hooks.errs = map[string]*sync.Once{}, map[string]error{}
	if err := e.settleSwaps(ctx); err != nil {
		return err
	}
	if err := e.sweep(ctx); err != nil {
		return err
	}
	if err := e.setUpGateways(ctx); err != nil {
		return err
	}
	whole := context.WithoutCancel(ctx)
	defer func() {
		if err != nil {
			e.breakOff(whole)
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	inFlight := map[string]plan.Action{}
	ended := make(chan outcome)
	var broken error
	for {
		if broken == nil && ctx.Err() == nil {
			decision, err := e.decide(ctx, inFlight)
			switch {
			case err != nil:
				broken = err
			case decision.Failed != nil && len(inFlight) == 0:
				return e.fail(ctx, *decision.Failed)
			case decision.Failed != nil:
				cancel() // the others end where they are
				broken = e.fail(context.WithoutCancel(ctx), *decision.Failed)
			case decision.Done && len(inFlight) == 0:
				// Clients find the new containers before a hook may take its time.
				if err := e.syncGateways(ctx); err != nil || e.settling {
					return err
				}
				if err := e.resolveAnew(ctx); err != nil {
					return err
				}
				if err := e.unopened(); err != nil {
					return err
				}
				return e.afterServices(ctx)
			case len(inFlight) == 0 && len(decision.Actions) == 0:
				return fmt.Errorf("the rollout waits for something that nothing brings about: %s", decision.Stuck)
			default:
				for _, a := range decision.Actions {
					if _, busy := inFlight[a.Key()]; busy || e.hopeless(a) {
						continue
					}
					inFlight[a.Key()] = a
					go func() { ended <- outcome{a, e.persist(ctx, a)} }()
				}
				if len(inFlight) == 0 {
					return e.unfinished()
				}
			}
		}
		if len(inFlight) == 0 {
			if broken == nil {
				broken = context.Cause(ctx)
			}
			return broken
		}
		o := <-ended
		delete(inFlight, o.action.Key())
		e.touch(o.action)
		if o.err != nil && broken == nil {
			broken = e.settle(ctx, o)
			if broken != nil {
				cancel()
			}
		}
	}
}

// begin forgets what was known of containers.
func (e *executor) begin() {
	e.ready, e.failed, e.faults = map[string]bool{}, map[string]string{}, map[string]string{}
	e.started, e.lapsed, e.broken = map[string]bool{}, map[string]bool{}, map[string]string{}
	e.settled = map[string]int{}
	for _, t := range e.in.Targets {
		for _, c := range e.found {
			mine := c.Service == t.Name && c.Labels[v1alpha1.LabelRequest] == e.requestID && c.Labels[v1alpha1.LabelRevision] == t.Revision
			if mine && c.Running() {
				e.settled[t.Name]++ // it was replaced before this step was broken off
			}
			if u := e.updateOf(t.Name); mine && slices.Contains(u.FailedContainers, Short12(c.ID)) && e.settling {
				e.failed[c.ID] = "failed in the rollout"
			}
		}
	}
	if e.touched == nil {
		e.touched = untouched
	}
	if e.patience == nil {
		e.patience = patience
	}
}

// settle turns the failure of an action into one of its container, which the
// plan decides on, or returns what breaks the step off.
func (e *executor) settle(ctx context.Context, o outcome) error {
	if ctx.Err() != nil || docker.IsUnavailable(o.err) {
		return o.err
	}
	if err := brokenHook(o.err); err != nil {
		return err
	}
	if refused := (*refusedError)(nil); asError(o.err, &refused) {
		return e.refuse(o.action, refused)
	}
	if o.action.Verb == plan.VerbStart && e.refused(o.action) && e.startAgain(o.action.Container.ID) {
		// An engine that goes down refuses for reasons of its own: what it says
		// then is nothing about the container.
		e.say("%s: %s could not be started, and is tried once more: %v", o.action.Service, o.action.Container.Name, o.err)
		again := time.NewTimer(secondStart)
		defer again.Stop()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-again.C:
			return nil
		}
	}
	switch o.action.Verb {
	case plan.VerbGate, plan.VerbComplete, plan.VerbStart, plan.VerbHandOver:
		reason := o.err.Error()
		if u := health.AsUnhealthy(o.err); u != nil {
			if u.Abandoned && e.startAgain(o.action.Container.ID) {
				e.say("%s: %s %s: it is started again", o.action.Service, o.action.Container.Name, u.Reason)
				return nil
			}
			reason = u.Reason
			if u.LastOutput != "" && !strings.Contains(reason, u.LastOutput) {
				reason += ": " + limitTo(u.LastOutput, 500)
			}
		}
		e.markFault(o)
		e.markFailed(o.action.Service, o.action.Container.ID, reason)
		return nil
	case plan.VerbCreate:
		err := startError("create containers of "+o.action.Service, o.err)
		if e.in.Undo && failure.AsTerminal(err) != nil {
			e.giveUp(o.action.Service, err)
			return nil // the others are brought back first
		}
		return err
	case plan.VerbOpen:
		return e.unopenable(ctx, o)
	case plan.VerbRename:
		if !docker.IsConflict(o.err) {
			return fmt.Errorf("rename %s: %w", o.action.Container.Name, o.err)
		}
		err := failure.Terminalf(v1alpha1.ReasonHostConflict,
			"the container_name %s of the service %s is taken by a container that does not belong to the application: remove or rename that one: %w",
			o.action.NewName, o.action.Service, o.err)
		if e.in.Undo {
			e.giveUp(o.action.Service, err)
			return nil
		}
		return err
	default:
		if n := e.attemptNumber(); n >= patientAttempts && stubborn(ctx, o.err) {
			return e.refuse(o.action, &refusedError{describe(o.action), n, o.err})
		}
		return fmt.Errorf("%s: %w", describe(o.action), o.err)
	}
}

// updateOf is the record of a service in the status.
func (s *run) updateOf(service string) v1alpha1.ServiceUpdate {
	i := slices.IndexFunc(s.Request.Status.Services, func(u v1alpha1.ServiceUpdate) bool { return u.Name == service })
	if i < 0 {
		return v1alpha1.ServiceUpdate{}
	}
	return s.Request.Status.Services[i]
}

func (e *executor) target(service string) plan.Target {
	i := slices.IndexFunc(e.in.Targets, func(t plan.Target) bool { return t.Name == service })
	if i < 0 {
		return plan.Target{}
	}
	return e.in.Targets[i]
}

func (e *executor) health(service, words string) {
	e.record(func(st *v1alpha1.UpdateRequestStatus) { serviceOf(st, service).Health = words })
}

// attempt is do, of which a panic must not end the daemon.
func (e *executor) attempt(ctx context.Context, a plan.Action) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = failure.Panicked(p)
			e.tellPanic(err)
		}
	}()
	if err := e.beforeService(ctx, a); err != nil {
		return err
	}
	return e.do(ctx, a)
}

// do carries out one action. What it changes on the engine is not broken off
// by the end of ctx; what it waits for is.
func (e *executor) do(ctx context.Context, a plan.Action) error {
	keep := context.WithoutCancel(ctx)
	c := a.Container
	switch a.Verb {
	case plan.VerbCreate:
		return e.create(ctx, a)
	case plan.VerbRename:
		e.say("%s: %s is called %s from now on (%s)", a.Service, c.Name, a.NewName, a.Reason)
		return e.Docker.Rename(keep, c.ID, a.NewName)
	case plan.VerbStart:
		e.say("%s: starting %s (%s)", a.Service, c.Name, a.Reason)
		return e.start(ctx, a)
	case plan.VerbGate:
		return e.gate(ctx, a)
	case plan.VerbComplete:
		return e.complete(ctx, a)
	case plan.VerbRetire:
		return e.retire(ctx, a)
	case plan.VerbHandOver:
		return e.handOver(ctx, a)
	case plan.VerbOpen, plan.VerbClose, plan.VerbHold, plan.VerbSwitch:
		return e.gateway(ctx, a)
	case plan.VerbSettle:
		return e.settleGroup(ctx, a)
	case plan.VerbRemove:
		e.say("%s: removing %s (%s)", a.Service, c.Name, a.Reason)
		return e.Docker.Remove(keep, c.ID, false)
	}
	return fmt.Errorf("there is no action %q", a.Verb)
}

func (e *executor) create(ctx context.Context, a plan.Action) error {
	image, err := e.imageFor(ctx, a.Service)
	if err != nil {
		return err
	}
	labels := maps.Clone(e.labels)
	t := e.target(a.Service)
	labels[v1alpha1.LabelRevision] = t.Revision
	if t.Gateway {
		labels[v1alpha1.LabelGateway] = v1alpha1.GatewayBehind
	}
	svc, _ := e.project.Service(a.Service)
	links, unlinked := e.links(svc)
	created, err := e.Creator.Create(ctx, compose.CreateRequest{
		Project: e.project, Service: a.Service, Image: image, Count: a.Count, Labels: labels,
		Behind: t.Gateway, Links: links, Unlinked: unlinked,
	})
	if err != nil {
		return err
	}
	for _, c := range created {
		id := Short12(c.ID)
		e.say("%s: created %s from %s", a.Service, c.Name, image)
		e.record(func(st *v1alpha1.UpdateRequestStatus) {
			u := serviceOf(st, a.Service)
			if !slices.Contains(u.NewContainers, id) {
				u.NewContainers = append(u.NewContainers, id)
			}
			u.Health = "waiting"
		})
	}
	return nil
}

// imageFor is the name to create from: as people know it, as long as it means
// the wanted image, and by content otherwise.
func (e *executor) imageFor(ctx context.Context, service string) (string, error) {
	want := e.images[service]
	if want.id == "" {
		return "", fmt.Errorf("the image of the service %s is not known", service)
	}
	if want.name != "" {
		img, err := e.Docker.ImageContent(ctx, want.name)
		if err == nil && img.ID == want.id {
			return want.name, nil
		}
		if err != nil && !docker.IsNotFound(err) {
			return "", err
		}
	}
	return want.id, nil
}

func (e *executor) gate(ctx context.Context, a plan.Action) error {
	if err := e.makeUpPostStart(ctx, a); err != nil {
		return err
	}
	last := ""
	err := e.Prober.Gate(ctx, a.Container.ID, e.policy(a), func(reason string) { last = reason })
	if err != nil {
		if last != "" && ctx.Err() == nil {
			e.say("%s: %s is not ready: %v", a.Service, a.Container.Name, err)
		}
		return err
	}
	e.say("%s: %s is ready", a.Service, a.Container.Name)
	e.health(a.Service, "healthy")
	e.markReady(a.Container.ID)
	return nil
}

func (e *executor) complete(ctx context.Context, a plan.Action) error {
	timeout := defaultOneShotTimeout
	if t := e.timings(a.Service); t.healthSet {
		timeout = t.health
	}
	if err := e.makeUpPostStart(ctx, a); err != nil {
		return err
	}
	e.health(a.Service, "running to its end")
	if err := e.Prober.Completed(ctx, a.Container.ID, timeout); err != nil {
		return err
	}
	e.say("%s: %s ran to its end", a.Service, a.Container.Name)
	e.health(a.Service, "completed")
	return nil
}

// retire takes a container out of service and keeps it: its restart policy
// goes first, so that no restart of the engine brings it back beside its
// successor.
func (e *executor) retire(ctx context.Context, a plan.Action) error {
	t := e.timings(a.Service)
	c, ok := e.lookup(a.Container.ID)
	if !ok {
		return nil
	}
	e.openBefore(context.WithoutCancel(ctx), c)
	if err := e.leave(ctx, a.Service, c); err != nil {
		return err
	}
	if _, known := e.project.Service(a.Service); c.StopTimeout != nil && (!known || !t.stopSet) {
		t.stop = max(t.stop, *c.StopTimeout) // what its own Compose file gave it
	}
	e.say("%s: stopping %s (%s)", a.Service, c.Name, a.Reason)
	keep := context.WithoutCancel(ctx)
	if c.State == docker.StatePaused {
		if err := e.Docker.ContainerUnpause(keep, c.ID); err != nil && !errors.Is(err, context.Canceled) && !docker.IsConflict(err) {
			return err
		}
	}
	e.beforeStop(keep, a.Service, c, max(t.stop, preStopAtLeast))
	if e.stops != nil {
		e.stops(c.ID)
	}
	if c.State == docker.StateRunning && c.RestartPolicy.Name == string(container.RestartPolicyUnlessStopped) {
		// Of these the engine brings back none that was stopped. To set another policy takes it a run of runc.
		return e.Docker.Stop(keep, c.ID, t.stop, "")
	}
	_, err := e.Docker.StopAndKeep(keep, c.ID, t.stop, "")
	return err
}
