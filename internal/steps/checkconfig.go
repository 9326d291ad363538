// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"fmt"
	"strings"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/plural"
)

// checkUpdateConfig says what of update_config, rollback_config and the like has no effect, and why.
func (p *preflightRun) checkUpdateConfig(context.Context) (string, error) {
	if p.project == nil {
		return "", errUnanswered
	}
	var notes []string
	set := 0
	for _, svc := range p.project.Services() {
		if svc.UpdateConfig != nil || svc.RollbackConfig != nil {
			set++
		}
		notes = append(notes, withoutEffect(svc, p.batches(svc))...)
		if p.traffic(svc, 0).AcceptProxy && len(p.Application.Spec.Gateway.TrustedProxies) == 0 {
			notes = append(notes, svc.Name+": acceptProxyProtocol has no effect, as gateway.trustedProxies of the Application names nobody who may say where a client comes from")
		}
	}
	if len(notes) > 0 {
		return "", warn{strings.Join(notes, "; ")}
	}
	if set == 0 {
		return "no service has an update_config or a rollback_config", nil
	}
	return fmt.Sprintf("update_config and rollback_config are followed, of %s", plural.Of(set, "service")), nil
}

// withoutEffect are the settings of a service that do nothing, in words.
func withoutEffect(svc compose.Service, b batches) []string {
	var out []string
	note := func(format string, args ...any) {
		out = append(out, "the service "+svc.Name+": "+fmt.Sprintf(format, args...))
	}
	if svc.OneShot {
		if svc.UpdateConfig != nil {
			note("update_config has no effect, as it runs to its end once")
		}
		return out
	}
	if b.delay > 0 && b.size(svc) == 0 {
		note("delay has no effect, as all of its %d containers are replaced at once (parallelism)", svc.Replicas)
	}
	if (b.action == v1alpha1.FailureContinue || b.ratio > 0) && b.tolerate(svc) == 0 {
		what := "max_failure_ratio"
		if b.action == v1alpha1.FailureContinue {
			what = "failure_action: continue"
		}
		note("%s has no effect, as one failure of %d containers is more than it allows, or is all of them: the update is undone then", what, svc.Replicas)
	}
	if c := svc.RollbackConfig; c != nil {
		if c.Monitor > 0 || c.Parallelism != nil || c.Delay > 0 || c.MaxFailureRatio > 0 || c.FailureAction != "" {
			note("but for order, rollback_config is for requests with rollbackTo: after a failed update all containers are brought back at once, as many as can be")
		}
		if composeOrders[c.Order] == v1alpha1.OrderStartFirst && len(fixedPorts(svc)) > 0 {
			note("rollback_config.order: start-first is followed behind a gateway only, as it publishes a fixed port of the host")
		}
	}
	return out
}
