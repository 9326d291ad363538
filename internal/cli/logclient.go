// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
	"github.com/fairlead-dev/fairlead/internal/updatelog/logserver"
)

// logQuery is what of a log is wanted.
type logQuery struct {
	follow bool
	offset int64 // in bytes; -1 for none
	tail   int   // lines; -1 for all
}

// logSource opens the log of a request. It returns the offset at which the text
// begins in the file.
type logSource interface {
	open(ctx context.Context, namespace, name string, q logQuery) (text io.ReadCloser, offset int64, err error)
}

// errNoLogs says that the API server has no logs to give: it belongs to a cluster
// that Fairlead is only an agent of.
var errNoLogs = errors.New("this API server does not serve the logs of update requests")

type httpLogs struct {
	client    *http.Client
	base      *url.URL
	userAgent string
}

func (h *httpLogs) open(ctx context.Context, namespace, name string, q logQuery) (io.ReadCloser, int64, error) {
	u := h.base.JoinPath("apis", v1alpha1.GroupVersion.Group, v1alpha1.GroupVersion.Version, "namespaces", namespace, "updaterequests", name, "log")
	values := url.Values{}
	if q.follow {
		values.Set("follow", "true")
	}
	if q.offset >= 0 {
		values.Set("offset", strconv.FormatInt(q.offset, 10))
	}
	if q.tail >= 0 {
		values.Set("tailLines", strconv.Itoa(q.tail))
	}
	u.RawQuery = values.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("User-Agent", h.userAgent)
	response, err := h.client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	if response.StatusCode != http.StatusOK {
		err := statusError(response)
		return nil, 0, errors.Join(err, response.Body.Close())
	}
	offset, err := strconv.ParseInt(response.Header.Get(logserver.OffsetHeader), 10, 64)
	if err != nil {
		return nil, 0, errors.Join(errNoLogs, response.Body.Close())
	}
	return response.Body, offset, nil
}

// statusError is the error that an answer carries.
func statusError(response *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return err
	}
	var status metav1.Status
	if json.Unmarshal(body, &status) != nil || status.Kind != "Status" {
		if response.StatusCode == http.StatusNotFound {
			// The generic answer of an API server to an unknown path.
			return errNoLogs
		}
		return fmt.Errorf("the log cannot be read: %s: %s", response.Status, strings.TrimSpace(updatelog.Clean(string(body), false)))
	}
	return &apierrors.StatusError{ErrStatus: status}
}

// followLog calls line with every line of the log of a request from q on, over
// broken connections. It returns nil when the log is complete, ended() is true and
// the server has sent all, or the request is gone; errNoLogs or the server's
// refusal if there is nothing to be had; and the error of ctx.
func (s *session) followLog(ctx context.Context, name string, q logQuery, ended func() bool, line func(string)) error {
	const firstPause, lastPause = 200 * time.Millisecond, time.Second
	pause, opened := firstPause, false
	f := logFollower{line: line}
	for {
		wasEnded := ended()
		text, offset, err := s.logs.open(ctx, s.namespace, name, q)
		if err == nil {
			q.offset, q.tail, opened = offset, -1, true
			var n int64
			n, err = f.read(text)
			q.offset += n
			if n > 0 {
				pause = firstPause
			}
			if f.complete || err == nil && (wasEnded || !q.follow) {
				f.flush()
				return nil
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && (!q.follow || !retryable(err, opened)):
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		pause = min(2*pause, lastPause)
	}
}

// retryable says whether another try can help: not if the server understood the
// question and has no answer. One that answered before and refuses now is just
// starting and does not know the roles yet.
func retryable(err error, answered bool) bool {
	switch {
	case errors.Is(err, errNoLogs), apierrors.IsNotFound(err), apierrors.IsBadRequest(err):
		return false
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return answered
	default:
		return true
	}
}

// logFollower puts lines together over several connections.
type logFollower struct {
	line     func(string)
	part     string // of a line whose end has not come yet
	complete bool   // the last line was the end marker
}

func (f *logFollower) read(text io.ReadCloser) (n int64, err error) {
	defer func() { _ = text.Close() }() // read only
	r := bufio.NewReader(text)
	for {
		got, err := r.ReadString('\n')
		n += int64(len(got))
		f.part += got
		if err == nil {
			f.flush()
			continue
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		return n, err
	}
}

// flush hands over what has been read of a line.
func (f *logFollower) flush() {
	if f.part == "" {
		return
	}
	f.complete = updatelog.ParseLine(f.part).IsEnd()
	f.line(strings.TrimRight(f.part, "\r\n"))
	f.part = ""
}
