// SPDX-License-Identifier: Apache-2.0

// Package failure names the four kinds of error that a step can end with. The
// reconciler decides by kind, found with errors.As, what becomes of a request:
//
//   - Terminal: the request cannot succeed as it is; a person must act.
//   - Wait: nothing is wrong yet; look again after a while.
//   - Interrupted: the work was stopped from outside (shutdown, cancellation)
//     and can be taken up again from what it left behind.
//   - every other error: a disturbance that is retried with backoff.
package failure

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// Terminal says that trying again cannot help.
type Terminal struct {
	// Reason is a CamelCase word for conditions, such as "BuildFailed".
	Reason string
	// Message tells a person what is wrong and what to do.
	Message string
	// Err is the cause, may be nil.
	Err error
	// Paused says that what was changed is to be left as it is.
	Paused bool
}

func (e *Terminal) Error() string {
	if e.Err != nil && e.Message == "" {
		return e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Terminal) Unwrap() error { return e.Err }

// Terminalf makes a Terminal error; %w in the format keeps the cause.
func Terminalf(reason, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Terminal{Reason: reason, Message: err.Error(), Err: errors.Unwrap(err)}
}

// Wait says that the work should be looked at again after After.
type Wait struct {
	After  time.Duration
	Reason string
}

func (e *Wait) Error() string { return e.Reason }

// Interrupted says that the work was stopped before its end and left a state
// from which it can go on.
type Interrupted struct {
	Err error
}

func (e *Interrupted) Error() string {
	if e.Err == nil {
		return "interrupted"
	}
	return "interrupted: " + e.Err.Error()
}

// Unwrap returns the cause, usually context.Canceled.
func (e *Interrupted) Unwrap() error { return e.Err }

// AsTerminal returns the Terminal error in err's chain, or nil.
func AsTerminal(err error) *Terminal {
	var t *Terminal
	if errors.As(err, &t) {
		return t
	}
	return nil
}

// AsWait returns the Wait error in err's chain, or nil.
func AsWait(err error) *Wait {
	var w *Wait
	if errors.As(err, &w) {
		return w
	}
	return nil
}

// IsNoSpace reports whether err's chain says that a disk, or somebody's quota of
// it, is full.
func IsNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// IsInterrupted reports whether err's chain holds an Interrupted error.
func IsInterrupted(err error) bool {
	var i *Interrupted
	return errors.As(err, &i)
}
