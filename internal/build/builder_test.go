// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/client"
)

// engine is an HTTP server on a socket that plays the Docker engine.
type engine struct {
	client *client.Client
	mux    *http.ServeMux
	open   sync.WaitGroup // connections
}

// newEngine serves /_ping; a test adds what else it needs.
func newEngine(t *testing.T) *engine {
	t.Helper()
	e := &engine{mux: http.NewServeMux()}
	e.mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("API-Version", "1.41")
		w.Header().Set("OSType", "linux")
	})
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: e.mux}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	e.client, err = client.NewClientWithOpts(client.WithHost("unix://"+path), client.WithVersion("1.41"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.client.Close() })
	return e
}

// silent answers path with an upgrade, if it is asked for one, and then with
// nothing; it tells when it was asked and waits for the end of the connection.
func (e *engine) silent(path string, upgrade bool) <-chan struct{} {
	asked := make(chan struct{}, 16)
	e.mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		e.open.Add(1)
		defer e.open.Done()
		defer conn.Close()
		if upgrade {
			_, _ = buf.WriteString("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
			_ = buf.Flush()
		}
		asked <- struct{}{}
		_, _ = io.Copy(io.Discard, buf)
	})
	return asked
}

func simple(t *testing.T) Spec {
	return Spec{Name: "web", Context: tree(t, map[string]string{"Dockerfile": "FROM scratch\n"})}
}

func TestBuildEngineDown(t *testing.T) {
	c, err := client.NewClientWithOpts(client.WithHost("unix://" + filepath.Join(t.TempDir(), "none")))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := NewBuilder(c, Options{ConfigDir: t.TempDir()})
	_, err = b.Build(t.Context(), simple(t), nil)
	var e *Error
	if !errors.As(err, &e) || e.Kind != KindEngine || !Retryable(err) {
		t.Errorf("build: %v", err)
	}
	for _, missing := range []bool{false, true} {
		keyed := with(simple(t), func(s *Spec) { s.Key, s.Missing = "v1-x", missing })
		_, err = b.Parallel(t.Context(), []Spec{keyed}, nil)
		if !errors.As(err, &e) || e.Kind != KindEngine {
			t.Errorf("parallel: %v", err)
		}
		if listed := strings.Contains(fmt.Sprint(err), "listing images"); listed == missing {
			t.Errorf("images listed: %t, though known to be missing: %t", listed, missing)
		}
	}
	_, _, err = NewPuller(c, Options{ConfigDir: t.TempDir()}).Pull(t.Context(), "x", PullOptions{}, nil)
	if !errors.As(err, &e) || e.Kind != KindEngine || !Retryable(err) {
		t.Errorf("pull: %v", err)
	}
}

func with(s Spec, change func(*Spec)) Spec {
	change(&s)
	return s
}

// Where the engine has no BuildKit the classic builder gets the build.
func TestBuildFallsBack(t *testing.T) {
	e := newEngine(t)
	e.mux.HandleFunc("/grpc", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	var version, dockerfile string
	e.mux.HandleFunc("/v1.41/build", func(w http.ResponseWriter, r *http.Request) {
		version, dockerfile = r.URL.Query().Get("version"), r.URL.Query().Get("dockerfile")
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, `{"stream":"Step 1/2 : FROM scratch\n"}{"stream":" ---\u003e \n"}{"stream":"Step 2/2 : RUN x\n"}{"aux":{"ID":"sha256:1"}}`)
	})
	e.mux.HandleFunc("/v1.41/images/{id}/json", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"Id":"sha256:1"}`) })
	var log bytes.Buffer
	r, err := NewBuilder(e.client, Options{ConfigDir: t.TempDir()}).Build(t.Context(), simple(t), &log)
	if err != nil || r != (Result{ImageID: "sha256:1", Steps: 2, CachedSteps: 1}) {
		t.Errorf("%+v %v", r, err)
	}
	if version != "1" || dockerfile != "Dockerfile" || !strings.Contains(log.String(), "BuildKit is not available") {
		t.Errorf("version %q, dockerfile %q, log %s", version, dockerfile, log.String())
	}
	_, err = NewBuilder(e.client, Options{ConfigDir: t.TempDir()}).Build(t.Context(), with(simple(t), func(s *Spec) { s.SSH = []SSH{{Path: "/x"}} }), nil)
	var refused *Error
	if !errors.As(err, &refused) || refused.Kind != KindUnsupported || !strings.Contains(err.Error(), "ssh") {
		t.Errorf("error %v", err)
	}
}

// The classic builder fails when another image is removed while it searches its
// cache: that is no fault of the build, which begins again.
func TestBuildClassicVanishedImage(t *testing.T) {
	const vanished = `{"stream":"Step 1/2 : FROM scratch\n"}{"errorDetail":{"message":"unable to find image \"sha256:85b4\""},"error":"unable to find image \"sha256:85b4\""}`
	for _, tt := range []struct{ failures, begun int }{{1, 2}, {9, classicAttempts}} {
		e := newEngine(t)
		begun := 0
		e.mux.HandleFunc("/v1.41/build", func(w http.ResponseWriter, r *http.Request) {
			if n, err := io.Copy(io.Discard, r.Body); err != nil || n == 0 {
				t.Errorf("a context of %d bytes: %v", n, err)
			}
			if begun++; begun <= tt.failures {
				fmt.Fprint(w, vanished)
				return
			}
			fmt.Fprint(w, `{"stream":"Step 1/2 : FROM scratch\n"}{"stream":"Step 2/2 : RUN x\n"}{"aux":{"ID":"sha256:1"}}`)
		})
		e.mux.HandleFunc("/v1.41/images/{id}/json", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"Id":"sha256:1"}`) })
		var log bytes.Buffer
		r, err := NewBuilder(e.client, Options{Classic: true, ConfigDir: t.TempDir()}).Build(t.Context(), simple(t), &log)
		if begun != tt.begun {
			t.Errorf("begun %d times, want %d\n%s", begun, tt.begun, log.String())
		}
		if tt.failures < classicAttempts {
			if err != nil || r.Steps != 2 {
				t.Errorf("%+v %v\n%s", r, err, log.String())
			}
		} else if !Retryable(err) {
			t.Errorf("error %v", err)
		}
	}
}

// A disturbance is no reason to build in another way.
func TestBuildDoesNotFallBackOnDisturbance(t *testing.T) {
	e := newEngine(t)
	e.mux.HandleFunc("/grpc", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	_, err := NewBuilder(e.client, Options{ConfigDir: t.TempDir()}).Build(t.Context(), simple(t), nil)
	if !Retryable(err) {
		t.Errorf("error %v", err)
	}
}

// A cancelled build ends, and lets go of all connections, even if the engine
// says nothing any more.
func TestBuildCancelSilentEngine(t *testing.T) {
	for name, upgrade := range map[string]bool{"no answer": false, "no word after the upgrade": true} {
		e := newEngine(t)
		asked := e.silent("/grpc", upgrade)
		e.silent("/session", upgrade)
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		ended := make(chan error, 1)
		go func() {
			_, err := NewBuilder(e.client, Options{ConfigDir: t.TempDir()}).Build(ctx, simple(t), nil)
			ended <- err
		}()
		<-asked
		if upgrade {
			<-asked // the second one is BuildKit's
		}
		cancel(why)
		if err := <-ended; !errors.Is(err, why) {
			t.Errorf("%s: %v", name, err)
		}
		e.open.Wait()
	}
}

func TestBuildWaitsForSlot(t *testing.T) {
	e := newEngine(t)
	asked := e.silent("/grpc", false)
	b := NewBuilder(e.client, Options{Parallelism: 1, ConfigDir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := b.Build(ctx, simple(t), nil)
		ended <- err
	}()
	<-asked
	waiting, stop := context.WithCancel(t.Context())
	stop()
	if _, err := b.Build(waiting, simple(t), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the cancelled build: error %v", err)
	}
	if len(asked) != 0 {
		t.Error("the second build did not wait")
	}
}

func TestFindByKeysTakesOldest(t *testing.T) {
	e := newEngine(t)
	var query, list string
	e.mux.HandleFunc("/v1.41/images/json", func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.Query().Get("filters")
		fmt.Fprint(w, list)
	})
	entry := func(digit string, created int, tags string) string {
		return fmt.Sprintf(`{"Id":"sha256:%s","Created":%d,"RepoTags":[%s],"Labels":{%q:"v1-k"}}`, strings.Repeat(digit, 64), created, tags, LabelBuildKey)
	}
	ours := entry("a", 100, `"shop-web:latest","shop-web:aaaaaaaaaaaa"`)
	// By its first name only, or by another's content, it is somebody's child of ours.
	child, other := entry("b", 50, `"mine:latest","mine:aaaaaaaaaaaa"`), entry("c", 60, "")
	newer := entry("d", 200, `"blog-web:dddddddddddd"`)
	list = "[" + child + "," + other + "]"
	if found, err := NewBuilder(e.client, Options{}).FindByKeys(t.Context(), []string{"v1-k"}); len(found) > 0 || err != nil {
		t.Errorf("an image that inherited the key is taken: %s %v", found, err)
	}
	list = "[" + strings.Join([]string{newer, child, ours, other}, ",") + "]"
	found, err := NewBuilder(e.client, Options{}).FindByKeys(t.Context(), []string{"v1-k"})
	if err != nil || found["v1-k"] != "sha256:"+strings.Repeat("a", 64) || !strings.Contains(query, LabelBuildKey+"=v1-k") {
		t.Errorf("%s %v, filter %s", found, err, query)
	}
	query = ""
	if found, err := NewBuilder(e.client, Options{}).FindByKeys(t.Context(), []string{""}); len(found) > 0 || err != nil || query != "" {
		t.Errorf("the empty key is found: %v %v, filter %s", found, err, query)
	}
}

// TestFindByKeysAsksOnce has images of several keys, and of one that nobody asked for.
func TestFindByKeysAsksOnce(t *testing.T) {
	e := newEngine(t)
	asked := 0
	e.mux.HandleFunc("/v1.41/images/json", func(w http.ResponseWriter, _ *http.Request) {
		asked++
		var list []string
		for digit, key := range map[string]string{"a": "v1-a", "b": "v1-b", "c": "v1-c"} {
			list = append(list, fmt.Sprintf(`{"Id":"sha256:%s","RepoTags":["shop:%s"],"Labels":{%q:%q}}`,
				strings.Repeat(digit, 64), strings.Repeat(digit, 12), LabelBuildKey, key))
		}
		fmt.Fprint(w, "["+strings.Join(list, ",")+"]")
	})
	found, err := NewBuilder(e.client, Options{}).FindByKeys(t.Context(), []string{"v1-a", "", "v1-b", "v1-d", "v1-a"})
	want := map[string]string{"v1-a": "sha256:" + strings.Repeat("a", 64), "v1-b": "sha256:" + strings.Repeat("b", 64)}
	if err != nil || !maps.Equal(found, want) || asked != 1 {
		t.Errorf("%v, %v, asked %d times; want %v, asked once", found, err, asked, want)
	}
}

func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	bin := t.TempDir()
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(bin, "docker-credential-fake"), `#!/bin/sh
read host
case "$1 $host" in
"get helped.test") echo '{"ServerURL":"helped.test","Username":"h","Secret":"hs"}';;
"get token.test") echo '{"ServerURL":"token.test","Username":"<token>","Secret":"it"}';;
*) echo "credentials not found in native keychain"; exit 1;;
esac
`, 0o755)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	write(filepath.Join(dir, "config.json"), `{"auths":{"plain.test:5000":{"auth":"dTpw"},"https://index.docker.io/v1/":{"auth":"aDpi"}},
"credHelpers":{"helped.test":"fake","token.test":"fake","empty.test":"fake","broken.test":"nowhere"},
"proxies":{"default":{"httpProxy":"http://u:proxypw@p:1"}}}`, 0o600)
	c := credentials{dir: dir}
	for host, want := range map[string]string{
		"plain.test:5000": "u p ", "docker.io": "h b ", "registry-1.docker.io": "h b ", "helped.test": "h hs ",
		"token.test": "  it", "empty.test": "  ", "other.test": "  ",
	} {
		a, err := c.forHost(t.Context(), host)
		if got := a.Username + " " + a.Password + " " + a.IdentityToken; err != nil || got != want {
			t.Errorf("%s: %q %v", host, got, err)
		}
	}
	var e *Error
	if _, err := c.forHost(t.Context(), "broken.test"); !errors.As(err, &e) || e.Kind != KindInvalid || !strings.Contains(err.Error(), "broken.test") {
		t.Errorf("missing helper: %v", err)
	}
	all, err := c.all(t.Context())
	if err != nil || all["plain.test:5000"].Password != "p" || all["helped.test"].Password != "hs" {
		t.Errorf("all: %v", err)
	}
	proxies := c.proxies("unix:///x")
	if proxies["HTTP_PROXY"] != "http://u:proxypw@p:1" || strings.Contains((&Spec{}).redactor(nil, proxies).Text(proxies["http_proxy"]), "proxypw") {
		t.Error("the proxy is not known or its password is shown")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := await(ctx, func() (int, error) { <-t.Context().Done(); return 0, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a helper that hangs: %v", err)
	}
	write(filepath.Join(dir, "config.json"), `{"auths":`, 0o600)
	if _, err := c.forHost(t.Context(), "plain.test:5000"); !errors.As(err, &e) || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("broken configuration: %v", err)
	}
	t.Setenv("DOCKER_CONFIG", "/from/env")
	if got, err := (credentials{}).directory(); err != nil || got != "/from/env" {
		t.Errorf("%s %v", got, err)
	}
}
