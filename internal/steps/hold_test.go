// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// TestHoldThatIsBrokenOff cancels a step while a hold waits for what is in flight: requests go on, as the old
// container serves still.
func TestHoldThatIsBrokenOff(t *testing.T) {
	const name = "shop-gateway-1"
	keeper := &boxes.Keeper{Dir: t.TempDir()}
	sum := sha256.Sum256([]byte(name))
	dir := filepath.Join(keeper.Dir, hex.EncodeToString(sum[:])[:16]) // as the keeper names it
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// There is no engine whose DNS knows the container.
	resolve := func(context.Context, string) ([]netip.Addr, bool, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.2")}, false, nil
	}
	g := gateway.New(dir, "test", &pool.Environment{Resolve: resolve, Log: logr.Discard()}, logr.Discard())
	control, err := gateway.Listen(g)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- control.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = g.Shutdown(ctx, false)
		control.Close()
		if err := <-served; err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})

	asked, leave := make(chan struct{}, 10), make(chan struct{})
	target, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		if r.URL.Path == "/slow" {
			<-leave
		}
	})}
	go func() { _ = server.Serve(target) }()
	t.Cleanup(func() { server.Close() })

	p := project(t, "services:\n  web: {image: a}\n")
	log, err := updatelog.Open(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	s := newRun()
	s.log, s.Clock = log, clock.RealClock{}
	e := &executor{run: s, project: p, seen: map[string]docker.Container{
		"0123456789ab": {ID: "0123456789ab", Networks: map[string]docker.Endpoint{"shop_default": {IP: "127.0.0.2"}}},
	}}
	port := target.Addr().(*net.TCPAddr).Port
	e.in.Targets = []plan.Target{{Service: plan.Service{Name: "web", Gateway: true}}}
	box := layout.Box{
		Name: name, Networks: map[string][]string{"shop_default": {"web"}},
		Owners: map[string]map[string]string{"shop_default": {"web": "web"}},
	}
	e.gw = &gatewayRun{
		keeper: keeper, project: "shop", application: "shop",
		settings: layout.Settings{Application: "shop", Subnets: map[string][]string{"shop_default": {"127.0.0.1/32"}}},
		there:    map[string]*gatewayBox{}, active: map[string][]string{"web": {"0123456789ab"}}, held: map[string]bool{},
		ports: map[string][]layout.Port{"web": {{Number: port}}}, before: map[string]bool{}, begun: map[string]bool{"web": true},
		unsettled: map[string]bool{},
	}
	e.gw.there[name] = e.gw.load(t.Context(), boxes.Box{Box: box, Running: true})
	if e.gw.there[name].seen == nil {
		t.Error("how the gateway was found is not known")
	}
	if err := e.tellGateways(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e.gw.there[name].seen != nil {
		t.Error("it is taken for as it was before it was told something")
	}
	url := "http://" + net.JoinHostPort("127.0.0.1", target.Addr().String()[len("127.0.0.2:"):])
	answered := make(chan error, 1)
	go func() {
		resp, err := http.Get(url + "/slow")
		if err == nil {
			err = resp.Body.Close()
		}
		answered <- err
	}()
	<-asked

	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the daemon ends")
	held := make(chan error, 1)
	go func() { held <- e.hold(ctx, plan.Action{Verb: plan.VerbHold, Service: "web"}) }()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-look.C {
		state := g.Desired()
		if hold := state.Services[0].Hold; hold.Enabled {
			if hold.Until.IsZero() {
				t.Error("the hold has no end of its own")
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the service is not held")
		}
	}
	cancel(reason)
	if err := <-held; !errors.Is(err, reason) {
		t.Errorf("got %v", err)
	}
	if g.Desired().Services[0].Hold.Enabled {
		t.Fatal("it is still held")
	}
	resp, err := http.Get(url + "/")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("got %v, %v", resp, err)
	}
	resp.Body.Close()
	close(leave)
	if err := <-answered; err != nil {
		t.Errorf("what was in flight: %v", err)
	}
}
