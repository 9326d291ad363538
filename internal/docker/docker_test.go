// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	mobyclient "github.com/moby/moby/client"
)

// fakeEngine answers like an engine of API 1.41; handle gets what follows the
// version in the path.
func fakeEngine(t *testing.T, handle func(w http.ResponseWriter, r *http.Request, path string)) *Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		w.Header().Set("Ostype", "linux")
		if strings.HasSuffix(r.URL.Path, "/_ping") {
			return
		}
		handle(w, r, strings.TrimPrefix(r.URL.Path, "/v1.41"))
	}))
	t.Cleanup(s.Close)
	c, err := New("tcp://" + s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func TestNew(t *testing.T) {
	for host, want := range map[string]string{"nonsense": "cannot be used", "ssh://root@host": "ssh is not supported"} {
		if _, err := New(host); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestCheck(t *testing.T) {
	gone, err := New("unix://" + filepath.Join(t.TempDir(), "none.sock"))
	if err != nil {
		t.Fatal(err)
	}
	err = gone.Check(t.Context())
	if err == nil || !strings.Contains(err.Error(), "start it") || !IsUnavailable(err) {
		t.Errorf("no engine: %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := gone.Check(canceled); !errors.Is(err, context.Canceled) || IsUnavailable(err) {
		t.Errorf("cancelled: %v", err)
	}
	for version, want := range map[string]string{"1.40": "upgrade it to Docker 20.10", "": "not a Docker engine", "1.41": "", "1.51": ""} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Api-Version", version) }))
		c, err := New("tcp://" + s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		err = c.Check(t.Context())
		if (want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("API %q: %v", version, err)
		}
		s.Close()
	}
}

// TestOtherClientLost has the client that the Compose library uses find no engine.
func TestOtherClientLost(t *testing.T) {
	gone, err := mobyclient.New(mobyclient.WithHost("unix://" + filepath.Join(t.TempDir(), "none.sock")))
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	if _, err := gone.ContainerList(t.Context(), mobyclient.ContainerListOptions{}); !IsUnavailable(fmt.Errorf("x: %w", err)) {
		t.Errorf("an engine that is away is taken for one that refuses: %v", err)
	}
}

func TestErrorKinds(t *testing.T) {
	tests := []struct {
		name                            string
		err                             error
		unavailable, notFound, conflict bool
	}{
		{name: "none"},
		{name: "refused", err: &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", os.ErrPermission)}},
		{name: "EOF in mid answer", err: fmt.Errorf("x: %w", io.ErrUnexpectedEOF), unavailable: true},
		{name: "caller's deadline", err: fmt.Errorf("x: %w", context.DeadlineExceeded)},
		{name: "503", err: cerrdefs.ErrUnavailable, unavailable: true},
		{name: "internal", err: cerrdefs.ErrInternal},
		{name: "containerd away", err: fmt.Errorf("%w: dial unix /run/containerd/containerd.sock: connection refused", cerrdefs.ErrInternal), unavailable: true},
		{name: "404", err: fmt.Errorf("x: %w", cerrdefs.ErrNotFound), notFound: true},
		{name: "409", err: cerrdefs.ErrConflict, conflict: true},
		{name: "404 of an upgrade", err: classifyUpgrade(errors.New("unable to upgrade to tcp, received 404")), notFound: true},
		{name: "409 of an upgrade", err: classifyUpgrade(errors.New("unable to upgrade to tcp, received 409")), conflict: true},
		{name: "503 of an upgrade", err: classifyUpgrade(errors.New("unable to upgrade to tcp, received 503")), unavailable: true},
		{name: "own", err: &unavailableError{errors.New("lost")}, unavailable: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if IsUnavailable(tt.err) != tt.unavailable || IsNotFound(tt.err) != tt.notFound || IsConflict(tt.err) != tt.conflict {
				t.Errorf("unavailable %v, not found %v, conflict %v", IsUnavailable(tt.err), IsNotFound(tt.err), IsConflict(tt.err))
			}
		})
	}
}

// TestExecLost plays an engine that loses the command: nothing that the client
// then says may look like success.
func TestExecLost(t *testing.T) {
	tests := []struct {
		name     string
		inspect  func(w http.ResponseWriter)
		there    bool
		want     string
		notFound bool
	}{
		{name: "engine restarted", inspect: func(w http.ResponseWriter) { answer(w, 404, map[string]string{"message": "No such exec"}) }, there: true, want: "restarted"},
		{name: "container removed", inspect: func(w http.ResponseWriter) { answer(w, 404, map[string]string{"message": "No such exec"}) }, want: "lost", notFound: true},
		{name: "never started", inspect: func(w http.ResponseWriter) { answer(w, 200, map[string]any{"Running": false, "ExitCode": nil}) }, there: true, want: "not started"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := fakeEngine(t, func(w http.ResponseWriter, r *http.Request, path string) {
				switch path {
				case "/containers/x/exec":
					answer(w, 201, map[string]string{"Id": "e1"})
				case "/exec/e1/start":
					_, _ = io.Copy(io.Discard, r.Body) // unread input would reset the connection
					conn, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
					_ = conn.Close()
				case "/exec/e1/json":
					tt.inspect(w)
				case "/containers/x/json":
					if tt.there {
						answer(w, 200, map[string]string{"Id": "x"})
						return
					}
					answer(w, 404, map[string]string{"message": "No such container"})
				default:
					t.Errorf("unexpected call %s", path)
				}
			})
			code, err := c.Exec(t.Context(), "x", []string{"true"}, ExecOptions{})
			if code != -1 || err == nil || !strings.Contains(err.Error(), tt.want) || IsNotFound(err) != tt.notFound || IsUnavailable(err) == tt.notFound {
				t.Errorf("code %d, err %v", code, err)
			}
		})
	}
}

// TestExecCancelledWhileAttaching: the engine is frozen between two calls.
func TestExecCancelledWhileAttaching(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	c := fakeEngine(t, func(w http.ResponseWriter, r *http.Request, path string) {
		if path == "/exec/e1/start" {
			cancel()
			<-release
			return
		}
		answer(w, 201, map[string]string{"Id": "e1"})
	})
	_, err := c.Exec(ctx, "x", []string{"true"}, ExecOptions{})
	close(release)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("err %v", err)
	}
}

func TestContainerVanishesWhileListed(t *testing.T) {
	c := fakeEngine(t, func(w http.ResponseWriter, r *http.Request, path string) {
		switch path {
		case "/containers/json":
			answer(w, 200, []map[string]string{{"Id": "a"}, {"Id": "b"}})
		case "/containers/a/json":
			answer(w, 404, map[string]string{"message": "No such container: a"})
		default:
			answer(w, 200, map[string]any{"Id": "b", "Name": "/b"})
		}
	})
	got, err := c.ProjectContainers(t.Context(), "p")
	if err != nil || len(got) != 1 || got[0].Name != "b" {
		t.Errorf("%+v, %v", got, err)
	}
}

// What was looked at just now is not looked at again, unless the list says that it changed.
func TestProjectContainersBut(t *testing.T) {
	inspected := map[string]int{}
	var mu sync.Mutex
	c := fakeEngine(t, func(w http.ResponseWriter, r *http.Request, path string) {
		if path == "/containers/json" {
			listed := func(id, name, state string) map[string]any {
				return map[string]any{"Id": id, "Names": []string{"/other/alias", "/" + name}, "State": state}
			}
			answer(w, 200, []map[string]any{
				listed("busy", "busy", "exited"), listed("same", "same", "running"), listed("ended", "ended", "exited"),
				listed("renamed", "after", "running"), listed("new", "new", "created"),
			})
			return
		}
		id := strings.TrimSuffix(strings.TrimPrefix(path, "/containers/"), "/json")
		mu.Lock()
		inspected[id]++
		mu.Unlock()
		answer(w, 200, map[string]any{"Id": id, "Name": "/" + id, "State": map[string]any{"Status": "inspected"}})
	})
	known := func(id string) Container { return Container{ID: id, Name: id, State: StateRunning, Pid: 7} }
	got, err := c.ProjectContainersBut(t.Context(), "p", map[string]Container{"busy": known("busy")}, map[string]Container{
		"same": known("same"), "ended": known("ended"), "renamed": known("renamed"), "gone": known("gone"),
	})
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, ct := range got {
		states[ct.ID] = ct.State
	}
	if want := map[string]string{"busy": "exited", "same": "running", "ended": "inspected", "renamed": "inspected", "new": "inspected"}; !maps.Equal(states, want) {
		t.Errorf("states %v, want %v", states, want)
	}
	if want := map[string]int{"ended": 1, "renamed": 1, "new": 1}; !maps.Equal(inspected, want) {
		t.Errorf("inspected %v, want %v", inspected, want)
	}
}

// No engine can be asked to lose an endpoint: the answers are those of Engine 20.10.
func TestStartWithALostEndpoint(t *testing.T) {
	for name, tt := range map[string]struct {
		lost  []string          // networks with an endpoint in the way
		owner map[string]string // container of the endpoint in a network: its state
		stuck bool              // the engine does not let go
		want  string
	}{
		"none":             {},
		"of nothing":       {lost: []string{"front"}},
		"in two networks":  {lost: []string{"front", "back"}},
		"of one that ends": {lost: []string{"front"}, owner: map[string]string{"front": "exited"}},
		"of one that runs": {lost: []string{"front"}, owner: map[string]string{"front": "running"}, want: "of the container other, which runs"},
		"for good":         {lost: []string{"front"}, stuck: true, want: "endpoint with name shop-web-1 already exists in network front"},
	} {
		t.Run(name, func(t *testing.T) {
			lost, started := slices.Clone(tt.lost), false
			c := fakeEngine(t, func(w http.ResponseWriter, r *http.Request, path string) {
				net, inNetwork := strings.CutPrefix(path, "/networks/")
				switch {
				case path == "/containers/new/start" && len(lost) > 0:
					answer(w, 500, map[string]string{"message": "endpoint with name shop-web-1 already exists in network " + lost[0]})
				case path == "/containers/new/start":
					started = true
					w.WriteHeader(204)
				case strings.HasPrefix(path, "/containers/"):
					state, ok := tt.owner[strings.TrimSuffix(strings.TrimPrefix(path, "/containers/of-"), "/json")]
					if !ok {
						answer(w, 404, map[string]string{"message": "No such container"})
						return
					}
					answer(w, 200, map[string]any{"Name": "/other", "State": map[string]any{"Status": state, "Running": state == "running"}})
				case inNetwork && r.Method == http.MethodGet:
					answer(w, 200, map[string]any{"Name": net, "Containers": map[string]any{"of-" + net: map[string]string{"Name": "shop-web-1"}}})
				case inNetwork:
					var body struct {
						Container string
						Force     bool
					}
					_ = json.NewDecoder(r.Body).Decode(&body)
					if net != lost[0]+"/disconnect" || body.Container != "shop-web-1" || !body.Force {
						t.Errorf("%s %+v", net, body)
					}
					if !tt.stuck {
						lost = lost[1:]
					}
				}
			})
			err := c.Start(t.Context(), "new")
			if tt.want == "" && (err != nil || !started) {
				t.Errorf("started: %t, %v", started, err)
			}
			if tt.want != "" && (err == nil || started || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("started: %t, %v; want %q", started, err, tt.want)
			}
		})
	}
}

func TestWatchResubscribes(t *testing.T) {
	var subscriptions atomic.Int32
	c := fakeEngine(t, func(w http.ResponseWriter, r *http.Request, path string) {
		n := subscriptions.Add(1)
		w.WriteHeader(200)
		_ = json.NewEncoder(w).Encode(map[string]any{"Type": "container", "Action": "die", "Actor": map[string]any{"ID": fmt.Sprint(n)}})
		_ = http.NewResponseController(w).Flush()
		if n > 1 {
			<-r.Context().Done()
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	err := c.Watch(ctx, EventFilter{}, func(e Event) {
		if e.Resync {
			got = append(got, "resync")
			return
		}
		got = append(got, e.Action+e.ID)
		if e.ID == "2" {
			cancel()
		}
	})
	if want := []string{"resync", "die1", "resync", "die2"}; !errors.Is(err, context.Canceled) || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestWatchRefusedFilter(t *testing.T) {
	c := fakeEngine(t, func(w http.ResponseWriter, r *http.Request, path string) {
		answer(w, 400, map[string]string{"message": "invalid filter"})
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.Watch(ctx, EventFilter{}, func(Event) {}); !cerrdefs.IsInvalidArgument(err) {
		t.Errorf("err %v", err)
	}
}

func TestContentDigest(t *testing.T) {
	base := func() image.InspectResponse {
		r := image.InspectResponse{ID: "sha256:1", Os: "linux", Architecture: "amd64", Created: "2024-01-01T00:00:00Z", Size: 1}
		r.RootFS.Layers = []string{"sha256:l1", "sha256:l2"}
		r.Config = &dockerspec.DockerOCIImageConfig{}
		r.Config.Env = []string{"A=1"}
		r.Config.Labels = map[string]string{"build": "1"}
		r.Config.Volumes = map[string]struct{}{"/a": {}, "/b": {}}
		return r
	}
	digest := func(r image.InspectResponse) string {
		t.Helper()
		d, err := contentDigest(r)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	want := digest(base())
	tests := []struct {
		name   string
		change func(*image.InspectResponse)
		same   bool
	}{
		{"label", func(r *image.InspectResponse) { r.Config.Labels["build"] = "2" }, true},
		{"time and ID", func(r *image.InspectResponse) { r.Created, r.ID = "2025-01-01T00:00:00Z", "sha256:2" }, true},
		{"empty for nil", func(r *image.InspectResponse) { r.Config.Cmd = []string{} }, true},
		{"empty healthcheck", func(r *image.InspectResponse) { r.Config.Healthcheck = &dockerspec.HealthcheckConfig{} }, true},
		{"layer", func(r *image.InspectResponse) { r.RootFS.Layers[1] = "sha256:l3" }, false},
		{"layer order", func(r *image.InspectResponse) { slices.Reverse(r.RootFS.Layers) }, false},
		{"architecture", func(r *image.InspectResponse) { r.Architecture = "arm64" }, false},
		{"env", func(r *image.InspectResponse) { r.Config.Env = nil }, false},
		{"stop signal", func(r *image.InspectResponse) { r.Config.StopSignal = "SIGINT" }, false},
		{"healthcheck", func(r *image.InspectResponse) {
			r.Config.Healthcheck = &dockerspec.HealthcheckConfig{Test: []string{"NONE"}}
		}, false},
		{"volume", func(r *image.InspectResponse) { delete(r.Config.Volumes, "/a") }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := base()
			tt.change(&r)
			if got := digest(r); (got == want) != tt.same {
				t.Errorf("same: %v, want %v", got == want, tt.same)
			}
		})
	}
	broken := base()
	broken.RootFS.Layers = nil
	if _, err := contentDigest(broken); err == nil {
		t.Error("an image without layers compares equal to others like it")
	}
}

func TestConvertContainer(t *testing.T) {
	if got := convertContainer(container.InspectResponse{}); got.Health != HealthNone || got.Healthcheck != nil {
		t.Errorf("empty answer: %+v", got)
	}
	got := convertContainer(container.InspectResponse{
		ContainerJSONBase: &container.ContainerJSONBase{ID: "0123456789ab" + strings.Repeat("c", 52), Name: "/n", Created: "garbage", State: &container.State{StartedAt: "0001-01-01T00:00:00Z"}},
		NetworkSettings: &container.NetworkSettings{
			Networks: map[string]*network.EndpointSettings{"n": {Aliases: []string{"0123456789ab", "0", "web"}, GlobalIPv6Address: "fd00::2"}, "nil": nil},
			NetworkSettingsBase: container.NetworkSettingsBase{Ports: nat.PortMap{ //nolint:staticcheck // the only place for it in this API
				"80/tcp": {{HostIP: "::", HostPort: "8080"}, {HostIP: "0.0.0.0", HostPort: "8080"}}, "53/udp": nil,
			}},
		},
	})
	if got.Name != "n" || !got.Created.IsZero() || !got.StartedAt.IsZero() {
		t.Errorf("%+v", got)
	}
	if e := got.Networks["n"]; e.IP != "fd00::2" || !slices.Equal(e.Aliases, []string{"0", "web"}) || len(got.Networks) != 1 {
		t.Errorf("%+v", got.Networks)
	}
	if want := []Port{{80, "tcp", "0.0.0.0", 8080}, {80, "tcp", "::", 8080}}; !slices.Equal(got.Ports, want) {
		t.Errorf("%+v", got.Ports)
	}
}

func TestConvertHealthcheck(t *testing.T) {
	tests := []struct {
		test  []string
		shell []string
		want  []string
	}{
		{nil, nil, nil},
		{[]string{"NONE"}, nil, nil},
		{[]string{"CMD"}, nil, nil},
		{[]string{"OTHER", "x"}, nil, nil},
		{[]string{"CMD", "a", "b"}, nil, []string{"a", "b"}},
		{[]string{"CMD-SHELL", "a b"}, nil, []string{"/bin/sh", "-c", "a b"}},
		{[]string{"CMD-SHELL", "a b"}, []string{"/bin/bash", "-ec"}, []string{"/bin/bash", "-ec", "a b"}},
	}
	for _, tt := range tests {
		var got []string
		if h := convertHealthcheck(&container.Config{Healthcheck: &container.HealthConfig{Test: tt.test}, Shell: tt.shell}); h != nil {
			got = h.Command()
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.test, got, tt.want)
		}
	}
}

func TestRestarts(t *testing.T) {
	for _, tt := range []struct {
		policy string
		code   int
		want   bool
	}{{"no", 1, false}, {"always", 0, true}, {"unless-stopped", 0, true}, {"on-failure", 0, false}, {"on-failure", 1, true}, {"", 1, false}} {
		if got := (RestartPolicy{Name: tt.policy}).Restarts(tt.code); got != tt.want {
			t.Errorf("%s %d: %v", tt.policy, tt.code, got)
		}
	}
}

func TestVersions(t *testing.T) {
	for _, tt := range []struct {
		version, least string
		want           bool
	}{
		{"20.10.24+dfsg1", "20.10", true}, {"20.10", "20.10.0", true}, {"19.03.15", "20.10", false}, {"28.5.2", "20.10", true},
		{"v24.0.0-rc.1", "23", true}, {"dev", "20.10", false}, {"", "0", false}, {"20.9", "20.10", false},
	} {
		if got := (Engine{Version: tt.version}).AtLeast(tt.least); got != tt.want {
			t.Errorf("%q at least %q: %v", tt.version, tt.least, got)
		}
	}
}

func TestCleanLines(t *testing.T) {
	long := strings.Repeat("é", logLineRunes+5)
	for _, tt := range []struct {
		in   string
		max  int
		want []string
	}{
		{"", 5, nil},
		{"\n\n", 5, nil},
		{"a\nb\nc\n", 2, []string{"b", "c"}},
		{"a\r\nb\r\n", 5, []string{"a", "b"}},
		{"10%\r50%\r100%\n", 5, []string{"100%"}},
		{"a\x00b\x1b[1;31mred\x1b[0m\x07\tc", 5, []string{"abred\tc"}},
		{"\x1b]0;title\x07x", 5, []string{"x"}},
		{"bad \xff byte", 5, []string{"bad \uFFFD byte"}},
		{long, 5, []string{strings.Repeat("é", logLineRunes) + "…"}},
	} {
		if got := cleanLines(tt.in, tt.max); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestTailWriter(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"short", "short"},
		{"12345678\n90", "90"},
		{strings.Repeat("x", 50) + "\nlast\n", "last\n"},
		{strings.Repeat("x", 50), strings.Repeat("x", 10)},
	} {
		w := &tailWriter{limit: 10}
		for _, b := range []byte(tt.in) {
			_, _ = w.Write([]byte{b})
		}
		if got := w.String(); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
}
