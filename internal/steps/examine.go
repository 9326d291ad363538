// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// ExamineHost asks those checks of the preflight that concern the host alone.
// deps need an engine only. Nothing is changed.
func ExamineHost(ctx context.Context, deps Deps) []v1alpha1.CheckResult {
	p := examination(deps, &v1alpha1.Application{})
	return p.examine(ctx, []check{{"Engine", nil, p.checkEngine}, {"Memory", nil, p.checkMemory}, {"Disk", nil, p.checkDisk}})
}

// Examine asks those checks of the preflight that concern the deployment
// directory of an application and its repository: whether an update to the
// newest commit could begin; and memory and disk by the application's own limits. It
// fetches, and writes to .update, as a dry run
// does. deps need an engine, and Secrets where source.secretRef is set.
func Examine(ctx context.Context, deps Deps, app *v1alpha1.Application) []v1alpha1.CheckResult {
	p := examination(deps, app)
	_, _ = p.checkEngine(ctx) // for its directory; ExamineHost tells how it is
	return p.examine(ctx, append([]check{
		{"Repository", nil, p.checkRepository},
		{"BackupDirectory", nil, p.checkBackupDirectory}, {"Memory", nil, p.checkMemory}, {"Disk", nil, p.checkDisk},
	}, p.sourceChecks()...))
}

func examination(deps Deps, app *v1alpha1.Application) *preflightRun {
	request := &v1alpha1.UpdateRequest{Spec: v1alpha1.UpdateRequestSpec{DryRun: true}}
	log := updatelog.Lost("", nil)
	return &preflightRun{run: &run{Deps: deps, Work: Work{Step: v1alpha1.StepPreflight, Request: request, Application: app}, rec: nowhere{}, log: log, clones: &clones{}, engineRoot: new(atomic.Pointer[string]), endings: &endings{}}}
}

// examine asks all checks, also after one failed; a disturbance is an answer here.
// What could not be asked is left out.
func (p *preflightRun) examine(ctx context.Context, checks []check) []v1alpha1.CheckResult {
	var out []v1alpha1.CheckResult
	for _, c := range checks {
		note, err := c.ask(ctx)
		result := v1alpha1.CheckResult{Name: c.name, Result: passed, Message: note}
		var w warn
		switch {
		case errors.Is(err, errUnanswered):
			continue
		case errors.As(err, &w):
			result.Result, result.Message = warning, w.text
		case err != nil:
			result.Result, result.Message = failed, err.Error()
		}
		out = append(out, result)
	}
	return out
}
