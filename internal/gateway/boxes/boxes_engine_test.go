// SPDX-License-Identifier: Apache-2.0

//go:build engine

package boxes

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/go-logr/logr"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
)

const (
	boxesTest = "fairlead-test-boxes"
	testPort  = "8080"
)

// TestMain has this program be all that runs in containers, too.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 {
		os.Exit(m.Run())
	}
	var err error
	switch os.Args[1] {
	case "gateway": // as the Keeper calls it, with --dir DIR
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		err = gateway.Run(ctx, gateway.Options{
			Dir: os.Args[3], Build: "test", Log: logr.Discard(), Env: &pool.Environment{Resolve: pool.Resolve, Log: logr.Discard()},
		})
	case "serve":
		server := http.Server{Addr: ":" + testPort, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "served")
		})}
		err = server.ListenAndServe()
	case "ask":
		err = ask(os.Args[2])
	case "stay":
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		err = stay(ctx, os.Args[2])
	case "nobody":
		err = nobody(os.Args[2])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// ask asks for a name until somebody has it, whom it expects to answer at once, and from then on each time.
func ask(host string) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	fmt.Fprintln(os.Stderr, "asking")
	for answers := 0; answers < 20; {
		patience := 10 * time.Second
		if answers == 0 {
			patience = soon
		}
		addrs, err := lookup(host, patience)
		if err != nil && answers == 0 {
			continue
		}
		if err != nil {
			return fmt.Errorf("after %d answers: %w", answers, err)
		}
		resp, err := client.Get("http://" + net.JoinHostPort(addrs[0], testPort) + "/")
		if err != nil {
			return fmt.Errorf("after %d answers: %w", answers, err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != "served" {
			return fmt.Errorf("after %d answers: %s, %q, %w", answers, resp.Status, body, err)
		}
		answers++
	}
	return nil
}

// stay asks for a name all the time, looks it up each time, and expects to be served always.
func stay(ctx context.Context, host string) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	for n := 0; ctx.Err() == nil; n++ {
		resp, err := client.Get("http://" + net.JoinHostPort(host, testPort) + "/")
		if err != nil {
			return fmt.Errorf("after %d answers: %w", n, err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != "served" {
			return fmt.Errorf("after %d answers: %s, %q, %w", n, resp.Status, body, err)
		}
		if n == 0 {
			fmt.Fprintln(os.Stderr, "served")
		}
	}
	return nil
}

// nobody asks for a name some times, and expects that nobody has it.
func nobody(host string) error {
	for range 10 {
		if addrs, err := lookup(host, 10*soon); err == nil {
			return fmt.Errorf("%v has the name %s", addrs, host)
		}
	}
	return nil
}

// soon is within which a name is told that somebody has. That nobody has it is told only after seconds.
const soon = 20 * time.Millisecond

func lookup(host string, patience time.Duration) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return net.DefaultResolver.LookupHost(ctx, host)
}

// engineWorld has a Keeper and two networks.
type engineWorld struct {
	*docker.Client
	t        *testing.T
	keeper   *Keeper
	networks []string
}

func newEngineWorld(t *testing.T) *engineWorld {
	c, err := docker.New("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := &engineWorld{Client: c, t: t, networks: []string{boxesTest + "-a", boxesTest + "-b"}}
	w.keeper = &Keeper{Engine: c, Dir: t.TempDir(), Program: self, Self: func(context.Context) (string, error) { return "", nil }}
	for _, name := range w.networks {
		n, err := c.NetworkCreate(t.Context(), name, network.CreateOptions{Driver: "bridge", Labels: map[string]string{"fairlead.dev/test": "boxes"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.NetworkRemove(context.Background(), n.ID); err != nil {
				t.Error(err)
			}
		})
	}
	img, err := w.keeper.ensureImage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := c.ImageRemove(context.Background(), img, image.RemoveOptions{PruneChildren: true}); err != nil {
			t.Error(err)
		}
	})
	return w
}

// run starts this program in a container of a network.
func (w *engineWorld) run(name, net string, args ...string) string {
	w.t.Helper()
	return w.linked(name, net, "", args...)
}

// linked is run with a link, "container:name"; "" for none.
func (w *engineWorld) linked(name, net, link string, args ...string) string {
	w.t.Helper()
	endpoint := &network.EndpointSettings{}
	if link != "" {
		endpoint.Links = []string{link}
	}
	created, err := w.ContainerCreate(w.t.Context(),
		&container.Config{Image: w.keeper.image, Entrypoint: append([]string{program}, args...), Labels: map[string]string{"fairlead.dev/test": "boxes"}},
		&container.HostConfig{NetworkMode: container.NetworkMode(net), DNS: []string{"127.0.0.1"}}, // nobody else is asked for names
		&network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{net: endpoint}}, nil, boxesTest+"-"+name)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := w.ContainerRemove(context.Background(), created.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
			w.t.Error(err)
		}
	})
	if err := w.Start(w.t.Context(), created.ID); err != nil {
		w.t.Fatal(err)
	}
	return created.ID
}

// waitLog waits until a container has written something.
func (w *engineWorld) waitLog(id, text string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		lines, err := w.LogTail(ctx, id, 5)
		if err != nil {
			w.t.Fatal(err)
		}
		if slices.Contains(lines, text) {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			w.t.Fatalf("%s is not among %q", text, lines)
		}
	}
}

// wantWell waits until a container has ended well.
func (w *engineWorld) wantWell(id string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if end, err := w.WaitExit(ctx, id); err != nil || end.ExitCode != 0 {
		lines, _ := w.LogTail(w.t.Context(), id, 5)
		w.t.Errorf("%s: %v, %s", end.Name, err, strings.Join(lines, " / "))
	}
}

// box is the gateway as it is found.
func (w *engineWorld) box(name string) Box {
	w.t.Helper()
	all, err := w.keeper.List(w.t.Context(), boxesTest)
	if err != nil {
		w.t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(b Box) bool { return b.Name == name })
	if i < 0 {
		w.t.Fatalf("%s is not among %v", name, all)
	}
	return all[i]
}

// Whoever asks for a name that a new gateway gets is answered from the first moment, in every network.
func TestAGatewayServesBeforeItHasNames(t *testing.T) {
	w := newEngineWorld(t)
	target := w.run("target", w.networks[0], "serve")
	if err := w.NetworkConnect(t.Context(), w.networks[1], target, nil); err != nil {
		t.Fatal(err)
	}
	var clients []string
	for _, net := range w.networks {
		clients = append(clients, w.run("client-in-"+net, net, "ask", "web"))
	}
	for _, id := range clients {
		w.waitLog(id, "asking")
	}
	b := layout.Box{Name: boxesTest + ".gateway-1", Networks: map[string][]string{}, Owners: map[string]map[string]string{}}
	for _, net := range w.networks {
		b.Networks[net], b.Owners[net] = []string{"web"}, map[string]string{"web": "web"}
	}
	t.Cleanup(func() {
		if err := w.keeper.Close(context.Background(), boxesTest, b.Name); err != nil {
			t.Error(err)
		}
	})
	if err := w.keeper.Open(t.Context(), boxesTest, "default/boxes", b); err != nil {
		t.Fatal(err)
	}
	first := w.box(b.Name)
	if first.Named || !first.Running {
		t.Errorf("before it was told anything it is %+v", first)
	}
	for _, net := range w.networks {
		w.wantWell(w.run("early-in-"+net, net, "nobody", "web"))
	}
	subnets, _, err := w.keeper.Subnets(t.Context(), w.networks)
	if err != nil {
		t.Fatal(err)
	}
	state := layout.State(b, map[string]layout.Route{"web": {
		Targets: []layout.Target{{ID: target}}, Ports: []layout.Port{{Number: 8080}},
	}}, layout.Settings{Application: "default/boxes", Subnets: subnets})
	state.Revision = 1
	if _, err := w.keeper.Client(b.Name).Put(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time nothing is left to do
		if err := w.keeper.Name(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if now := w.box(b.Name); !now.Named || now.ID != first.ID {
			t.Errorf("with its names it is %+v", now)
		}
	}
	for _, id := range clients {
		w.wantWell(id)
	}
	// What it is comes back with it.
	if err := w.ContainerRestart(t.Context(), first.ID, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.keeper.Open(t.Context(), boxesTest, "default/boxes", b); err != nil {
		t.Fatal(err)
	}
	if now := w.box(b.Name); !now.Named || now.ID != first.ID || now.Encode() != b.Encode() {
		t.Errorf("after a restart it is %+v", now)
	}
	if seen, err := w.keeper.Client(b.Name).Observed(t.Context()); err != nil || seen.AppliedRevision != 1 {
		t.Errorf("after a restart it serves %+v, %v", seen, err)
	}
}

// An inner gateway gives way to another one, and who finds it by a link is served all the time.
func TestASuccessorHasTheNames(t *testing.T) {
	w := newEngineWorld(t)
	network := w.networks[0]
	target := w.run("target", network, "serve")
	open := func(name string, names ...string) layout.Box {
		t.Helper()
		b := layout.Box{Name: name, Networks: map[string][]string{network: names}, Owners: map[string]map[string]string{network: {"web": "web"}}}
		t.Cleanup(func() {
			if err := w.keeper.Close(context.Background(), boxesTest, b.Name); err != nil {
				t.Error(err)
			}
		})
		if err := w.keeper.Open(t.Context(), boxesTest, "default/boxes", b); err != nil {
			t.Fatal(err)
		}
		subnets, _, err := w.keeper.Subnets(t.Context(), w.networks[:1])
		if err != nil {
			t.Fatal(err)
		}
		state := layout.State(b, map[string]layout.Route{"web": {
			Targets: []layout.Target{{ID: target}}, Ports: []layout.Port{{Number: 8080}},
		}}, layout.Settings{Application: "default/boxes", Subnets: subnets})
		state.Revision = 1
		if _, err := w.keeper.Client(b.Name).Put(t.Context(), state); err != nil {
			t.Fatal(err)
		}
		if err := w.keeper.Name(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	old := open(boxesTest+".gateway-1", "other", "web")
	client := w.linked("client", network, old.Name+":web", "stay", "web")
	w.waitLog(client, "served")
	next := open(boxesTest+".gateway-2", old.Name, "web")
	if got := next.Replaces([]layout.Box{old}); !slices.Equal(got, []string{old.Name}) {
		t.Fatalf("it replaces %q", got)
	}
	for range 2 { // the second time nothing is left to do
		if err := w.keeper.LoseName(t.Context(), boxesTest, old.Name); err != nil {
			t.Fatal(err)
		}
		if err := w.keeper.Close(t.Context(), boxesTest, Retired(old.Name)); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := w.keeper.List(t.Context(), boxesTest); err != nil || len(all) != 1 || all[0].Name != next.Name {
		t.Errorf("there are %+v, %v", all, err)
	}
	if err := w.Client.Stop(t.Context(), client, 10*time.Second, ""); err != nil {
		t.Fatal(err)
	}
	w.wantWell(client)
	w.wantWell(w.run("late", network, "nobody", "other"))
}

// A front whose ports are taken over by one that is ready before, and one that goes on as its ports cannot be.
func TestTakeOver(t *testing.T) {
	w := newEngineWorld(t)
	target := w.run("target", w.networks[0], "serve")
	ports := freePorts(t, 2)
	front := func(n int, ports ...int) layout.Box {
		b := layout.Box{Name: fmt.Sprintf("%s.gateway-front-%d", boxesTest, n), Front: true, Networks: map[string][]string{w.networks[0]: nil, w.networks[1]: nil}}
		for i, port := range ports {
			b.Publish = append(b.Publish, layout.Publish{HostIP: "127.0.0.1", HostPort: port, Service: "web", Target: 8080, Inside: 20001 + i})
		}
		t.Cleanup(func() {
			if err := w.keeper.Close(context.Background(), boxesTest, b.Name); err != nil {
				t.Error(err)
			}
		})
		return b
	}
	addresses := map[string]string{}
	if c, err := w.InspectContainer(t.Context(), target); err != nil {
		t.Fatal(err)
	} else {
		addresses[w.networks[0]] = c.Networks[w.networks[0]].IP
	}
	tell := func(b layout.Box) {
		t.Helper()
		state := layout.State(b, map[string]layout.Route{"web": {Targets: []layout.Target{{ID: target, Addresses: addresses}}}}, layout.Settings{Application: "default/boxes"})
		state.Revision = 1
		if _, err := w.keeper.Client(b.Name).Put(t.Context(), state); err != nil {
			t.Fatal(err)
		}
	}
	served := func(port int) error {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
		resp, err := client.Get("http://127.0.0.1:" + strconv.Itoa(port) + "/")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "served" {
			return fmt.Errorf("%s, %q, %w", resp.Status, body, err)
		}
		return nil
	}
	old := front(1, ports[0])
	if err := w.keeper.Open(t.Context(), boxesTest, "default/boxes", old); err != nil {
		t.Fatal(err)
	}
	tell(old)
	first := w.box(old.Name).ID
	if err := served(ports[0]); err != nil {
		t.Fatal(err)
	}

	// Somebody else has a port that the new one is to have as well.
	taken, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(ports[1]))
	if err != nil {
		t.Fatal(err)
	}
	next := front(2, ports...)
	beside := func() {
		t.Helper()
		for range 2 { // once more, as after a crash
			if err := w.keeper.OpenBeside(t.Context(), boxesTest, "default/boxes", next); err != nil {
				t.Fatal(err)
			}
		}
		tell(next)
	}
	beside()
	if b := w.box(next.Name); b.Named || !b.Running {
		t.Errorf("before it takes over it is %+v", b)
	}
	if err := served(ports[0]); err != nil {
		t.Errorf("while the new one is made: %v", err)
	}
	if err := w.keeper.TakeOver(t.Context(), boxesTest, next, []string{old.Name}); err == nil {
		t.Fatal("it has a port that somebody else has")
	}
	if b := w.box(old.Name); b.ID != first || !b.Running {
		t.Errorf("the old one does not go on: %+v", b)
	}
	if c, err := w.InspectContainer(t.Context(), first); err != nil || c.RestartPolicy.Name != "always" {
		t.Errorf("the old one has the restart policy %+v, %v", c.RestartPolicy, err)
	}
	again := func(when string) { // a gateway that starts again looks first where its targets are
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for err := served(ports[0]); err != nil; err = served(ports[0]) {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				t.Fatalf("%s: %v", when, err)
			}
		}
	}
	again("after the new one could not take over")
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	beside()

	if err := w.keeper.TakeOver(t.Context(), boxesTest, next, []string{old.Name, "no-such-gateway"}); err != nil {
		t.Fatal(err)
	}
	for _, port := range ports {
		if err := served(port); err != nil {
			t.Errorf("port %d of the new one: %v", port, err)
		}
	}
	if b := w.box(next.Name); !b.Named || !b.Running {
		t.Errorf("when it has taken over it is %+v", b)
	}
	if _, err := w.InspectContainer(t.Context(), first); !docker.IsNotFound(err) {
		t.Errorf("the old one is still there: %v", err)
	}
	// What it publishes comes back with it.
	if err := w.ContainerRestart(t.Context(), w.box(next.Name).ID, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.keeper.Open(t.Context(), boxesTest, "default/boxes", next); err != nil {
		t.Fatal(err)
	}
	again("after a restart")
}

// freePorts are ports of the loopback that nobody has.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var out []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out
}
