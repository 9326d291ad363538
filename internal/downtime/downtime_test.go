// SPDX-License-Identifier: Apache-2.0

package downtime

import (
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
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
	g.finish(at(600), at(600))
	want := Result{Probes: 5, Failed: 2, LongestGap: 328 * time.Millisecond, Slowest: 30 * time.Millisecond}
	if g.Result != want {
		t.Errorf("got %+v, want %+v", g.Result, want)
	}
	if g.finish(at(600), at(690)); g.Slowest != 90*time.Millisecond {
		t.Errorf("an answer that does not come takes %s, want 90ms", g.Slowest)
	}
	g.note(at(600), at(601), false)
	if g.finish(at(1530), at(1530)); g.LongestGap != time.Second {
		t.Errorf("a gap that does not end is %s, want 1s", g.LongestGap)
	}
	sum := want.Merge(Result{Probes: 1, LongestGap: time.Second, Target: "b"})
	if sum.Probes != 6 || sum.LongestGap != time.Second || sum.Target != "b" {
		t.Errorf("together: %+v", sum)
	}
}

// What did not answer at the end of a watch, and does not at the next one, did not in between.
func TestGaugeGoesOn(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for _, tt := range []struct {
		name    string
		before  gauge
		answers []bool
		want    time.Duration
	}{
		{"down all the time", gauge{works: true, open: at(100), last: at(1000)}, []bool{false, true}, 1100 * time.Millisecond},
		{"up in between", gauge{works: true, open: at(100), last: at(1000)}, []bool{true, false, true}, 200 * time.Millisecond},
		{"down since the watch began", gauge{works: true, last: at(1000)}, []bool{false, true}, 200 * time.Millisecond},
		{"never up", gauge{last: at(1000)}, []bool{false, true}, 0},
	} {
		g := tt.before
		for i, ok := range tt.answers {
			g.note(at(1100+100*i), at(1100+100*i), ok)
		}
		if g.LongestGap != tt.want {
			t.Errorf("%s: a gap of %s, want %s", tt.name, g.LongestGap, tt.want)
		}
	}
}

func TestPause(t *testing.T) {
	for _, tt := range []struct {
		took     time.Duration
		answered bool
		want     time.Duration
	}{
		{time.Millisecond, true, 99 * time.Millisecond},
		{200 * time.Millisecond, true, 200 * time.Millisecond},
		{5 * time.Second, true, rest}, // as a gateway let it wait
		{time.Second, false, 0},       // the next answer must not be missed
	} {
		if got := pause(tt.took, tt.answered); got != tt.want {
			t.Errorf("after %s (answered: %t) it waits %s, want %s", tt.took, tt.answered, got, tt.want)
		}
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
	w := Start(t.Context(), []Target{{Address: strings.TrimPrefix(down.URL, "http://")}}, nil)
	for asked.Load() < 6 {
		select {
		case <-t.Context().Done():
			t.Fatal("it does not ask")
		case <-time.After(10 * time.Millisecond):
		}
	}
	r := w.End()
	if r.Failed != 2 || r.LongestGap < 2*interval || len(r.Silent) > 0 {
		t.Errorf("seen: %+v", r)
	}
	down.Close()
	address := strings.TrimPrefix(down.URL, "http://")
	r.Standing[address] = Stand{Open: time.Now().Add(-time.Minute), Status: http.StatusOK}
	w = Start(t.Context(), []Target{{Address: address}, {Address: "127.0.0.1:1"}}, r.Standing)
	<-time.After(3 * interval) // nobody tells of a probe that fails
	if r := w.End(); r.Failed == 0 || r.LongestGap < time.Minute || !slices.Equal(r.Silent, []string{"127.0.0.1:1"}) || len(r.Standing) != 1 {
		t.Errorf("seen after that: %+v", r)
	}
}

// What answered over HTTP before is not well because it answers 503 from the first probe of this watch on.
func TestWatchKnowsTheAnswer(t *testing.T) {
	asked := make(chan struct{}, 100)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		asked <- struct{}{}
	}))
	defer refusing.Close()
	address := strings.TrimPrefix(refusing.URL, "http://")
	w := Start(t.Context(), []Target{{Address: address}}, Standing{address: {Status: http.StatusNotFound}})
	<-asked
	<-asked // the first one is counted
	r := w.End()
	if r.Failed == 0 || r.LongestGap == 0 || r.Standing[address].Status != http.StatusNotFound || len(r.Silent) > 0 {
		t.Errorf("seen: %+v", r)
	}
}

// A probe that hangs until the end of a watch has failed, unless the next watch sees it answered.
func TestWatchThatHangs(t *testing.T) {
	for name, answers := range map[string]bool{"answered in the end": true, "given up": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked, hang, gone := make(chan struct{}, 100), make(chan struct{}), make(chan struct{})
			var once sync.Once
			s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				asked <- struct{}{}
				select {
				case <-hang:
				case <-r.Context().Done():
					once.Do(func() { close(gone) })
				}
			}))
			defer s.Close()
			address := strings.TrimPrefix(s.URL, "http://")
			targets := []Target{{Address: address}}
			w := Start(t.Context(), targets, Standing{address: {Status: http.StatusOK}})
			<-asked
			<-time.After(patience + patience/2) // nobody tells of an answer that does not come
			r := w.End()
			if r.Probes != 1 || r.Failed != 1 || r.Slowest < patience || r.LongestGap < patience || r.Target != address || r.Settled.Probes != 0 || r.Standing[address].Open.IsZero() {
				t.Errorf("seen: %+v", r)
			}
			if !answers { // and is asked no more
				w = Start(t.Context(), nil, r.Standing)
				<-gone
				if after := w.End(); after.Settled != r.Result || after.Result != r.Result || after.Standing[address].asked != nil {
					t.Errorf("seen after that: %+v", after)
				}
				return
			}
			w = Start(t.Context(), targets, r.Standing)
			close(hang)
			<-asked // the next one, once the first one is counted
			if r := w.End(); r.Failed != 0 || r.Probes == 0 || r.Slowest < patience || r.LongestGap != 0 || r.Settled != r.Result {
				t.Errorf("seen after that: %+v", r)
			}
		})
	}
}

// One that is only cut short has not.
func TestWatchThatIsCutShort(t *testing.T) {
	asked, hang := make(chan struct{}, 100), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-hang
	}))
	defer s.Close()
	defer close(hang)
	address := strings.TrimPrefix(s.URL, "http://")
	w := Start(t.Context(), []Target{{Address: address}}, Standing{address: {Status: http.StatusOK}})
	<-asked
	if r := w.End(); r.Probes > 0 || !r.Standing[address].Open.IsZero() || len(r.Silent) > 0 {
		t.Errorf("seen: %+v", r)
	}
}

// A server that is gone before it was found out what it speaks worked before that.
func TestWatchCountsFromTheFirstConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked := make(chan struct{})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if n, _ := c.Read(make([]byte, 1024)); n > 0 { // the request: it says nothing to it, and ends
				_ = l.Close()
				_ = c.Close()
				close(asked)
				return
			}
		}
	}()
	w := Start(t.Context(), []Target{{Address: l.Addr().String()}}, nil)
	<-asked
	<-time.After(3 * interval) // nobody tells of a probe that fails
	if r := w.End(); r.Failed == 0 || r.LongestGap == 0 || len(r.Silent) > 0 {
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
	if _, ok := p.probe(t.Context()); !ok || p.http {
		t.Errorf("it does not answer, or is taken for HTTP")
	}
	_ = l.Close()
	if _, ok := p.probe(t.Context()); ok {
		t.Error("what nobody listens on answers")
	}
}

// Nobody waits for a probe when the work has ended.
func TestEndsAtOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked := make(chan net.Conn, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			select {
			case asked <- c: // and no answer
			default:
			}
		}
	}()
	w := Start(t.Context(), []Target{{Address: l.Addr().String()}}, nil)
	c := <-asked
	defer c.Close()
	begin := time.Now()
	w.End()
	if took := time.Since(begin); took > reach/2 {
		t.Errorf("the end took %s", took)
	}
}
