// SPDX-License-Identifier: Apache-2.0

//go:build engine

// Package dockertest gives tests a real engine, an image that needs no
// registry, and containers that are gone when the test is over.
package dockertest

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// LabelTest marks everything that tests make; its value is the test's name.
const LabelTest = "fairlead.dev/test"

// Env is one test's access to the engine.
type Env struct {
	*docker.Client
	tb   testing.TB
	name string
	tar  []byte
}

// New connects to the engine of the environment and builds the program for the
// images; it fails the test when there is no engine. name labels what is made.
func New(tb testing.TB, name string) *Env {
	tb.Helper()
	c, err := docker.New("")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	if err := c.Check(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	bin := filepath.Join(tb.TempDir(), "testapp")
	build := exec.CommandContext(tb.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin,
		"github.com/fairlead-dev/fairlead/internal/docker/dockertest/testapp")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("build testapp: %v\n%s", err, out)
	}
	program, err := os.ReadFile(bin)
	if err != nil {
		tb.Fatal(err)
	}
	return &Env{Client: c, tb: tb, name: name, tar: rootfs(tb, program)}
}

func rootfs(tb testing.TB, program []byte) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	// A fixed time makes the layer the same in every test.
	when := time.Unix(1700000000, 0)
	for _, h := range []tar.Header{
		{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: "bin/testapp", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))},
		{Name: "bin/sh", Typeflag: tar.TypeSymlink, Linkname: "testapp", Mode: 0o777},
	} {
		h.ModTime = when
		if err := w.WriteHeader(&h); err != nil {
			tb.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(program); err != nil {
				tb.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// Image makes the image ref with Dockerfile instructions (CMD, ENV, LABEL,
// HEALTHCHECK …) and returns ref. It is removed after the test.
func (e *Env) Image(ref string, changes ...string) string {
	e.tb.Helper()
	changes = append([]string{`ENTRYPOINT ["/bin/testapp"]`, "LABEL " + LabelTest + "=" + e.name}, changes...)
	r, err := e.ImageImport(e.tb.Context(), image.ImportSource{Source: bytes.NewReader(e.tar), SourceName: "-"}, ref, image.ImportOptions{Changes: changes})
	if err != nil {
		e.tb.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		e.tb.Fatal(err)
	}
	if err := r.Close(); err != nil {
		e.tb.Fatal(err)
	}
	e.tb.Cleanup(func() {
		_, _ = e.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true, PruneChildren: true})
	})
	return ref
}

// Create makes a container, removed after the test, and returns its ID.
func (e *Env) Create(name string, cfg *container.Config, host *container.HostConfig, net *network.NetworkingConfig) string {
	e.tb.Helper()
	labels := map[string]string{LabelTest: e.name}
	for k, v := range cfg.Labels {
		labels[k] = v
	}
	cfg.Labels = labels
	r, err := e.ContainerCreate(e.tb.Context(), cfg, host, net, nil, name)
	if err != nil {
		e.tb.Fatal(err)
	}
	e.tb.Cleanup(func() {
		_ = e.ContainerRemove(context.Background(), r.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
	})
	return r.ID
}

// Run is Create and start.
func (e *Env) Run(name string, cfg *container.Config, host *container.HostConfig) string {
	e.tb.Helper()
	id := e.Create(name, cfg, host, nil)
	if err := e.Start(e.tb.Context(), id); err != nil {
		e.tb.Fatal(err)
	}
	return id
}
