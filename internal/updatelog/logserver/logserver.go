// SPDX-License-Identifier: Apache-2.0

// Package logserver answers GET on the subresource "log" of UpdateRequests with
// the log file of the request.
//
//	GET /apis/fairlead.dev/v1alpha1/namespaces/{namespace}/updaterequests/{name}/log
//	    ?follow=true    wait for more until the request has ended and all is sent
//	    ?tailLines=N    begin N lines before the end
//	    ?offset=BYTES   begin at that byte; goes before tailLines
//
// The answer is text/plain. Its header OffsetHeader tells the byte at which it
// begins, so that a client whose connection broke can go on where it was. Errors
// are metav1.Status objects. Who may read is decided before: RBAC, verb get on
// updaterequests/log.
package logserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// OffsetHeader of an answer is the offset in bytes at which its body begins in
// the log file.
const OffsetHeader = "Fairlead-Log-Offset"

var resource = schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "updaterequests"}

type query struct {
	follow bool
	tail   int   // -1: not asked for
	offset int64 // -1: not asked for
}

// Handler returns the handler of the subresource. reader is asked at each request,
// as the client may come into being after the server; it reports nil until then.
// Only the log of a request below the deployment directory of its Application is
// ever served, and no symbolic link on the way there is followed.
func Handler(reader func() requestwatch.Reader) func(w http.ResponseWriter, r *http.Request, namespace, name string) {
	return func(w http.ResponseWriter, r *http.Request, namespace, name string) {
		q, err := parse(r.URL.Query())
		if err != nil {
			writeError(w, apierrors.NewBadRequest(err.Error()))
			return
		}
		c := reader()
		if c == nil {
			writeError(w, apierrors.NewServiceUnavailable("the daemon is starting: try again in a moment"))
			return
		}
		s := &session{reader: c, w: &flusher{w: w}, query: q}
		err = s.serve(r.Context(), types.NamespacedName{Namespace: namespace, Name: name})
		if err == nil || r.Context().Err() != nil {
			return
		}
		if s.w.begun {
			// The status line is gone; breaking the connection tells the client that
			// the text is not whole.
			log.FromContext(r.Context()).Error(err, "log of an update request", "namespace", namespace, "name", name)
			panic(http.ErrAbortHandler)
		}
		writeError(w, err)
	}
}

func parse(values url.Values) (query, error) {
	q := query{tail: -1, offset: -1}
	var err error
	if v := values.Get("follow"); v != "" {
		if q.follow, err = strconv.ParseBool(v); err != nil {
			return q, fmt.Errorf("follow=%q: true or false", v)
		}
	}
	if v := values.Get("tailLines"); v != "" {
		if q.tail, err = strconv.Atoi(v); err != nil || q.tail < 0 {
			return q, fmt.Errorf("tailLines=%q: a number of lines, 0 or more", v)
		}
	}
	if v := values.Get("offset"); v != "" {
		if q.offset, err = strconv.ParseInt(v, 10, 64); err != nil || q.offset < 0 {
			return q, fmt.Errorf("offset=%q: a number of bytes, 0 or more", v)
		}
	}
	return q, nil
}

type session struct {
	reader requestwatch.Reader
	w      *flusher
	query  query
}

func (s *session) serve(ctx context.Context, key types.NamespacedName) error {
	var ur v1alpha1.UpdateRequest
	if err := s.reader.Get(ctx, key, &ur); err != nil {
		return err
	}
	if !s.query.follow || requestwatch.Concluded(&ur) {
		f, err := s.open(ctx, &ur)
		if err != nil {
			return err
		}
		// A log that lacks its end marker gets no more lines either now.
		return errors.Join(s.send(ctx, f, nil), f.Close())
	}
	return s.follow(ctx, &ur)
}

// follow sends the log as it grows, from its beginning to be on.
func (s *session) follow(ctx context.Context, ur *v1alpha1.UpdateRequest) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	named := make(chan *v1alpha1.UpdateRequest, 1) // gets the request once it has a log
	ended := make(chan struct{})
	watcher := make(chan struct{})
	go func() {
		defer close(watcher)
		told := false
		err := requestwatch.Run(ctx, s.reader, ur, func(e requestwatch.Event) bool {
			if e.Request != nil && e.Request.Status.LogFile != "" && !told {
				told = true
				named <- e.Request
			}
			return e.Deleted || e.Request != nil && requestwatch.Concluded(e.Request)
		})
		if err == nil {
			close(ended)
		}
	}()
	defer func() { cancel(); <-watcher }()

	if ur.Status.LogFile == "" {
		// Tell the client that it is connected; there is nothing to skip yet.
		s.query.offset = 0
		s.w.begin(0)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case ur = <-named:
	case <-ended:
		select {
		case ur = <-named:
		default:
			return nil // it ended, or was deleted, before it had a log
		}
	}
	f, err := s.await(ctx, ur, ended)
	if s.w.begun && errors.Is(err, os.ErrNotExist) {
		return nil // it ended before the file was made
	}
	if err != nil {
		return err
	}
	return errors.Join(s.send(ctx, f, ended), f.Close())
}

// send copies the log from where the client wants it.
func (s *session) send(ctx context.Context, f *os.File, ended <-chan struct{}) error {
	offset := max(s.query.offset, 0)
	if s.query.offset < 0 && s.query.tail >= 0 {
		var err error
		if offset, err = updatelog.TailOffset(f, s.query.tail); err != nil {
			return err
		}
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if offset > info.Size() {
		return apierrors.NewBadRequest(fmt.Sprintf("offset=%d is beyond the end of the log (%d bytes)", offset, info.Size()))
	}
	s.w.begin(offset)
	opt := updatelog.FollowOptions{Offset: offset, Follow: ended != nil, Done: ended}
	return updatelog.FollowFile(ctx, f, opt, s.w)
}

// directory is where the log of ur must lie, as a root that nothing leads out of.
func (s *session) directory(ctx context.Context, ur *v1alpha1.UpdateRequest) (string, error) {
	var app v1alpha1.Application
	key := types.NamespacedName{Namespace: ur.Namespace, Name: ur.Spec.ApplicationRef.Name}
	if err := s.reader.Get(ctx, key, &app); err != nil {
		return "", err
	}
	return filepath.Clean(app.Spec.Compose.Directory), nil
}

func (s *session) open(ctx context.Context, ur *v1alpha1.UpdateRequest) (*os.File, error) {
	if ur.Status.LogFile == "" {
		return nil, notFound(ur, "it has no log yet")
	}
	dir, err := s.directory(ctx, ur)
	if err != nil {
		return nil, err
	}
	f, err := Open(dir, ur.Status.LogFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(os.ErrNotExist, notFound(ur, "its log file "+ur.Status.LogFile+
			" does not exist on the host: old logs are removed after the retention time"))
	}
	if errors.Is(err, errOutside) {
		return nil, apierrors.NewForbidden(resource, ur.Name, err)
	}
	return f, err
}

func notFound(ur *v1alpha1.UpdateRequest, why string) error {
	err := apierrors.NewNotFound(schema.GroupResource{Group: resource.Group, Resource: resource.Resource + "/log"}, ur.Name)
	err.ErrStatus.Message = fmt.Sprintf("update request %s: %s", ur.Name, why)
	return err
}

func writeError(w http.ResponseWriter, err error) {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		known = apierrors.NewInternalError(err)
	}
	status := known.Status()
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	body, err := json.Marshal(status)
	if err != nil {
		http.Error(w, status.Message, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	_, _ = w.Write(append(body, '\n')) // the client is gone if this fails
}

// flusher sends each piece to the client at once.
type flusher struct {
	w     http.ResponseWriter
	begun bool
}

func (f *flusher) begin(offset int64) {
	if f.begun {
		return
	}
	f.begun = true
	h := f.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set(OffsetHeader, strconv.FormatInt(offset, 10))
	f.w.WriteHeader(http.StatusOK)
	f.flush()
}

func (f *flusher) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		f.flush()
	}
	return n, err
}

func (f *flusher) flush() {
	// A writer that cannot flush sends when it sees fit; that is no error.
	_ = http.NewResponseController(f.w).Flush()
}
