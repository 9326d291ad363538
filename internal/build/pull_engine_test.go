// SPDX-License-Identifier: Apache-2.0

//go:build engine

package build

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"golang.org/x/crypto/bcrypt"
)

const (
	registryUser     = "puller"
	registryPassword = "correct-horse"
)

// registryBinary finds Debian's docker-registry, or takes it out of its package.
func registryBinary(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("docker-registry"); err == nil {
		return path
	}
	dir := t.TempDir()
	script := `set -e; cd "$1"; apt-get -q download -o APT::Sandbox::User=root docker-registry; dpkg -x docker-registry_*.deb x`
	if out, err := exec.Command("sh", "-c", script, "sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("no docker-registry: %v\n%s", err, out)
	}
	return filepath.Join(dir, "x/usr/bin/docker-registry")
}

// startRegistry serves a registry that wants a password, on loopback.
func startRegistry(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	hash, err := bcrypt.GenerateFromPassword([]byte(registryPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	htpasswd := filepath.Join(dir, "htpasswd")
	if err := os.WriteFile(htpasswd, []byte(registryUser+":"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := registryBinary(t)
	return serve(t, "/v2/", func(addr string) *exec.Cmd {
		config := filepath.Join(dir, "config.yml")
		text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s}\n"+
			"auth: {htpasswd: {realm: test, path: %s}}\n", filepath.Join(dir, "data"), addr, htpasswd)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return exec.Command(binary, "serve", config)
	})
}

// login writes a Docker configuration with credentials for the registry.
func login(t *testing.T, dir, addr, password string) {
	t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte(registryUser + ":" + password))
	if err := os.WriteFile(filepath.Join(dir, "config.json"), fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, addr, auth), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) push(ref string) {
	b.Helper()
	auth, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: registryUser, Password: registryPassword})
	if err != nil {
		b.Fatal(err)
	}
	r, err := b.docker.ImagePush(b.Context(), ref, image.PushOptions{RegistryAuth: auth})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	out, err := io.ReadAll(r)
	if err != nil || strings.Contains(string(out), `"error"`) {
		b.Fatalf("push: %v %s", err, out)
	}
}

func TestPull(t *testing.T) {
	addr := startRegistry(t)
	config := t.TempDir()
	login(t, config, addr, registryPassword)
	b := newBench(t, Options{ConfigDir: config})
	puller := NewPuller(b.docker, Options{ConfigDir: config})
	ref := addr + "/team/app:1"
	kind := func(err error) Kind {
		if e := (*Error)(nil); errors.As(err, &e) {
			return e.Kind
		}
		return Kind(fmt.Sprintf("%T", err))
	}

	spec := b.spec("FROM scratch", "COPY app /app", "LABEL v=1"+b.nonce)
	spec.Tags = []string{ref}
	built := b.build(spec)
	b.push(ref)
	b.removeImages()

	id, digest, err := puller.Pull(t.Context(), ref, PullOptions{}, b.log)
	if err != nil || id != built.ImageID || !strings.HasPrefix(digest, "sha256:") {
		t.Fatalf("%s %s %v", id, digest, err)
	}
	b.logHas("pulling "+ref, "pulled "+ref)
	if remote, err := puller.Digest(t.Context(), ref); err != nil || remote != digest {
		t.Errorf("Digest: %s %v, want %s", remote, err, digest)
	}

	// Something newer appears: seen without a pull, then pulled again by digest.
	spec.DockerfileInline += "LABEL v=2\n"
	newer := b.build(spec)
	b.push(ref)
	remote, err := puller.Digest(t.Context(), ref)
	if err != nil || remote == digest {
		t.Errorf("Digest of the newer image: %s %v", remote, err)
	}
	if again, _, err := puller.Pull(t.Context(), addr+"/team/app@"+digest, PullOptions{}, b.log); err != nil || again != id {
		t.Errorf("pull by digest: %s %v", again, err)
	}

	// BuildKit and the classic builder fetch base images with the credentials.
	b.removeImages()
	for _, classic := range []bool{false, true} {
		from := b.spec("FROM "+ref, `RUN ["/app","print","`+b.nonce+`"]`)
		r, err := NewBuilder(b.docker, Options{ConfigDir: config, Classic: classic}).Build(t.Context(), from, b.log)
		if err != nil || r.UsedBuildKit == classic {
			t.Errorf("FROM the private registry, classic=%v: %+v %v", classic, r, err)
		}
	}
	if _, _, err := puller.Pull(t.Context(), ref, PullOptions{}, nil); err != nil {
		t.Fatal(err)
	}

	_, _, err = puller.Pull(t.Context(), addr+"/team/none:1", PullOptions{}, nil)
	if kind(err) != KindNotFound || Retryable(err) {
		t.Errorf("missing image: %v", err)
	}
	if _, err = puller.Digest(t.Context(), addr+"/team/app:none"); kind(err) != KindNotFound {
		t.Errorf("digest of a missing tag: %v", err)
	}
	_, _, err = puller.Pull(t.Context(), "127.0.0.1:1/team/app:1", PullOptions{}, nil)
	if kind(err) != KindUnreachable || !Retryable(err) {
		t.Errorf("dead registry: %v", err)
	}
	for _, password := range []string{"", "wrong-battery"} {
		if password == "" {
			if err := os.Remove(filepath.Join(config, "config.json")); err != nil {
				t.Fatal(err)
			}
		} else {
			login(t, config, addr, password)
		}
		_, _, err = puller.Pull(t.Context(), ref, PullOptions{}, nil)
		if kind(err) != KindUnauthorized || Retryable(err) || !strings.Contains(err.Error(), "docker login "+addr) || strings.Contains(err.Error(), "battery") {
			t.Errorf("password %q: %v", password, err)
		}
		if _, err = puller.Digest(t.Context(), ref); kind(err) != KindUnauthorized {
			t.Errorf("digest with password %q: %v", password, err)
		}
		e := b.fails(with(b.spec("FROM "+ref), func(s *Spec) { s.Pull = true }))
		if e.Kind != KindUnauthorized {
			t.Errorf("build with password %q: %v", password, e)
		}
	}
	if i, err := b.docker.ImageInspect(t.Context(), ref); err != nil || i.ID != newer.ImageID {
		t.Errorf("the failed pulls disturbed the local image: %v", err)
	}
}
