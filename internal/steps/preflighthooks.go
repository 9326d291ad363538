// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/hooks"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/plural"
)

// hookChecks ask whether the hooks can be run at all, as one that cannot would
// undo a good update later.
func (p *preflightRun) hookChecks() []check {
	if len(p.Application.Spec.Hooks) == 0 {
		return nil
	}
	return []check{{"Hooks", []string{"Compose"}, p.checkHooks}}
}

func (p *preflightRun) checkHooks(ctx context.Context) (string, error) {
	if p.project == nil {
		return "", errUnanswered
	}
	var bad, odd []string
	for _, h := range p.Application.Spec.Hooks {
		wrong := p.unusable(h)
		if h.HTTP != nil && h.HTTP.SecretRef != nil {
			_, err := p.Secrets.Secret(ctx, p.Application.Namespace, h.HTTP.SecretRef.Name)
			if err != nil && failure.AsTerminal(err) == nil {
				return "", trouble{err}
			}
			if err != nil {
				wrong = err.Error()
			}
		}
		switch {
		case wrong != "" && h.OnFailure == v1alpha1.HookContinue:
			odd = append(odd, fmt.Sprintf("hook %s: %s", h.Name, wrong))
		case wrong != "":
			bad = append(bad, fmt.Sprintf("hook %s: %s", h.Name, wrong))
		}
		for _, service := range h.Services {
			if !p.knows(service) {
				odd = append(odd, fmt.Sprintf("hook %s names the service %s, which the Compose model does not have", h.Name, service))
			}
		}
	}
	if len(bad) > 0 {
		return "", failure.Terminalf(v1alpha1.ReasonHookFailed, "%s", strings.Join(bad, "; "))
	}
	if len(odd) > 0 {
		return "", warn{strings.Join(odd, "; ")}
	}
	return plural.Of(len(p.Application.Spec.Hooks), "hook") + " can be run", nil
}

// unusable says what is wrong with the command of a hook.
func (p *preflightRun) unusable(h v1alpha1.Hook) string {
	if h.Exec == nil || p.knows(h.Exec.Service) {
		return ""
	}
	return fmt.Sprintf("there is no service %s in the Compose model: correct hooks[].exec.service of the Application", h.Exec.Service)
}

// knows reports whether a service is in the wanted model, or runs.
func (p *preflightRun) knows(service string) bool {
	_, ok := p.project.Service(service)
	return ok || slices.ContainsFunc(p.containers, func(c docker.Container) bool { return c.Service == service })
}

// runHooks runs the hooks of Preflight, once it is known that there is something to
// do and that it can be done. Each is one more check.
func (p *preflightRun) runHooks(ctx context.Context) error {
	st := &p.Request.Status
	list := hooks.At(p.Application.Spec.Hooks, v1alpha1.HookPreflight, "")
	if st.Plan != nil && plan.Unchanged(st.Plan.Services) && st.Commit == st.PreviousCommit {
		return nil
	}
	for _, h := range list {
		result := v1alpha1.CheckResult{Name: "Hook " + h.Name, Result: passed}
		if p.Request.Spec.DryRun {
			result.Message = "not run, as a dry run must change nothing"
			p.addCheck(result)
			continue
		}
		rec, err := p.runHook(ctx, h, v1alpha1.HookPreflight, "", p.project.Name())
		if err != nil {
			return err
		}
		result.Message = rec.Message
		switch {
		case rec.State == v1alpha1.HookFailed && h.OnFailure == v1alpha1.HookContinue:
			result.Result = warning
		case rec.State == v1alpha1.HookFailed:
			result.Result = failed
		}
		p.addCheck(result)
		if result.Result == failed {
			return failure.Terminalf(v1alpha1.ReasonHookFailed, "preflight: %w", errors.New("the hook "+h.Name+" "+rec.Message))
		}
	}
	return nil
}

// addCheck adds the result of a check, or puts it in the place of an earlier one.
func (p *preflightRun) addCheck(result v1alpha1.CheckResult) {
	p.say("%-8s %s: %s", result.Result, result.Name, result.Message)
	p.record(func(st *v1alpha1.UpdateRequestStatus) {
		i := slices.IndexFunc(st.Checks, func(c v1alpha1.CheckResult) bool { return c.Name == result.Name })
		if i < 0 {
			st.Checks = append(st.Checks, result)
			return
		}
		st.Checks[i] = result
	})
}
