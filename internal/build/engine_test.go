// SPDX-License-Identifier: Apache-2.0

//go:build engine

package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
)

const testLabel = "fairlead.dev/test"

var appBinary string

func TestMain(m *testing.M) { os.Exit(runMain(m)) }

func runMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "fairlead-build-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	appBinary = filepath.Join(dir, "app")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", appBinary, "./testdata/app")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "the test program does not build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// bench is one test's engine, builder, context directory and log.
type bench struct {
	*testing.T
	docker  *client.Client
	builder *Builder
	dir     string
	label   string
	log     *logBuffer
	nonce   string
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Write(p)
	return len(p), nil
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newBench(t *testing.T, o Options) *bench {
	t.Helper()
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	if o.ConfigDir == "" {
		o.ConfigDir = t.TempDir()
	}
	dir := t.TempDir()
	b := &bench{T: t, docker: docker, builder: NewBuilder(docker, o), dir: dir, log: &logBuffer{}, nonce: fmt.Sprint(time.Now().UnixNano())}
	b.label = "build-" + regexp.MustCompile(`\W+`).ReplaceAllString(strings.ToLower(t.Name()), "-") + b.nonce
	b.copyApp(dir)
	t.Cleanup(func() {
		b.removeImages()
		docker.Close()
		if t.Failed() {
			t.Logf("log:\n%s", b.log)
		}
	})
	return b
}

// removeImages removes the test's images, those without a name too. A child
// has to go before its parent.
func (b *bench) removeImages() {
	ctx := context.Background()
	var last error
	for range 20 {
		images, err := b.docker.ImageList(ctx, image.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", testLabel+"="+b.label))})
		if err != nil {
			b.Fatal(err)
		}
		if len(images) == 0 {
			return
		}
		for _, i := range images {
			if _, err := b.docker.ImageRemove(ctx, i.ID, image.RemoveOptions{Force: true, PruneChildren: true}); err != nil && !cerrdefs.IsNotFound(err) {
				last = err
			}
		}
	}
	b.Errorf("images stay: %v", last)
}

func (b *bench) copyApp(dir string) {
	b.Helper()
	data, err := os.ReadFile(appBinary)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "app"), data, 0o755); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) write(name, content string) string {
	b.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		b.Fatal(err)
	}
	return path
}

// spec returns a Spec with the lines as its inline Dockerfile, or with the
// Dockerfile of the context if there are none.
func (b *bench) spec(lines ...string) Spec {
	s := Spec{Name: "web", Context: b.dir, Labels: map[string]string{testLabel: b.label}}
	if len(lines) > 0 {
		if b.builder.classic { // what a failed build leaves must be found, too
			lines = slices.Insert(slices.Clone(lines), 1, "LABEL "+testLabel+"="+b.label)
		}
		s.DockerfileInline = strings.Join(lines, "\n") + "\n"
	}
	return s
}

func (b *bench) build(s Spec) Result {
	b.Helper()
	r, err := b.builder.Build(b.Context(), s, b.log)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// nameByContent gives an image the name that steps give to what they built.
func (b *bench) nameByContent(id string) {
	b.Helper()
	if err := b.docker.ImageTag(b.Context(), id, "fairlead-test/build-named:"+short(id)); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) fails(s Spec) *Error {
	b.Helper()
	_, err := b.builder.Build(b.Context(), s, b.log)
	var e *Error
	if !errors.As(err, &e) {
		b.Fatalf("error %v, want an *Error", err)
	}
	return e
}

func (b *bench) logHas(want ...string) {
	b.Helper()
	for _, w := range want {
		if !strings.Contains(b.log.String(), w) {
			b.Errorf("the log has no %q", w)
		}
	}
}

func (b *bench) logLacks(words ...string) {
	b.Helper()
	for _, w := range words {
		if strings.Contains(b.log.String(), w) {
			b.Errorf("the log has %q", w)
		}
	}
}

// running reports whether a process has the word in its command line.
func running(t *testing.T, word string) bool {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		if data, err := os.ReadFile(p); err == nil && bytes.Contains(data, []byte(word)) {
			return true
		}
	}
	return false
}

// eventually waits for outside state that gives no event.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("in vain: %s", what)
		}
	}
}

// serve starts a program that listens on a free port of loopback and ends it
// with the test.
func serve(t *testing.T, ready string, command func(addr string) *exec.Cmd) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := command(addr)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", cmd.Path, out.String())
		}
	})
	eventually(t, cmd.Path+" listens", func() bool {
		if ready == "" {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
			}
			return err == nil
		}
		resp, err := http.Get("http://" + addr + ready)
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
	return addr
}
