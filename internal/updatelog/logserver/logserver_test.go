// SPDX-License-Identifier: Apache-2.0

package logserver

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

const logID = "20260304_050607"

// world is an API with one application and one request, and the server of its log.
type world struct {
	client.WithWatch
	dir     string
	path    string
	url     string
	watched chan struct{} // gets a value when a watch was established
}

func newWorld(t *testing.T, change func(*v1alpha1.UpdateRequest)) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	w := &world{dir: t.TempDir(), watched: make(chan struct{}, 100)}
	w.path = updatelog.Path(w.dir, logID)
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "shop"}}
	app.Spec.Compose.Directory = w.dir + "/"
	ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "shop-1", UID: "u1"}}
	ur.Spec.ApplicationRef.Name = "shop"
	ur.Status = v1alpha1.UpdateRequestStatus{Phase: v1alpha1.PhaseBuilding, LogFile: w.path}
	if change != nil {
		change(ur)
	}
	w.WithWatch = fake.NewClientBuilder().WithScheme(scheme).WithObjects(app, ur).WithStatusSubresource(ur).
		WithInterceptorFuncs(interceptor.Funcs{
			Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
				wi, err := c.Watch(ctx, list, opts...)
				w.watched <- struct{}{}
				return wi, err
			},
		}).Build()
	handle := Handler(func() requestwatch.Reader { return w.WithWatch })
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{namespace}/{name}/log", func(rw http.ResponseWriter, r *http.Request) {
		handle(rw, r, r.PathValue("namespace"), r.PathValue("name"))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	w.url = server.URL + "/prod/shop-1/log"
	return w
}

// answer is a response whose body is closed with the test.
type answer struct {
	Status     string
	StatusCode int
	Header     http.Header
	Body       io.Reader
}

func (w *world) get(t *testing.T, query string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return answer{Status: response.Status, StatusCode: response.StatusCode, Header: response.Header, Body: response.Body}
}

func (w *world) setStatus(t *testing.T, phase v1alpha1.Phase, logFile string) {
	t.Helper()
	var ur v1alpha1.UpdateRequest
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: "prod", Name: "shop-1"}, &ur); err != nil {
		t.Fatal(err)
	}
	ur.Status.Phase, ur.Status.LogFile = phase, logFile
	if err := w.Status().Update(t.Context(), &ur); err != nil {
		t.Fatal(err)
	}
}

func (w *world) log(t *testing.T, lines ...string) *updatelog.Log {
	t.Helper()
	l, err := updatelog.Open(w.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	for _, line := range lines {
		l.Printf("Build", "%s", line)
	}
	return l
}

func messages(body string) string {
	var got []string
	for line := range strings.Lines(body) {
		got = append(got, updatelog.ParseLine(line).Message)
	}
	return strings.Join(got, ",")
}

func TestReads(t *testing.T) {
	w := newWorld(t, nil)
	w.log(t, "one", "two", "three")
	size := len("2026-03-04T05:06:07.089Z  [Build] one\n")
	for query, want := range map[string]string{
		"":                              "one,two,three",
		"?tailLines=2":                  "two,three",
		"?tailLines=0":                  "",
		"?offset=" + strconv.Itoa(size): "two,three",
		"?offset=" + strconv.Itoa(2*size) + "&tailLines=3": "three",
	} {
		response := w.get(t, query)
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK || messages(string(body)) != want {
			t.Errorf("%q: %s %q %v, want %q", query, response.Status, body, err, want)
		}
		if ct := response.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/plain") {
			t.Errorf("%q: content type %q", query, ct)
		}
	}
	if offset := w.get(t, "?tailLines=2").Header.Get(OffsetHeader); offset != strconv.Itoa(size) {
		t.Errorf("offset header %q, want %d", offset, size)
	}
}

func TestErrors(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "update_"+logID+".log")
	if err := os.WriteFile(outside, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		query  string
		change func(*v1alpha1.UpdateRequest)
		files  func(t *testing.T, w *world)
		code   int
		says   string
	}{
		"no log yet": {change: func(ur *v1alpha1.UpdateRequest) { ur.Status.LogFile = "" }, code: 404, says: "no log yet"},
		"log pruned": {code: 404, says: "removed after the retention time"},
		"ended and pruned, follow": {query: "?follow=true", code: 404, says: "removed after",
			change: func(ur *v1alpha1.UpdateRequest) { ur.Status.Phase = v1alpha1.PhaseFailed }},
		"bad tail":    {query: "?tailLines=-1", code: 400, says: "tailLines"},
		"bad offset":  {query: "?offset=x", code: 400, says: "offset"},
		"bad follow":  {query: "?follow=please", code: 400, says: "follow"},
		"offset high": {query: "?offset=99999", files: func(t *testing.T, w *world) { w.log(t, "one") }, code: 400, says: "beyond the end"},
		"elsewhere":   {change: func(ur *v1alpha1.UpdateRequest) { ur.Status.LogFile = outside }, code: 403, says: "plain file"},
		"dots": {change: func(ur *v1alpha1.UpdateRequest) { ur.Status.LogFile += "/../../../../etc/passwd" },
			code: 403, says: "plain file"},
		"link": {code: 403, says: "plain file", files: func(t *testing.T, w *world) {
			must(t, os.MkdirAll(filepath.Dir(w.path), 0o700))
			must(t, os.Symlink(outside, w.path))
		}},
		"link inside": {code: 403, says: "plain file", files: func(t *testing.T, w *world) {
			must(t, os.MkdirAll(filepath.Dir(w.path), 0o700))
			must(t, os.WriteFile(filepath.Join(w.dir, ".env"), []byte("PASSWORD=x\n"), 0o600))
			must(t, os.Symlink("../../.env", w.path))
		}},
		"linked directory": {code: 403, says: "plain file", files: func(t *testing.T, w *world) {
			must(t, os.MkdirAll(filepath.Join(w.dir, ".update"), 0o700))
			must(t, os.Symlink(filepath.Dir(outside), filepath.Dir(w.path)))
		}},
		"directory": {code: 403, says: "plain file", files: func(t *testing.T, w *world) { must(t, os.MkdirAll(w.path, 0o700)) }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tt.change)
			if tt.files != nil {
				tt.files(t, w)
			}
			response := w.get(t, tt.query)
			var status metav1.Status
			if err := json.NewDecoder(response.Body).Decode(&status); err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != tt.code || int(status.Code) != tt.code || status.Kind != "Status" || !strings.Contains(status.Message, tt.says) {
				t.Errorf("%s: %+v", response.Status, status)
			}
		})
	}
	w := newWorld(t, nil)
	w.url = strings.Replace(w.url, "shop-1", "none", 1)
	if response := w.get(t, ""); response.StatusCode != http.StatusNotFound {
		t.Errorf("unknown request: %s", response.Status)
	}
}

func TestStartingServer(t *testing.T) {
	recorder := httptest.NewRecorder()
	Handler(func() requestwatch.Reader { return nil })(recorder, httptest.NewRequest(http.MethodGet, "/", nil), "prod", "shop-1")
	if recorder.Code != http.StatusServiceUnavailable {
		t.Errorf("%d", recorder.Code)
	}
}

func TestFollowsFromPendingToTheEnd(t *testing.T) {
	w := newWorld(t, func(ur *v1alpha1.UpdateRequest) {
		ur.Status = v1alpha1.UpdateRequestStatus{Phase: v1alpha1.PhasePending}
	})
	response := w.get(t, "?follow=true&tailLines=1")
	if response.StatusCode != http.StatusOK || response.Header.Get(OffsetHeader) != "0" {
		t.Fatalf("%s, offset %q", response.Status, response.Header.Get(OffsetHeader))
	}
	<-w.watched
	w.setStatus(t, v1alpha1.PhasePreflight, w.path) // the path is known before the file is there
	l := w.log(t, "one")
	lines := bufio.NewScanner(response.Body)
	for _, want := range []string{"one", "two", "three"} {
		if want != "one" {
			l.Printf("Build", "%s", want)
		}
		if !lines.Scan() || updatelog.ParseLine(lines.Text()).Message != want {
			t.Fatalf("got %q (%v), want %q", lines.Text(), lines.Err(), want)
		}
	}
	if err := l.Summary(updatelog.Summary{Result: "Succeeded"}); err != nil {
		t.Fatal(err)
	}
	last := ""
	for lines.Scan() {
		last = lines.Text()
	}
	if lines.Err() != nil || !updatelog.ParseLine(last).IsEnd() {
		t.Errorf("last line %q, %v", last, lines.Err())
	}
}

// The controller writes the summary after the final status and lets go of the
// object after that.
func TestFollowWaitsForTheSummary(t *testing.T) {
	w := newWorld(t, func(ur *v1alpha1.UpdateRequest) { ur.Finalizers = []string{"fairlead.dev/update-request"} })
	l := w.log(t, "one")
	response := w.get(t, "?follow=1")
	<-w.watched
	w.setStatus(t, v1alpha1.PhaseSucceeded, w.path)
	lines := bufio.NewScanner(response.Body)
	if !lines.Scan() {
		t.Fatal(lines.Err())
	}
	late := w.get(t, "?follow=1") // one that comes after the final status
	if err := l.Summary(updatelog.Summary{Result: "Succeeded"}); err != nil {
		t.Fatal(err)
	}
	for _, body := range []io.Reader{response.Body, late.Body} {
		rest, err := io.ReadAll(body)
		if err != nil || !strings.HasSuffix(string(rest), "[End] log complete\n") {
			t.Errorf("%q, %v", rest, err)
		}
	}
}

func TestFollowEndsWithTheRequest(t *testing.T) {
	tests := map[string]func(t *testing.T, w *world){
		"ended": func(t *testing.T, w *world) { w.setStatus(t, v1alpha1.PhaseFailed, w.path) },
		"deleted": func(t *testing.T, w *world) {
			must(t, w.Delete(t.Context(), &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "shop-1"}}))
		},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.log(t, "one", "no marker will come")
			response := w.get(t, "?follow=1")
			<-w.watched
			end(t, w)
			body, err := io.ReadAll(response.Body)
			if err != nil || messages(string(body)) != "one,no marker will come" {
				t.Errorf("%q, %v", body, err)
			}
		})
	}
	t.Run("ended without a log", func(t *testing.T) {
		w := newWorld(t, func(ur *v1alpha1.UpdateRequest) { ur.Status = v1alpha1.UpdateRequestStatus{} })
		response := w.get(t, "?follow=1")
		<-w.watched
		w.setStatus(t, v1alpha1.PhaseFailed, "")
		body, err := io.ReadAll(response.Body)
		if err != nil || len(body) != 0 {
			t.Errorf("%q, %v", body, err)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
