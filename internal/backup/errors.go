// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/measure"
)

// ReasonBackupFailed is the reason of the terminal errors of this package.
const ReasonBackupFailed = "BackupFailed"

var (
	// ErrNotFound says that there is no whole backup with the ID.
	ErrNotFound = errors.New("backup not found")
	// ErrBusy says that another process is making the backup with the ID.
	ErrBusy = errors.New("the backup is being made by another process")
	// ErrCorrupt says that a backup does not hold what its manifest says.
	ErrCorrupt = errors.New("the backup is damaged")
)

// Error says which backup, and which artifact of it, failed. Nothing but
// the backups directory was changed.
type Error struct {
	// ID of the backup.
	ID string
	// Artifact is the name of the artifact, empty where the error concerns the
	// whole backup.
	Artifact string
	// Err is the cause.
	Err error
}

func (e *Error) Error() string {
	if e.Artifact == "" {
		return fmt.Sprintf("%s: %v", e.ID, e.Err)
	}
	return fmt.Sprintf("%s: %s: %v", e.ID, e.Artifact, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// InputError says that the settings, or the state of the application, do not
// allow a backup that is whole. A person must act.
type InputError struct{ Message string }

func (e *InputError) Error() string { return e.Message }

func inputErrorf(format string, args ...any) error {
	return &InputError{Message: fmt.Sprintf(format, args...)}
}

// NoSpaceError says that the disk does not hold the backup.
type NoSpaceError struct {
	// Dir is where the backup was to be written.
	Dir string
	// Needed is the estimated size of the backup and Reserve what must stay
	// free for the application, in bytes. Needed is 0 where it is unknown.
	Needed, Reserve int64
	// Free bytes when the error was found.
	Free int64
}

func (e *NoSpaceError) Error() string {
	need := "more than that"
	if e.Needed > e.Free { // else the estimate was too low
		need = "about " + measure.Bytes(e.Needed)
	}
	return fmt.Sprintf("not enough disk space in %s: %s free, %s needed and %s kept in reserve for the application; "+
		"remove old backups or unused images, or leave large volumes out in the Application's backup.volumes, and try again",
		e.Dir, measure.Bytes(e.Free), need, measure.Bytes(e.Reserve))
}

// TornError says that an archive could not be read to its end, as when files
// shrink while they are copied.
type TornError struct {
	What string
	Err  error
}

func (e *TornError) Error() string {
	return fmt.Sprintf("the archive of %s is torn: %v", e.What, e.Err)
}

// Unwrap returns the cause.
func (e *TornError) Unwrap() error { return e.Err }

// DumpError says that a database could not be dumped.
type DumpError struct {
	Service string
	// Detail says what happened, with the last lines that the tool wrote to its
	// standard error.
	Detail string
	Err    error
}

func (e *DumpError) Error() string {
	msg := fmt.Sprintf("dump of the PostgreSQL service %s failed: %s", e.Service, e.Detail)
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

// Unwrap returns the cause.
func (e *DumpError) Unwrap() error { return e.Err }

// classify gives err its kind: interrupted when the caller cancelled, terminal
// where trying again does not help, else as it is.
func classify(ctx context.Context, id string, err error) error {
	if err == nil {
		return nil
	}
	var be *Error
	if !errors.As(err, &be) {
		err = &Error{ID: id, Err: err}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return &failure.Interrupted{Err: err}
	}
	var (
		input *InputError
		space *NoSpaceError
		torn  *TornError
		dump  *DumpError
	)
	switch {
	case errors.As(err, &input), errors.As(err, &space), errors.As(err, &torn), errors.As(err, &dump),
		errors.Is(err, ErrCorrupt), errors.Is(err, fs.ErrPermission):
		return &failure.Terminal{Reason: ReasonBackupFailed, Message: err.Error(), Err: err}
	}
	return err
}
