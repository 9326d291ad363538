// SPDX-License-Identifier: Apache-2.0

// Package boxes makes, finds and removes the containers that gateways run in,
// and the directories that they share with the daemon.
package boxes

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/atomicfile"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
)

const (
	// mountPoint of the shared directory in a gateway.
	mountPoint = "/run/fairlead-gateway"
	// answerTimeout is how long a gateway that was started may take until it
	// answers on its socket.
	answerTimeout = 30 * time.Second
	// markTimeout is how long one may take to be told what is unhealthy.
	markTimeout = 2 * time.Second
	// drainTimeout is what a gateway that is stopped gives its clients, and stopTimeout
	// how long all of that may take: as long as the engine gives containers itself.
	drainTimeout = "8s"
	stopTimeout  = 10 * time.Second
)

// Keeper keeps the gateways of applications. Its methods may be called by several
// goroutines, for one gateway by one at a time.
type Keeper struct {
	Engine *docker.Client
	// Dir has one directory for each gateway.
	Dir string
	// Program is the path of the daemon's own program.
	Program string
	// Self finds the container that the daemon runs in, "" if in none.
	Self func(ctx context.Context) (string, error)

	mu     sync.Mutex
	image  string
	digest string                 // of the program, once it is known
	locks  map[string]*sync.Mutex // of gateways, by name; see own
}

// Box is a gateway container that is there.
type Box struct {
	layout.Box
	ID string
	// Image is the name of the image that it was made from.
	Image   string
	Running bool
	// Named says that it is in all its networks, with all its names.
	Named   bool
	Started time.Time
}

// List returns the gateways of a Compose project, sorted by name.
func (k *Keeper) List(ctx context.Context, project string) ([]Box, error) {
	all, err := k.Engine.ContainersByLabel(ctx, map[string]string{v1alpha1.LabelGatewayProject: project, v1alpha1.LabelGateway: ""})
	if err != nil {
		return nil, fmt.Errorf("list the gateways: %w", err)
	}
	var out []Box
	for _, c := range all {
		made, err := layout.Decode(c.Labels[v1alpha1.LabelGateway])
		if err != nil {
			made = layout.Box{} // of another version: it is made anew
		}
		made.Name = c.Name
		out = append(out, Box{
			Box: made, ID: c.ID, Image: c.Image, Running: c.State == docker.StateRunning, Started: c.StartedAt, Named: len(unnamed(c, made)) == 0,
		})
	}
	slices.SortFunc(out, func(a, b Box) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Client speaks to the gateway of that name.
func (k *Keeper) Client(name string) *gatewayapi.Client {
	return gatewayapi.NewClient(k.dir(name))
}

// Mark tells the gateway of that name which of its targets are unhealthy.
func (k *Keeper) Mark(ctx context.Context, name string, u gatewayapi.Unhealthy) error {
	ctx, cancel := context.WithTimeout(ctx, markTimeout)
	defer cancel()
	return k.Client(name).Mark(ctx, u)
}

// dir is short, as the path of a socket must be. It is that of the gateway's first name.
func (k *Keeper) dir(name string) string {
	sum := sha256.Sum256([]byte(strings.TrimSuffix(name, layout.Ending)))
	return filepath.Join(k.Dir, hex.EncodeToString(sum[:])[:16])
}

// Open makes a gateway, in the place of one of the same name that was made
// otherwise, starts it, and returns when it answers. Its ports must be free. One that is new has
// no names yet: see Name.
//
// application is the value of the label that says what it belongs to.
func (k *Keeper) Open(ctx context.Context, project, application string, b layout.Box) error {
	return k.open(ctx, project, application, b, false)
}

// OpenBeside is Open for one that is to have ports of the host which others still publish: it answers, and is in no
// network, until TakeOver.
func (k *Keeper) OpenBeside(ctx context.Context, project, application string, b layout.Box) error {
	return k.open(ctx, project, application, b, true)
}

func (k *Keeper) open(ctx context.Context, project, application string, b layout.Box, beside bool) error {
	img, err := k.ensureImage(ctx)
	if err != nil {
		return err
	}
	if k.Dir == "" {
		return errors.New("this program keeps no gateways: only the daemon does")
	}
	source, err := k.onHost(ctx, k.dir(b.Name))
	if err != nil {
		return err
	}
	have, err := k.Engine.InspectContainer(ctx, b.Name)
	shared := func(m docker.Mount) bool { return m.Destination == mountPoint && m.Source == source }
	switch {
	case docker.IsNotFound(err):
	case err != nil:
		return err
	case have.Labels[v1alpha1.LabelGatewayProject] != project:
		return fmt.Errorf("a container that is no gateway of the project %s has the name %s: remove or rename it", project, b.Name)
	case !madeAs(have, b), !slices.ContainsFunc(have.Mounts, shared):
		if err := k.remove(ctx, have.ID); err != nil {
			return err
		}
		have = docker.Container{}
	}
	id := have.ID
	if id == "" {
		id, err = k.create(ctx, project, application, img, source, b)
		if docker.IsNotFound(err) { // somebody has removed the image meanwhile
			if img, err = k.ensureImage(ctx); err == nil {
				id, err = k.create(ctx, project, application, img, source, b)
			}
		}
		if err != nil {
			return err
		}
	}
	// One that was about to be removed when the daemon died would not come back with the engine.
	if have.ID != "" {
		if err := k.Engine.SetRestartPolicy(ctx, id, docker.RestartPolicy{Name: string(container.RestartPolicyAlways)}); err != nil {
			return err
		}
	}
	if beside && have.State != docker.StateRunning {
		if err := k.leaveNetworks(ctx, id); err != nil {
			return err
		}
	}
	if err := k.Engine.Start(ctx, id); err != nil {
		if have.ID == "" {
			err = errors.Join(err, k.remove(context.WithoutCancel(ctx), id))
		}
		return err
	}
	if err := k.answers(ctx, b.Name, id); err != nil {
		return err
	}
	k.removeUnused(ctx) // as what was there before may have had the last use of one
	return nil
}

// madeAs reports whether a gateway was made as b is.
func madeAs(c docker.Container, b layout.Box) bool {
	made, err := layout.Decode(c.Labels[v1alpha1.LabelGateway])
	return err == nil && made.Same(b)
}

// answers waits until the gateway does.
func (k *Keeper) answers(ctx context.Context, name, id string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	c := k.Client(name)
	for {
		_, err := c.Observed(ctx)
		if err == nil {
			return nil
		}
		if now, lookErr := k.Engine.InspectContainer(ctx, id); lookErr == nil && now.RestartCount > 2 {
			lines, _ := k.Engine.LogTail(ctx, id, 5)
			return fmt.Errorf("the gateway %s does not stay up: %s", name, strings.Join(lines, " / "))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("the gateway %s does not answer: %w", name, err)
		}
	}
}

// Close ends and removes a gateway, with what it shares with the daemon.
func (k *Keeper) Close(ctx context.Context, project, name string) error {
	have, err := k.Engine.InspectContainer(ctx, name)
	switch {
	case docker.IsNotFound(err):
	case err != nil:
		return err
	case ofProject(have, project) != nil:
		return ofProject(have, project)
	default:
		if err := k.remove(ctx, have.ID); err != nil {
			return err
		}
		k.removeUnused(ctx)
	}
	if k.Dir == "" {
		return nil
	}
	return os.RemoveAll(k.dir(name))
}

// LoseName takes from an inner gateway the name of its container, which it answers to as well: another one has got its other names
// (see Name), and who finds it by a link goes to that from then on. Close takes the new name, which is Retired.
func (k *Keeper) LoseName(ctx context.Context, project, name string) error {
	have, err := k.Engine.InspectContainer(ctx, name)
	if docker.IsNotFound(err) {
		return nil
	}
	if err == nil {
		err = ofProject(have, project)
	}
	if err != nil {
		return err
	}
	return k.Engine.Rename(ctx, have.ID, Retired(name))
}

// Retired is the name of a gateway that has lost its name.
func Retired(name string) string { return strings.TrimSuffix(name, layout.Ending) + layout.Ending }

func ofProject(c docker.Container, project string) error {
	if c.Labels[v1alpha1.LabelGatewayProject] != project {
		return fmt.Errorf("the container %s is no gateway of the project %s", c.Name, project)
	}
	return nil
}

func (k *Keeper) remove(ctx context.Context, id string) error {
	if _, err := k.Engine.StopAndKeep(ctx, id, stopTimeout, ""); err != nil && !docker.IsNotFound(err) {
		return err
	}
	return k.Engine.Remove(ctx, id, true)
}

// create makes the container: with no rights but to serve, and a root file
// system that nobody can write to.
func (k *Keeper) create(ctx context.Context, project, application, img, source string, b layout.Box) (string, error) {
	if err := os.MkdirAll(k.dir(b.Name), 0o700); err != nil {
		return "", err
	}
	if err := k.dropPrograms(b.Name, ""); err != nil {
		return "", err
	}
	if err := atomicfile.WriteFile(filepath.Join(k.dir(b.Name), nameFile), []byte(b.Name), 0o600); err != nil {
		return "", err
	}
	cfg := &container.Config{
		Image: img, Entrypoint: []string{program, "gateway", "--dir", mountPoint, "--drain-timeout", drainTimeout}, Cmd: []string{},
		User: fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()),
		Labels: map[string]string{
			v1alpha1.LabelApplication: application, v1alpha1.LabelGateway: b.Encode(), v1alpha1.LabelGatewayProject: project,
		},
		Healthcheck:  &container.HealthConfig{Test: []string{"NONE"}},
		ExposedPorts: nat.PortSet{},
	}
	host := &container.HostConfig{
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyAlways},
		ReadonlyRootfs: true,
		CapDrop:        []string{"ALL"},
		CapAdd:         []string{"NET_BIND_SERVICE"},
		SecurityOpt:    []string{"no-new-privileges"},
		Binds:          []string{source + ":" + mountPoint},
		LogConfig:      container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "5m", "max-file": "2"}},
		// Only containers are asked for, so no name server outside is: not for short names that nobody has, and not
		// while it is in no network yet and the engine's own is not known, where one outside would say that nobody has them.
		DNSOptions:   []string{"ndots:1"},
		DNS:          []string{"127.0.0.1"},
		PortBindings: nat.PortMap{},
	}
	for _, p := range b.Publish {
		port := nat.Port(strconv.Itoa(p.Inside) + "/" + transport(p.UDP))
		cfg.ExposedPorts[port] = struct{}{}
		host.PortBindings[port] = append(host.PortBindings[port], nat.PortBinding{HostIP: p.HostIP, HostPort: strconv.Itoa(p.HostPort)})
	}
	networks := slices.Sorted(maps.Keys(b.Networks))
	if len(networks) == 0 {
		return "", fmt.Errorf("the gateway %s has no network", b.Name)
	}
	host.NetworkMode = container.NetworkMode(networks[0])
	created, err := k.Engine.ContainerCreate(ctx, cfg, host,
		&network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{networks[0]: {}}}, nil, b.Name)
	if err != nil {
		return "", fmt.Errorf("create the gateway %s: %w", b.Name, err)
	}
	if !b.Front {
		return created.ID, nil // the rest comes with the names
	}
	for _, name := range networks[1:] {
		if err := k.connect(ctx, b, name, created.ID); err != nil {
			return "", errors.Join(err, k.Engine.Remove(context.WithoutCancel(ctx), created.ID, true))
		}
	}
	return created.ID, nil
}

func transport(udp bool) string {
	if udp {
		return "udp"
	}
	return "tcp"
}

// onHost is where the engine finds a directory of this process: where the daemon
// runs in a container, a mount of that tells.
func (k *Keeper) onHost(ctx context.Context, dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	id, err := k.Self(ctx)
	if err != nil || id == "" {
		return dir, err
	}
	own, err := k.Engine.InspectContainer(ctx, id)
	if err != nil {
		return "", err
	}
	best := docker.Mount{}
	for _, m := range own.Mounts {
		if rel, err := filepath.Rel(m.Destination, dir); err == nil && filepath.IsLocal(rel) && len(m.Destination) > len(best.Destination) {
			best = m
		}
	}
	if best.Destination == "" || best.Source == "" {
		return "", fmt.Errorf("the daemon runs in a container, and %s is in none of its mounts, so that a gateway cannot share it: mount the data directory, or set gateway.mode: Off", dir)
	}
	rel, err := filepath.Rel(best.Destination, dir)
	if err != nil {
		return "", err
	}
	return filepath.Join(best.Source, rel), nil
}
