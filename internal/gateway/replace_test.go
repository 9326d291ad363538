// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
)

// These variables make the test program a gateway, as the command is one.
const (
	dirVariable     = "FAIRLEAD_TEST_GATEWAY_DIR"
	buildVariable   = "FAIRLEAD_TEST_GATEWAY_BUILD"
	metricsVariable = "FAIRLEAD_TEST_GATEWAY_METRICS"
)

func TestMain(m *testing.M) {
	dir := os.Getenv(dirVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	self, _ := os.Executable()
	// A program tells which one it is by its name: copies of this one differ in nothing else.
	o := Options{Dir: dir, Build: os.Getenv(buildVariable), Metrics: os.Getenv(metricsVariable), Drain: 10 * time.Second, Env: &pool.Environment{Resolve: pool.Resolve, Log: logr.Discard()}, Log: logr.Discard()}
	if strings.HasSuffix(self, "broken") {
		os.Exit(3)
	}
	if strings.HasSuffix(self, "next") {
		o.Build += " next"
		if os.Getenv(programVariable) != "" {
			o.Build = "next"
		}
	}
	if err := Run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// copyOf copies this program into the directory.
func copyOf(t *testing.T, dir, name string) gatewayapi.Program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	data = append(data, name...) // behind the end of an ELF file is nothing
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o700); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return gatewayapi.Program{File: name, SHA256: hex.EncodeToString(sum[:])}
}

func TestAnotherProgramTakesOverUnderLoad(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.stop() // another process is the gateway here
	w.serve("127.0.0.2", says("a"))
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	start := func() *exec.Cmd {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), dirVariable+"="+dir, buildVariable+"=first")
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	old := start()
	t.Cleanup(func() { _ = old.Process.Kill() })
	c := gatewayapi.NewClient(dir)
	build := func() string {
		o, err := c.Observed(t.Context())
		if err != nil {
			return err.Error()
		}
		return o.Build
	}
	eventually(t, "the gateway runs", func() bool { return build() == "first" })
	if _, err := c.Put(t.Context(), w.state); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error, 8)
	for range 8 {
		go func() {
			hc := client(t)
			for n := 0; ctx.Err() == nil; n++ {
				req, _ := http.NewRequest(http.MethodPost, "http://"+w.addr+"/", strings.NewReader("body"))
				resp, err := hc.Do(req)
				if err != nil {
					results <- err
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(body) != "a POST / 4" {
					results <- fmt.Errorf("got %q, %v", body, err)
					return
				}
			}
			results <- nil
		}()
	}
	if err := c.Replace(t.Context(), gatewayapi.Program{File: "missing", SHA256: "00"}); !errors.Is(err, gatewayapi.ErrInvalid) {
		t.Errorf("a program that is not there: %v", err)
	}
	if err := c.Replace(t.Context(), gatewayapi.Program{File: "../x", SHA256: "00"}); !errors.Is(err, gatewayapi.ErrInvalid) {
		t.Errorf("a program that is elsewhere: %v", err)
	}
	if err := c.Replace(t.Context(), copyOf(t, dir, "broken")); err == nil || !strings.Contains(err.Error(), "exit code 3") {
		t.Errorf("a program that does not run: %v", err)
	}
	if got := build(); got != "first" {
		t.Fatalf("after that %q serves", got)
	}
	next := copyOf(t, dir, "next")
	if err := c.Replace(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the next one serves", func() bool { return build() == "next" })
	o, err := c.Observed(t.Context())
	if err != nil || o.AppliedRevision != w.state.Revision || !o.Listeners[0].Bound {
		t.Errorf("got %+v, %v", o, err)
	}
	eventually(t, "it gets the load", func() bool {
		o, err := c.Observed(t.Context())
		return err == nil && o.Services[0].Requests > 100
	})
	cancel()
	for range 8 {
		if err := <-results; err != nil {
			t.Errorf("a request failed: %v", err)
		}
	}
	// The old one ends by itself, as it is not the first process of a container.
	if err := old.Wait(); err != nil {
		t.Errorf("the old one: %v", err)
	}
	// The container starts again, from its own program, and goes on with the accepted one.
	pid := pidOf(t, "next", dir)
	_ = syscall.Kill(pid, syscall.SIGTERM)
	eventually(t, "it ends", func() bool { return build() != "next" })
	again := start()
	eventually(t, "the accepted program runs", func() bool { return build() == "next" })
	_ = again.Process.Signal(syscall.SIGTERM)
	if err := again.Wait(); err != nil {
		t.Error(err)
	}
}

// A request under way at the process that was taken over from goes by what its successor is told: it counts, and waits no
// longer than that says.
func TestWhatThePreviousProgramStillHas(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.stop()
	w.serve("127.0.0.3", says("b"))
	arrived, released := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	t.Cleanup(release) // or a failed test would wait for its server for ever
	w.serve("127.0.0.2", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-released
		_, _ = io.WriteString(w, "a")
	}))
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	old := exec.Command(self)
	metrics := net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t)))
	old.Env = append(os.Environ(), dirVariable+"="+dir, buildVariable+"=first", metricsVariable+"="+metrics)
	old.Stderr = os.Stderr
	if err := old.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = old.Process.Kill() })
	c := gatewayapi.NewClient(dir)
	eventually(t, "the gateway runs", func() bool { _, err := c.Observed(t.Context()); return err == nil })
	if _, err := c.Put(t.Context(), w.state); err != nil {
		t.Fatal(err)
	}
	answered := make(chan string, 1)
	go func() {
		resp, err := client(t).Get("http://" + w.addr + "/")
		if err != nil {
			answered <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		answered <- fmt.Sprintf("%d %s %v", resp.StatusCode, body, err)
	}()
	<-arrived
	if err := c.Replace(t.Context(), copyOf(t, dir, "next")); err != nil {
		t.Fatal(err)
	}
	pid := pidOf(t, "next", dir)
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })

	w.state.Revision++
	w.state.Services[0].Targets = []gatewayapi.Target{
		{ID: "127.0.0.2", Addresses: []string{"127.0.0.2"}, State: gatewayapi.TargetDraining}, {ID: "127.0.0.3", Addresses: []string{"127.0.0.3"}},
	}
	seen, err := c.Put(t.Context(), w.state)
	if err != nil {
		t.Fatal(err)
	}
	target := func(o *gatewayapi.ObservedState) gatewayapi.TargetStatus { return o.Services[0].Targets[0] }
	if got := target(seen); got.ID != "127.0.0.2" || got.InFlight != 1 || got.Drained() || got.DrainingSince.IsZero() {
		t.Errorf("while the request is under way: %+v", got)
	}
	before, err := filepath.Glob(filepath.Join(dir, previousPattern))
	if err != nil || len(before) != 1 {
		t.Fatalf("the previous program is reached by %q, %v", before, err)
	}
	previous := gatewayapi.NewSocketClient(before[0])
	if o, err := previous.Observed(t.Context()); err != nil || o.AppliedRevision != w.state.Revision || target(o).State != gatewayapi.TargetDraining {
		t.Errorf("the previous program goes by %+v, %v", o, err)
	}
	if _, err := previous.Put(t.Context(), w.state); !errors.Is(err, gatewayapi.ErrEnding) {
		t.Errorf("a state that is put to the previous program: %v", err)
	}
	if err := c.Follow(t.Context(), w.state); err == nil {
		t.Error("one without a successor follows")
	}
	for range 2 {
		if code, body := get(t, client(t), "http://"+w.addr+"/"); code != http.StatusOK || !strings.HasPrefix(body, "b ") {
			t.Errorf("a new request: %d %q", code, body)
		}
	}
	eventually(t, "metrics are of the program that takes new requests", func() bool {
		resp, err := client(t).Get("http://" + metrics + "/metrics")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return strings.Contains(string(text), `fairlead_gateway_requests_total{application="shop",service="web"} 2`)
	})
	release()
	if got := <-answered; got != "200 a <nil>" {
		t.Errorf("the request that was under way: %s", got)
	}
	eventually(t, "the target has drained", func() bool {
		o, err := c.Observed(t.Context())
		return err == nil && target(o).Drained()
	})
	if err := old.Wait(); err != nil {
		t.Errorf("the old one: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, previousPattern)); len(left) > 0 {
		t.Errorf("it left %q", left)
	}
}

// pidOf finds the process that runs a program of the directory.
func pidOf(t *testing.T, name, dir string) int {
	t.Helper()
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == filepath.Join(dir, name) {
			var pid int
			_, _ = fmt.Sscanf(link, "/proc/%d/exe", &pid)
			return pid
		}
	}
	t.Fatalf("no process runs %s", name)
	return 0
}
