// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"bufio"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// streamOf opens a stream of a page.
func (b *browser) streamOf(path string, header ...string) (*bufio.Scanner, *http.Response) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.server.URL+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = answer.Body.Close() })
	return bufio.NewScanner(answer.Body), answer
}

// next is the next event's name, ID and data; comments are passed over.
func next(t *testing.T, s *bufio.Scanner) (name, id, data string) {
	t.Helper()
	for s.Scan() {
		field, value, _ := strings.Cut(s.Text(), ": ")
		switch field {
		case "event":
			name = value
		case "id":
			id = value
		case "data":
			data = value
		case "":
			if s.Text() == "" && name != "" {
				return name, id, data
			}
		}
	}
	t.Fatalf("the stream ended: %v", s.Err())
	return "", "", ""
}

// The stream of an update has the log's lines as they are, with their IDs, and of
// the status only that it changed.
func TestStreamOfAnUpdate(t *testing.T) {
	w := newWorld(t)
	change, finish := make(chan struct{}), make(chan struct{})
	asked := make(chan string, 2)
	w.api.stream = func(rw http.ResponseWriter, r *http.Request) {
		send := func(format string, args ...any) {
			_, _ = fmt.Fprintf(rw, format, args...)
			_ = http.NewResponseController(rw).Flush()
		}
		rw.Header().Set("Content-Type", "text/event-stream")
		if strings.HasSuffix(r.URL.Path, "/log/events") {
			asked <- r.Header.Get("Last-Event-ID")
			send("retry: 2000\n\n")
			send("id: 7\nevent: line\ndata: %s\n\n", hostile)
			<-finish
			send("id: 7\nevent: end\ndata: {}\n\n")
			return
		}
		<-change
		send("id: 9\nevent: status\ndata: {\"secret\":1}\n\n")
		<-finish
	}
	s, answer := w.signedIn("viewer").streamOf("/ui/namespaces/default/updates/runs/events?after=3")
	if answer.Header.Get("Content-Type") != "text/event-stream" || answer.Header.Get("Content-Encoding") != "" {
		t.Errorf("the stream has %v", answer.Header)
	}
	if after := <-asked; after != "3" {
		t.Errorf("the log was asked for after %q", after)
	}
	if name, id, data := next(t, s); name != "line" || id != "7" || data != hostile {
		t.Errorf("got %s %s %s", name, id, data)
	}
	close(change)
	if name, id, data := next(t, s); name != eventChange || id != "" || data != "{}" {
		t.Errorf("got %s %s %s", name, id, data)
	}
	close(finish)
	var names []string
	for len(names) == 0 || names[len(names)-1] != eventOver {
		name, _, _ := next(t, s)
		names = append(names, name)
	}
	if got := strings.Join(names, " "); got != "end change over" {
		t.Errorf("at the end came %s", got)
	}
}

// The first state of a namespace is no news; signing out ends a stream at once.
func TestStreamEndsWithTheSession(t *testing.T) {
	w := newWorld(t)
	w.api.stream = func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		for _, event := range []string{"application", "application", "synced"} {
			_, _ = fmt.Fprintf(rw, "event: %s\ndata: {}\n\n", event)
		}
		<-r.Context().Done()
	}
	b := w.signedIn("admin")
	s, _ := b.streamOf("/ui/namespaces/default/applications/shop/events")
	if name, _, _ := next(t, s); name != eventChange {
		t.Errorf("got %s", name)
	}
	b.do(http.MethodPost, "/ui/sign-out", url.Values{"csrf": {b.get("/ui/").csrf()}})
	if name, _, _ := next(t, s); name != eventSignedOut {
		t.Errorf("got %s", name)
	}
	if _, answer := b.streamOf("/ui/namespaces/default/applications/shop/events", "Accept", "text/event-stream"); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a session: %d", answer.StatusCode)
	}
}

// A page that only follows a log does not keep an idle session: its stream ends with it.
func TestStreamOfAnIdleSession(t *testing.T) {
	w := newWorld(t)
	w.ui.opts.StreamBeat = 10 * time.Millisecond
	w.api.stream = func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprint(rw, "event: application\ndata: {}\n\nevent: synced\ndata: {}\n\nevent: application\ndata: {}\n\n")
		<-r.Context().Done()
	}
	b := w.signedIn("admin")
	s, _ := b.streamOf("/ui/namespaces/default/applications/shop/events")
	if name, _, _ := next(t, s); name != eventChange {
		t.Errorf("got %s", name)
	}
	w.pass(2 * time.Hour) // longer than a session may be idle, shorter than it may last
	if name, _, _ := next(t, s); name != eventSignedOut {
		t.Errorf("got %s", name)
	}
}

// A stream that breaks off, breaks the page's off: the browser then comes back.
func TestBrokenStream(t *testing.T) {
	w := newWorld(t)
	w.api.stream = func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		_, _ = rw.Write([]byte("event: synced\ndata: {}\n\n"))
		panic(http.ErrAbortHandler)
	}
	s, _ := w.signedIn("admin").streamOf("/ui/namespaces/default/applications/shop/events")
	brokenOff(t, s)
}

// A fault of the API breaks a stream, not the daemon.
func TestStreamThatPanics(t *testing.T) {
	w := newWorld(t)
	w.api.stream = func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusOK)
		panic("a fault")
	}
	b := w.signedIn("admin")
	events, answer := b.streamOf("/ui/namespaces/default/updates/runs/status")
	for events.Scan() {
		if strings.Contains(events.Text(), "over") {
			t.Error("the page is told that it is over")
		}
	}
	if answer.StatusCode != http.StatusOK || events.Err() == nil {
		t.Errorf("the stream ends with %d, %v", answer.StatusCode, events.Err())
	}
	if p := b.get("/ui/"); p.status != http.StatusOK {
		t.Errorf("the next page: %d", p.status)
	}
}
