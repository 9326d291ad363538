// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/follow"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/plural"
	"github.com/fairlead-dev/fairlead/internal/release"
	"github.com/fairlead-dev/fairlead/internal/source"
)

// maxChanges is how many commits are listed in the status.
const maxChanges = 100

// Results of a check.
const (
	passed  = "Passed"
	warning = "Warning"
	failed  = "Failed"
	skipped = "Skipped"
)

// preflightRun carries what one check found to the next.
type preflightRun struct {
	*run
	engine     docker.Engine
	w          *workspace
	target     source.Commit
	goBackTo   *v1alpha1.Release
	project    *compose.Project
	releases   []v1alpha1.Release
	current    *v1alpha1.Release
	containers []docker.Container
	// seen is the look that they were found by.
	seen look
	// beside is what was found while the tree came to the host.
	beside  looked
	restore *RestorePlan
}

// check is one named question. It answers with an error that says what to do,
// or with a note. A disturbance, as opposed to an answer, is told by trouble.
type check struct {
	name string
	// after names the earlier checks whose findings it needs; it is asked beside
	// all others.
	after []string
	ask   func(ctx context.Context) (note string, err error)
}

// warn is an answer that does not stop the update.
type warn struct{ text string }

func (w warn) Error() string { return w.text }

// trouble is a disturbance: the whole preflight is tried again.
type trouble struct{ error }

func (t trouble) Unwrap() error { return t.error }

// unanswered says that a check could not be made as an earlier one failed.
var errUnanswered = errors.New("not checked, as an earlier check failed")

// preflight asks everything that can be asked before anything is changed, and
// tells all answers at once.
func (s *run) preflight(ctx context.Context) error {
	p := &preflightRun{run: s}
	if spec := s.Request.Spec; spec.RollbackTo == nil && spec.RestoreFrom == nil && !spec.BackupOnly && !spec.Force {
		s.listBuilt(ctx)
	}
	checks := p.checks()
	answers, disturbed := askAll(ctx, checks)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if disturbed != nil {
		s.tellPanic(disturbed)
		return disturbed
	}
	var results []v1alpha1.CheckResult
	var bad []string
	reason := v1alpha1.ReasonPreflightFailed
	for i, c := range checks {
		note, err := answers[i].note, answers[i].err
		result := v1alpha1.CheckResult{Name: c.name, Result: passed, Message: limitTo(note, 4096)}
		var w warn
		switch {
		case errors.As(err, &w):
			result.Result, result.Message = warning, limitTo(w.text, 4096)
		case errors.Is(err, errUnanswered):
			result.Result, result.Message = skipped, err.Error()
		case err != nil:
			result.Result, result.Message = failed, limitTo(err.Error(), 4096)
			bad = append(bad, c.name+": "+err.Error())
			if t := failure.AsTerminal(err); t != nil {
				reason = t.Reason
			}
		}
		s.say("%-8s %s: %s", result.Result, c.name, result.Message)
		results = append(results, result)
	}
	s.record(func(st *v1alpha1.UpdateRequestStatus) { st.Checks = results })
	if len(bad) > 0 {
		return failure.Terminalf(reason, "preflight: %s", strings.Join(bad, "; "))
	}
	switch {
	case s.Request.Spec.RestoreFrom != nil:
		return p.decideRestore(ctx)
	case s.Request.Spec.BackupOnly:
		return p.decideBackup(ctx)
	}
	if err := p.decide(ctx); err != nil {
		return err
	}
	return p.runHooks(ctx)
}

// checks are those that matter to the request.
func (p *preflightRun) checks() []check {
	checks := p.hostChecks()
	if len(p.Request.Spec.Variables) > 0 {
		checks = append(checks, check{"Variables", nil, p.checkVariables})
	}
	switch spec := p.Request.Spec; {
	case spec.RestoreFrom != nil:
		return append(checks, check{"Backup", []string{"Engine", "BackupDirectory"}, p.checkRestore})
	case spec.BackupOnly:
		return append(checks, check{"Compose", []string{"Engine", "BackupDirectory"}, p.checkRunning})
	}
	checks = append(checks, p.sourceChecks()...)
	checks = append(checks, p.applicationChecks()...)
	return append(checks, p.hookChecks()...)
}

// decide records what will be done.
func (p *preflightRun) decide(ctx context.Context) error {
	s := p.run
	var want []wanted
	var changes []v1alpha1.Change
	var total int32
	// The working tree counts too: an update that only moves it is one.
	moves := p.target.SHA != p.w.head.Commit
	backups := p.backups(ctx)
	err := s.together(
		func() (err error) { want, err = p.want(ctx); return err },
		func() error {
			if moves {
				_, _ = backups() // they are asked for soon
			}
			return nil
		},
	)
	if err != nil {
		return err
	}
	if err := s.putBehind(ctx, want, p.containers, p.current); err != nil {
		return err
	}
	if slices.ContainsFunc(want, func(d wanted) bool { return d.gateway }) {
		if err := s.Gateways.Fit(); err != nil {
			return p.refuse("Gateway", err)
		}
	}
	seen := look{containers: p.containers}
	if p.seen.recent() {
		seen.gateways = p.seen.gateways
	}
	var services []v1alpha1.ServicePlan
	var saved []string
	var unsaved error
	err = s.together(
		func() error { changes, total = p.changes(ctx); return nil },
		func() (err error) {
			services, err = s.planServices(ctx, p.project, want, seen, p.releases, p.current)
			return err
		},
		func() error {
			if moves {
				saved, unsaved = s.forecastBackup(ctx, p.w, p.project, p.containers)
			}
			return nil
		},
	)
	if err != nil {
		return err
	}
	if err := impossibleOrders(services, want, p.containers); err != nil {
		return p.refuse("Order", err)
	}
	up := &v1alpha1.UpdatePlan{Summary: plan.Summary(services), Services: services}
	up.Strategy, up.StrategyReason = p.strategy(ctx, services)
	previous := p.w.head.Commit
	if p.current != nil && p.current.Spec.Commit != "" {
		previous = p.current.Spec.Commit
	}
	if !moves && !plan.Unchanged(services) {
		saved, unsaved = s.forecastBackup(ctx, p.w, p.project, p.containers)
	}
	if impossible := (*backup.InputError)(nil); errors.As(unsaved, &impossible) {
		return p.refuse("Backup", unsaved)
	}
	if unsaved != nil {
		return unsaved
	}
	up.Backup = saved
	if err := p.forecastDisk(ctx, up, want, backups); err != nil {
		return err
	}
	if moves && previous == p.target.SHA {
		previous = p.w.head.Commit
	}
	updates := serviceUpdates(services, want, p.containers)
	if p.goBackTo != nil && !s.Request.Spec.DryRun {
		if _, err := writeModel(p.w.modelPath(s.Request.Status.ID), p.project); err != nil {
			return err
		}
	}
	sha, current, tree := p.target.SHA, p.current, p.w.head.Commit
	s.record(func(st *v1alpha1.UpdateRequestStatus) {
		st.Commit, st.PreviousCommit = sha, previous
		st.PreviousTree, st.PreviousRelease = tree, ""
		if current != nil && !s.Request.Spec.DryRun {
			st.PreviousRelease = current.Name
		}
		st.Changes, st.ChangesTotal = changes, total
		st.Plan, st.Services = up, updates
	})
	s.say("%s -> %s, %s: %s", Short(previous), Short(sha), plural.Of(total, "commit"), up.Summary)
	if up.Strategy == v1alpha1.StrategyOneByOne {
		s.say("one service after another: %s", up.StrategyReason)
	}
	for _, sp := range services {
		s.say("  %-12s %-8s %s%s", sp.Name, sp.Action, sp.Reason, orderNote(sp))
	}
	return nil
}

// strategy is whether services are replaced together. What cannot be found out of
// the memory is left out.
func (p *preflightRun) strategy(ctx context.Context, services []v1alpha1.ServicePlan) (v1alpha1.RolloutStrategy, string) {
	set := p.Application.Spec.Rollout.Strategy
	if set == v1alpha1.StrategyTogether || set == v1alpha1.StrategyOneByOne {
		return plan.Strategy(set, 0, 0)
	}
	memory, _ := observe.HostMemory() // 0 is not known
	// An engine takes a second to tell what a container uses. All of them use no more than what is in use.
	if strategy, why := plan.Strategy(set, memory.Total-memory.Available, memory.Available); strategy == v1alpha1.StrategyTogether {
		return strategy, why
	}
	var need atomic.Int64
	var asked errgroup.Group
	for _, sp := range services {
		if sp.Action != v1alpha1.ActionReplace || sp.Order != v1alpha1.OrderStartFirst {
			continue
		}
		for _, c := range p.containers {
			if c.Service != sp.Name || !c.Running() {
				continue
			}
			asked.Go(func() error {
				used, err := p.Docker.MemoryUsed(ctx, c.ID)
				if err != nil && ctx.Err() == nil {
					p.say("%v", err)
				}
				need.Add(used)
				return nil
			})
		}
	}
	_ = asked.Wait() // what is not known is left out
	return plan.Strategy(set, need.Load(), memory.Available)
}

// refuse ends the preflight by a check that could be made only when it was
// known what the update does.
func (p *preflightRun) refuse(check string, err error) error {
	result := v1alpha1.CheckResult{Name: check, Result: failed, Message: limitTo(err.Error(), 4096)}
	p.say("%-8s %s: %s", result.Result, result.Name, result.Message)
	p.record(func(st *v1alpha1.UpdateRequestStatus) { st.Checks = append(st.Checks, result) })
	return failure.Terminalf(v1alpha1.ReasonPreflightFailed, "preflight: %s: %w", check, err)
}

func orderNote(p v1alpha1.ServicePlan) string {
	if p.Order == "" {
		return ""
	}
	return fmt.Sprintf("; %s (%s)", p.Order, p.OrderReason)
}

// want is what each service is to run: of the commit, or of the release that is
// gone back to.
func (p *preflightRun) want(ctx context.Context) ([]wanted, error) {
	if p.goBackTo == nil {
		return p.desire(ctx, p.w, p.project, p.target.SHA, p.releases)
	}
	var out []wanted
	for _, svc := range p.project.Services() {
		d := wanted{Service: svc, how: imagePresent}
		rs, ok := release.Service(p.goBackTo, svc.Name)
		if !ok || svc.OneShot || rs.Replicas == 0 {
			continue // what did not run is not started; a migration is run neither again nor backwards by going back
		}
		var err error
		if d.definition, err = p.project.DefinitionHash(svc.Name); err != nil {
			return nil, err
		}
		if d.files, err = p.w.filesDigest(ctx, p.target.SHA, svc.TrackedPaths); err != nil {
			return nil, err
		}
		if rs.ImageID != "" {
			if _, err := p.lookup(ctx, rs.ImageID, &d); err != nil {
				return nil, err
			}
		}
		d.buildKey = rs.BuildKey
		out = append(out, d)
	}
	return out, nil
}

func (p *preflightRun) changes(ctx context.Context) ([]v1alpha1.Change, int32) {
	from := p.w.head.Commit
	if p.current != nil && p.current.Spec.Commit != "" {
		from = p.current.Spec.Commit
	}
	list, err := p.w.repo.Changes(ctx, from, p.target.SHA, maxChanges)
	if err != nil {
		p.say("the commits in between cannot be listed: %v", err)
		return nil, 0
	}
	where := p.w.repo.URL()
	var out []v1alpha1.Change
	for _, c := range list.Commits {
		out = append(out, v1alpha1.Change{
			Commit: c.SHA, Subject: limitTo(c.Subject, 200), Author: limitTo(c.Author, 100), Time: metav1.NewTime(c.Time), URL: follow.CommitURL(where, c.SHA),
		})
	}
	return out, int32(list.Total)
}

// serviceUpdates is the record of what will become of each service.
func serviceUpdates(services []v1alpha1.ServicePlan, want []wanted, containers []docker.Container) []v1alpha1.ServiceUpdate {
	var out []v1alpha1.ServiceUpdate
	for _, sp := range services {
		u := v1alpha1.ServiceUpdate{Name: sp.Name, Action: sp.Action, Reason: sp.Reason, Order: sp.Order, Recreate: sp.Recreate}
		if i := slices.IndexFunc(want, func(d wanted) bool { return d.Name == sp.Name }); i >= 0 {
			u.Revision = want[i].revision()
			u.ImageID, u.BuildKey = want[i].image.ID, want[i].buildKey
			u.Image, u.Gateway = want[i].ImageName, want[i].gateway
		}
		for _, c := range containers {
			if c.Service == sp.Name && c.Running() {
				u.OldContainers = append(u.OldContainers, Short12(c.ID))
				if u.OldRestart == "" || u.OldRestart == "no" {
					u.OldRestart = restartWords(c.RestartPolicy)
				}
			}
		}
		out = append(out, u)
	}
	return out
}

func untouched(docker.Container) bool { return false }

func limitTo(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
