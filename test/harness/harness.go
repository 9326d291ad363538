// SPDX-License-Identifier: Apache-2.0

// Package harness runs the real fairlead binary for tests of whole updates: it
// starts, stops and kills the daemon, writes objects into its API and waits for
// what becomes of them. It also looks at what the engine has, so that a test
// can compare the status with reality.
package harness

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/testenv"
)

// T is what the harness uses of *testing.T, *testing.B or anything like them.
type T interface {
	Helper()
	Name() string
	TempDir() string
	Context() context.Context
	Cleanup(func())
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
}

// Options change what [Start] runs. The zero value is good.
type Options struct {
	// Dir holds the daemon's data directory. Default: a temporary directory.
	Dir string
	// Namespace of all objects. Default: default.
	Namespace string
	// Env is added to the daemon's environment, as KEY=value.
	Env []string
	// Under is a command that runs the one at its end, in the same process: unshare(1) for instance.
	Under []string
	// Args are added to the command line of fairlead serve.
	Args []string
}

// Daemon is a fairlead serve of its own, and the client of its API. Its methods
// fail the test that it is bound to, see [Daemon.For].
type Daemon struct {
	*server
	t T
	// Client of its API, as administrator. It goes on to work after Restart.
	Client client.WithWatch
	// Namespace of the objects that the methods write and read.
	Namespace string
}

// server is the process, shared by all that are bound to it.
type server struct {
	// Binary is the path of fairlead.
	Binary string
	// Kubeconfig of the administrator.
	Kubeconfig string
	// DataDir is the daemon's data directory.
	DataDir string

	command string // Binary, or a script around it
	args    []string
	process *testenv.Process
}

// Start runs a daemon on free ports and returns when it is ready. It is stopped
// at the test's end, before what was registered with Cleanup earlier.
func Start(t T, o Options) *Daemon {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	d, err := New(t.Context(), o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("%v", err)
		}
	})
	return d.For(t)
}

// New is [Start] for TestMain: the caller closes it, and binds it to a test by
// For before anything else is called. Options.Dir must be set.
func New(ctx context.Context, o Options) (*Daemon, error) {
	binary, err := testenv.Binary(ctx)
	if err != nil {
		return nil, err
	}
	s := &server{Binary: binary, command: binary, DataDir: filepath.Join(o.Dir, "data"), args: o.Args}
	if len(o.Env)+len(o.Under) > 0 {
		if s.command, err = wrapped(o, binary); err != nil {
			return nil, err
		}
	}
	if err := s.serve(ctx); err != nil {
		return nil, err
	}
	s.Kubeconfig = s.process.Addresses.Kubeconfig
	return s.connect(o.Namespace)
}

// Connect is a daemon that something else runs, a container for instance: it can
// be spoken to, not stopped.
func Connect(t T, kubeconfig string) *Daemon {
	t.Helper()
	d, err := (&server{Kubeconfig: kubeconfig, DataDir: filepath.Dir(kubeconfig)}).connect("")
	if err != nil {
		t.Fatalf("%v", err)
	}
	return d.For(t)
}

// connect makes the client.
func (s *server) connect(namespace string) (*Daemon, error) {
	d := &Daemon{server: s, Namespace: cmp.Or(namespace, metav1.NamespaceDefault)}
	crlog.SetLogger(logr.Discard()) // or the client warns that it has none
	config, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	d.Client, err = client.NewWithWatch(config, client.Options{Scheme: scheme})
	return d, err
}

// wrapped writes a script that runs binary as the options say, in the same process, and returns its path.
func wrapped(o Options, binary string) (string, error) {
	var b strings.Builder
	b.WriteString("#!/bin/sh\n")
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	for _, kv := range o.Env {
		key, value, _ := strings.Cut(kv, "=")
		fmt.Fprintf(&b, "export %s=%s\n", key, quote(value))
	}
	b.WriteString("exec")
	for _, word := range append(slices.Clone(o.Under), binary) {
		b.WriteString(" " + quote(word))
	}
	b.WriteString(" \"$@\"\n")
	path := filepath.Join(o.Dir, "fairlead.sh")
	return path, os.WriteFile(path, []byte(b.String()), 0o700)
}

func (s *server) serve(ctx context.Context) error {
	args := s.args
	if s.process != nil {
		// The same port as before, so that clients find it again.
		api, err := url.Parse(s.process.Addresses.API)
		if err != nil {
			return err
		}
		args = append([]string{"--secure-port", api.Port()}, args...)
	}
	p, err := testenv.Serve(ctx, s.command, s.DataDir, args...)
	if err != nil {
		return err
	}
	s.process = p
	return nil
}

// Close stops the daemon in order. After Kill9 it does nothing.
func (s *server) Close() error { return s.process.Stop() }

// HTTP is the address of the daemon's HTTP endpoints.
func (s *server) HTTP() string { return s.process.Addresses.HTTP }

// PID is the process ID of the daemon.
func (s *server) PID() int { return s.process.PID() }

// Listen is the address of its HTTP endpoints.
func (s *server) Listen() string { return s.process.Addresses.HTTP }

// ReadyAfter is the time from the last start of the daemon until it was ready.
func (s *server) ReadyAfter() time.Duration { return s.process.ReadyAfter }

// DaemonLog is the end of what the daemon wrote to its standard error.
func (s *server) DaemonLog() string {
	if s.process == nil {
		return "(it is not the test's own process)"
	}
	return s.process.Log()
}

// For binds the daemon to another test: what fails from here on fails that one.
func (d *Daemon) For(t T) *Daemon {
	bound := *d
	bound.t = t
	return &bound
}

// Kill9 ends the daemon at once, as a power failure would.
func (d *Daemon) Kill9() {
	d.t.Helper()
	if err := d.process.Kill(); err != nil {
		d.t.Fatalf("%v", err)
	}
}

// Stop ends the daemon in order.
func (d *Daemon) Stop() {
	d.t.Helper()
	if err := d.Close(); err != nil {
		d.t.Fatalf("%v", err)
	}
}

// RestartAs is Restart with another binary.
func (d *Daemon) RestartAs(binary string) {
	d.t.Helper()
	d.Binary, d.command = binary, binary
	d.Restart()
}

// Restart starts the daemon again on the same data and ports, after Kill9 or
// Stop, and returns when it is ready.
func (d *Daemon) Restart() {
	d.t.Helper()
	if err := d.serve(d.t.Context()); err != nil {
		d.t.Fatalf("%v", err)
	}
}
