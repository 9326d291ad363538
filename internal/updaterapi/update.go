// SPDX-License-Identifier: Apache-2.0

package updaterapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// trigger is the word of AnnotationTrigger for what is asked for here.
const trigger = "updater"

// agentProfile is what forceAgent activates.
const agentProfile = "agent"

// PortFields are the fields of the body that set a variable of the Compose files, and
// so the variables that the Application has to leave to requests.
var PortFields = []string{"PROJECT_PORT", "NODE_PORT", "BACKEND_PORT", "DB_PORT"}

// job is how the API tells of a job that was started.
type job struct {
	ID      string `json:"id"`
	Logfile string `json:"logfile"`
}

type started struct {
	Started bool `json:"started"`
	Job     job  `json:"job"`
}

type invalidPort struct {
	Error   string `json:"error"`
	Field   string `json:"field"`
	Message string `json:"message"`
}

func (a *api) update(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, body any, reason string) {
		send(w, status, body)
		a.audited(r, "", status, reason)
	}
	const payloadTooLarge = "payload_too_large"
	if r.ContentLength > a.MaxBody {
		refuse(http.StatusRequestEntityTooLarge, failed{Error: payloadTooLarge}, payloadTooLarge)
		return
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, a.MaxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		refuse(http.StatusRequestEntityTooLarge, failed{Error: payloadTooLarge}, payloadTooLarge)
		return
	case err != nil:
		refuse(http.StatusBadRequest, failed{Error: "invalid_body"}, "invalid_body")
		return
	}
	body := parseBody(data)
	// Somebody asks, so a commit that failed before is tried again, as it was.
	spec := v1alpha1.UpdateRequestSpec{ApplicationRef: v1alpha1.LocalReference{Name: a.Application()}, Retry: true}
	if truthy(body["forceAgent"]) {
		spec.Profiles = []string{agentProfile}
	}
	for _, name := range PortFields {
		if !truthy(body[name]) {
			continue
		}
		port, ok := portOf(body[name])
		if !ok {
			bad := invalidPort{Error: "invalid_port", Field: name, Message: name + " must be a port from 1 to 65535"}
			refuse(http.StatusBadRequest, bad, bad.Message)
			return
		}
		if spec.Variables == nil {
			spec.Variables = map[string]string{}
		}
		spec.Variables[name] = port
	}
	prefer := strings.Join(r.Header.Values("Prefer"), ", ")
	background := strings.Contains(prefer, "respond-async") || truthy(body["async"])
	c := a.client(w)
	if c == nil {
		return
	}
	if !background {
		select {
		case a.streams <- struct{}{}:
			defer func() { <-a.streams }()
		default:
			w.Header().Set("Retry-After", "10")
			refuse(http.StatusServiceUnavailable, failed{Error: tooManyStreams}, tooManyStreams)
			return
		}
	}
	ur, err := a.create(r.Context(), c, spec)
	if err != nil {
		a.Log.Error(err, "the update was not started")
		refuse(http.StatusInternalServerError, failed{Error: "the update was not started: " + err.Error()}, err.Error())
		return
	}
	j := job{ID: ur.Labels[v1alpha1.LabelJob]}
	j.Logfile = a.jobFile(j.ID)
	status := http.StatusOK
	if background {
		status = http.StatusAccepted
	}
	a.audited(r, ur.Name, status, "")
	if background {
		send(w, status, started{Started: true, Job: j})
		return
	}
	plainText(w)
	w.WriteHeader(status)
	out := &flusher{w: w, timeout: a.WriteTimeout}
	defer out.end()
	fmt.Fprintf(out, "# Update job %s started...\n# Logs: %s\n# This endpoint is designed for async usage; logs are written to file.\n", j.ID, j.Logfile)
	// The update is the request's, not this connection's: a client that goes away
	// ends nothing but its own reading.
	if err := a.follow(r.Context(), c, ur, out); err != nil && r.Context().Err() == nil {
		a.Log.Error(err, "the log of a job could not be shown to its end", "request", ur.Name)
		panic(http.ErrAbortHandler) // so that the client knows that the text is not whole
	}
}

// create makes the UpdateRequest of a new job. Two jobs never have the same ID.
func (a *api) create(ctx context.Context, c Client, spec v1alpha1.UpdateRequestSpec) (*v1alpha1.UpdateRequest, error) {
	// Once it is asked for it is done, whoever listens to the answer.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	for ms := a.Now().UnixMilli(); ; ms++ {
		id := strconv.FormatInt(ms, 10)
		if a.newest.taken(ms, a.LogDir) {
			continue
		}
		ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{
			Namespace: a.Namespace, Name: requestName(id),
			Labels:      map[string]string{v1alpha1.LabelJob: id},
			Annotations: map[string]string{v1alpha1.AnnotationTrigger: trigger},
		}, Spec: spec}
		err := c.Create(ctx, ur)
		if !apierrors.IsAlreadyExists(err) {
			return ur, err
		}
	}
}

// newestJob is the newest job that there was: no later one can have a file. To look for
// the file of each new job may take long, as the directory is busy where a disk is.
type newestJob struct {
	mu     sync.Mutex
	looked bool
	ms     int64
}

// taken reports whether dir has a file of the job already: one of the former updater, or of
// a job whose request was removed. It looks only where the clock went back; a job that is
// not taken is the newest from then on.
func (n *newestJob) taken(ms int64, dir string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.looked {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			n.ms = math.MaxInt64
		}
		for _, e := range entries {
			if id, ok := strings.CutSuffix(e.Name(), ".log"); ok && idPattern.MatchString(id) {
				if made, err := strconv.ParseInt(id, 10, 64); err == nil {
					n.ms = max(n.ms, made)
				}
			}
		}
		n.looked = true
	}
	if ms > n.ms {
		n.ms = ms
		return false
	}
	_, err := os.Lstat(filepath.Join(dir, strconv.FormatInt(ms, 10)+".log"))
	return err == nil
}

func requestName(id string) string { return "update-" + id }

func (a *api) jobFile(id string) string { return filepath.Join(a.LogDir, id+".log") }

// parseBody reads the fields of a JSON object; anything else has none.
func parseBody(data []byte) map[string]any {
	var body map[string]any
	if json.Unmarshal(data, &body) != nil {
		return nil
	}
	return body
}

// truthy is JavaScript's idea of truth, by which the updater read its body.
func truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		return v != ""
	}
	return true
}

// portOf takes a number or a text.
func portOf(v any) (string, bool) {
	var n int64
	switch v := v.(type) {
	case float64:
		if v != math.Trunc(v) || v > 65535 {
			return "", false
		}
		n = int64(v)
	case string:
		var err error
		if n, err = strconv.ParseInt(strings.TrimSpace(v), 10, 32); err != nil {
			return "", false
		}
	}
	return strconv.FormatInt(n, 10), n >= 1 && n <= 65535
}
