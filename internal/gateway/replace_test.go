// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
)

// These variables make the test program a gateway, as the command is one.
const (
	dirVariable   = "FAIRLEAD_TEST_GATEWAY_DIR"
	buildVariable = "FAIRLEAD_TEST_GATEWAY_BUILD"
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
	o := Options{Dir: dir, Build: os.Getenv(buildVariable), Drain: 10 * time.Second, Env: &pool.Environment{Resolve: pool.Resolve, Log: logr.Discard()}, Log: logr.Discard()}
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
