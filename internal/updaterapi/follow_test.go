// SPDX-License-Identifier: Apache-2.0

package updaterapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// stream is a synchronous answer being read.
type stream struct {
	*bufio.Reader
	t    *testing.T
	resp *http.Response
}

func (b *bench) stream() *stream {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url+"/update", strings.NewReader("{}"))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set(tokenHeader, token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != textKind {
		b.t.Fatalf("%s %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	select {
	case <-b.watching:
	case <-b.t.Context().Done():
		b.t.Fatal("the request is not watched")
	}
	return &stream{Reader: bufio.NewReader(resp.Body), t: b.t, resp: resp}
}

// reads expects these lines next.
func (s *stream) reads(lines ...string) {
	s.t.Helper()
	for _, want := range lines {
		got, err := s.ReadString('\n')
		if err != nil || !strings.HasSuffix(got, want+"\n") {
			s.t.Fatalf("read %q (%v), want %q", got, err, want)
		}
	}
}

func (s *stream) ends() {
	s.t.Helper()
	if rest, err := s.ReadString('\n'); rest != "" || err == nil || err.Error() != "EOF" {
		s.t.Errorf("after the end: %q, %v", rest, err)
	}
}

func TestSynchronousAnswerShowsTheLogToItsEnd(t *testing.T) {
	b := newBench(t)
	s := b.stream()
	id := "1764000000000"
	s.reads("# Update job "+id+" started...", "# Logs: "+filepath.Join(b.logs, id+".log"),
		"# This endpoint is designed for async usage; logs are written to file.")
	b.status(id, func(st *v1alpha1.UpdateRequestStatus) { st.Message = "waits for the request other to end" })
	s.reads("# queued: waits for the request other to end")
	path := updatelog.Path(b.dir, "20251124_150000")
	b.status(id, func(st *v1alpha1.UpdateRequestStatus) { st.LogFile, st.Phase = path, v1alpha1.PhasePreflight })
	l, err := updatelog.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two"} { // each line comes when it is written
		l.Printf("Build", "%s", text)
		s.reads("[Build] " + text)
	}
	if err := l.Summary(updatelog.Summary{Result: "Failed"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b.status(id, func(st *v1alpha1.UpdateRequestStatus) { st.Phase = v1alpha1.PhaseFailed })
	for {
		line, err := s.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(line, "log complete\n") {
			break
		}
	}
	s.reads("", "---", "Update finished with code 1")
	s.ends()
}

func TestSynchronousAnswerOfASupersededJob(t *testing.T) {
	b := newBench(t)
	s := b.stream()
	s.reads("started...", ".log", "to file.")
	b.status("1764000000000", func(st *v1alpha1.UpdateRequestStatus) {
		st.Phase, st.Message = v1alpha1.PhaseCancelled, "superseded by update-2"
	})
	for line := ""; !strings.HasPrefix(line, "# superseded by update-2"); {
		var err error
		if line, err = s.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	s.reads("", "---", "Update finished with code 4")
	s.ends()
}

func TestAClientThatGoesAwayEndsNothing(t *testing.T) {
	b := newBench(t)
	s := b.stream()
	s.reads("started...")
	s.resp.Body.Close()
	if ur := b.request("1764000000000"); ur.DeletionTimestamp != nil || ur.Spec.Cancel {
		t.Errorf("the request is %+v", ur)
	}
}

func TestADeletedRequestBreaksTheAnswerOff(t *testing.T) {
	b := newBench(t)
	s := b.stream()
	s.reads("started...", ".log", "to file.")
	if err := b.objs.Delete(t.Context(), b.request("1764000000000")); err != nil {
		t.Fatal(err)
	}
	var err error
	for err == nil {
		_, err = s.ReadString('\n')
	}
	if err.Error() == "EOF" {
		t.Error("the answer looks whole")
	}
}

// A client that takes nothing does not hold the daemon.
func TestSlowClientIsCutOff(t *testing.T) {
	ended := make(chan error, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		out := &flusher{w: w, timeout: 100 * time.Millisecond}
		defer out.end()
		for {
			if _, err := out.Write(make([]byte, 1<<20)); err != nil {
				ended <- err
				return
			}
		}
	}))
	defer s.Close()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it is cut off with %v", err)
	}
}

func TestTooManyWatch(t *testing.T) {
	b := newBench(t)
	for range maxStreams {
		b.api.streams <- struct{}{}
	}
	a := b.call(http.MethodPost, "/update", "{}", tokenHeader, token)
	if a.code != http.StatusServiceUnavailable || a.body != `{"error":"too_many_streams"}` || a.head.Get("Retry-After") == "" {
		t.Errorf("one more: %d %s %v", a.code, a.body, a.head)
	}
	var list v1alpha1.UpdateRequestList
	if err := b.objs.List(t.Context(), &list); err != nil || len(list.Items) != 0 {
		t.Errorf("what was refused was started: %d, %v", len(list.Items), err)
	}
	if a := b.call(http.MethodPost, "/update", `{"async":true}`, tokenHeader, token); a.code != http.StatusAccepted {
		t.Errorf("in the background: %d %s", a.code, a.body)
	}
	<-b.api.streams
	b.stream().reads("started...")
}

func TestKeeper(t *testing.T) {
	dir := t.TempDir()
	k := &Keeper{Namespace: "default", Directory: dir, LogDir: updatelog.Dir(dir)}
	if err := os.MkdirAll(k.LogDir, 0o700); err != nil {
		t.Fatal(err)
	}
	const id = "1764000000000"
	file, log := filepath.Join(k.LogDir, id+".log"), updatelog.Path(dir, "20251124_150000")
	ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Name: "update-" + id, Namespace: "default",
		Labels: map[string]string{v1alpha1.LabelJob: id}, CreationTimestamp: metav1.NewTime(time.Unix(1764000000, 0))}}
	keep := func() {
		t.Helper()
		if err := k.keep(ur); err != nil {
			t.Fatal(err)
		}
	}
	content := func() string {
		t.Helper()
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keep()
	if got := content(); !strings.HasPrefix(got, "# Update job "+id) {
		t.Errorf("at the beginning: %q", got)
	}
	keep() // nothing to do any more
	write(log, "the log\n")
	ur.Status.LogFile, ur.Status.Phase = log, v1alpha1.PhasePreflight
	for range 2 {
		keep()
		if target, err := os.Readlink(file); err != nil || target != filepath.Base(log) || content() != "the log\n" {
			t.Errorf("the link says %q, %v", target, err)
		}
	}
	// The log is removed after the retention time, and the link with it.
	ur.Status.Phase = v1alpha1.PhaseSucceeded
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	keep()
	if _, err := os.Lstat(file); !os.IsNotExist(err) {
		t.Errorf("the link is still there: %v", err)
	}
	keep() // and is not made again
	if _, err := os.Lstat(file); !os.IsNotExist(err) {
		t.Errorf("the link is there again: %v", err)
	}
	// One that ends without a log says so, and goes with its request. That is added to
	// what is there: a file that is made anew waits for the disk.
	ur.Status = v1alpha1.UpdateRequestStatus{}
	keep()
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	ur.Status = v1alpha1.UpdateRequestStatus{Phase: v1alpha1.PhaseCancelled, Message: "superseded by update-2"}
	keep()
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was made anew: %v", err)
	}
	if got := content(); !strings.HasSuffix(got, "# superseded by update-2\n\n---\nUpdate finished with code 4\n") {
		t.Errorf("without a log: %q", got)
	}
	// Neither is brought to disk at once: after a loss of power it is written again.
	said := content()
	write(file, "")
	keep()
	if got := content(); got != said {
		t.Errorf("after a loss of power: %q", got)
	}
	if entries, err := os.ReadDir(k.LogDir); err != nil || len(entries) != 1 {
		t.Errorf("%v %v", entries, err)
	}
	k.forget(ur)
	if _, err := os.Lstat(file); !os.IsNotExist(err) {
		t.Errorf("it stays: %v", err)
	}
	write(file, "")
	write(log, "the log\n")
	ur.Status = v1alpha1.UpdateRequestStatus{LogFile: log, Phase: v1alpha1.PhasePreflight}
	keep()
	if content() != "the log\n" {
		t.Errorf("after a loss of power, with a log: %q", content())
	}
	if err := errors.Join(os.Remove(file), os.Remove(log)); err != nil {
		t.Fatal(err)
	}
	// A log of the former updater is nobody's but its own.
	write(file, "old\n")
	ur.Status.LogFile = log
	keep()
	k.forget(ur)
	if content() != "old\n" {
		t.Error("an old log was changed")
	}
}

// memory stands for what the daemon knows of requests.
type memory struct {
	Cache
	requests []v1alpha1.UpdateRequest
}

func (m memory) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha1.UpdateRequestList).Items = m.requests
	return nil
}

// Who polls a job whose request is gone hears of an end.
func TestJobsWhoseRequestIsGoneEnd(t *testing.T) {
	dir := t.TempDir()
	k := &Keeper{Namespace: "default", Directory: dir, LogDir: filepath.Join(dir, "logs")}
	began := time.Now()
	end := func() {
		t.Helper()
		if err := k.endLost(t.Context(), began.Add(-time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	known := v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelJob: "1764000000001"}}}
	k.Cache = memory{requests: []v1alpha1.UpdateRequest{known}}
	end() // without a directory there is nothing to do
	if err := os.Mkdir(k.LogDir, 0o700); err != nil {
		t.Fatal(err)
	}
	const waits = "# Update job 1 started...\n# queued: not looked at yet\n"
	const over = waits + "# the request of this job is gone\n\n---\nUpdate finished with code 4\n"
	files := map[string]struct {
		text, want string
		age        time.Duration
	}{
		"1764000000000.log": {waits, over, time.Hour},
		"1764000000001.log": {waits, waits, time.Hour}, // its request is there
		"1764000000002.log": {waits, waits, time.Second},
		"1764000000003.log": {"a log of the former updater\n", "a log of the former updater\n", time.Hour},
		"1764000000004.log": {over, over, time.Hour},
		"update_x.log":      {waits, waits, time.Hour},
	}
	for name, f := range files {
		path := filepath.Join(k.LogDir, name)
		if err := errors.Join(os.WriteFile(path, []byte(f.text), 0o600), os.Chtimes(path, began, began.Add(-f.age))); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		end()
		for name, f := range files {
			if got, err := os.ReadFile(filepath.Join(k.LogDir, name)); err != nil || string(got) != f.want {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
	}
}
