// SPDX-License-Identifier: Apache-2.0

//go:build engine

package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/docker/dockertest"
)

const testName = "docker"

func TestExec(t *testing.T) {
	e := dockertest.New(t, testName)
	ctx := t.Context()
	id := e.Run("", &container.Config{Image: e.Image("fairlead-test-docker:exec"), Env: []string{"GREETING=hello"}}, nil)

	tests := []struct {
		name   string
		cmd    []string
		opts   docker.ExecOptions
		code   int
		stdout string
		stderr string
	}{
		{name: "stdout", cmd: []string{"/bin/testapp", "say", "a", "b"}, stdout: "a b\n"},
		{name: "stderr and code", cmd: []string{"/bin/testapp", "complain", "no"}, code: 3, stderr: "no\n"},
		{name: "container's environment and user", cmd: []string{"/bin/testapp", "env", "GREETING"}, stdout: "hello 0\n"},
		{name: "own environment and user", cmd: []string{"/bin/testapp", "env", "X"}, opts: docker.ExecOptions{Env: []string{"X=y"}, User: "7"}, stdout: "y 7\n"},
		{name: "working directory", cmd: []string{"/bin/testapp", "dir"}, opts: docker.ExecOptions{WorkingDir: "/tmp"}, stdout: "/tmp\n"},
		{name: "empty input", cmd: []string{"/bin/testapp", "cat"}, opts: docker.ExecOptions{Stdin: strings.NewReader("")}},
		{name: "input", cmd: []string{"/bin/testapp", "cat"}, opts: docker.ExecOptions{Stdin: strings.NewReader("in")}, stdout: "in"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			tt.opts.Stdout, tt.opts.Stderr = &stdout, &stderr
			code, err := e.Exec(ctx, id, tt.cmd, tt.opts)
			if err != nil || code != tt.code || stdout.String() != tt.stdout || stderr.String() != tt.stderr {
				t.Errorf("code %d, err %v, stdout %q, stderr %q", code, err, stdout.String(), stderr.String())
			}
		})
	}

	t.Run("environment, only what was asked for", func(t *testing.T) {
		env, err := e.ContainerEnv(ctx, id, []string{"GREETING", "NONE"})
		if err != nil || len(env) != 1 || env["GREETING"] != "hello" {
			t.Errorf("%v, %v", env, err)
		}
	})
	t.Run("large input comes back whole", func(t *testing.T) {
		data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
		sum := sha256.New()
		code, err := e.Exec(ctx, id, []string{"/bin/testapp", "cat"}, docker.ExecOptions{Stdin: bytes.NewReader(data), Stdout: sum})
		want := sha256.Sum256(data)
		if err != nil || code != 0 || !bytes.Equal(sum.Sum(nil), want[:]) {
			t.Errorf("code %d, err %v, same content: %v", code, err, bytes.Equal(sum.Sum(nil), want[:]))
		}
	})
	t.Run("failing input is an error", func(t *testing.T) {
		bad := errors.New("disk gone")
		_, err := e.Exec(ctx, id, []string{"/bin/testapp", "cat"}, docker.ExecOptions{Stdin: io.MultiReader(strings.NewReader("x"), iotest.ErrReader(bad))})
		if !errors.Is(err, bad) {
			t.Errorf("err %v, want %v", err, bad)
		}
	})
	t.Run("failing output is an error", func(t *testing.T) {
		bad := errors.New("disk full")
		_, err := e.Exec(ctx, id, []string{"/bin/testapp", "lines", "10"}, docker.ExecOptions{Stdout: failingWriter{bad}})
		if !errors.Is(err, bad) {
			t.Errorf("err %v, want %v", err, bad)
		}
	})
	t.Run("missing program", func(t *testing.T) {
		out, err := e.ExecOutput(ctx, id, []string{"/bin/none"}, docker.ExecOptions{}, 1000)
		if err != nil || (out.ExitCode != 126 && out.ExitCode != 127) || !strings.Contains(string(out.Stdout), "no such file") {
			t.Errorf("%+v %q, err %v", out, out.Stdout, err)
		}
	})
	t.Run("bounded output", func(t *testing.T) {
		out, err := e.ExecOutput(ctx, id, []string{"/bin/testapp", "lines", "100000"}, docker.ExecOptions{}, 6)
		if err != nil || string(out.Stdout) != "line 1" || !out.Truncated || out.ExitCode != 0 {
			t.Errorf("%+v, err %v", out, err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		r, w := io.Pipe()
		go func() {
			b := make([]byte, 1)
			_, _ = r.Read(b) // the command runs
			cancel()
			_, _ = io.Copy(io.Discard, r)
		}()
		_, err := e.Exec(ctx, id, []string{"/bin/testapp", "serve"}, docker.ExecOptions{Stdout: w})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("err %v", err)
		}
		_ = w.Close()
	})
	t.Run("container not running", func(t *testing.T) {
		stopped := e.Create("", &container.Config{Image: "fairlead-test-docker:exec"}, nil, nil)
		_, err := e.Exec(ctx, stopped, []string{"/bin/testapp"}, docker.ExecOptions{})
		if !docker.IsConflict(err) || docker.IsUnavailable(err) {
			t.Errorf("err %v", err)
		}
	})
	t.Run("no container", func(t *testing.T) {
		_, err := e.Exec(ctx, "fairlead-none", []string{"x"}, docker.ExecOptions{})
		if !docker.IsNotFound(err) || docker.IsUnavailable(err) {
			t.Errorf("err %v", err)
		}
	})
	t.Run("container dies meanwhile", func(t *testing.T) {
		other := e.Run("", &container.Config{Image: "fairlead-test-docker:exec"}, nil)
		r, w := io.Pipe()
		go func() {
			b := make([]byte, 1)
			_, _ = r.Read(b)
			_ = e.Stop(ctx, other, 0, "")
			_, _ = io.Copy(io.Discard, r)
		}()
		code, err := e.Exec(ctx, other, []string{"/bin/testapp", "serve"}, docker.ExecOptions{Stdout: w})
		if err == nil && code == 0 {
			t.Error("a killed command counts as successful")
		}
		_ = w.Close()
	})
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestLogTail(t *testing.T) {
	e := dockertest.New(t, testName)
	img := e.Image("fairlead-test-docker:logs")
	for _, tty := range []bool{false, true} {
		id := e.Run("", &container.Config{Image: img, Cmd: []string{"lines", "500"}, Tty: tty}, nil)
		if _, err := e.WaitExit(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		got, err := e.LogTail(t.Context(), id, 3)
		if want := []string{"line 498!", "line 499!", "line 500!"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("tty %v: %q, %v", tty, got, err)
		}
	}
	if _, err := e.LogTail(t.Context(), "fairlead-none", 3); !docker.IsNotFound(err) {
		t.Errorf("err %v", err)
	}
}

func TestImageContent(t *testing.T) {
	e := dockertest.New(t, testName)
	ctx := t.Context()
	content := func(ref string, changes ...string) docker.Image {
		t.Helper()
		img, err := e.ImageContent(ctx, e.Image(ref, changes...))
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	base := content("fairlead-test-docker:a", `CMD ["serve"]`, "ENV A=1", "VOLUME /data", "LABEL build=1")
	again := content("fairlead-test-docker:b", `CMD ["serve"]`, "ENV A=1", "VOLUME /data", "LABEL build=2")
	if base.ID == again.ID || base.Content != again.Content {
		t.Errorf("rebuilt with another label: IDs %s %s, contents %s %s", base.ID, again.ID, base.Content, again.Content)
	}
	if !slices.Equal(base.Volumes, []string{"/data"}) || base.Labels["build"] != "1" || base.HasHealthcheck || base.Created.IsZero() || base.Size == 0 {
		t.Errorf("%+v", base)
	}
	seen := map[string]string{base.Content: "base"}
	for name, change := range map[string]string{
		"env": "ENV A=2", "user": "USER 7", "health": `HEALTHCHECK CMD ["/bin/testapp"]`, "port": "EXPOSE 80", "dir": "WORKDIR /tmp", "cmd": `CMD ["hang"]`,
	} {
		img := content("fairlead-test-docker:"+name, `CMD ["serve"]`, "ENV A=1", "VOLUME /data", change)
		if other, dup := seen[img.Content]; dup {
			t.Errorf("%s has the content of %s", name, other)
		}
		seen[img.Content] = name
		if img.HasHealthcheck != (name == "health") {
			t.Errorf("%s: HasHealthcheck %v", name, img.HasHealthcheck)
		}
	}
	if _, err := e.ImageContent(ctx, "fairlead-none:1"); !docker.IsNotFound(err) {
		t.Errorf("err %v", err)
	}

	if err := e.TagImage(ctx, base.ID, "fairlead-test-docker:extra"); err != nil {
		t.Fatal(err)
	}
	list, err := e.Images(ctx)
	list = slices.DeleteFunc(list, func(i docker.Image) bool {
		return i.Labels[dockertest.LabelTest] != testName || i.Labels["build"] != "1"
	})
	if err != nil || len(list) != 1 || !slices.Contains(list[0].RepoTags, "fairlead-test-docker:extra") {
		t.Errorf("%+v, %v", list, err)
	}
	for range 2 {
		if err := e.RemoveImageTag(ctx, "fairlead-test-docker:extra"); err != nil {
			t.Error(err)
		}
	}
	if _, err := e.ImageContent(ctx, "fairlead-test-docker:a"); err != nil {
		t.Errorf("the image went with one of its tags: %v", err)
	}
	if err := e.RemoveImageTag(ctx, base.ID); err == nil {
		t.Error("an ID was taken for a tag")
	}
	id := e.Create("", &container.Config{Image: "fairlead-test-docker:a"}, nil, nil)
	if err := e.RemoveImageTag(ctx, "fairlead-test-docker:a"); !docker.IsConflict(err) {
		t.Errorf("image in use: %v", err)
	}
	if err := e.Remove(ctx, id, false); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := e.RemoveImage(ctx, base.ID); err != nil {
			t.Error(err)
		}
	}
}

// TestNameGivenWhileTheLastIsTaken has one application clean up and another give
// a name to the same image at the same time.
func TestNameGivenWhileTheLastIsTaken(t *testing.T) {
	e := dockertest.New(t, testName)
	ctx := t.Context()
	const last, given = "fairlead-test-docker:last", "fairlead-test-docker:given"
	for i := range 40 {
		img, err := e.ImageContent(ctx, e.Image(last, fmt.Sprintf("ENV ROUND=%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		var taken error
		var wg sync.WaitGroup
		wg.Go(func() { taken = e.RemoveImageTag(ctx, last) })
		err = e.TagImage(ctx, img.ID, given)
		wg.Wait()
		if taken != nil {
			t.Fatal(taken)
		}
		switch _, missing := e.ImageContent(ctx, given); {
		case docker.IsNotFound(err): // the image had gone, and the caller knows
		case err != nil:
			t.Fatal(err)
		case missing != nil:
			t.Fatalf("round %d: the image was given a name and is not there: %v", i, missing)
		}
		if err := e.RemoveImageTag(ctx, given); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProjectContainers(t *testing.T) {
	e := dockertest.New(t, testName)
	ctx := t.Context()
	img := e.Image("fairlead-test-docker:project", "VOLUME /data", `HEALTHCHECK --interval=40s CMD has /tmp/ok`)
	net, err := e.NetworkCreate(ctx, "fairlead-test-docker", network.CreateOptions{Labels: map[string]string{dockertest.LabelTest: testName}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.NetworkRemove(context.Background(), net.ID) })
	labels := func(service, number, oneoff string) map[string]string {
		return map[string]string{docker.LabelProject: "fltest", docker.LabelService: service, docker.LabelNumber: number, docker.LabelOneOff: oneoff, docker.LabelConfigHash: "h" + number}
	}
	e.Create("fltest-web-2", &container.Config{Image: img, Labels: labels("web", "2", "False"), Healthcheck: &container.HealthConfig{Test: []string{"NONE"}}}, nil, nil)
	e.Create("fltest-run", &container.Config{Image: img, Labels: labels("web", "3", "True")}, nil, nil)
	e.Run("fltest-db-1", &container.Config{Image: img, Labels: labels("db", "1", "False"), Cmd: []string{"exit", "7"}}, nil)
	timeout := 3
	e.Create("fltest-web-1", &container.Config{
		Image: img, Labels: labels("web", "1", "False"), Tty: true, StopTimeout: &timeout,
		Healthcheck: &container.HealthConfig{Timeout: 2 * time.Second}, ExposedPorts: nat.PortSet{"80/tcp": {}},
	}, &container.HostConfig{
		RestartPolicy: container.RestartPolicy{Name: "unless-stopped"},
		PortBindings:  nat.PortMap{"80/tcp": {{HostIP: "127.0.0.1", HostPort: ""}}},
		Binds:         []string{"/tmp:/host:ro"},
	}, &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"fairlead-test-docker": {Aliases: []string{"web"}}}})
	if err := e.Start(ctx, "fltest-web-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.WaitExit(ctx, "fltest-db-1"); err != nil {
		t.Fatal(err)
	}

	all, err := e.ProjectContainers(ctx, "fltest")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 3 || all[0].Name != "fltest-db-1" || all[1].Name != "fltest-web-1" || all[2].Name != "fltest-web-2" {
		t.Fatalf("%+v", all)
	}
	db, web, created := all[0], all[1], all[2]
	if db.State != docker.StateExited || db.ExitCode != 7 || db.FinishedAt.IsZero() || db.Running() || db.RestartPolicy.Name != "no" {
		t.Errorf("%+v", db)
	}
	if created.State != docker.StateCreated || !created.StartedAt.IsZero() || created.Healthcheck != nil || created.Health != docker.HealthNone {
		t.Errorf("%+v", created)
	}
	h := web.Healthcheck
	if h == nil || h.Timeout != 2*time.Second || h.Interval != 40*time.Second || h.Retries != 3 || !slices.Equal(h.Command(), []string{"/bin/sh", "-c", "has /tmp/ok"}) {
		t.Errorf("healthcheck %+v", h)
	}
	if web.State != docker.StateRunning || web.Health != docker.HealthStarting || web.Pid == 0 || !web.Tty || web.Number != 1 || web.ConfigHash != "h1" ||
		web.Image != img || web.RestartPolicy.Name != "unless-stopped" || web.StopTimeout == nil || *web.StopTimeout != 3*time.Second {
		t.Errorf("%+v", web)
	}
	if ep := web.Networks["fairlead-test-docker"]; ep.IP == "" || !slices.Equal(ep.Aliases, []string{"web"}) || ep.NetworkID != net.ID {
		t.Errorf("endpoint %+v", ep)
	}
	if len(web.PortBindings) != 1 || web.PortBindings[0].HostPort != 0 || len(web.Ports) != 1 || web.Ports[0].HostPort == 0 || web.Ports[0].HostIP != "127.0.0.1" || web.Ports[0].ContainerPort != 80 {
		t.Errorf("ports %+v %+v", web.PortBindings, web.Ports)
	}
	if len(web.Mounts) != 2 || web.Mounts[0].Type != "volume" || len(web.Mounts[0].Name) != 64 || !web.Mounts[0].RW || web.Mounts[1].Source != "/tmp" || web.Mounts[1].RW {
		t.Errorf("mounts %+v", web.Mounts)
	}
	if _, err := e.ProjectContainers(ctx, ""); err == nil {
		t.Error("an empty project name lists everything")
	}
}

func TestLifecycle(t *testing.T) {
	e := dockertest.New(t, testName)
	ctx := t.Context()
	img := e.Image("fairlead-test-docker:life", "VOLUME /data")
	id := e.Create("fltest-life", &container.Config{Image: img, Cmd: []string{"serve", "terminated"}}, &container.HostConfig{RestartPolicy: container.RestartPolicy{Name: "always"}}, nil)
	e.Create("fltest-taken", &container.Config{Image: img}, nil, nil)
	twice := func(what string, f func() error) {
		t.Helper()
		for i := range 2 {
			if err := f(); err != nil {
				t.Errorf("%s, time %d: %v", what, i+1, err)
			}
		}
	}
	twice("start", func() error { return e.Start(ctx, id) })
	twice("rename", func() error { return e.Rename(ctx, id, "fltest-life2") })
	if err := e.Rename(ctx, id, "fltest-taken"); !docker.IsConflict(err) {
		t.Errorf("taken name: %v", err)
	}
	if err := e.Remove(ctx, id, true); !docker.IsConflict(err) {
		t.Errorf("remove while running: %v", err)
	}

	// The program ignores TERM, so only the signal ends it with code 0.
	old, err := e.StopAndKeep(ctx, id, time.Minute, "SIGUSR1")
	if err != nil || old.Name != "always" {
		t.Errorf("%+v, %v", old, err)
	}
	ct, err := e.InspectContainer(ctx, id)
	if err != nil || ct.State != docker.StateExited || ct.ExitCode != 0 || ct.RestartPolicy.Name != "no" {
		t.Errorf("%+v, %v", ct, err)
	}
	twice("restart policy", func() error { return e.SetRestartPolicy(ctx, id, old) })
	twice("start again", func() error { return e.Start(ctx, id) })
	twice("stop by the engine's own way", func() error { return e.Stop(ctx, id, 0, "") })
	if ct, err := e.WaitExit(ctx, id); err != nil || ct.ExitCode != 137 || ct.RestartPolicy.Name != "always" {
		t.Errorf("%+v, %v", ct, err)
	}

	r, err := e.CopyFrom(ctx, id, "/bin/testapp")
	if err != nil {
		t.Fatal(err)
	}
	if h, err := tar.NewReader(r).Next(); err != nil || h.Name != "testapp" {
		t.Errorf("%+v, %v", h, err)
	}
	_ = r.Close()
	if _, err := e.CopyFrom(ctx, id, "/none"); !docker.IsNotFound(err) {
		t.Errorf("err %v", err)
	}

	volume := ct.Mounts[0].Name
	twice("remove", func() error { return e.Remove(ctx, id, true) })
	if _, err := e.VolumeInspect(ctx, volume); !docker.IsNotFound(err) {
		t.Errorf("anonymous volume stays: %v", err)
	}
	twice("stop when gone", func() error { return e.Stop(ctx, id, time.Second, "SIGUSR1") })
	if err := e.Start(ctx, id); !docker.IsNotFound(err) {
		t.Errorf("start when gone: %v", err)
	}
	if _, err := e.WaitExit(ctx, id); !docker.IsNotFound(err) {
		t.Errorf("wait when gone: %v", err)
	}
}

func TestWatch(t *testing.T) {
	e := dockertest.New(t, testName)
	id := e.Create("", &container.Config{Image: e.Image("fairlead-test-docker:watch"), Cmd: []string{"exit", "5"}}, nil, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var events []docker.Event
	err := e.Watch(ctx, docker.EventFilter{Types: []string{"container"}, Actions: []string{"die"}, Containers: []string{id}}, func(ev docker.Event) {
		events = append(events, ev)
		if ev.Resync {
			if err := e.Start(t.Context(), id); err != nil {
				t.Error(err)
				cancel()
			}
			return
		}
		cancel()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("err %v", err)
	}
	if len(events) != 2 || !events[0].Resync || events[1].Action != "die" || events[1].ID != id || events[1].Attributes["exitCode"] != "5" || events[1].Time.IsZero() {
		t.Errorf("%+v", events)
	}
}

func TestInfo(t *testing.T) {
	e := dockertest.New(t, testName)
	i, err := e.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if i.ID == "" || i.OS != "linux" || i.CPUs == 0 || i.MemTotal == 0 || i.DockerRootDir == "" || i.APIVersion == "" || !i.AtLeast("20.10") || i.AtLeast("999") {
		t.Errorf("%+v", i)
	}
	e.Image("fairlead-test-docker:usage")
	u, err := e.DiskUsage(t.Context())
	if err != nil || u.Images == 0 {
		t.Errorf("%+v, %v", u, err)
	}
}
