// SPDX-License-Identifier: Apache-2.0

package updaterapi

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
	"github.com/fairlead-dev/fairlead/internal/updatelog/logserver"
)

// follow writes what becomes of a request until it has ended: what it waits for,
// then its log as it grows, and at last how it ended.
func (a *api) follow(ctx context.Context, c Client, ur *v1alpha1.UpdateRequest, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	newest := make(chan *v1alpha1.UpdateRequest, 1) // the newest state; nil once it was deleted
	states := newest                                // nil when there are no more
	watched := make(chan error, 1)
	go func() {
		watched <- requestwatch.Run(ctx, c, ur, func(e requestwatch.Event) bool {
			if e.Lost != nil {
				return false
			}
			select {
			case <-newest: // it was not looked at: the newer one says it all
			default:
			}
			newest <- e.Request
			return e.Deleted || requestwatch.Concluded(e.Request)
		})
		close(newest)
	}()
	ended := make(chan struct{}) // the log gets no more lines
	var copying chan error
	defer func() {
		cancel()
		if copying != nil {
			<-copying //nolint:errcheck // nobody writes to w when this returns; why it ended is known
		}
	}()
	said, last := "", ur
	for {
		select {
		case err := <-copying:
			copying = nil
			if err != nil {
				return err
			}
			if states == nil {
				return conclude(last, w)
			}
		case state, ok := <-states:
			if !ok || state == nil {
				if err := ctx.Err(); err != nil {
					return err
				}
				states = nil
				close(ended)
				if copying == nil {
					return conclude(last, w)
				}
				continue
			}
			last = state
			if copying == nil && state.Status.LogFile != "" && said != logShown {
				copied := make(chan error, 1)
				copying, said = copied, logShown
				go func() { copied <- a.copyLog(ctx, state, ended, w) }()
			}
			if text := waiting(state); said != logShown && said != text && state.Status.Message != "" {
				said = text
				if _, err := io.WriteString(w, text); err != nil {
					return err
				}
			}
		}
	}
}

// logShown stands, among what was said of a request, for its log.
const logShown = "log"

func conclude(ur *v1alpha1.UpdateRequest, w io.Writer) error {
	if !requestwatch.Ended(ur) {
		return errors.New("the update request was deleted")
	}
	text := closing(ur)
	if ur.Status.LogFile == "" {
		text = oneLine("# ", ur.Status.Message) + text
	}
	_, err := io.WriteString(w, text)
	return err
}

// copyLog copies the log of a request as it grows, until ended.
func (a *api) copyLog(ctx context.Context, ur *v1alpha1.UpdateRequest, ended <-chan struct{}, w io.Writer) error {
	f, err := a.await(ctx, ur, ended)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it ended before the file was made
	}
	if err != nil {
		return err
	}
	return errors.Join(updatelog.FollowFile(ctx, f, updatelog.FollowOptions{Follow: true, Done: ended}, w), f.Close())
}

// await opens the log, which the request names a moment before it is there.
func (a *api) await(ctx context.Context, ur *v1alpha1.UpdateRequest, ended <-chan struct{}) (*os.File, error) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for last := false; ; {
		f, err := logserver.OpenFile(a.Directory, ur.Status.LogFile)
		if err == nil || last || !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ended:
			last = true
		case <-ticker.C:
		}
	}
}

// flusher sends each piece to the client at once. A client that does not take it
// in time is gone.
type flusher struct {
	w       http.ResponseWriter
	timeout time.Duration
}

func (f *flusher) Write(p []byte) (int, error) {
	c := http.NewResponseController(f.w)
	if err := c.SetWriteDeadline(time.Now().Add(f.timeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	n, err := f.w.Write(p)
	if err != nil {
		return n, err
	}
	if err := c.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return n, err
	}
	return n, nil
}

// end leaves the connection to other requests.
func (f *flusher) end() { _ = http.NewResponseController(f.w).SetWriteDeadline(time.Time{}) }
