// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/cli/render"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
)

const (
	// patience is how long a lost connection is tried again: a restart of the
	// daemon takes seconds, one of the host minutes.
	patience = 5 * time.Minute
	// logGrace is how long the rest of the log is waited for when the request has
	// ended.
	logGrace = 3 * time.Second
	// frameTime is the time between two pictures of the live view.
	frameTime = 100 * time.Millisecond
)

// watching says how the progress of a request is shown.
type watching struct {
	out     io.Writer
	live    bool
	noLog   bool
	tail    int           // lines of the log to begin with; -1 for all
	timeout time.Duration // 0 for none
}

// wait shows the progress of ur until it has ended, and returns its last state. An
// error says that the end was not seen.
func (a *app) wait(ctx context.Context, s *session, ur *v1alpha1.UpdateRequest, how watching) (*v1alpha1.UpdateRequest, error) {
	background, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	var ended atomic.Bool
	events := make(chan requestwatch.Event)
	running.Go(func() {
		// It ends with the request or with the context; both are seen below.
		_ = requestwatch.Run(background, s, ur, func(e requestwatch.Event) bool {
			over := e.Deleted || e.Request != nil && requestwatch.Ended(e.Request)
			if over {
				ended.Store(true)
				over = e.Deleted || !requestwatch.CleaningUp(e.Request) // which may have something to say
			}
			select {
			case events <- e:
				return over
			case <-background.Done():
				return true
			}
		})
	})
	var lines chan string
	var logEnd chan error
	if !how.noLog {
		lines, logEnd = make(chan string), make(chan error, 1)
		running.Go(func() {
			q := logQuery{follow: true, offset: -1, tail: how.tail}
			logEnd <- s.followLog(background, ur.Name, q, ended.Load, func(line string) {
				select {
				case lines <- line:
				case <-background.Done():
				}
			})
		})
	}
	p := progress{app: a, session: s, how: how, last: ur, view: a.view(how)}
	defer p.view.close()
	return p.run(ctx, events, lines, logEnd)
}

func (a *app) view(how watching) view {
	if how.live {
		return &liveView{out: how.out, style: a.style, now: a.Now}
	}
	style := render.Style{Location: time.Local}
	if how.out == a.Out {
		style = a.style()
	}
	return &plainView{out: how.out, style: style, now: a.Now}
}

// progress is the loop that brings events to a view.
type progress struct {
	app     *app
	session *session
	how     watching
	view    view
	last    *v1alpha1.UpdateRequest
	lostAt  time.Time
}

func (p *progress) run(ctx context.Context, events <-chan requestwatch.Event, lines <-chan string, logEnd <-chan error) (*v1alpha1.UpdateRequest, error) {
	ticker := time.NewTicker(frameTime)
	defer ticker.Stop()
	var timeout, grace <-chan time.Time
	if p.how.timeout > 0 {
		timer := time.NewTimer(p.how.timeout)
		defer timer.Stop()
		timeout = timer.C
	}
	over := false
	for {
		select {
		case <-ctx.Done():
			return p.last, p.left("stopped watching")
		case <-timeout:
			return p.last, p.left("not finished within " + p.how.timeout.String())
		case <-grace:
			return p.last, nil
		case <-ticker.C:
			p.view.tick()
		case line := <-lines:
			p.view.log(line)
		case err := <-logEnd:
			logEnd = nil
			if errors.Is(err, errNoLogs) && !over {
				// Progress is shown all the same, from the status.
				p.view.log(errNoLogs.Error())
			}
			if over {
				return p.last, nil
			}
		case e := <-events:
			switch {
			case e.Lost != nil:
				if err := p.lost(e.Lost); err != nil {
					return p.last, err
				}
				continue
			case e.Deleted && over:
				return p.last, nil
			case e.Deleted:
				return p.last, &Error{Code: ExitUnknown, Err: fmt.Errorf(
					"update request %s was deleted while it was %s; see what runs with: fairlead status %s",
					p.last.Name, p.last.Status.Phase, p.last.Spec.ApplicationRef.Name)}
			}
			if !p.lostAt.IsZero() {
				p.lostAt = time.Time{}
				p.view.lost(nil)
			}
			p.last = e.Request
			p.view.request(e.Request)
			if !requestwatch.Ended(e.Request) {
				continue
			}
			if logEnd == nil && !requestwatch.CleaningUp(e.Request) {
				return p.last, nil
			}
			if over = true; grace == nil {
				timer := time.NewTimer(logGrace)
				defer timer.Stop()
				grace, timeout = timer.C, nil
			}
		}
	}
}

func (p *progress) lost(err error) error {
	now := p.app.Now()
	if p.lostAt.IsZero() {
		p.lostAt = now
	}
	p.view.lost(err)
	if now.Sub(p.lostAt) < patience {
		return nil
	}
	return &Error{Code: ExitUnknown, Err: fmt.Errorf("%w\nGave up after %s. %s", p.session.explain(err, false), patience, p.goesOn())}
}

// left is the error of a wait that was broken off.
func (p *progress) left(why string) error {
	return &Error{Code: ExitUnknown, Err: fmt.Errorf("%s. %s", why, p.goesOn())}
}

func (p *progress) goesOn() string {
	in := ""
	if p.session.namespace != defaultNamespace {
		in = " -n " + p.session.namespace
	}
	return fmt.Sprintf("The update goes on without this command.\n  watch it again: fairlead status ur/%s --watch%s\n  cancel it:      fairlead cancel %s%s",
		p.last.Name, in, p.last.Name, in)
}

// outcome is the error that stands for the end of a request; nil if it succeeded.
func outcome(ur *v1alpha1.UpdateRequest) error {
	switch ur.Status.Phase {
	case v1alpha1.PhaseSucceeded:
		return nil
	case v1alpha1.PhaseRolledBack:
		return &Error{Code: ExitRolledBack}
	case v1alpha1.PhaseCancelled:
		return &Error{Code: ExitCancelled}
	default:
		return &Error{Code: ExitFailed}
	}
}
