// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// gatewayEngine stands in for an engine that can refuse at a chosen moment, and notes what is asked of it in which order. The
// gateways in its containers are real ones, in this process.
type gatewayEngine struct {
	t *testing.T

	mu         sync.Mutex
	containers map[string]*container.InspectResponse // by name
	gateways   map[string]*gateway.Gateway           // by the first name
	calls      []string
	// refuse is the beginning of the call that fails.
	refuse string
}

func (g *gatewayEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	answer := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	missing := func() { answer(http.StatusNotFound, map[string]string{"message": "no such thing"}) }
	call := func(format string, args ...any) bool {
		text := fmt.Sprintf(format, args...)
		if g.refuse != "" && strings.HasPrefix(text, g.refuse) {
			answer(http.StatusInternalServerError, map[string]string{"message": "refused"})
			return false
		}
		g.calls = append(g.calls, text)
		return true
	}
	_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	parts := strings.Split(path, "/")
	find := func(id string) (string, *container.InspectResponse) {
		for name, c := range g.containers {
			if name == id || c.ID == id {
				return name, c
			}
		}
		return "", nil
	}
	switch {
	case strings.HasSuffix(r.URL.Path, "/_ping"):
		w.Header().Set("Api-Version", docker.MinAPIVersion)
	case path == "images/json":
		answer(http.StatusOK, []image.Summary{})
	case parts[0] == "images":
		answer(http.StatusOK, image.InspectResponse{ID: "sha256:1"})
	case parts[0] == "networks" && r.Method == http.MethodGet:
		answer(http.StatusOK, network.Inspect{Name: parts[1], IPAM: network.IPAM{Config: []network.IPAMConfig{{Subnet: "192.0.2.0/24"}}}})
	case parts[0] == "networks":
		var o network.ConnectOptions
		_ = json.NewDecoder(r.Body).Decode(&o)
		name, c := find(o.Container)
		switch {
		case c == nil:
			missing()
		case parts[2] == "connect" && call("%s is called %s, told of %d services", name, strings.Join(o.EndpointConfig.Aliases, " "), g.told(name)):
			c.NetworkSettings.Networks[parts[1]] = o.EndpointConfig
		case parts[2] == "disconnect" && call("%s leaves", name):
			delete(c.NetworkSettings.Networks, parts[1])
		}
	case path == "containers/json":
		out := []container.Summary{}
		for _, c := range g.containers {
			out = append(out, container.Summary{ID: c.ID})
		}
		answer(http.StatusOK, out)
	case path == "containers/create":
		var o container.CreateRequest
		_ = json.NewDecoder(r.Body).Decode(&o)
		name := r.URL.Query().Get("name")
		if call("create %s", name) {
			g.create(name, o)
			answer(http.StatusCreated, container.CreateResponse{ID: g.containers[name].ID})
		}
	default:
		name, c := find(parts[1])
		switch {
		case c == nil:
			missing()
		case r.Method == http.MethodDelete:
			if call("remove %s", name) {
				delete(g.containers, name)
			}
		case r.Method == http.MethodGet:
			answer(http.StatusOK, c)
		case parts[2] == "start" && call("start %s", name):
			c.State.Status = container.StateRunning
		case parts[2] == "stop" && call("stop %s", name):
			c.State.Status = container.StateExited
		case parts[2] == "rename" && call("rename %s", name):
			delete(g.containers, name)
			c.Name = "/" + r.URL.Query().Get("name")
			g.containers[c.Name[1:]] = c
		case parts[2] == "update":
			answer(http.StatusOK, container.UpdateResponse{})
		}
	}
}

// told is of how many services a gateway knows.
func (g *gatewayEngine) told(name string) int {
	if state := g.gateways[name].Desired(); state != nil {
		return len(state.Services)
	}
	return 0
}

// create makes a container, and the gateway in it.
func (g *gatewayEngine) create(name string, o container.CreateRequest) {
	dir, target, _ := strings.Cut(o.HostConfig.Binds[0], ":")
	c := &container.InspectResponse{
		ContainerJSONBase: &container.ContainerJSONBase{ID: "id-" + name, Name: "/" + name, HostConfig: o.HostConfig, State: &container.State{Status: container.StateCreated}},
		Config:            o.Config,
		Mounts:            []container.MountPoint{{Type: "bind", Source: dir, Destination: target}},
		NetworkSettings:   &container.NetworkSettings{Networks: o.NetworkingConfig.EndpointsConfig},
	}
	g.containers[name] = c
	resolve := func(context.Context, string) ([]netip.Addr, bool, error) { return nil, false, errors.New("nobody") }
	one := gateway.New(dir, "test", &pool.Environment{Resolve: resolve, Log: logr.Discard()}, logr.Discard())
	control, err := gateway.Listen(one)
	if err != nil {
		g.t.Error(err)
		return
	}
	g.gateways[name] = one
	served := make(chan error, 1)
	go func() { served <- control.Serve() }()
	g.t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = one.Shutdown(ctx, false)
		control.Close()
		if err := <-served; err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			g.t.Error(err)
		}
	})
}

// refusing has the engine refuse a call; "" for none.
func (g *gatewayEngine) refusing(call string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refuse = call
}

// runs reports whether a container does.
func (g *gatewayEngine) runs(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.containers[name].State.Status == container.StateRunning
}

// since are the calls since the last look.
func (g *gatewayEngine) since() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := g.calls
	g.calls = nil
	return out
}

// succession is an application of which the inner gateway that web shared with side is to serve web alone.
type succession struct {
	t      *testing.T
	engine *gatewayEngine
	keeper *boxes.Keeper
	client *docker.Client
	// port that web listens on, and its container.
	port int
	web  docker.Container
}

func newSuccession(t *testing.T) *succession {
	t.Helper()
	s := &succession{t: t, engine: &gatewayEngine{t: t, containers: map[string]*container.InspectResponse{}, gateways: map[string]*gateway.Gateway{}}}
	s.client = engineOn(t, s.engine)
	free, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = free.Addr().(*net.TCPAddr).Port
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	s.web = docker.Container{ID: "0123456789ab", Service: "web", State: docker.StateRunning, Networks: map[string]docker.Endpoint{
		"shop_default": {Links: []string{"shop.gateway-1:side", "shop.gateway-1:web"}},
	}}
	dir, err := os.MkdirTemp("", "succession") //nolint:usetesting // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	// It is never run: a program that needs no other.
	program := filepath.Join(dir, "program")
	head := append([]byte(elf.ELFMAG), byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT))
	head = binary.LittleEndian.AppendUint16(append(head, make([]byte, 9)...), uint16(elf.ET_EXEC))
	head = binary.LittleEndian.AppendUint16(head, uint16(elf.EM_X86_64))
	head = binary.LittleEndian.AppendUint32(head, uint32(elf.EV_CURRENT))
	head = append(head, make([]byte, 64-len(head))...)
	if err := os.WriteFile(program, head, 0o700); err != nil {
		t.Fatal(err)
	}
	s.keeper = &boxes.Keeper{Engine: s.client, Dir: dir, Program: program, Self: func(context.Context) (string, error) { return "", nil }}
	old := layout.Box{
		Name: "shop.gateway-1", Networks: map[string][]string{"shop_default": {"side", "web"}},
		Owners: map[string]map[string]string{"shop_default": {"side": "side", "web": "web"}},
	}
	if err := s.keeper.Open(t.Context(), "shop", "prod/shop", old); err != nil {
		t.Fatal(err)
	}
	if err := s.keeper.Name(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	s.engine.since()
	return s
}

// executor is what a daemon that has just started goes on with, to have services behind the gateway.
func (s *succession) executor(behind ...string) *executor {
	s.t.Helper()
	r := newRun()
	r.log, r.Clock, r.Docker, r.Gateways = updatelog.Lost("", nil), clock.RealClock{}, s.client, s.keeper
	e := &executor{run: r, project: project(s.t, fmt.Sprintf("name: shop\nservices: {web: {image: x, expose: [%d]}, side: {image: x, x-fairlead: {gateway: \"Off\"}}}\n", s.port))}
	e.found = []docker.Container{s.web}
	for _, name := range []string{"web", "side"} {
		e.in.Targets = append(e.in.Targets, plan.Target{Service: plan.Service{Name: name, Gateway: slices.Contains(behind, name)}, Action: v1alpha1.ActionKeep})
	}
	if err := e.setUpGateways(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return e
}

// play does what there is to do for gateways until nothing is left, or an action fails.
func (s *succession) play(e *executor) error {
	s.t.Helper()
	for range 10 {
		in := e.in
		in.Targets = slices.Clone(in.Targets)
		in.Gateways = nil
		e.gatewayFacts(&in, []docker.Container{s.web})
		var todo []plan.Action
		for _, g := range in.Gateways {
			switch {
			case g.Wanted && !g.Up:
				todo = append(todo, plan.Action{Verb: plan.VerbOpen, Gateway: g.Name})
			case !g.Wanted && g.Up:
				todo = append(todo, plan.Action{Verb: plan.VerbClose, Gateway: g.Name})
			}
		}
		slices.SortStableFunc(todo, func(a, b plan.Action) int { return strings.Compare(string(b.Verb), string(a.Verb)) }) // open comes first
		if len(todo) == 0 {
			return nil
		}
		if err := e.gateway(s.t.Context(), todo[0]); err != nil {
			return err
		}
	}
	s.t.Fatal("there is no end to it")
	return nil
}

var (
	succeeds = []string{
		"create shop.gateway-2", "start shop.gateway-2", "shop.gateway-2 leaves",
		"shop.gateway-2 is called shop.gateway-1 web, told of 1 services",
	}
	gives = []string{"rename shop.gateway-1", "stop shop.gateway-1.ending", "remove shop.gateway-1.ending"}
)

// An inner gateway that is to have other names is ended when another one has them, was told where they lead, and is
// found by its name.
func TestAnInnerGatewayHasASuccessor(t *testing.T) {
	s := newSuccession(t)
	if err := s.play(s.executor("web")); err != nil {
		t.Fatal(err)
	}
	if got, want := s.engine.since(), slices.Concat(succeeds, gives); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if err := s.play(s.executor("web")); err != nil || len(s.engine.since()) > 0 {
		t.Errorf("another daemon finds something left to do: %v", err)
	}
}

// An update by which a service leaves the gateway is undone: the containers that go on look for it at the gateway that there was, and
// find it at the successor of its successor.
func TestASuccessionThatIsUndone(t *testing.T) {
	s := newSuccession(t)
	if err := s.play(s.executor("web")); err != nil {
		t.Fatal(err)
	}
	s.engine.since()
	if err := s.play(s.executor("side", "web")); err != nil {
		t.Fatal(err)
	}
	want := "shop.gateway-3 is called shop.gateway-1 shop.gateway-2 side web, told of 1 services"
	if got := s.engine.since(); !slices.Contains(got, want) || !slices.Contains(got, "remove shop.gateway-2.ending") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

// A daemon that is gone at any moment of that is followed by one that goes on from there: nobody stops the old
// gateway, which goes by a name that links lead to, before it has lost that name.
func TestASuccessionThatIsBrokenOff(t *testing.T) {
	whole := slices.Concat(succeeds, gives)
	for _, moment := range whole {
		t.Run(moment, func(t *testing.T) {
			s := newSuccession(t)
			s.engine.refusing(moment)
			if err := s.play(s.executor("web")); err == nil {
				t.Fatal("nothing was broken off")
			}
			s.engine.since()
			s.engine.refusing("")
			e := s.executor("web")
			for name, b := range e.gw.there {
				if b.answers != s.engine.runs(name) {
					t.Errorf("%s answers the next daemon: %t", name, b.answers)
				}
			}
			if err := s.play(e); err != nil {
				t.Fatal(err)
			}
			got := s.engine.since()
			if stop, name := slices.Index(got, "stop shop.gateway-1"), slices.Index(got, "rename shop.gateway-1"); stop >= 0 || name > slices.Index(got, "stop shop.gateway-1.ending") {
				t.Errorf("it is stopped by its name:\n%s", strings.Join(got, "\n"))
			}
			if all, err := s.keeper.List(t.Context(), "shop"); err != nil || len(all) != 1 || all[0].Name != "shop.gateway-2" || !all[0].Named {
				t.Errorf("there are %+v, %v", all, err)
			}
		})
	}
}
