// SPDX-License-Identifier: Apache-2.0

package downtime

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestGauge(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	g := gauge{}
	g.note(at(0), at(1), false) // it does not work yet
	g.note(at(100), at(110), true)
	g.note(at(200), at(202), true)
	g.note(at(300), at(301), false)
	g.note(at(400), at(401), false)
	g.note(at(500), at(530), true)
	got := g.finish(at(1000))
	want := Result{Probes: 5, Failed: 2, LongestGap: 328 * time.Millisecond, Slowest: 30 * time.Millisecond}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	g.note(at(600), at(601), false)
	if got := g.finish(at(1530)).LongestGap; got != time.Second {
		t.Errorf("a gap that does not end is %s, want 1s", got)
	}
	sum := want.Merge(Result{Probes: 1, LongestGap: time.Second, Target: "b"})
	if sum.Probes != 6 || sum.LongestGap != time.Second || sum.Target != "b" {
		t.Errorf("together: %+v", sum)
	}
}

// A server that answers 503 for a while has a gap; one that never did otherwise has
// none.
func TestWatch(t *testing.T) {
	var asked atomic.Int64
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != Path {
			t.Errorf("asked for %s", r.URL.Path)
		}
		if n := asked.Add(1); n == 3 || n == 4 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer down.Close()
	w := Start(t.Context(), []Target{{Address: strings.TrimPrefix(down.URL, "http://")}})
	for asked.Load() < 6 {
		select {
		case <-t.Context().Done():
			t.Fatal("it does not ask")
		case <-time.After(10 * time.Millisecond):
		}
	}
	if r := w.End(); r.Failed != 2 || r.LongestGap < 2*interval {
		t.Errorf("seen: %+v", r)
	}
}

// What speaks no HTTP is asked by connecting.
func TestWatchTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("220 no http here\r\n"))
		}
	}()
	p := &prober{address: l.Addr().String(), client: http.DefaultClient}
	if !p.probe(t.Context()) || p.http {
		t.Errorf("it does not answer, or is taken for HTTP")
	}
	_ = l.Close()
	if p.probe(t.Context()) {
		t.Error("what nobody listens on answers")
	}
}
