// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// controlled has the world's gateway listen on its socket.
func (w *world) controlled() *gatewayapi.Client {
	w.t.Helper()
	control, err := Listen(w.g)
	if err != nil {
		w.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- control.Serve() }()
	w.t.Cleanup(func() {
		if err := errors.Join(control.Close(), <-served); err != nil {
			w.t.Error(err)
		}
	})
	return gatewayapi.NewClient(w.dir)
}

// hear collects what a gateway tells of targets from now on until the test ends.
func hear(t *testing.T, w *world, c *gatewayapi.Client) <-chan gatewayapi.TargetChange {
	t.Helper()
	listeners := func() int {
		w.g.changes.mu.Lock()
		defer w.g.changes.mu.Unlock()
		return len(w.g.changes.listeners)
	}
	before := listeners()
	ctx, cancel := context.WithCancel(t.Context())
	heard, over := make(chan gatewayapi.TargetChange, 16), make(chan struct{})
	go func() {
		defer close(over)
		if err := c.Changes(ctx, func(change gatewayapi.TargetChange) { heard <- change }); ctx.Err() == nil {
			t.Errorf("the stream ended: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-over })
	eventually(t, "it listens", func() bool { return listeners() > before })
	return heard
}

func next(t *testing.T, heard <-chan gatewayapi.TargetChange) gatewayapi.TargetChange {
	t.Helper()
	select {
	case change := <-heard:
		return change
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was told")
		return gatewayapi.TargetChange{}
	}
}

func TestTargetsThatDieAreTold(t *testing.T) {
	w := newWorld(t, func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2")(s)
		s.Services[0].ConnectTimeout = gatewayapi.Duration(200 * time.Millisecond)
	})
	c := w.controlled()
	heard := hear(t, w, c)
	server := w.serve("127.0.0.2", says("a"))
	if status, _ := get(t, client(t), "http://"+w.addr+"/"); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	if got := next(t, heard); got.Target != "127.0.0.2" || got.Service != "web" || got.Health != gatewayapi.TargetHealthy {
		t.Errorf("got %+v", got)
	}
	server.Close()
	if status, _ := get(t, client(t), "http://"+w.addr+"/"); status != http.StatusServiceUnavailable {
		t.Errorf("status %d", status)
	}
	if got := next(t, heard); got.Health != gatewayapi.TargetUnhealthy || !got.Proven || got.Error == "" {
		t.Errorf("got %+v", got)
	}
	// Who comes later is told as well.
	if got := next(t, hear(t, w, c)); got.Health != gatewayapi.TargetUnhealthy || !got.Proven {
		t.Errorf("later: %+v", got)
	}
}

// That nothing listens on a port of a target which answers on another says nothing of it.
func TestAPortThatNobodyListensOnIsNoFailure(t *testing.T) {
	other := freePort(t)
	w := newWorld(t, func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2")(s)
		s.Services[0].ConnectTimeout = gatewayapi.Duration(100 * time.Millisecond)
		second := s.Listeners[0]
		second.Name, second.Port, second.TargetPort = "other", other, freePort(t)
		s.Listeners = append(s.Listeners, second)
	})
	w.serve("127.0.0.2", says("a"))
	if status, _ := get(t, client(t), "http://"+w.addr+"/"); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	for range 3 {
		if status, _ := get(t, client(t), "http://127.0.0.1:"+strconv.Itoa(other)+"/"); status != http.StatusServiceUnavailable {
			t.Errorf("status %d", status)
		}
	}
	if got := w.target("127.0.0.2"); got.Health != gatewayapi.TargetHealthy || got.Errors == 0 {
		t.Errorf("got %+v", got)
	}
}

// A download goes on for its own time, not for that of requests, nor that of connections without an end.
func TestDownloadsHaveTheirOwnTime(t *testing.T) {
	const size = 8 << 20
	for name, c := range map[string]struct {
		transfer time.Duration
		whole    bool
	}{"in time": {time.Minute, true}, "too long": {50 * time.Millisecond, false}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, targets("127.0.0.2"))
			goOn := make(chan struct{})
			w.serve("127.0.0.2", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Length", strconv.Itoa(size))
				_, _ = rw.Write(make([]byte, size/2))
				_ = http.NewResponseController(rw).Flush()
				<-goOn
				_, _ = rw.Write(make([]byte, size/2))
			}))
			resp, err := client(t).Get("http://" + w.addr + "/")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if _, err := io.ReadFull(resp.Body, make([]byte, size/2)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is known to be a transfer", func() bool { return w.target("127.0.0.2").Transfers == 1 })
			w.put(func(s *gatewayapi.DesiredState) {
				targets()(s)
				s.Services[0].DrainTimeout = gatewayapi.Duration(time.Millisecond)
				s.Services[0].LongLivedDeadline = gatewayapi.Duration(time.Millisecond)
				s.Services[0].TransferTimeout = gatewayapi.Duration(c.transfer)
			})
			if !c.whole {
				eventually(t, "it is cut", func() bool { return w.target("127.0.0.2").ID == "" })
			}
			close(goOn)
			rest, err := io.ReadAll(resp.Body)
			if got := err == nil && len(rest) == size/2; got != c.whole {
				t.Errorf("the rest has %d bytes, %v", len(rest), err)
			}
		})
	}
}

func TestWaysToBalance(t *testing.T) {
	for _, balance := range []gatewayapi.Balance{
		gatewayapi.BalanceLeastConnections, gatewayapi.BalanceRoundRobin, gatewayapi.BalanceRandomTwo, gatewayapi.BalanceSource,
	} {
		t.Run(string(balance), func(t *testing.T) {
			w := newWorld(t, func(s *gatewayapi.DesiredState) {
				targets("127.0.0.2", "127.0.0.3", "127.0.0.4")(s)
				s.Services[0].Balance = balance
			})
			for _, ip := range []string{"127.0.0.2", "127.0.0.3"} { // the third is down
				w.serve(ip, says(ip[len(ip)-1:]))
			}
			seen := map[string]int{}
			for range 60 {
				_, body := get(t, client(t), "http://"+w.addr+"/")
				seen[body[:1]]++
			}
			want := 2
			if balance == gatewayapi.BalanceSource {
				want = 1
			}
			if len(seen) != want {
				t.Errorf("answers %v, want %d targets", seen, want)
			}
		})
	}
}
