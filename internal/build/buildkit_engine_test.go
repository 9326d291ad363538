// SPDX-License-Identifier: Apache-2.0

//go:build engine

package build

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"

	"github.com/fairlead-dev/fairlead/internal/redact"
)

func TestBuildTagsAndCache(t *testing.T) {
	b := newBench(t, Options{})
	spec := b.spec("FROM scratch", "COPY app /app", `RUN ["/app","print","hello","`+b.nonce+`"]`)
	spec.Tags = []string{"fairlead-test/build:" + b.nonce, "fairlead-test/build-other:" + b.nonce}
	spec.Key = "v1-" + b.nonce
	first := b.build(spec)
	if !first.UsedBuildKit || first.Cached() || first.Steps != 2 {
		t.Errorf("first build: %+v", first)
	}
	b.logHas("RUN", "hello", "done in")
	for _, tag := range spec.Tags {
		i, err := b.docker.ImageInspect(t.Context(), tag)
		if err != nil {
			t.Fatal(err)
		}
		if i.ID != first.ImageID || i.Config.Labels[LabelBuildKey] != spec.Key {
			t.Errorf("%s is %s with labels %v", tag, i.ID, i.Config.Labels)
		}
	}

	// The same content in another directory, later, gives the same image.
	other := t.TempDir()
	b.copyApp(other)
	if err := os.Chtimes(filepath.Join(other, "app"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	spec.Context = other
	second := b.build(spec)
	if second.ImageID != first.ImageID || !second.Cached() {
		t.Errorf("second build %+v, first was %s", second, first.ImageID)
	}
	b.logHas("CACHED")

	b.nameByContent(first.ImageID)
	// Without a key of its own, a child has not that of ours.
	child := b.build(Spec{Name: "child", Context: spec.Context, DockerfileInline: "FROM " + spec.Tags[0] + "\nLABEL child=yes\n", Labels: spec.Labels})
	b.nameByContent(child.ImageID)
	if i, err := b.docker.ImageInspect(t.Context(), child.ImageID); err != nil || i.Config.Labels[LabelBuildKey] != "" {
		t.Errorf("the child has the labels %v, %v", i.Config.Labels, err)
	}
	found, err := b.builder.FindByKeys(t.Context(), []string{spec.Key})
	if err != nil || found[spec.Key] != first.ImageID {
		t.Errorf("FindByKeys: %s %v", found, err)
	}
	if found, err := b.builder.FindByKeys(t.Context(), []string{spec.Key + "0"}); err != nil || len(found) > 0 {
		t.Errorf("FindByKeys of another key: %v %v", found, err)
	}
	spec.Tags = []string{"fairlead-test/build-third"}
	spec.Context = t.TempDir() // would fail if it were built
	again, err := b.builder.Parallel(t.Context(), []Spec{spec}, b.log)
	if third := again[spec.Name]; err != nil || !third.Reused || third.ImageID != first.ImageID {
		t.Errorf("again: %+v %v", third, err)
	}
	if i, err := b.docker.ImageInspect(t.Context(), "fairlead-test/build-third:latest"); err != nil || i.ID != first.ImageID {
		t.Errorf("what was there got no tag: %v", err)
	}
}

// Two commits often have files of equal size and time, which BuildKit's
// transfer takes for equal.
func TestBuildDoesNotMixContexts(t *testing.T) {
	b := newBench(t, Options{})
	spec := b.spec()
	var ids []string
	for _, content := range []string{"aaaa", "bbbb"} {
		b.write("Dockerfile", "FROM scratch\nCOPY file /file\nLABEL a="+content+"\n")
		b.write("file", content)
		for _, f := range []string{"Dockerfile", "file"} {
			if err := os.Chtimes(filepath.Join(b.dir, f), time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
				t.Fatal(err)
			}
		}
		r := b.build(spec)
		i, err := b.docker.ImageInspect(t.Context(), r.ImageID)
		if err != nil {
			t.Fatal(err)
		}
		if i.Config.Labels["a"] != content {
			t.Errorf("the image of %s has label %s", content, i.Config.Labels["a"])
		}
		ids = append(ids, strings.Join(i.RootFS.Layers, ","))
	}
	if ids[0] == ids[1] {
		t.Error("the second image has the first one's content")
	}
}

// Under one key files are kept from build to build; what is built is what is in
// the context all the same.
func TestBuildKeepsContext(t *testing.T) {
	b := newBench(t, Options{})
	second := 0
	files := func(dockerfile string, contents map[string]string) []string {
		t.Helper()
		contents["Dockerfile"] = dockerfile
		second++ // no two contents have one time
		for name, content := range contents {
			b.write(name, content)
			at := time.Unix(1e9, int64(len(name)*1000+second))
			if err := os.Chtimes(filepath.Join(b.dir, name), at, at); err != nil {
				t.Fatal(err)
			}
		}
		var layers []string
		for _, key := range []string{"key of " + b.nonce, ""} {
			spec := b.spec()
			spec.ContextKey, spec.NoCache = key, true
			i, err := b.docker.ImageInspect(t.Context(), b.build(spec).ImageID)
			if err != nil {
				t.Fatal(err)
			}
			layers = append(layers, strings.Join(i.RootFS.Layers, ","))
		}
		if layers[0] != layers[1] {
			t.Errorf("with files that were kept %s, without %s", layers[0], layers[1])
		}
		return layers
	}
	one := files("FROM scratch\nCOPY a b* /\n", map[string]string{"a": "aaaa", "b1": "bbbb"})
	two := files("FROM scratch\nCOPY a b* /\n", map[string]string{"a": "cccc"})
	if err := os.Remove(filepath.Join(b.dir, "b1")); err != nil {
		t.Fatal(err)
	}
	three := files("FROM scratch\nCOPY a b* /\n", map[string]string{"b2": "bbbb"})
	four := files("FROM scratch\nCOPY a /\n", map[string]string{})
	seen := map[string]bool{}
	for _, l := range [][]string{one, two, three, four} {
		seen[l[0]] = true
	}
	if len(seen) != 4 {
		t.Errorf("four contexts made %d images", len(seen))
	}
}

func TestBuildFailure(t *testing.T) {
	b := newBench(t, Options{})
	e := b.fails(b.spec("FROM scratch", "COPY app /app", `RUN ["/app","fail","3"]`))
	if e.Kind != KindBuild || e.ExitCode != 3 || Retryable(e) {
		t.Errorf("kind %s, code %d", e.Kind, e.ExitCode)
	}
	if !strings.Contains(e.Instruction, `RUN ["/app","fail","3"]`) {
		t.Errorf("instruction %q", e.Instruction)
	}
	if len(e.Tail) != tailLines || !slices.Contains(e.Tail, "bad thing happened") || !slices.Contains(e.Tail, "line 40") {
		t.Errorf("tail %q", e.Tail)
	}
	for _, want := range []string{"build of web", "exit code 3", "bad thing happened"} {
		if !strings.Contains(e.Error(), want) {
			t.Errorf("no %q in %s", want, e)
		}
	}
}

func TestBuildErrors(t *testing.T) {
	b := newBench(t, Options{})
	for _, tc := range []struct {
		name string
		spec Spec
		kind Kind
		has  []string
	}{
		{"syntax", b.spec("FROM scratch", "COPIE a b"), KindBuild, []string{"COPIE"}},
		{"missing file", b.spec("FROM scratch", "COPY nothere /x"), KindBuild, []string{"nothere"}},
		{"no Dockerfile", b.spec(), KindInvalid, []string{"Dockerfile", "commit"}},
		{"registry down", b.spec("FROM 127.0.0.1:1/none:1"), KindUnreachable, []string{"127.0.0.1:1"}},
		{"target", with(b.spec("FROM scratch", "COPY app /app"), func(s *Spec) { s.Target = "nostage" }), KindBuild, []string{"nostage"}},
		{"named context", with(b.spec("FROM scratch"), func(s *Spec) {
			s.AdditionalContexts = map[string]NamedContext{"x": {Source: "/tmp"}}
		}), KindUnsupported, []string{"23.0"}},
		{"network", with(b.spec("FROM scratch"), func(s *Spec) { s.Network = "mine" }), KindUnsupported, []string{"mine"}},
		{"secret file", with(b.spec("FROM scratch"), func(s *Spec) { s.Secrets = []Secret{{ID: "a", File: "/nowhere/a"}} }), KindInvalid, []string{"/nowhere/a"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.T = t
			e := b.fails(tc.spec)
			if e.Kind != tc.kind {
				t.Errorf("kind %s, want %s", e.Kind, tc.kind)
			}
			for _, want := range tc.has {
				if !strings.Contains(e.Error(), want) {
					t.Errorf("no %q in: %s", want, e)
				}
			}
		})
	}
	b.T = t
}

func TestBuildCancel(t *testing.T) {
	for _, classic := range []bool{false, true} {
		b := newBench(t, Options{Classic: classic})
		marker := "marker" + b.nonce
		spec := b.spec("FROM scratch", "COPY app /app", `RUN ["/app","hang","`+marker+`"]`)
		spec.Tags = []string{"fairlead-test/cancelled:" + b.nonce}
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := b.builder.Build(ctx, spec, b.log)
			ended <- err
		}()
		eventually(t, "the step runs", func() bool { return running(t, marker) })
		why := errors.New("a person cancelled")
		start := time.Now()
		cancel(why)
		err := <-ended
		t.Logf("classic=%v: cancelled in %v: %v", classic, time.Since(start), err)
		if !errors.Is(err, why) || Retryable(err) {
			t.Errorf("error %v", err)
		}
		eventually(t, "the step is gone", func() bool { return !running(t, marker) })
		if _, err := b.docker.ImageInspect(t.Context(), spec.Tags[0]); err == nil {
			t.Error("a cancelled build made an image")
		}
	}
}

func TestBuildSecret(t *testing.T) {
	b := newBench(t, Options{})
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("s3cr3t-from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := b.spec("FROM scratch", "COPY app /app",
		`RUN --mount=type=secret,id=filetoken ["/app","cat","/run/secrets/filetoken"]`,
		`RUN --mount=type=secret,id=envtoken ["/app","cat","/run/secrets/envtoken"]`,
		`RUN --mount=type=cache,target=/cache ["/app","write","/cache/x","y"]`,
		`RUN ["/app","print","`+b.nonce+`"]`)
	spec.Secrets = []Secret{{ID: "filetoken", File: file}, {ID: "envtoken", Value: []byte("s3cr3t-from-env")}}
	spec.NoCache = true
	b.build(spec)
	b.logHas("content: " + redact.Mask)
	b.logLacks("s3cr3t")

	spec.DockerfileInline += `RUN --mount=type=secret,id=envtoken ["/app","copy","/run/secrets/envtoken","/nodir/s3cr3t-from-env"]` + "\n"
	e := b.fails(spec)
	if strings.Contains(e.Error()+strings.Join(e.Tail, ""), "s3cr3t") || e.ExitCode != 1 {
		t.Errorf("error %v", e)
	}
	b.logLacks("s3cr3t")
}

func TestBuildSSH(t *testing.T) {
	b := newBench(t, Options{})
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = agent.ServeAgent(keys, conn)
			}()
		}
	}()
	spec := b.spec("FROM scratch", "COPY app /app", `RUN --mount=type=ssh ["/app","agent"]`, `RUN ["/app","print","`+b.nonce+`"]`)
	spec.NoCache = true
	spec.SSH = []SSH{{Path: socket}}
	b.build(spec)
	b.logHas("agent answer 12 keys 1")
	t.Setenv("SSH_AUTH_SOCK", "")
	spec.SSH = []SSH{{}}
	if e := b.fails(spec); e.Kind != KindInvalid || !strings.Contains(e.Error(), "SSH_AUTH_SOCK") {
		t.Errorf("%v", e)
	}
}

func TestBuildIgnoreFiles(t *testing.T) {
	const dockerfile = "FROM scratch\nCOPY . /ctx/\nRUN [\"/ctx/app\",\"list\",\"/ctx\"]\n"
	for _, classic := range []bool{false, true} {
		b := newBench(t, Options{Classic: classic})
		b.write(".dockerignore", "secret.env\nnode_modules\n!node_modules/keep\n")
		b.write("secret.env", "x")
		b.write("node_modules/drop", "x")
		b.write("node_modules/keep", "x")
		b.write("src/main", b.nonce)
		b.write("Dockerfile", dockerfile)
		b.build(b.spec())
		b.logHas("file /ctx/src/main", "file /ctx/node_modules/keep")
		b.logLacks("file /ctx/secret.env", "file /ctx/node_modules/drop")

		// A Dockerfile's own ignore file comes first.
		b.log = &logBuffer{}
		b.write("other/Containerfile", dockerfile)
		b.write("other/Containerfile.dockerignore", "src\n")
		spec := b.spec()
		spec.Dockerfile = "other/Containerfile"
		spec.NoCache = true // what is new about it is ignored
		b.build(spec)
		b.logHas("file /ctx/secret.env", "file /ctx/node_modules/drop")
		b.logLacks("file /ctx/src/main")

		// Outside of the context, and inline: the Dockerfile is not copied.
		outside := filepath.Join(t.TempDir(), "Dockerfile")
		if err := os.WriteFile(outside, []byte(dockerfile), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(b.dir, "Dockerfile")); err != nil {
			t.Fatal(err)
		}
		for _, spec := range []Spec{with(b.spec(), func(s *Spec) { s.Dockerfile = outside }), b.spec(strings.Split(strings.TrimSpace(dockerfile), "\n")...)} {
			b.log = &logBuffer{}
			spec.NoCache = true // the two differ in nothing else
			b.build(spec)
			b.logHas("file /ctx/src/main")
			b.logLacks("file /ctx/secret.env", "file /ctx/Dockerfile", "file /ctx/"+addedDockerfile)
		}
	}
}

func TestBuildArgumentsAndModes(t *testing.T) {
	b := newBench(t, Options{})
	spec := b.spec("FROM scratch AS base", "COPY --chmod=750 app /app", `RUN ["/app","mode","/app"]`,
		"ARG GREETING", `RUN ["/app","env","GREETING"]`, "FROM base AS unused", `RUN ["/app","fail","9"]`, "FROM base AS final",
		`RUN ["/app","cat","/etc/hosts"]`)
	spec.Args = map[string]string{"GREETING": "hello " + b.nonce}
	spec.Target = "final"
	spec.ExtraHosts = []string{"db.test=10.9.8.7", "gw.test:host-gateway"}
	spec.Network = "host"
	spec.NoCache = true
	b.build(spec)
	b.logHas("mode 750", "env hello "+b.nonce, "10.9.8.7", "gw.test")
}

func TestBuildRemoteContext(t *testing.T) {
	b := newBench(t, Options{})
	b.write("sub/Dockerfile", "FROM scratch\nCOPY sub/file /file\n")
	b.write("sub/file", b.nonce)
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", b.dir, "-c", "user.name=t", "-c", "user.email=t@localhost"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("init", "-q", "-b", "main")
	git("add", "sub")
	git("commit", "-q", "-m", "one")
	addr := serve(t, "", func(addr string) *exec.Cmd {
		host, port, _ := strings.Cut(addr, ":")
		libexec, err := exec.Command("git", "--exec-path").Output()
		if err != nil {
			t.Fatal(err)
		}
		// The daemon itself and not `git daemon`, which would leave it running.
		return exec.Command(filepath.Join(strings.TrimSpace(string(libexec)), "git-daemon"),
			"--listen="+host, "--port="+port, "--export-all", "--base-path="+b.dir, b.dir)
	})
	spec := b.spec()
	spec.Context = "git://" + addr + "/.git#main"
	spec.Dockerfile = "sub/Dockerfile"
	if r := b.build(spec); r.Steps == 0 {
		t.Errorf("%+v", r)
	}
	spec.Dockerfile, spec.DockerfileInline = "", "FROM scratch\nCOPY sub/file /inline\n"
	b.build(spec)
	b.logHas("COPY sub/file /inline")

	spec.Context = "git://127.0.0.1:1/x.git#main"
	if e := b.fails(spec); e.Kind != KindUnreachable || !Retryable(e) {
		t.Errorf("%s: %v", e.Kind, e)
	}
}

func TestParallel(t *testing.T) {
	b := newBench(t, Options{})
	specs := []Spec{}
	for _, name := range []string{"web", "worker", "api"} {
		s := b.spec("FROM scratch", "COPY app /app", `RUN ["/app","print","for","`+name+b.nonce+`"]`)
		s.Name = name
		s.Tags = []string{"fairlead-test/" + name + ":" + b.nonce}
		specs = append(specs, s)
	}
	twin := specs[1]
	twin.Name, twin.Tags = "worker2", []string{"fairlead-test/worker2:" + b.nonce}
	specs[1].Key, twin.Key = "v1-same"+b.nonce, "v1-same"+b.nonce
	results, err := b.builder.Parallel(t.Context(), append(specs, twin), b.log)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 4 || results["worker"] != results["worker2"] || results["web"].ImageID == results["api"].ImageID {
		t.Errorf("%+v", results)
	}
	for _, s := range append(specs, twin) {
		if i, err := b.docker.ImageInspect(t.Context(), s.Tags[0]); err != nil || i.ID != results[s.Name].ImageID {
			t.Errorf("%s: %v", s.Tags[0], err)
		}
	}
	b.logHas("web | #", "worker,worker2 | #", "api | #")

	marker := "parallel" + b.nonce
	bad := b.spec("FROM scratch", "COPY app /app", `RUN ["/app","fail","4"]`)
	bad.Name = "bad"
	slow := b.spec("FROM scratch", "COPY app /app", `RUN ["/app","hang","`+marker+`"]`)
	slow.Name = "slow"
	_, err = b.builder.Parallel(t.Context(), []Spec{slow, bad}, b.log)
	var e *Error
	if !errors.As(err, &e) || e.Service != "bad" || e.ExitCode != 4 {
		t.Errorf("error %v", err)
	}
	eventually(t, "the other build is gone", func() bool { return !running(t, marker) })
}
