// SPDX-License-Identifier: Apache-2.0

package hostserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/hostaccess"
)

// fakeHost stands for the engine and its disk, which package engine is tested with.
type fakeHost struct {
	asked hostaccess.LogQuery
	of    string
	// fails is what ContainerLog returns in the end, early before its first line.
	fails error
	early bool
	// archive is what a backup has; broken breaks off after it.
	archive string
	broken  bool
	missing error
}

var begin = time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)

func (h *fakeHost) ContainerLog(_ context.Context, app *v1alpha1.Application, q hostaccess.LogQuery, to hostaccess.LogReceiver) error {
	h.of, h.asked = app.Namespace+"/"+app.Name, q
	if h.early {
		return h.fails
	}
	if err := to.Begin(hostaccess.Container{Name: "web-1"}); err != nil {
		return err
	}
	if err := to.Lines([]hostaccess.Line{{Position: hostaccess.Position{Time: begin}, Text: "one"}, {Position: hostaccess.Position{Time: begin}, Text: "<two>"}}); err != nil {
		return err
	}
	return h.fails
}

func (h *fakeHost) OpenBackup(_ context.Context, app *v1alpha1.Application, b *v1alpha1.Backup) (hostaccess.Archive, error) {
	h.of = app.Name + " " + b.Name
	if h.missing != nil {
		return nil, h.missing
	}
	return &fakeArchive{h}, nil
}

func (h *fakeHost) Unfit(string) string { return "" }

type fakeArchive struct{ *fakeHost }

func (a *fakeArchive) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, a.archive)
	if a.broken {
		err = errors.New("the disk cannot be read")
	}
	return int64(n), err
}

func (a *fakeArchive) Close() error { return nil }

// serve serves both subresources of every object, by the path /log/NAME or
// /download/NAME.
func serve(t *testing.T, host *fakeHost) string {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	b := &v1alpha1.Backup{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "shop-1"}}
	b.Spec.ApplicationRef.Name = "shop"
	orphan := b.DeepCopy()
	orphan.Name, orphan.Spec.ApplicationRef.Name = "orphan", "gone"
	reader := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "shop"}}, b, orphan).Build()
	s := &Server{Host: host, Reader: func() client.Reader { return reader }}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /log/{name}", func(w http.ResponseWriter, r *http.Request) { s.Log(w, r, "prod", r.PathValue("name")) })
	mux.HandleFunc("GET /download/{name}", func(w http.ResponseWriter, r *http.Request) { s.Download(w, r, "prod", r.PathValue("name")) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// get returns the answer, and the error with which it ended.
func get(t *testing.T, url string) (*http.Response, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer, string(body), err
}

func refusal(t *testing.T, url string, code int, says string) {
	t.Helper()
	answer, body, err := get(t, url)
	var status metav1.Status
	if err != nil || json.Unmarshal([]byte(body), &status) != nil {
		t.Fatalf("%s: %q, %v", url, body, err)
	}
	if answer.StatusCode != code || status.Code != int32(code) || status.Kind != "Status" || !strings.Contains(status.Message, says) {
		t.Errorf("%s: %d %+v, want %d with %q", url, answer.StatusCode, status, code, says)
	}
}

func TestLog(t *testing.T) {
	host := &fakeHost{}
	url := serve(t, host)
	answer, body, err := get(t, url+"/log/shop?service=web")
	if err != nil {
		t.Fatal(err)
	}
	if body != "one\n<two>\n" || answer.Header.Get("Content-Type") != "text/plain; charset=utf-8" || answer.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%q, %v", body, answer.Header)
	}
	if host.of != "prod/shop" || host.asked != (hostaccess.LogQuery{Service: "web", Tail: -1}) {
		t.Errorf("asked for %+v of %s", host.asked, host.of)
	}
	_, body, err = get(t, url+"/log/shop?container=web-1&tailLines=3&follow=true&timestamps=true")
	if err != nil || body != "2026-03-04T05:06:07.000000008Z one\n2026-03-04T05:06:07.000000008Z <two>\n" {
		t.Errorf("%q, %v", body, err)
	}
	if host.asked != (hostaccess.LogQuery{Container: "web-1", Tail: 3, Follow: true}) {
		t.Errorf("asked for %+v", host.asked)
	}
	for query, says := range map[string]string{
		"": "name a service or a container", "service=web&follow=perhaps": "true or false", "service=web&timestamps=2": "true or false",
		"service=web&tailLines=-1": "0 or more", "service=web&tailLines=all": "a number of lines",
	} {
		refusal(t, url+"/log/shop?"+query, http.StatusBadRequest, says)
	}
	refusal(t, url+"/log/none?service=web", http.StatusNotFound, "none")
}

func TestLogFails(t *testing.T) {
	refusal(t, serve(t, &fakeHost{early: true, fails: fmt.Errorf("%w: no container of web", hostaccess.ErrNotFound)})+"/log/shop?service=web", http.StatusNotFound, "no container of web")
	refusal(t, serve(t, &fakeHost{early: true, fails: errors.New("the engine is away")})+"/log/shop?service=web", http.StatusInternalServerError, "the engine is away")
	// What has begun cannot be told to have failed: the connection breaks.
	if _, body, err := get(t, serve(t, &fakeHost{fails: errors.New("the engine went away")})+"/log/shop?service=web"); err == nil {
		t.Errorf("the answer %q looks whole", body)
	}
}

func TestDownload(t *testing.T) {
	host := &fakeHost{archive: "tar"}
	answer, body, err := get(t, serve(t, host)+"/download/shop-1")
	if err != nil {
		t.Fatal(err)
	}
	if body != "tar" || host.of != "shop shop-1" {
		t.Errorf("%q of %s", body, host.of)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/x-tar", "Content-Disposition": `attachment; filename="shop-1.tar"`, "Cache-Control": "no-store",
	} {
		if got := answer.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if _, body, err := get(t, serve(t, &fakeHost{archive: "half", broken: true})+"/download/shop-1"); err == nil {
		t.Errorf("the answer %q looks whole", body)
	}
	url := serve(t, &fakeHost{missing: fmt.Errorf("%w: its files are gone", hostaccess.ErrNotFound)})
	refusal(t, url+"/download/shop-1", http.StatusNotFound, "its files are gone")
	refusal(t, url+"/download/none", http.StatusNotFound, "none")
	refusal(t, url+"/download/orphan", http.StatusNotFound, "gone") // its application was removed
}

func TestBeforeTheDaemonHasStarted(t *testing.T) {
	s := &Server{Host: &fakeHost{}, Reader: func() client.Reader { return nil }}
	for what, serve := range map[string]func(http.ResponseWriter, *http.Request, string, string){"log?service=web": s.Log, "download": s.Download} {
		w := httptest.NewRecorder()
		serve(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/"+what, nil), "prod", "shop")
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "is starting") {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
}
