// SPDX-License-Identifier: Apache-2.0

package updaterapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
	"github.com/fairlead-dev/fairlead/internal/updatelog/logserver"
)

const (
	defaultTail = 500
	maxTail     = 5000
)

type listed struct {
	ID        string  `json:"id"`
	SizeBytes int64   `json:"sizeBytes"`
	UpdatedAt *string `json:"updatedAt"`
}

type listing struct {
	Success bool     `json:"success"`
	Jobs    []listed `json:"jobs"`
}

// list answers with all jobs: those of UpdateRequests, and those whose log lies in
// the directory.
func (a *api) list(w http.ResponseWriter, r *http.Request) {
	c := a.client(w)
	if c == nil {
		return
	}
	var requests v1alpha1.UpdateRequestList
	if err := c.List(r.Context(), &requests, client.InNamespace(a.Namespace), client.HasLabels{v1alpha1.LabelJob}); err != nil {
		send(w, http.StatusInternalServerError, unsuccessful(err.Error()))
		return
	}
	jobs := map[string]listed{}
	for i := range requests.Items {
		ur := &requests.Items[i]
		if id := ur.Labels[v1alpha1.LabelJob]; idPattern.MatchString(id) {
			jobs[id] = listed{ID: id, UpdatedAt: timestamp(changed(ur))}
		}
	}
	entries, err := os.ReadDir(a.LogDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		send(w, http.StatusInternalServerError, unsuccessful(err.Error()))
		return
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".log")
		if !ok || !idPattern.MatchString(id) {
			continue
		}
		info, err := os.Stat(filepath.Join(a.LogDir, e.Name()))
		if err == nil && info.Mode().IsRegular() {
			jobs[id] = listed{ID: id, SizeBytes: info.Size(), UpdatedAt: timestamp(info.ModTime())}
		}
	}
	out := listing{Success: true, Jobs: make([]listed, 0, len(jobs))}
	for _, j := range jobs {
		out.Jobs = append(out.Jobs, j)
	}
	slices.SortFunc(out.Jobs, func(x, y listed) int {
		if len(x.ID) != len(y.ID) {
			return len(x.ID) - len(y.ID)
		}
		return strings.Compare(x.ID, y.ID)
	})
	send(w, http.StatusOK, out)
}

func changed(ur *v1alpha1.UpdateRequest) time.Time {
	switch {
	case ur.Status.FinishedAt != nil:
		return ur.Status.FinishedAt.Time
	case ur.Status.StartedAt != nil:
		return ur.Status.StartedAt.Time
	}
	return ur.CreationTimestamp.Time
}

// timestamp is the time as JavaScript's toISOString writes it.
func timestamp(t time.Time) *string {
	text := t.UTC().Format("2006-01-02T15:04:05.000Z")
	return &text
}

// show answers with the log of one job.
func (a *api) show(w http.ResponseWriter, r *http.Request, id string) {
	if !idPattern.MatchString(id) {
		send(w, http.StatusBadRequest, unsuccessful("invalid_job_id"))
		return
	}
	c := a.client(w)
	if c == nil {
		return
	}
	text, err := a.open(r.Context(), c, id)
	if errors.Is(err, fs.ErrNotExist) {
		send(w, http.StatusNotFound, unsuccessful("log not found"))
		return
	}
	if err != nil {
		a.Log.Error(err, "the log of a job cannot be read", "job", id)
		send(w, http.StatusInternalServerError, unsuccessful(err.Error()))
		return
	}
	defer text.close()
	tail := tailOf(r.URL.Query().Get("tail"))
	plainText(w)
	// The connection is lost if this fails: the status line is gone already.
	_ = text.write(w, tail)
}

// tailOf reads the parameter as JavaScript's Number does: what is no number means
// the default.
func tailOf(raw string) int {
	if raw == "" {
		return defaultTail
	}
	text := strings.TrimSpace(raw)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		whole, err := strconv.ParseInt(text, 0, 64)
		if err != nil {
			return defaultTail
		}
		n = float64(whole)
	}
	if n != n || n > 1e300 || n < -1e300 {
		return defaultTail
	}
	return int(min(max(n, 0), maxTail))
}

// text is the log of a job: a file, and what is added at its end.
type text struct {
	file   *os.File // may be nil
	ending string
}

func (t *text) close() {
	if t.file != nil {
		_ = t.file.Close() // it was only read
	}
}

// write writes the last lines; all for 0. As the updater did, it counts what
// follows the last line end as a line, even if that is nothing.
func (t *text) write(w io.Writer, lines int) error {
	ending := []byte(t.ending)
	if lines > 0 {
		more := bytes.Count(ending, []byte("\n"))
		if lines <= more {
			cut := len(ending)
			for range lines {
				cut = bytes.LastIndexByte(ending[:cut], '\n')
			}
			_, err := w.Write(ending[cut+1:])
			return err
		}
		lines -= more
	}
	if t.file != nil {
		if err := writeTail(w, t.file, lines); err != nil {
			return err
		}
	}
	_, err := w.Write(ending)
	return err
}

// writeTail writes the last lines of f with plain line ends; all for 0.
func writeTail(w io.Writer, f *os.File, lines int) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var offset int64
	if lines > 0 {
		// A whole last line is followed by an empty one.
		last := make([]byte, 1)
		if size := info.Size(); size > 0 {
			if _, err := f.ReadAt(last, size-1); err != nil {
				return err
			}
		}
		if last[0] == '\n' {
			lines--
		}
		if offset, err = updatelog.TailOffset(f, lines); err != nil {
			return err
		}
	}
	// A log that grows meanwhile is cut at what the lines were counted for.
	ends := &lineEnds{w: w}
	if _, err := io.Copy(ends, io.NewSectionReader(f, offset, info.Size()-offset)); err != nil {
		return err
	}
	return ends.flush()
}

// lineEnds turns CR LF into LF.
type lineEnds struct {
	w    io.Writer
	held bool // a CR is not written yet
}

func (l *lineEnds) Write(p []byte) (int, error) {
	data := p
	if l.held {
		data = append([]byte{'\r'}, p...)
	}
	if l.held = bytes.HasSuffix(data, []byte{'\r'}); l.held {
		data = data[:len(data)-1]
	}
	if _, err := l.w.Write(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// flush writes a CR at the very end, which ends no line.
func (l *lineEnds) flush() error {
	if !l.held {
		return nil
	}
	l.held = false
	_, err := l.w.Write([]byte{'\r'})
	return err
}

// open finds the log of a job. It is fs.ErrNotExist when there is neither a
// request nor a file.
func (a *api) open(ctx context.Context, c Client, id string) (*text, error) {
	ur, err := a.find(ctx, c, id)
	if err != nil {
		return nil, err
	}
	if ur == nil {
		return a.openFile(id)
	}
	t := &text{}
	if ur.Status.LogFile != "" {
		t.file, err = logserver.OpenFile(a.Directory, ur.Status.LogFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if t.file == nil {
		t.ending = a.opening(ur)
	}
	if requestwatch.Ended(ur) && (t.file == nil || requestwatch.Concluded(ur)) {
		t.ending += closing(ur)
	}
	return t, nil
}

// find returns the request of a job, nil if there is none.
func (a *api) find(ctx context.Context, c Client, id string) (*v1alpha1.UpdateRequest, error) {
	var ur v1alpha1.UpdateRequest
	err := c.Get(ctx, client.ObjectKey{Namespace: a.Namespace, Name: requestName(id)}, &ur)
	switch {
	case apierrors.IsNotFound(err) || err == nil && ur.Labels[v1alpha1.LabelJob] != id:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &ur, nil
}

// openFile opens the log of a job that has no request any more, or never had one.
func (a *api) openFile(id string) (*text, error) {
	path := a.jobFile(id)
	if target, err := os.Readlink(path); err == nil {
		f, err := logserver.OpenFile(a.Directory, filepath.Join(updatelog.Dir(a.Directory), filepath.Base(target)))
		if err != nil {
			return nil, err
		}
		t := &text{file: f}
		if code, ok := resultOf(f); ok {
			t.ending = finished(code)
		}
		return t, nil
	}
	f, err := openPlain(path)
	if err != nil {
		return nil, err
	}
	return &text{file: f}, nil
}

// resultOf reads from the end of a log how its request ended.
func resultOf(f *os.File) (code int, ok bool) {
	offset, err := updatelog.TailOffset(f, 12)
	if err != nil {
		return 0, false
	}
	info, err := f.Stat()
	if err != nil {
		return 0, false
	}
	data, err := io.ReadAll(io.NewSectionReader(f, offset, info.Size()-offset))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(data)) {
		l := updatelog.ParseLine(line)
		if result, found := strings.CutPrefix(l.Message, "Result:"); found && l.IsSummary() {
			code, ok = codeOf(v1alpha1.Phase(strings.TrimSpace(result))), true
		}
	}
	return code, ok
}

// head begins the text of a job whose request has no log yet.
func (a *api) head(ur *v1alpha1.UpdateRequest) string {
	return fmt.Sprintf("# Update job %s started...\n# Logs: %s\n", ur.Labels[v1alpha1.LabelJob], a.jobFile(ur.Labels[v1alpha1.LabelJob]))
}

// opening is the text of a job whose request has no log yet.
func (a *api) opening(ur *v1alpha1.UpdateRequest) string {
	text := a.head(ur)
	if requestwatch.Ended(ur) {
		return text + oneLine("# ", ur.Status.Message)
	}
	return text + waiting(ur)
}

// waiting says what a request that has no log waits for.
func waiting(ur *v1alpha1.UpdateRequest) string {
	return oneLine("# queued: ", ur.Status.Message)
}

func oneLine(prefix, message string) string {
	if message == "" {
		message = "not looked at yet"
	}
	return prefix + updatelog.Clean(strings.ReplaceAll(message, "\n", " "), false) + "\n"
}

// closing is the updater's own last line.
func closing(ur *v1alpha1.UpdateRequest) string { return finished(codeOf(ur.Status.Phase)) }

// finishedStart begins the updater's own last line.
const finishedStart = "\n---\nUpdate finished with code "

func finished(code int) string { return fmt.Sprintf("%s%d\n", finishedStart, code) }

// codeOf is the exit code that `fairlead update` has for the same end; 0 is
// success alone.
func codeOf(p v1alpha1.Phase) int {
	switch p {
	case v1alpha1.PhaseSucceeded:
		return 0
	case v1alpha1.PhaseRolledBack:
		return 3
	case v1alpha1.PhaseCancelled:
		return 4
	}
	return 1
}

func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
