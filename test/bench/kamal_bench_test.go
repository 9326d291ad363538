// SPDX-License-Identifier: Apache-2.0

//go:build bench

package bench

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-dev/fairlead/test/apps"
)

// kamal replaces containers as Kamal does: docker build, docker run beside the old one, kamal-proxy deploy, which
// asks the new one until it is ready and moves the traffic, and docker stop of the old one.
type kamal struct {
	t       *testing.T
	name    string
	version int
	env     []string
	old     []string
	took    []time.Duration
}

// newKamal starts a kamal-proxy for so many services; nil where there is none on PATH. It is no module that can be
// required, and no package of Debian: who wants the comparison builds it.
func newKamal(t *testing.T, services int) *kamal {
	t.Helper()
	if _, err := exec.LookPath("kamal-proxy"); err != nil {
		t.Log("kamal-proxy is not on PATH: its flow is not measured beside")
		return nil
	}
	dir := t.TempDir()
	k := &kamal{t: t, name: fmt.Sprintf("bench-kamal-%d", time.Now().UnixNano()), old: make([]string, services)}
	k.env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_RUNTIME_DIR="+dir, "TMPDIR="+dir)
	var ports []string
	for range 2 {
		port, err := apps.FreePort(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, strconv.Itoa(port))
	}
	ctx, stop := context.WithCancel(context.Background())
	proxy := exec.CommandContext(ctx, "kamal-proxy", "run", "--http-port", ports[0], "--https-port", ports[1])
	proxy.Env = k.env
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = proxy.Wait() // it was killed
		for _, id := range k.old {
			k.clean("rm", "-f", id)
		}
		k.clean("network", "rm", k.name)
		for s := range services {
			for v := range k.version {
				k.clean("rmi", "-f", k.image(s, v+1))
			}
		}
	})
	k.must(t.Context(), "docker", "network", "create", k.name)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.After(time.Minute); ; {
		_, err := k.run(t.Context(), "kamal-proxy", "list")
		if err == nil {
			return k
		}
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("kamal-proxy does not answer: %v", err)
		}
	}
}

func (k *kamal) clean(args ...string) {
	if out, err := exec.CommandContext(context.Background(), "docker", args...).CombinedOutput(); err != nil {
		k.t.Logf("docker %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func (k *kamal) image(service, version int) string {
	return fmt.Sprintf("%s-%d:%d", k.name, service, version)
}

func (k *kamal) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = k.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

func (k *kamal) must(ctx context.Context, name string, args ...string) string {
	k.t.Helper()
	out, err := k.run(ctx, name, args...)
	if err != nil {
		k.t.Fatal(err)
	}
	return out
}

// update brings a new version of the application in dir to all services at the same time, and returns how long that took
// until the old containers were stopped.
func (k *kamal) update(dir string) time.Duration {
	k.t.Helper()
	k.version++
	contexts := make([]string, len(k.old))
	for s := range k.old {
		contexts[s] = k.t.TempDir()
		if err := os.CopyFS(contexts[s], buildContext{os.DirFS(dir)}); err != nil {
			k.t.Fatal(err)
		}
		for name, text := range map[string]string{"version.txt": k.image(s, k.version) + "\n", "behaviour.json": apps.Behaviour{StartDelay: startDelay.String()}.JSON()} {
			if err := os.WriteFile(filepath.Join(contexts[s], name), []byte(text), 0o600); err != nil {
				k.t.Fatal(err)
			}
		}
	}
	replaced := slices.Clone(k.old)
	begin := time.Now()
	all, ctx := errgroup.WithContext(k.t.Context())
	for s := range k.old {
		all.Go(func() error { return k.flow(ctx, s, contexts[s]) })
	}
	if err := all.Wait(); err != nil {
		k.t.Fatal(err)
	}
	took := time.Since(begin)
	for _, id := range replaced {
		if id != "" {
			k.clean("rm", id)
		}
	}
	return took
}

// rounds returns what measures the peer once, in turns with us. The first update, which has nothing to replace, does not count.
func (k *kamal) rounds(dir string) (once func()) {
	if k == nil {
		return func() {}
	}
	k.update(dir)
	return func() { k.took = append(k.took, k.update(dir)) }
}

// row tells ours beside what the peer took.
func (k *kamal) row(what string, ours, own time.Duration) {
	if k == nil {
		return
	}
	peer := median(k.took)
	row("gateway: "+what+" changed: to Succeeded, beside docker build, docker run, kamal-proxy deploy and docker stop, beyond the own start", "0.5 s where that takes 0.7 s",
		"%.2f s and %.2f s: %.2f x (beyond the 2 s that the program itself waits: %.2f s and %.2f s)",
		(ours - own).Seconds(), (peer - own).Seconds(), float64(ours-own)/float64(peer-own), (ours - startDelay).Seconds(), (peer - startDelay).Seconds())
}

func (k *kamal) flow(ctx context.Context, service int, dir string) error {
	if _, err := k.run(ctx, "docker", "build", "-q", "-t", k.image(service, k.version), dir); err != nil {
		return err
	}
	id, err := k.run(ctx, "docker", "run", "-d", "--network", k.name, k.image(service, k.version))
	if err != nil {
		return err
	}
	old := k.old[service]
	k.old[service] = id
	ip, err := k.run(ctx, "docker", "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", id)
	if err != nil {
		return err
	}
	_, err = k.run(ctx, "kamal-proxy", "deploy", "service-"+strconv.Itoa(service), "--host", fmt.Sprintf("s%d.example", service),
		"--target", ip+":8080", "--health-check-path", "/version", "--health-check-interval", "100ms")
	if err != nil || old == "" {
		return err
	}
	_, err = k.run(ctx, "docker", "stop", old)
	return err
}

// buildContext is a checked-out application without what is not of its commit.
type buildContext struct{ fs.FS }

// ReadDir leaves out directories, which the application has none of.
func (b buildContext) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(b.FS, name)
	var files []fs.DirEntry
	for _, e := range entries {
		if e.Type().IsRegular() && e.Name() != ".env" {
			files = append(files, e)
		}
	}
	return files, err
}
