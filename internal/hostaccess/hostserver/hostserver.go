// SPDX-License-Identifier: Apache-2.0

// Package hostserver answers GET on subresources with what hostaccess gives. Who
// may is decided before, by RBAC:
//
//	GET …/applications/{name}/log          verb get on applications/log
//	    ?service=NAME or ?container=NAME   which container; one that runs first
//	    ?tailLines=N  ?timestamps=true  ?follow=true
//	GET …/backups/{name}/download          verb get on backups/download
//
// The log is text/plain, a backup application/x-tar. Errors are metav1.Status
// objects.
package hostserver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/hostaccess"
)

// Server serves the subresources.
type Server struct {
	Host hostaccess.Host
	// Reader is asked at each request, as the client may come into being after the
	// server; it reports nil until then.
	Reader func() client.Reader
}

// reader is there once the daemon has started.
func (s *Server) reader() (client.Reader, error) {
	if r := s.Reader(); r != nil {
		return r, nil
	}
	return nil, apierrors.NewServiceUnavailable("the daemon is starting: try again in a moment")
}

// Log is the handler of applications/log.
func (s *Server) Log(w http.ResponseWriter, r *http.Request, namespace, name string) {
	out := &text{w: w}
	err := s.log(r, types.NamespacedName{Namespace: namespace, Name: name}, out)
	finish(r.Context(), w, out.begun, "applications/log", name, err)
}

func (s *Server) log(r *http.Request, key types.NamespacedName, out *text) error {
	values := r.URL.Query()
	q := hostaccess.LogQuery{Service: values.Get("service"), Container: values.Get("container"), Tail: -1}
	var err error
	for name, into := range map[string]*bool{"follow": &q.Follow, "timestamps": &out.timestamps} {
		if v := values.Get(name); v != "" {
			if *into, err = strconv.ParseBool(v); err != nil {
				return apierrors.NewBadRequest(fmt.Sprintf("%s=%q: true or false", name, v))
			}
		}
	}
	if v := values.Get("tailLines"); v != "" {
		if q.Tail, err = strconv.Atoi(v); err != nil || q.Tail < 0 {
			return apierrors.NewBadRequest(fmt.Sprintf("tailLines=%q: a number of lines, 0 or more", v))
		}
	}
	if q.Service == "" && q.Container == "" {
		return apierrors.NewBadRequest("name a service or a container, as in ?service=web")
	}
	c, err := s.reader()
	if err != nil {
		return err
	}
	var app v1alpha1.Application
	if err := c.Get(r.Context(), key, &app); err != nil {
		return err
	}
	return s.Host.ContainerLog(r.Context(), &app, q, out)
}

// Download is the handler of backups/download.
func (s *Server) Download(w http.ResponseWriter, r *http.Request, namespace, name string) {
	begun, err := s.download(w, r, types.NamespacedName{Namespace: namespace, Name: name})
	finish(r.Context(), w, begun, "backups/download", name, err)
}

func (s *Server) download(w http.ResponseWriter, r *http.Request, key types.NamespacedName) (begun bool, err error) {
	c, err := s.reader()
	if err != nil {
		return false, err
	}
	var b v1alpha1.Backup
	if err := c.Get(r.Context(), key, &b); err != nil {
		return false, err
	}
	var app v1alpha1.Application
	if err := c.Get(r.Context(), types.NamespacedName{Namespace: key.Namespace, Name: b.Spec.ApplicationRef.Name}, &app); err != nil {
		return false, err
	}
	archive, err := s.Host.OpenBackup(r.Context(), &app, &b)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	for name, value := range ArchiveHeader(&b) {
		w.Header()[name] = value
	}
	w.WriteHeader(http.StatusOK)
	_, err = archive.WriteTo(w)
	return true, err
}

// ArchiveHeader is the head of an answer that is a backup.
func ArchiveHeader(b *v1alpha1.Backup) http.Header {
	return http.Header{
		"Content-Type":           {"application/x-tar"},
		"Content-Disposition":    {fmt.Sprintf("attachment; filename=%q", b.Name+".tar")},
		"Cache-Control":          {"no-store"},
		"X-Content-Type-Options": {"nosniff"},
	}
}

// finish answers with err, or breaks the connection if the answer has begun.
func finish(ctx context.Context, w http.ResponseWriter, begun bool, what, name string, err error) {
	switch {
	case err == nil || ctx.Err() != nil:
	case begun:
		// The status line is gone; breaking the connection tells the client that it is
		// not whole.
		log.FromContext(ctx).Error(err, what, "name", name)
		panic(http.ErrAbortHandler)
	default:
		writeError(w, name, err)
	}
}

func writeError(w http.ResponseWriter, name string, err error) {
	var known apierrors.APIStatus
	switch {
	case errors.As(err, &known):
	case errors.Is(err, hostaccess.ErrNotFound):
		notFound := apierrors.NewNotFound(schema.GroupResource{Group: v1alpha1.GroupVersion.Group}, name)
		notFound.ErrStatus.Message = err.Error()
		known = notFound
	default:
		known = apierrors.NewInternalError(err)
	}
	status := known.Status()
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	_ = json.NewEncoder(w).Encode(status) // the client is gone if this fails
}

// text is a hostaccess.LogReceiver that sends text.
type text struct {
	w          http.ResponseWriter
	timestamps bool
	begun      bool
}

func (t *text) Begin(hostaccess.Container) error {
	t.begun = true
	h := t.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	t.w.WriteHeader(http.StatusOK)
	return t.flush()
}

func (t *text) Lines(lines []hostaccess.Line) error {
	out := bufio.NewWriter(t.w)
	for _, l := range lines {
		if t.timestamps {
			_, _ = out.WriteString(l.Time.Format(time.RFC3339Nano) + " ")
		}
		_, _ = out.WriteString(l.Text + "\n") // Flush has the error
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return t.flush()
}

func (t *text) flush() error {
	if err := http.NewResponseController(t.w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
