// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/hostaccess"
	"github.com/fairlead-dev/fairlead/internal/hostaccess/hostserver"
)

// eventContainer tells which container the lines that follow are of.
const eventContainer = "container"

type (
	// ContainerQuery names a container of an Application.
	ContainerQuery struct {
		NamespacePath
		NamePath
		Service   string `query:"service" maxLength:"255" doc:"Service of the Compose model: one of its containers, one that runs first"`
		Container string `query:"container" maxLength:"255" doc:"Name of the container"`
		Tail      int    `query:"tail" default:"200" minimum:"-1" maximum:"100000" doc:"Begin so many lines before the end; -1: at the beginning"`
	}
	containerLogInput struct {
		ContainerQuery
		Timestamps bool `query:"timestamps" doc:"Begin each line with its time"`
		Follow     bool `query:"follow" doc:"Wait for more until the container ends"`
	}
	containerEventsInput struct {
		ContainerQuery
		LastEventID string `header:"Last-Event-ID" doc:"The ID of the last event that was received: the stream goes on after it, if it is of the same container"`
	}
	// candidate is a directory that an Application can be made of.
	candidate struct {
		Project   string `json:"project,omitempty" doc:"Compose project that runs there"`
		Directory string `json:"directory"`
		Running   int32  `json:"running,omitempty" doc:"Containers of the project that run"`
		Fit       bool   `json:"fit" doc:"It is a Git clone with a Compose file"`
		Message   string `json:"message,omitempty" doc:"Why it is not fit"`
		// Application that it belongs to already, as far as the caller may see it.
		Application string `json:"application,omitempty" doc:"Application, as namespace/name, that it belongs to already"`
	}
	candidateList struct {
		Items []candidate `json:"items" nullable:"false"`
	}
	candidatesOutput struct{ Body candidateList }
	candidateInput   struct {
		NamespacePath
		Body struct {
			Directory string `json:"directory" doc:"Absolute path on the host"`
		}
	}
	candidateOutput struct{ Body candidate }
)

func (a *API) registerHost(h huma.API) {
	const log = inNamespace + "applications/{name}/log"
	handle(a, h, huma.Operation{
		OperationID: "getContainerLog", Method: http.MethodGet, Path: log, Tags: []string{tagApplications},
		Summary: "Read what a container of an Application writes, as text", Description: "Needs get on applications/log.",
		Responses: map[string]*huma.Response{"200": {Description: "The log", Content: map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}}}},
	}, a.containerText)
	handle(a, h, huma.Operation{
		OperationID: "followContainerLog", Method: http.MethodGet, Path: log + "/events", Tags: []string{tagApplications},
		Summary: "Follow what a container of an Application writes",
		Description: "Server-sent events. `container`: where the lines come from, first of all. `line`: `{\"time\", \"stream\", \"text\"}`. `end`: the container " +
			"has ended. A client that comes back with Last-Event-ID goes on after that line if the container is still the same one, and otherwise " +
			"begins with the other one; 204 if it has seen the end and there is nothing else. Needs get on applications/log.",
		Responses: eventResponses(),
	}, a.containerEvents)
	handle(a, h, huma.Operation{
		OperationID: "downloadBackup", Method: http.MethodGet, Path: inNamespace + "backups/{name}/download", Tags: []string{tagHistory},
		Summary: "Download a backup as a tar archive",
		Description: "With all secrets of the application. Needs get on backups/download, which fairlead-admin has; it is audited. An answer that breaks " +
			"off is not whole.",
		Responses: map[string]*huma.Response{"200": {Description: "The archive", Content: map[string]*huma.MediaType{
			"application/x-tar": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}},
	}, a.download)
	handle(a, h, huma.Operation{
		OperationID: "listCandidates", Method: http.MethodGet, Path: inNamespace + "candidates", Tags: []string{tagHosts},
		Summary:     "List Compose projects that run on the host and could become Applications",
		Description: "As the DockerHosts have them, which the caller must be allowed to list.",
	}, a.candidates)
	handle(a, h, huma.Operation{
		OperationID: "checkCandidate", Method: http.MethodPost, Path: inNamespace + "candidates", Tags: []string{tagHosts},
		Summary:     "Tell whether a directory on the host could become an Application",
		Description: "Only whether it is a Git clone with a Compose file is told, and only to those who may create Applications in the namespace.",
	}, a.checkCandidate)
}

var errNoHost = retryable(problem(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "this daemon has no access to a Docker host"), time.Minute)

// readable is the application of a log that the caller may read.
func (a *API) readable(ctx context.Context, in *ContainerQuery) (*v1alpha1.Application, error) {
	if a.opts.Host == nil {
		return nil, errNoHost
	}
	if err := a.mayReadContainers(ctx, in); err != nil {
		return nil, err
	}
	if in.Service == "" && in.Container == "" {
		return nil, problem(http.StatusBadRequest, metav1.StatusReasonBadRequest, "name a service or a container, as in ?service=web")
	}
	app := &v1alpha1.Application{}
	return app, a.kube().Get(ctx, client.ObjectKey{Namespace: in.Namespace, Name: in.Name}, app)
}

func (a *API) mayReadContainers(ctx context.Context, in *ContainerQuery) error {
	return a.require(ctx, right{verb: "get", resource: "applications", subresource: hostaccess.LogSubresource, namespace: in.Namespace, name: in.Name},
		"read the logs of containers", "fairlead-viewer")
}

func (in *ContainerQuery) query(follow bool) hostaccess.LogQuery {
	return hostaccess.LogQuery{Service: in.Service, Container: in.Container, Tail: in.Tail, Follow: follow}
}

func (a *API) containerText(ctx context.Context, in *containerLogInput) (*huma.StreamResponse, error) {
	app, err := a.readable(ctx, &in.ContainerQuery)
	if err != nil {
		return nil, err
	}
	return a.streaming(ctx, func(ctx context.Context, s *stream) error {
		to := &containerText{s: s, timestamps: in.Timestamps}
		recheck := func(ctx context.Context) error { return a.mayReadContainers(ctx, &in.ContainerQuery) }
		return a.withHeart(ctx, func() error { return nil }, recheck, func(ctx context.Context) error {
			return a.opts.Host.ContainerLog(ctx, app, in.query(in.Follow), to)
		})
	})
}

// containerText sends lines as text.
type containerText struct {
	s          *stream
	timestamps bool
}

func (c *containerText) Begin(hostaccess.Container) error {
	return c.s.begin("text/plain; charset=utf-8", nil)
}

func (c *containerText) Lines(lines []hostaccess.Line) error {
	var b bytes.Buffer
	for _, l := range lines {
		if c.timestamps {
			b.WriteString(l.Time.Format(time.RFC3339Nano) + " ")
		}
		b.WriteString(l.Text + "\n")
	}
	_, err := c.s.Write(b.Bytes())
	return err
}

func (a *API) containerEvents(ctx context.Context, in *containerEventsInput) (*huma.StreamResponse, error) {
	q := in.query(true)
	lines := &containerLines{}
	if in.LastEventID != "" {
		position, ended := strings.CutSuffix(in.LastEventID, afterEnd)
		at, err := hostaccess.ParsePosition(position)
		if err != nil {
			return nil, problem(http.StatusBadRequest, metav1.StatusReasonBadRequest, "Last-Event-ID is no ID of an event of this stream")
		}
		q.After, lines.last, lines.ended = &at, at, ended
	}
	app, err := a.readable(ctx, &in.ContainerQuery)
	if err != nil {
		return nil, err
	}
	return a.streaming(ctx, func(ctx context.Context, s *stream) error {
		lines.s = s
		recheck := func(ctx context.Context) error { return a.mayReadContainers(ctx, &in.ContainerQuery) }
		err := a.withHeart(ctx, s.comment, recheck, func(ctx context.Context) error {
			return a.opts.Host.ContainerLog(ctx, app, q, lines)
		})
		switch {
		case err != nil:
			return err
		case lines.held != nil:
			return s.nothingLeft()
		}
		return s.event(eventEnd, lines.last.String()+afterEnd, struct{}{})
	})
}

// afterEnd is at the end of the ID of the event "end", before which comes the
// position of the last line: whoever comes back with it has seen everything.
const afterEnd = "-end"

// containerLines sends lines as events.
type containerLines struct {
	s *stream
	// last is the position of the last line that the client has.
	last hostaccess.Position
	// ended says that the client has seen the end of that container too.
	ended bool
	// held is what the stream begins with once there is something that a client
	// which has seen the end lacks.
	held *hostaccess.Container
}

func (c *containerLines) Begin(from hostaccess.Container) error {
	same := from.ID == c.last.Container
	if !same {
		c.last = hostaccess.Position{Container: from.ID, Time: time.Unix(0, 0)}
	}
	if c.ended && same && (from.State == "exited" || from.State == "dead") {
		c.held = &from
		return nil
	}
	return c.begin(from)
}

func (c *containerLines) begin(from hostaccess.Container) error {
	return errors.Join(c.s.beginEvents(), c.s.retry(), c.s.event(eventContainer, "", from))
}

func (c *containerLines) Lines(lines []hostaccess.Line) error {
	if len(lines) == 0 {
		return nil
	}
	if held := c.held; held != nil {
		c.held = nil
		if err := c.begin(*held); err != nil {
			return err
		}
	}
	var b bytes.Buffer
	for _, l := range lines {
		c.last = l.Position
		data, err := json.Marshal(struct {
			Time   time.Time `json:"time"`
			Stream string    `json:"stream"`
			Text   string    `json:"text"`
		}{l.Time, l.Stream, l.Text})
		if err == nil {
			err = encode(&b, eventLine, l.Position.String(), string(data))
		}
		if err != nil {
			return err
		}
	}
	_, err := c.s.Write(b.Bytes())
	return err
}

func (a *API) download(ctx context.Context, in *struct {
	NamespacePath
	NamePath
}) (_ *huma.StreamResponse, err error) {
	rec := wants(ctx, "get", "backups/"+hostaccess.DownloadSubresource, in.Namespace, in.Name)
	// It is written down although it changes nothing, done or refused: it hands out
	// all secrets.
	defer func() {
		if err != nil {
			err = a.asProblem(ctx, err)
			p, _ := split(err)
			rec.reason = err.Error()
			a.auditRead(rec, p.Status)
		}
	}()
	if a.opts.Host == nil {
		return nil, errNoHost
	}
	err = a.require(ctx, right{verb: "get", resource: "backups", subresource: hostaccess.DownloadSubresource, namespace: in.Namespace, name: in.Name},
		"download backups", roleAdmin)
	if err != nil {
		return nil, err
	}
	var b v1alpha1.Backup
	if err := a.kube().Get(ctx, client.ObjectKey{Namespace: in.Namespace, Name: in.Name}, &b); err != nil {
		return nil, err
	}
	var app v1alpha1.Application
	if err := a.kube().Get(ctx, client.ObjectKey{Namespace: in.Namespace, Name: b.Spec.ApplicationRef.Name}, &app); err != nil {
		return nil, err
	}
	archive, err := a.opts.Host.OpenBackup(ctx, &app, &b)
	if err != nil {
		return nil, err
	}
	answer, err := a.streaming(ctx, func(_ context.Context, s *stream) (err error) {
		defer func() { err = errors.Join(err, archive.Close()) }()
		a.auditRead(rec, http.StatusOK)
		head := hostserver.ArchiveHeader(&b)
		if err := s.begin(head.Get("Content-Type"), head); err != nil {
			return err
		}
		_, err = archive.WriteTo(s)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, archive.Close())
	}
	return answer, nil
}

func (a *API) candidates(ctx context.Context, in *NamespacePath) (*candidatesOutput, error) {
	var hosts v1alpha1.DockerHostList
	if err := a.kube().List(ctx, &hosts); err != nil {
		return nil, err
	}
	taken, err := a.directories(ctx, in.Namespace)
	if err != nil {
		return nil, err
	}
	out := &candidatesOutput{candidateList{Items: []candidate{}}}
	for _, host := range hosts.Items {
		for _, p := range host.Status.Projects {
			out.Body.Items = append(out.Body.Items, candidate{
				Project: p.Name, Directory: p.Directory, Running: p.Running, Fit: p.Adoptable, Message: p.Message, Application: taken[filepath.Clean(p.Directory)],
			})
		}
	}
	return out, nil
}

// directories are those of Applications that the caller may see.
func (a *API) directories(ctx context.Context, namespace string) (map[string]string, error) {
	var apps v1alpha1.ApplicationList
	err := a.kube().List(ctx, &apps)
	if apierrors.IsForbidden(err) { // it may be allowed in the own namespace alone
		err = a.kube().List(ctx, &apps, client.InNamespace(namespace))
	}
	out := map[string]string{}
	for _, app := range apps.Items {
		out[filepath.Clean(app.Spec.Compose.Directory)] = app.Namespace + "/" + app.Name
	}
	return out, err
}

func (a *API) checkCandidate(ctx context.Context, in *candidateInput) (*candidateOutput, error) {
	wants(ctx, "create", "applications", in.Namespace, "")
	err := a.require(ctx, right{verb: "create", resource: "applications", namespace: in.Namespace}, "create Applications", roleAdmin)
	if err != nil {
		return nil, err
	}
	if a.opts.Host == nil {
		return nil, errNoHost
	}
	dir := strings.TrimSpace(in.Body.Directory)
	if !filepath.IsAbs(dir) {
		return nil, invalid("directory", "an absolute path, such as /opt/shop")
	}
	dir = filepath.Clean(dir)
	taken, err := a.directories(ctx, in.Namespace)
	if err != nil {
		return nil, err
	}
	why := a.opts.Host.Unfit(dir)
	return &candidateOutput{candidate{Directory: dir, Fit: why == "", Message: why, Application: taken[dir]}}, nil
}
