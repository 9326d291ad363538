// SPDX-License-Identifier: Apache-2.0

package updatelog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

const (
	// pollInterval is how often a file is looked at where the system cannot tell
	// of changes, and safetyInterval where it can but may miss some (file systems
	// in the network).
	pollInterval   = 150 * time.Millisecond
	safetyInterval = time.Second

	copyBuffer = 32 << 10
)

// ErrOffset says that a reader asked for bytes beyond the end of the log.
var ErrOffset = errors.New("the offset is beyond the end of the log")

// FollowOptions say what of a log is read.
type FollowOptions struct {
	// Offset in bytes at which to begin.
	Offset int64
	// Follow waits for what is still to be written, until the log is complete.
	Follow bool
	// Done is closed by the caller when nothing more will be written even though
	// the log has no end marker (its daemon died, its disk was full). May be nil.
	Done <-chan struct{}
	// Hub, if set, watches the file for all followers that have the same Hub.
	Hub *Hub
}

// Follow copies the log at path to w. With Follow set it goes on as the file
// grows, and returns nil when the log is complete or Done is closed, and
// everything was copied; the error of ctx if that ends first.
func Follow(ctx context.Context, path string, opt FollowOptions, w io.Writer) error {
	f, err := openRead(path)
	if err != nil {
		return err
	}
	return errors.Join(FollowFile(ctx, f, opt, w), f.Close())
}

// FollowFile is Follow for a file that is open for reading. Its position is
// changed; it stays open.
func FollowFile(ctx context.Context, f *os.File, opt FollowOptions, w io.Writer) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if opt.Offset < 0 || opt.Offset > info.Size() {
		return fmt.Errorf("%w: %d of %d bytes", ErrOffset, opt.Offset, info.Size())
	}
	var changes <-chan struct{}
	if opt.Follow {
		// Watching begins before the first read, so that no change falls between.
		hub := opt.Hub
		if hub == nil {
			hub = &Hub{}
		}
		var unsubscribe func()
		changes, unsubscribe = hub.subscribe(f.Name())
		defer unsubscribe()
	}
	offset, buffer := opt.Offset, make([]byte, copyBuffer)
	for {
		ended := closed(opt.Done)
		n, err := copyRest(ctx, w, f, offset, buffer)
		offset += n
		if err != nil {
			return err
		}
		if !opt.Follow || ended {
			return nil
		}
		whole, err := complete(f, offset)
		if err != nil || whole {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-opt.Done:
		case <-changes:
		}
	}
}

// copyRest copies what there is of f from offset on.
func copyRest(ctx context.Context, w io.Writer, f *os.File, offset int64, buffer []byte) (copied int64, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return copied, err
		}
		n, err := f.ReadAt(buffer, offset+copied)
		if n > 0 {
			if _, werr := w.Write(buffer[:n]); werr != nil {
				return copied, werr
			}
			copied += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return copied, nil
		}
		if err != nil {
			return copied, err
		}
	}
}

// notify returns a channel that gets a value after every change of the file at
// path, and now and then without one. It ends when stop is closed.
func notify(path string, stop <-chan struct{}) <-chan struct{} {
	out := make(chan struct{}, 1)
	interval := safetyInterval
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		err = watcher.Add(path)
	}
	var events <-chan fsnotify.Event
	var failures <-chan error
	if err != nil {
		// Watches are a limited resource of the host: without one, look often.
		interval = pollInterval
	} else {
		events, failures = watcher.Events, watcher.Errors
	}
	go func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		if watcher != nil {
			defer func() { _ = watcher.Close() }() // nothing was written to it
		}
		for {
			select {
			case <-stop:
				return
			case <-events:
			case err := <-failures:
				// The file is looked at anyway; what matters is that something came.
				_ = err
			case <-ticker.C:
			}
			select {
			case out <- struct{}{}:
			default: // the reader has not seen the last one yet
			}
		}
	}()
	return out
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Tail returns the last n lines of the log at path without their ends of line;
// all lines if n is negative.
func Tail(path string, n int) ([]string, error) {
	f, err := openRead(path)
	if err != nil {
		return nil, err
	}
	lines, err := tail(f, n)
	return lines, errors.Join(err, f.Close())
}

func tail(f *os.File, n int) ([]string, error) {
	offset, err := TailOffset(f, n)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	text := strings.TrimSuffix(string(data), "\n")
	if text == "" {
		return nil, nil
	}
	return strings.Split(text, "\n"), nil
}

// TailOffset returns the offset at which the last n lines of f begin; 0 if n is
// negative or f has no more lines than that. An unfinished line at the end counts.
func TailOffset(f *os.File, n int) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size := info.Size()
	if n < 0 {
		return 0, nil
	}
	if n == 0 || size == 0 {
		return size, nil
	}
	buffer := make([]byte, copyBuffer)
	// The newline that ends the last line begins no other.
	for end := size - 1; end > 0; {
		start := max(0, end-int64(len(buffer)))
		block := buffer[:end-start]
		if _, err := f.ReadAt(block, start); err != nil {
			return 0, err
		}
		for i := bytes.LastIndexByte(block, '\n'); i >= 0; i = bytes.LastIndexByte(block[:i], '\n') {
			if n--; n == 0 {
				return start + int64(i) + 1, nil
			}
		}
		end = start
	}
	return 0, nil
}

func openRead(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read the update's log: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("read the update's log %s: not a regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
