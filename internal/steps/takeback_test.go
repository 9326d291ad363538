// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/health"
)

// teller is a gateway that tells some changes, ends, and tells the rest when it is asked again.
type teller struct {
	rounds [][]gatewayapi.TargetChange
	all    chan struct{} // closed when all was told
}

func (s *teller) Changes(ctx context.Context, f func(gatewayapi.TargetChange)) error {
	if len(s.rounds) == 0 {
		close(s.all)
		<-ctx.Done()
		return ctx.Err()
	}
	round := s.rounds[0]
	s.rounds = s.rounds[1:]
	for _, change := range round {
		f(change)
	}
	return errors.New("it ended")
}

func TestHeed(t *testing.T) {
	names := map[string]string{"new": "shop-web-2"}
	bad := func(target string, proven bool) gatewayapi.TargetChange {
		return gatewayapi.TargetChange{Service: "web", Target: target, Health: gatewayapi.TargetUnhealthy, Proven: proven, Error: "refused"}
	}
	good := gatewayapi.TargetChange{Service: "web", Target: "new", Health: gatewayapi.TargetHealthy, Proven: true}
	for name, c := range map[string]struct {
		rounds [][]gatewayapi.TargetChange
		want   bool
	}{
		"a new one does not answer any more":       {[][]gatewayapi.TargetChange{{bad("new", true)}}, true},
		"after the gateway was replaced meanwhile": {[][]gatewayapi.TargetChange{{}, {good}, {bad("new", true)}}, true},
		"an old one":                            {[][]gatewayapi.TargetChange{{bad("old", true)}}, false},
		"a port on which nothing ever listened": {[][]gatewayapi.TargetChange{{bad("new", false)}}, false},
		"it is well":                            {[][]gatewayapi.TargetChange{{good}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			source := &teller{rounds: c.rounds, all: make(chan struct{})}
			over := make(chan struct{})
			go func() { defer close(over); heed(ctx, source, names, cancel) }()
			if c.want {
				<-ctx.Done()
			} else {
				<-source.all
				cancel(nil)
			}
			<-over
			u := health.AsUnhealthy(context.Cause(ctx))
			if got := u != nil; got != c.want || got && u.Container != "shop-web-2" {
				t.Errorf("it is broken off by %v", context.Cause(ctx))
			}
		})
	}
}
