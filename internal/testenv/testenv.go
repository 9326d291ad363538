// SPDX-License-Identifier: Apache-2.0

// Package testenv runs the fairlead binary as the API server of tests. The
// server is a process of its own, so that tests with the race detector do not
// compile and run Kubernetes with it.
package testenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-dev/fairlead/internal/ready"
)

const (
	// BinaryEnv names a ready-made fairlead binary; without it one is built.
	BinaryEnv = "FAIRLEAD_BIN"

	mainPackage  = "github.com/fairlead-dev/fairlead/cmd/fairlead"
	readyTimeout = 2 * time.Minute
	readyPoll    = 20 * time.Millisecond
	stopTimeout  = 20 * time.Second
	logTail      = 8 << 10
)

// Env is a running server with the custom resources and roles of Fairlead and
// without its controllers.
type Env struct {
	// Config is the administrator's client configuration, without a rate limit.
	Config *rest.Config
	// Kubeconfig is the administrator's kubeconfig file.
	Kubeconfig string
	// Addresses are what the server listens on.
	Addresses ready.Addresses

	process *Process
}

// Start runs a server for one test and stops it at the test's end.
func Start(t testing.TB) *Env {
	t.Helper()
	env, err := start(t.Context(), filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.process.Stop(); err != nil {
			t.Error(err)
		}
	})
	return env
}

// Run is for TestMain: it starts one server for all tests of a package, gives it
// to use, runs the tests and returns the exit code.
//
//	func TestMain(m *testing.M) { os.Exit(testenv.Run(m, func(e *testenv.Env) { env = e })) }
func Run(m *testing.M, use func(*Env)) (code int) {
	dir, err := os.MkdirTemp("", "fairlead-testenv-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	env, err := start(context.Background(), filepath.Join(dir, "data"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := env.process.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	use(env)
	return m.Run()
}

// Namespace makes a namespace for one test, named after prefix, and deletes it
// at the test's end. Deletion goes on in the background.
func (e *Env) Namespace(t testing.TB, prefix string) string {
	t.Helper()
	client, err := kubernetes.NewForConfig(e.Config)
	if err != nil {
		t.Fatal(err)
	}
	namespace, err := client.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix + "-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.CoreV1().Namespaces().Delete(context.Background(), namespace.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return namespace.Name
}

func start(ctx context.Context, dir string) (*Env, error) {
	bin, err := Binary(ctx)
	if err != nil {
		return nil, err
	}
	p, err := Serve(ctx, bin, dir, "--controllers=false")
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", p.Addresses.Kubeconfig)
	if err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	config.QPS = -1
	return &Env{Config: config, Kubeconfig: p.Addresses.Kubeconfig, Addresses: p.Addresses, process: p}, nil
}

// Process is a running `fairlead serve`.
type Process struct {
	// Addresses are what it listens on.
	Addresses ready.Addresses
	// ReadyAfter is the time from its execution to its readiness.
	ReadyAfter time.Duration

	cmd    *exec.Cmd
	exited chan struct{}
	err    error // of Wait; settled when exited is closed
	killed bool
	log    string
}

// Serve runs bin as a daemon on dataDir, on free ports of the loopback
// interface, and returns when it is ready. args are added to its command line.
func Serve(ctx context.Context, bin, dataDir string, args ...string) (*Process, error) {
	readyFile := filepath.Join(filepath.Dir(dataDir), filepath.Base(dataDir)+".ready")
	if err := os.Remove(readyFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	p := &Process{exited: make(chan struct{}), log: filepath.Join(filepath.Dir(dataDir), filepath.Base(dataDir)+".log")}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), bin, append([]string{"serve", "--data-dir", dataDir, "--secure-port", "0", "--listen", "127.0.0.1:0",
		"--metrics-bind-address", "0", "--ready-file", readyFile, "--log-format", "json"}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET=")
	dieWithParent(p.cmd)
	begin := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-p.exited:
			return nil, fmt.Errorf("fairlead serve ended before it was ready (%w); its last lines:\n%s", p.err, p.Log())
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("fairlead serve is not ready: %w; its last lines:\n%s", context.Cause(ctx), p.Log()), p.Kill())
		}
		p.Addresses, err = ready.Read(readyFile)
		switch {
		case err == nil:
			p.ReadyAfter = time.Since(begin)
			return p, nil
		case !errors.Is(err, os.ErrNotExist):
			return nil, errors.Join(err, p.Kill())
		}
	}
}

// PID is the process's ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log is the end of what the process wrote.
func (p *Process) Log() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	if len(data) > logTail {
		data = data[len(data)-logTail:]
		if _, rest, ok := bytes.Cut(data, []byte("\n")); ok {
			data = rest
		}
	}
	return string(data)
}

// Stop asks the process to end, and waits for it. An exit code other than 0 is an
// error, and so is a process that does not end in time, which is then killed.
// After Kill it does nothing.
func (p *Process) Stop() error {
	if p.killed {
		return nil
	}
	if err := p.cmd.Process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-p.exited:
		if p.err != nil {
			return fmt.Errorf("fairlead serve: %w; its last lines:\n%s", p.err, p.Log())
		}
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("fairlead serve did not stop in %s; its last lines:\n%s", stopTimeout, p.Log()), p.Kill())
	}
}

// Kill ends the process at once, as a power failure would, and waits for it.
func (p *Process) Kill() error {
	p.killed = true
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.exited
	return nil
}

// Binary is the path of a fairlead binary without race detector: the one that
// BinaryEnv names, else one that is built from the current module into the
// user's cache directory. Packages that are tested at the same time share it.
func Binary(ctx context.Context) (string, error) {
	if bin := os.Getenv(BinaryEnv); bin != "" {
		return filepath.Abs(bin)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "fairlead", "testenv")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "fairlead")
	// go build leaves a binary alone that is up to date.
	build := exec.CommandContext(ctx, "go", "build", "-race=false", "-o", bin, mainPackage)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", mainPackage, err, out)
	}
	return bin, nil
}
