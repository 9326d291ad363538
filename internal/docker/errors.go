// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"syscall"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/client"
	mobyclient "github.com/moby/moby/client"
)

// IsNotFound reports whether err says that the container, image, volume,
// network or path named in the call does not exist.
func IsNotFound(err error) bool { return cerrdefs.IsNotFound(err) }

// IsConflict reports whether err says that the state of the object forbids the
// call: a name in use, a container that runs or does not run, an image in use.
func IsConflict(err error) bool { return cerrdefs.IsConflict(err) }

// IsUnavailable reports whether err says that the engine is down, restarting
// or was lost in the middle of a call. The call may or may not have had its
// effect; look, then try again. It is false when the caller's own context
// ended and when the socket may not be opened, which no retry changes. The
// errors of the client that the Compose library uses are told apart as well.
func IsUnavailable(err error) bool {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, fs.ErrPermission):
		return false
	case client.IsErrConnectionFailed(err), mobyclient.IsErrConnectionFailed(err), cerrdefs.IsUnavailable(err):
		return true
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return true
	}
	for _, errno := range []error{
		syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE,
		syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return isShutdown(err)
}

// isShutdown recognises what an engine answers while it goes down or comes up:
// internal errors whose only distinction is their text.
func isShutdown(err error) bool {
	if !cerrdefs.IsInternal(err) && !cerrdefs.IsUnknown(err) {
		return false
	}
	text := err.Error()
	for _, s := range []string{"shutting down", "containerd.sock", "transport is closing", "error reading from server: EOF"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// unavailableError marks an error as one that a retry may cure.
type unavailableError struct{ err error }

func (e *unavailableError) Error() string { return e.err.Error() }

// Unwrap gives the marker, by which the error counts as unavailable.
func (e *unavailableError) Unwrap() error { return cerrdefs.ErrUnavailable }
