// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
	"github.com/fairlead-dev/fairlead/internal/updatelog/logserver"
)

// Events of a log.
const (
	eventLine = "line"
	eventEnd  = "end"
)

type (
	logInput struct {
		RequestInput
		Tail   int  `query:"tail" default:"-1" minimum:"-1" doc:"Begin so many lines before the end; -1: at the beginning"`
		Follow bool `query:"follow" doc:"Wait for more until the log is complete"`
	}
	logEventsInput struct {
		RequestInput
		Tail        int    `query:"tail" default:"-1" minimum:"-1" doc:"Begin so many lines before the end; -1: at the beginning. Last-Event-ID goes before it"`
		LastEventID string `header:"Last-Event-ID" doc:"The ID of the last event that was received: the stream goes on exactly there"`
	}
)

// logReader sends one log to one client.
type logReader struct {
	api    *API
	client client.WithWatch
	key    types.NamespacedName
	tail   int   // lines; -1 for all
	offset int64 // in bytes; goes before tail; -1 for none
	follow bool

	begin func(offset int64) error // sends the head of the answer
	write func(p []byte) error     // sends the next bytes of the log
	beat  func() error             // keeps the connection
}

// logText is GET …/log.
func (a *API) logText(ctx context.Context, in *logInput) (*huma.StreamResponse, error) {
	return a.readLog(ctx, &in.RequestInput, func(r *logReader, s *stream) func() error {
		r.tail, r.offset, r.follow = in.Tail, -1, in.Follow
		r.begin = func(offset int64) error {
			return s.begin("text/plain; charset=utf-8", http.Header{logserver.OffsetHeader: {strconv.FormatInt(offset, 10)}})
		}
		r.write = func(p []byte) error { _, err := s.Write(p); return err }
		r.beat = func() error { return nil } // a text has no comments
		return func() error { return nil }
	})
}

// logEvents is GET …/log/events.
func (a *API) logEvents(ctx context.Context, in *logEventsInput) (*huma.StreamResponse, error) {
	offset := int64(-1)
	if in.LastEventID != "" {
		var err error
		if offset, err = strconv.ParseInt(in.LastEventID, 10, 64); err != nil || offset < 0 {
			return nil, problem(http.StatusBadRequest, metav1.StatusReasonBadRequest, "Last-Event-ID is no ID of an event of this stream")
		}
	}
	return a.readLog(ctx, &in.RequestInput, func(r *logReader, s *stream) func() error {
		lines := &lineEvents{s: s}
		r.tail, r.offset, r.follow = in.Tail, offset, true
		r.begin = func(offset int64) error {
			lines.offset = offset
			if err := s.beginEvents(); err != nil {
				return err
			}
			return s.retry()
		}
		r.write, r.beat = lines.write, s.comment
		return lines.end
	})
}

// readLog checks that the caller may read the log, and runs the reader that set
// makes. What set returns is called when all was sent.
func (a *API) readLog(ctx context.Context, in *RequestInput, set func(*logReader, *stream) (end func() error)) (*huma.StreamResponse, error) {
	key := types.NamespacedName{Namespace: in.Namespace, Name: in.Name}
	state, err := a.logState(ctx, key)
	if err != nil {
		return nil, err
	}
	if state.refusal != nil {
		return nil, state.refusal
	}
	// Afresh: what is remembered may be older than what the caller has seen.
	ur, err := a.request(ctx, in.Namespace, in.Name)
	if err != nil {
		return nil, err
	}
	return a.streaming(ctx, func(ctx context.Context, s *stream) error {
		r := &logReader{api: a, client: a.kube(), key: key}
		end := set(r, s)
		err := r.run(ctx, ur, s)
		switch {
		case errors.Is(err, errSeen):
			return s.nothingLeft()
		case err != nil:
			return err
		}
		return end()
	})
}

// errSeen says that the client has seen all of a log that is complete.
var errSeen = errors.New("nothing is left to send")

func (r *logReader) run(ctx context.Context, ur *v1alpha1.UpdateRequest, s *stream) error {
	if !r.follow || requestwatch.Concluded(ur) {
		f, err := logserver.Open(ctx, r.client, ur)
		if err != nil {
			return err
		}
		// A log that lacks its end marker gets no more lines either now.
		return errors.Join(r.send(ctx, f, nil), f.Close())
	}
	ended := make(chan struct{})
	var once sync.Once
	recheck := func(ctx context.Context) error {
		state, err := r.api.logState(ctx, r.key)
		switch {
		case err != nil:
			return err
		case state.refusal != nil:
			return state.refusal
		case state.request == nil || requestwatch.Concluded(state.request):
			once.Do(func() { close(ended) })
		}
		return nil
	}
	if ur.Status.LogFile == "" {
		// Tell the client that it is connected; there is nothing to skip yet.
		r.offset = max(r.offset, 0)
		if err := r.begin(r.offset); err != nil {
			return err
		}
	}
	return r.api.withHeart(ctx, r.beat, recheck, func(ctx context.Context) error {
		named, err := r.awaitName(ctx, ur)
		if err != nil || named == nil {
			return err
		}
		f, err := logserver.Await(ctx, sharedApplications{r.client, r.api}, named, ended)
		if err != nil {
			if s.begun && errors.Is(err, os.ErrNotExist) {
				return nil // it ended before the file was made
			}
			return err
		}
		return errors.Join(r.send(ctx, f, ended), f.Close())
	})
}

// awaitName waits until the request names its log. It returns nil if it ended, or
// was deleted, without one.
func (r *logReader) awaitName(ctx context.Context, ur *v1alpha1.UpdateRequest) (*v1alpha1.UpdateRequest, error) {
	var named *v1alpha1.UpdateRequest
	err := r.api.followers.follow(ctx, ur, func(s *requestState) (bool, error) {
		if s.request != nil && s.request.Status.LogFile != "" {
			named = s.request
		}
		return named != nil, nil
	})
	return named, err
}

// sharedApplications reads an Application once for all streams of one caller that
// want it at the same time, as those do which waited for a log.
type sharedApplications struct {
	client.Reader
	api *API
}

func (s sharedApplications) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	app, ok := o.(*v1alpha1.Application)
	if !ok {
		return s.Reader.Get(ctx, key, o, opts...)
	}
	answer, err, _ := s.api.rights.group.Do(fmt.Sprintf("application %x %s", recordOf(ctx).hash, key), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		found := &v1alpha1.Application{}
		return found, s.Reader.Get(ctx, key, found, opts...)
	})
	if found, ok := answer.(*v1alpha1.Application); ok && err == nil {
		found.DeepCopyInto(app)
	}
	return err
}

// send sends the log from where the client wants it.
func (r *logReader) send(ctx context.Context, f *os.File, ended <-chan struct{}) error {
	offset := max(r.offset, 0)
	if r.offset < 0 && r.tail >= 0 {
		var err error
		if offset, err = updatelog.TailOffset(f, r.tail); err != nil {
			return err
		}
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if offset > info.Size() {
		return fmt.Errorf("%w: %d of %d bytes", updatelog.ErrOffset, offset, info.Size())
	}
	if ended == nil && r.offset == info.Size() && r.offset > 0 {
		return errSeen
	}
	if err := r.begin(offset); err != nil {
		return err
	}
	opt := updatelog.FollowOptions{Offset: offset, Follow: ended != nil, Done: ended, Hub: &r.api.logs}
	return updatelog.FollowFile(ctx, f, opt, writerFunc(r.write))
}

type writerFunc func(p []byte) error

func (f writerFunc) Write(p []byte) (int, error) {
	if err := f(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// lineEvents turns the bytes of a log into events, one for each line. The ID of an
// event is the offset at which the line after it begins, so that a client that
// comes back with it goes on there.
type lineEvents struct {
	s       *stream
	offset  int64 // of what comes next
	partial []byte
	out     bytes.Buffer
}

func (l *lineEvents) write(p []byte) error {
	l.out.Reset()
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			l.partial = append(l.partial, p...)
			break
		}
		l.partial = append(l.partial, p[:i+1]...)
		p = p[i+1:]
		if err := l.line(); err != nil {
			return err
		}
	}
	return l.flush()
}

// line appends an event for the line in partial.
func (l *lineEvents) line() error {
	l.offset += int64(len(l.partial))
	text := strings.TrimRight(string(l.partial), "\r\n")
	l.partial = l.partial[:0]
	return encode(&l.out, eventLine, strconv.FormatInt(l.offset, 10), text)
}

func (l *lineEvents) flush() error {
	if l.out.Len() == 0 {
		return nil
	}
	_, err := l.s.Write(l.out.Bytes())
	return err
}

// logEnd is the data of the last event of a log.
type logEnd struct {
	// Offset is the size of the log in bytes.
	Offset int64 `json:"offset"`
}

// end sends what is left of an unfinished line, and that nothing more will come.
func (l *lineEvents) end() error {
	l.out.Reset()
	if len(l.partial) > 0 {
		if err := l.line(); err != nil {
			return err
		}
	}
	if err := l.flush(); err != nil {
		return err
	}
	return l.s.event(eventEnd, strconv.FormatInt(l.offset, 10), logEnd{Offset: l.offset})
}
