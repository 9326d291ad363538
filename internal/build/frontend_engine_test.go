// SPDX-License-Identifier: Apache-2.0

//go:build engine

package build

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/docker/docker/api/types"
)

// saysVersion is an engine that says it has another version of the API.
type saysVersion struct {
	Docker
	version string
}

func (s saysVersion) Ping(ctx context.Context) (types.Ping, error) {
	p, err := s.Docker.Ping(ctx)
	p.APIVersion = s.version
	return p, err
}

// What was built by one frontend, by hand too, is not built again by the other one.
func TestFrontendsShareCache(t *testing.T) {
	b := newBench(t, Options{})
	b.write("list.txt", b.nonce)
	lines := []string{
		"FROM scratch AS tools", "ARG VERSION=1", "ENV NONCE=" + b.nonce, "COPY app list.txt /src/", "WORKDIR /src", "ADD list.txt /added/",
		`RUN ["/src/app","print","hello"]`, `RUN --mount=type=cache,target=/cache ["/src/app","print","again"]`, "USER 1:1",
		`SHELL ["/src/app","print"]`, "RUN by the shell $VERSION",
		"FROM scratch", "COPY --from=tools --chown=1:1 /src/app /app", "LABEL a=b", `HEALTHCHECK CMD ["/app"]`, "EXPOSE 80", `CMD ["/app"]`,
	}
	ways := []struct{ name, version string }{{"of Fairlead", apiEngine20}, {"of the engine", apiEngine23}}
	for i, first := range ways {
		second := ways[1-i]
		spec := b.spec(lines...)
		spec.Args = map[string]string{"VERSION": first.version + b.nonce}
		spec.NoCache = true
		b.builder = NewBuilder(saysVersion{b.docker, first.version}, Options{ConfigDir: t.TempDir()})
		if r := b.build(spec); r.Cached() || !r.UsedBuildKit {
			t.Errorf("by the frontend %s: %+v, want it built anew", first.name, r)
		}
		spec.NoCache = false
		b.builder = NewBuilder(saysVersion{b.docker, second.version}, Options{ConfigDir: t.TempDir()})
		if r := b.build(spec); !r.Cached() || r.Steps == 0 {
			t.Errorf("by the frontend %s and then by the one %s: %+v, want all of it cached", first.name, second.name, r)
		}
	}
}

// What the frontend of Engine 20.10 does not know is there.
func TestFrontendOfItsOwn(t *testing.T) {
	b := newBench(t, Options{})
	spec := b.spec("FROM scratch", "COPY --chmod=755 <<EOF /text", "line of "+b.nonce, "EOF", "COPY app /app", `RUN --network=none ["/app","print","alone"]`)
	b.builder = NewBuilder(saysVersion{b.docker, apiEngine20}, Options{ConfigDir: t.TempDir()})
	if r := b.build(spec); r.Steps != 3 {
		t.Errorf("it has %+v, want three steps", r)
	}
}

// A build that is cancelled ends, whoever else it speaks to: a server of git that says nothing, here.
func TestCancelWhileAskingAnother(t *testing.T) {
	b := newBench(t, Options{})
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	asked := make(chan net.Conn)
	go func() {
		for {
			c, err := silent.Accept()
			if err != nil {
				return
			}
			asked <- c
		}
	}()
	spec := b.spec("FROM scratch", "ADD ssh://git@"+silent.Addr().String()+"/shop.git /src")
	b.builder = NewBuilder(saysVersion{b.docker, apiEngine20}, Options{ConfigDir: t.TempDir(), Parallelism: 1})
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := b.builder.Build(ctx, spec, b.log)
		ended <- err
	}()
	select {
	case c := <-asked:
		defer c.Close()
	case err := <-ended:
		t.Fatalf("it asked nobody: %v", err)
	}
	why := errors.New("a person cancelled")
	cancel(why)
	if err := <-ended; !errors.Is(err, why) || Retryable(err) {
		t.Errorf("error %v", err)
	}
	if r := b.build(b.spec("FROM scratch", "COPY app /app")); r.Steps != 1 {
		t.Errorf("the next one: %+v", r)
	}
}
