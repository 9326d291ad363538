// SPDX-License-Identifier: Apache-2.0

// Package hooks runs the hooks of an Application: a command in a container, or an
// HTTP call. It knows when one is due, runs one once, and says how that ended. The
// order of things, and what becomes of an update whose hook fails, is the
// business of package steps.
package hooks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/redact"
	"github.com/fairlead-dev/fairlead/internal/webcall"
)

const (
	// DefaultTimeout of one run.
	DefaultTimeout = time.Minute
	// MaxOutput is the size in bytes from which the output of one run is left
	// out of the log.
	MaxOutput = 1 << 20
	// maxAnswer is how much of an HTTP answer is logged.
	maxAnswer = 64 << 10
	// maxTail is how much of the last line of output is told with a failure.
	maxTail = 300
	// minSecret is the length from which a value of a container's environment is
	// masked; "true" or "5432" under a secret's name would garble the log.
	minSecret = 6
	// Times between two attempts to reach the server of an HTTP hook.
	firstPause = 250 * time.Millisecond
	maxPause   = 5 * time.Second
)

// Keys of the Secret of an HTTP hook.
const (
	keyToken = "token"
	keyHMAC  = "hmac-key"
)

// Engine is what hooks need of the Docker engine.
type Engine interface {
	Exec(ctx context.Context, containerID string, cmd []string, o docker.ExecOptions) (int, error)
	ContainerEnvAll(ctx context.Context, id string) (map[string]string, error)
}

// Secrets reads Secrets. An error of kind failure.Terminal says that there is none.
type Secrets interface {
	Secret(ctx context.Context, namespace, name string) (map[string][]byte, error)
}

// Runner runs hooks.
type Runner struct {
	Engine  Engine
	Secrets Secrets
}

// Failed says that a hook ran, or could not be run, and did not pass. Any other
// error of Run is a disturbance, of which it is not known how the hook ended.
type Failed struct{ Message string }

func (e *Failed) Error() string { return e.Message }

func failed(format string, args ...any) error { return &Failed{Message: fmt.Sprintf(format, args...)} }

// Run runs the hook once and returns when it ended, at most after its timeout. A
// command runs in container. Each line of output, with secrets masked, goes to
// say. The error is *Failed, or a disturbance, or the cause of the end of ctx.
func (r *Runner) Run(ctx context.Context, h *v1alpha1.Hook, ev Event, container string, say func(line string)) error {
	timeout := DefaultTimeout
	if h.Timeout != nil && h.Timeout.Duration > 0 {
		timeout = h.Timeout.Duration
	}
	late := failed("did not end within its timeout of %s", timeout)
	limited, cancel := context.WithTimeoutCause(ctx, timeout, late)
	defer cancel()
	var err error
	switch {
	case h.Exec != nil:
		err = r.exec(limited, h.Exec, ev, container, say)
	case h.HTTP != nil:
		err = r.call(limited, h, ev, say)
	default:
		return failed("says neither exec nor http")
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil && limited.Err() != nil {
		if h.Exec != nil {
			return failed("did not end within its timeout of %s; the command may still run in the container", timeout)
		}
		if f := (*Failed)(nil); errors.As(err, &f) {
			return err
		}
		return late
	}
	return err
}

// secretName matches the names of variables that hold secrets.
var secretName = regexp.MustCompile(`(?i)pass|secret|token|key|credential|auth|dsn`)

// exec runs a command in a container.
func (r *Runner) exec(ctx context.Context, e *v1alpha1.ExecCheck, ev Event, container string, say func(string)) error {
	env, err := r.Engine.ContainerEnvAll(ctx, container)
	if err != nil {
		return engineError(err)
	}
	var hidden []string
	for name, value := range env {
		if secretName.MatchString(name) && len(value) >= minSecret {
			hidden = append(hidden, value)
		}
		hidden = append(hidden, redact.URLPassword(value))
	}
	out := newOutput(redact.New(hidden...), say)
	code, err := r.Engine.Exec(ctx, container, e.Command, docker.ExecOptions{Env: ev.env(), Stdout: out, Stderr: out})
	last := out.close()
	if err != nil {
		return engineError(err)
	}
	if code != 0 {
		return failed("%s ended with exit code %d%s", path.Base(e.Command[0]), code, last)
	}
	return nil
}

// engineError tells an engine that is away from one that refuses.
func engineError(err error) error {
	if docker.IsUnavailable(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return failed("%v", err)
}

// call makes an HTTP call. While nobody answers at all it is tried again: nothing
// was sent then.
func (r *Runner) call(ctx context.Context, h *v1alpha1.Hook, ev Event, say func(string)) error {
	c := webcall.Call{
		Method: cmp.Or(h.HTTP.Method, http.MethodPost), URL: h.HTTP.URL, MaxAnswer: maxAnswer,
		Headers: map[string]string{
			"X-Fairlead-Event":     string(ev.Event),
			webcall.DeliveryHeader: strings.Join([]string{ev.UID, string(ev.Event), ev.Service, h.Name}, "/"),
		},
	}
	if ref := h.HTTP.SecretRef; ref != nil {
		data, err := r.Secrets.Secret(ctx, ev.Namespace, ref.Name)
		if t := failure.AsTerminal(err); t != nil {
			return failed("%v", t)
		}
		if err != nil {
			return err
		}
		c.Token, c.HMACKey = strings.TrimSpace(string(data[keyToken])), data[keyHMAC]
	}
	var err error
	if c.Body, err = ev.body(); err != nil {
		return err
	}
	hidden := append(webcall.Secrets(c.URL), c.Token, string(c.HMACKey))
	mask := redact.New(hidden...)
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		answer, err := webcall.Client{}.Do(ctx, c)
		switch {
		case err == nil:
			out := newOutput(mask, say)
			_, _ = out.Write(answer.Body)
			last := out.close()
			if !answer.OK() {
				return failed("was answered with HTTP %d, expected 200 to 299%s", answer.Status, last)
			}
			return nil
		case ctx.Err() != nil:
			return err
		case !webcall.NotConnected(err):
			return failed("%s", mask.Text(err.Error()))
		}
		unreachable := mask.Text(err.Error())
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return failed("could not be reached: %s", unreachable)
		}
	}
}

// output splits what a hook prints into lines and masks them.
type output struct {
	mu    sync.Mutex
	lines redact.Lines
	mask  *redact.Redactor
	say   func(string)
	size  int
	last  string
}

func newOutput(mask *redact.Redactor, say func(string)) *output {
	o := &output{mask: mask, say: say}
	o.lines = redact.Lines{Redact: mask, Emit: o.line}
	return o
}

// Write takes output of both streams. It never fails.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lines.Write(p)
}

func (o *output) line(text string) {
	text = o.mask.Text(strings.TrimRight(text, "\r"))
	if strings.TrimSpace(text) != "" {
		o.last = text
	}
	before := o.size
	o.size += len(text) + 1
	switch {
	case o.size <= MaxOutput:
		o.say(text)
	case before <= MaxOutput:
		o.say(fmt.Sprintf("(more than %d KiB: further output is left out)", MaxOutput>>10))
	}
}

// close ends the output and returns its last line as the end of a message.
func (o *output) close() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines.Flush()
	if o.last == "" {
		return ""
	}
	text := o.last
	if len(text) > maxTail {
		text = strings.ToValidUTF8(text[:maxTail], "") + "…"
	}
	return ": " + strings.TrimSpace(text)
}
