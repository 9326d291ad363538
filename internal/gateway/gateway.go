// SPDX-License-Identifier: Apache-2.0

// Package gateway is the data plane: a process that owns an application's ports
// and names, and passes what comes to them to the containers that a desired
// state names. It needs nobody: it starts from the last state in its directory.
package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
	"github.com/fairlead-dev/fairlead/internal/gateway/proxy"
)

// retryEvery is how often that is tried again which did not work: binding
// sockets, writing the state file.
const retryEvery = 2 * time.Second

// Gateway is one gateway.
type Gateway struct {
	dir     string
	build   string
	log     logr.Logger
	env     *pool.Environment
	server  *proxy.Server
	started time.Time
	changes changes

	mu        sync.Mutex
	state     *gatewayapi.DesiredState // nil before the first one
	appliedAt time.Time
	swap      time.Duration
	persist   error // why the state is not in its file
	pools     map[string]*pool.Pool
	sockets   map[socketKey]*socket
	wanted    map[socketKey][]place
	unbound   map[socketKey]error
	inherited map[socketKey]*socket
	closed    bool
	replaced  chan struct{} // closed when another program has taken over
}

// New makes a gateway that keeps its state in dir, which must exist. build is the
// version of the program.
func New(dir, build string, env *pool.Environment, log logr.Logger) *Gateway {
	g := &Gateway{
		dir: dir, build: build, log: log, server: proxy.NewServer(log), started: time.Now(),
		pools: map[string]*pool.Pool{}, sockets: map[socketKey]*socket{}, unbound: map[socketKey]error{}, inherited: map[socketKey]*socket{},
		replaced: make(chan struct{}),
	}
	own := *env
	own.Changed, own.Marks = g.changes.tell, &pool.Marks{}
	g.env = &own
	return g
}

// Load applies the state in the directory, if there is one. One that cannot be read is put
// aside: the daemon will put another.
func (g *Gateway) Load() error {
	path := filepath.Join(g.dir, gatewayapi.StateName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	state := &gatewayapi.DesiredState{}
	err = json.Unmarshal(data, state)
	if err == nil {
		err = state.Validate()
	}
	if err != nil {
		g.log.Error(err, "the state file cannot be used and is put aside; nothing is served until a state is put", "file", path+".bad")
		return os.Rename(path, path+".bad")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.apply(state, true)
	g.log.Info("serving the last state", "revision", state.Revision, "application", state.Application)
	return nil
}

// Put applies a state and writes it to the state file. An error is
// gatewayapi.ErrInvalid or gatewayapi.ErrRevision, with the reason.
func (g *Gateway) Put(state *gatewayapi.DesiredState) error {
	if err := state.Validate(); err != nil {
		return fmt.Errorf("%w: %w", gatewayapi.ErrInvalid, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return gatewayapi.ErrEnding
	}
	if g.state != nil {
		switch {
		case state.Revision < g.state.Revision:
			return fmt.Errorf("%w: revision %d is in force, %d was put", gatewayapi.ErrRevision, g.state.Revision, state.Revision)
		case state.Revision == g.state.Revision:
			if !reflect.DeepEqual(state, g.state) {
				return fmt.Errorf("%w: revision %d is in force with another content", gatewayapi.ErrRevision, state.Revision)
			}
			if g.persist == nil {
				return nil
			}
			g.write()
			return nil
		}
	}
	g.apply(state, false)
	g.write()
	return nil
}

// write puts the state in force into its file. g is locked.
func (g *Gateway) write() {
	data, err := json.MarshalIndent(g.state, "", " ")
	if err == nil {
		err = atomicfile.WriteFile(filepath.Join(g.dir, gatewayapi.StateName), data, 0o600)
	}
	if err != nil {
		g.log.Error(err, "the state is in force and not in its file")
	}
	g.persist = err
}

// apply brings everything to the state. g is locked and the state valid.
func (g *Gateway) apply(state *gatewayapi.DesiredState, fromFile bool) {
	changes := g.prepare(state, fromFile)
	sockets := layout(state, g.pools)

	begun := time.Now()
	for _, c := range changes {
		c.Swap()
	}
	for key, s := range g.sockets {
		if places, ok := sockets[key]; ok {
			s.table.Store(&places)
		}
	}
	g.swap = time.Since(begun)
	g.appliedAt = time.Now()
	g.state, g.wanted = state, sockets

	for key, s := range g.sockets {
		if _, ok := sockets[key]; !ok {
			s.close()
			s.table.Store(nil) // connections end when they are idle
			delete(g.sockets, key)
		}
	}
	g.bind()
	g.dropPools(state)
}

// prepare has all pools of a state, and makes ready what is to change of them. g is locked.
func (g *Gateway) prepare(state *gatewayapi.DesiredState, fromFile bool) []*pool.Change {
	var changes []*pool.Change
	for i := range state.Services {
		service := &state.Services[i]
		if g.pools[service.Name] == nil {
			g.pools[service.Name] = pool.New(service.Name, g.env)
		}
		changes = append(changes, g.pools[service.Name].Prepare(service, fromFile))
	}
	return changes
}

// dropPools closes those that a state has not. g is locked.
func (g *Gateway) dropPools(state *gatewayapi.DesiredState) {
	for name, p := range g.pools {
		if !slices.ContainsFunc(state.Services, func(s gatewayapi.Service) bool { return s.Name == name }) {
			p.Close()
			delete(g.pools, name)
		}
	}
}

// bind binds what is wanted and not bound. g is locked.
func (g *Gateway) bind() {
	for key := range g.unbound {
		if _, ok := g.wanted[key]; !ok {
			delete(g.unbound, key)
		}
	}
	for key, places := range g.wanted {
		if g.sockets[key] != nil {
			continue
		}
		s := g.inherited[key]
		if s == nil {
			s = &socket{key: key}
		}
		s.table.Store(&places)
		if err := s.open(g.server); err != nil {
			if g.unbound[key] == nil || g.unbound[key].Error() != err.Error() {
				g.log.Error(err, "cannot listen; it is tried again", "on", key.String())
			}
			g.unbound[key] = err
			continue
		}
		delete(g.inherited, key)
		delete(g.unbound, key)
		g.sockets[key] = s
	}
}

// Run tries again what did not work, until ctx ends.
func (g *Gateway) Run(ctx context.Context) {
	ticker := time.NewTicker(retryEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		g.mu.Lock()
		if !g.closed {
			if len(g.unbound) > 0 {
				g.bind()
			}
			if g.persist != nil {
				g.write()
			}
		}
		g.mu.Unlock()
	}
}

// Desired is the state in force, nil before the first one. It must not be changed.
func (g *Gateway) Desired() *gatewayapi.DesiredState {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state
}

// Observed is what the gateway does.
func (g *Gateway) Observed() *gatewayapi.ObservedState {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := &gatewayapi.ObservedState{Version: gatewayapi.Version, StartedAt: g.started, Build: g.build, Program: os.Getenv(programVariable)}
	if g.state == nil {
		return o
	}
	o.Application, o.AppliedRevision, o.AppliedAt = g.state.Application, g.state.Revision, g.appliedAt
	o.SwapMicroseconds = g.swap.Microseconds()
	if g.persist != nil {
		o.PersistError = g.persist.Error()
	}
	for i := range g.state.Listeners {
		l := &g.state.Listeners[i]
		status := gatewayapi.ListenerStatus{Name: l.Name, Bound: true}
		for port := l.Port; port <= l.LastPort(); port++ {
			if err := g.unbound[keyOf(g.wanted, l, port)]; err != nil {
				status.Bound, status.Reason = false, err.Error()
				break
			}
		}
		o.Listeners = append(o.Listeners, status)
	}
	for i := range g.state.Services {
		o.Services = append(o.Services, g.pools[g.state.Services[i].Name].Status())
	}
	return o
}

// Shutdown stops to listen, lets what is in flight end until ctx does, and then cuts off the rest. If there is
// a successor, connections that are idle get one more answer, which sends them there; otherwise they are closed.
func (g *Gateway) Shutdown(ctx context.Context, successor bool) error {
	g.server.Last() // before nothing is accepted, so that no client is told to come back in vain
	g.mu.Lock()
	g.closed = true
	for key, s := range g.sockets {
		s.close()
		delete(g.sockets, key)
	}
	g.mu.Unlock()
	if !successor {
		g.server.CloseIdle()
	}
	err := g.server.Drain(ctx)
	g.server.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.pools {
		p.Cut()
	}
	return err
}
