// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/controllers"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

const (
	// busyPercent is the GOGC of a daemon that carries out an update: collecting
	// as often as when it is idle takes the update a quarter of its processor
	// time. What an update allocates, some 90 MB beside the 55 MB that the daemon
	// keeps, mostly fits in before a collection is due.
	busyPercent = 300
	// linger is how long it stays so after a step: the next one mostly follows.
	linger = 5 * time.Second
)

// paced has the garbage collector run less often while steps run. Whoever set
// GOGC has said how often.
type paced struct {
	controllers.StepRunner
	collect func(percent int) (before int)

	mu      sync.Mutex
	running int
	busy    bool
	idle    int // the GOGC of before
	later   *time.Timer
}

func newPaced(r controllers.StepRunner) controllers.StepRunner {
	if os.Getenv("GOGC") != "" {
		return r
	}
	return &paced{StepRunner: r, collect: debug.SetGCPercent}
}

// Run carries out a step.
func (p *paced) Run(ctx context.Context, work steps.Work, rec steps.Recorder) error {
	p.begin()
	defer p.end()
	return p.StepRunner.Run(ctx, work, rec)
}

func (p *paced) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running++
	if p.later != nil {
		p.later.Stop()
	}
	if !p.busy {
		p.busy, p.idle = true, p.collect(busyPercent)
	}
}

func (p *paced) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running--; p.running > 0 {
		return
	}
	p.later = time.AfterFunc(linger, p.rest)
}

func (p *paced) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == 0 && p.busy {
		p.busy = false
		p.collect(p.idle)
	}
}
