// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/go-connections/nat"
	"golang.org/x/sync/errgroup"
)

// Labels that Compose puts on what it makes.
const (
	LabelProject    = "com.docker.compose.project"
	LabelService    = "com.docker.compose.service"
	LabelNumber     = "com.docker.compose.container-number"
	LabelConfigHash = "com.docker.compose.config-hash"
	LabelOneOff     = "com.docker.compose.oneoff"
)

// Container states as the engine names them.
const (
	StateCreated    = "created"
	StateRunning    = "running"
	StatePaused     = "paused"
	StateRestarting = "restarting"
	StateRemoving   = "removing"
	StateExited     = "exited"
	StateDead       = "dead"
)

// Health as the engine sees it.
const (
	HealthNone      = "none"
	HealthStarting  = "starting"
	HealthHealthy   = "healthy"
	HealthUnhealthy = "unhealthy"
)

// The engine's own values for what a healthcheck leaves out.
const (
	defaultHealthInterval = 30 * time.Second
	defaultHealthTimeout  = 30 * time.Second
	defaultHealthRetries  = 3
	testNone              = "NONE"
)

// inspectParallel bounds how many inspect calls one listing has in flight.
const inspectParallel = 2

// Container is one container as it was at one moment.
type Container struct {
	// ID is the full ID, Name has no leading slash.
	ID, Name string
	// Image is the reference that the container was created from, ImageID
	// ("sha256:…") what it meant then.
	Image, ImageID string
	// Service, Number and ConfigHash come from Compose's labels; Number is 0
	// without one.
	Service    string
	Number     int
	ConfigHash string
	Labels     map[string]string

	// State is one of the State constants.
	State string
	// ExitCode is that of the last run; meaningless while running.
	ExitCode  int
	OOMKilled bool
	// Error is why the engine could not start it, empty otherwise.
	Error string
	// RestartCount counts restarts by the restart policy since the last start
	// by hand.
	RestartCount  int
	RestartPolicy RestartPolicy
	// StartedAt and FinishedAt are zero when it never happened.
	StartedAt, FinishedAt, Created time.Time
	// Pid of the first process, in the host's numbering; 0 when not running.
	Pid int

	// Health is one of the Health constants.
	Health string
	// Healthcheck is nil when there is none or when it is disabled. It is the
	// image's, overridden by the container's.
	Healthcheck *Healthcheck

	// Networks by name.
	Networks map[string]Endpoint
	Mounts   []Mount
	// Ports are published at the moment (none while stopped), PortBindings
	// those asked for at creation; both sorted.
	Ports, PortBindings []Port
	// Exposed are the ports that it says it listens on, as "80/tcp", sorted.
	Exposed []string
	// NetworkMode is "host", "none", "container:ID" or a network's name.
	NetworkMode string
	// PidMode, IpcMode and VolumesFrom are as given at creation.
	PidMode, IpcMode string
	VolumesFrom      []string
	// Command is the argument list of the first process.
	Command []string
	// Tty says that output is one raw stream; Init that a reaper runs as PID 1.
	Tty, Init bool
	// User, WorkingDir, StopSignal: empty is the engine's default.
	User, WorkingDir, StopSignal string
	// StopTimeout is what the container asks to be given on stop; nil is the
	// engine's default of 10 s.
	StopTimeout *time.Duration
}

// Running says that its process exists; a paused one counts.
func (c Container) Running() bool { return c.State == StateRunning || c.State == StatePaused }

// RestartPolicy is what the engine does when the container exits.
type RestartPolicy struct {
	// Name is "no", "always", "unless-stopped" or "on-failure".
	Name string
	// MaximumRetryCount is for on-failure; 0 is without limit.
	MaximumRetryCount int
}

// Restarts says that the engine would start the container again after it
// exited with the code.
func (p RestartPolicy) Restarts(exitCode int) bool {
	switch p.Name {
	case "always", "unless-stopped":
		return true
	case "on-failure":
		return exitCode != 0
	}
	return false
}

// Healthcheck is a test with the engine's defaults filled in.
type Healthcheck struct {
	// Test is ["CMD", args…] or ["CMD-SHELL", script].
	Test                           []string
	Interval, Timeout, StartPeriod time.Duration
	Retries                        int
	// Shell runs a CMD-SHELL test: the image's SHELL, by default /bin/sh -c.
	Shell []string
}

// Command returns the argument list that runs the test.
func (h Healthcheck) Command() []string {
	if len(h.Test) == 0 {
		return nil
	}
	if h.Test[0] == "CMD-SHELL" {
		return append(slices.Clone(h.Shell), h.Test[1:]...)
	}
	return h.Test[1:]
}

// Endpoint is a container's place in a network.
type Endpoint struct {
	NetworkID string
	// IP is the IPv4 address, or the IPv6 one where there is no other; empty
	// while stopped.
	IP string
	// Gateway is the IPv4 router of the network, empty while stopped and where there is none.
	Gateway string
	// Aliases are the names given at creation, without the engine's own ID alias.
	Aliases []string
	// Links are what the container itself finds names by, as "container:name".
	Links []string
}

// Mount is one mounted volume, bind or tmpfs.
type Mount struct {
	// Type is "volume", "bind" or "tmpfs".
	Type string
	// Name of the volume, empty for others. Anonymous volumes have a name of
	// 64 hexadecimal digits.
	Name string
	// Source is the path on the engine's host, Destination that inside.
	Source, Destination string
	RW                  bool
}

// Port is one published port.
type Port struct {
	ContainerPort int
	// Protocol is "tcp", "udp" or "sctp".
	Protocol string
	// HostIP is empty or 0.0.0.0 for all addresses. HostPort 0 means that the
	// engine chooses.
	HostIP   string
	HostPort int
}

// InspectContainer returns the container with the ID or name; IsNotFound is
// true for the error when there is none.
func (c *Client) InspectContainer(ctx context.Context, id string) (Container, error) {
	r, err := c.ContainerInspect(ctx, id)
	if err != nil {
		return Container{}, fmt.Errorf("inspect container %s: %w", shortID(id), err)
	}
	return convertContainer(r), nil
}

// ProjectContainers lists the containers of a Compose project, stopped ones
// too but no one-offs (`compose run`), ordered by service, number and name.
func (c *Client) ProjectContainers(ctx context.Context, project string) ([]Container, error) {
	if project == "" {
		return nil, fmt.Errorf("list containers of a project: no project name given")
	}
	all, err := c.ContainersByLabel(ctx, map[string]string{LabelProject: project})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(ct Container) bool {
		return strings.EqualFold(ct.Labels[LabelOneOff], "true")
	}), nil
}

// ProjectContainersBut is ProjectContainers without inspecting the containers
// whose IDs are keys of busy: they are taken from there, with the state that
// they have now. The engine answers an inspection of a container that it is
// starting or stopping only when that is over. So are those of recent that have
// their state and name still.
func (c *Client) ProjectContainersBut(ctx context.Context, project string, busy, recent map[string]Container) ([]Container, error) {
	all, err := c.containers(ctx, map[string]string{LabelProject: project}, busy, recent)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(ct Container) bool {
		return strings.EqualFold(ct.Labels[LabelOneOff], "true")
	}), nil
}

// MountingContainers lists the containers of the host that run, of any project,
// one-offs too, with their ID, name and mounts and nothing else.
func (c *Client) MountingContainers(ctx context.Context) ([]Container, error) {
	list, err := c.ContainerList(ctx, container.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list running containers: %w", err)
	}
	out := make([]Container, 0, len(list))
	for _, s := range list {
		ct := Container{ID: s.ID, Name: shortID(s.ID), Mounts: convertMounts(s.Mounts)}
		if len(s.Names) > 0 {
			ct.Name = strings.TrimPrefix(s.Names[0], "/")
		}
		out = append(out, ct)
	}
	return out, nil
}

// UnhealthyContainers are the IDs of the containers whose healthchecks fail, by the Compose project that they belong to.
func (c *Client) UnhealthyContainers(ctx context.Context) (map[string][]string, error) {
	list, err := c.ContainerList(ctx, container.ListOptions{Filters: filters.NewArgs(filters.Arg("health", HealthUnhealthy), filters.Arg("label", LabelProject))})
	if err != nil {
		return nil, fmt.Errorf("list unhealthy containers: %w", err)
	}
	out := map[string][]string{}
	for _, s := range list {
		project := s.Labels[LabelProject]
		out[project] = append(out[project], s.ID)
	}
	return out, nil
}

// Writers are the names of the containers that may write to volumes and paths, by
// those. One that has a directory around a path, as tools that look after the host
// have, is none: it does not use the path as its own.
func Writers(containers []Container) map[string][]string {
	out := map[string][]string{}
	for _, c := range containers {
		for _, m := range c.Mounts {
			if place := m.Place(); m.RW && place != "" && !slices.Contains(out[place], c.Name) {
				out[place] = append(out[place], c.Name)
			}
		}
	}
	return out
}

// Place is what is mounted: the volume's name, or the path of a bind mount.
func (m Mount) Place() string {
	if m.Type == "bind" {
		return m.Source
	}
	return m.Name
}

// ContainersByLabel lists the containers that have all the labels, whatever
// their state, each inspected, ordered by service, number and name. Those that
// vanish meanwhile are left out. An empty value matches any value of the label.
func (c *Client) ContainersByLabel(ctx context.Context, labels map[string]string) ([]Container, error) {
	return c.containers(ctx, labels, nil, nil)
}

func (c *Client) containers(ctx context.Context, labels map[string]string, busy, recent map[string]Container) ([]Container, error) {
	args := filters.NewArgs()
	for k, v := range labels {
		if v == "" {
			args.Add("label", k)
			continue
		}
		args.Add("label", k+"="+v)
	}
	list, err := c.ContainerList(ctx, container.ListOptions{All: true, Filters: args})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	found := make([]*Container, len(list))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(inspectParallel)
	for i, s := range list {
		if known, ok := busy[s.ID]; ok {
			known.State = s.State
			found[i] = &known
			continue
		}
		if known, ok := recent[s.ID]; ok && known.State == s.State && slices.Contains(s.Names, "/"+known.Name) {
			found[i] = &known
			continue
		}
		g.Go(func() error {
			ct, err := c.InspectContainer(gctx, s.ID)
			if IsNotFound(err) {
				return nil
			}
			found[i] = &ct
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := make([]Container, 0, len(found))
	for _, ct := range found {
		if ct != nil {
			out = append(out, *ct)
		}
	}
	slices.SortFunc(out, func(a, b Container) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Number, b.Number), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// convertContainer flattens the engine's answer, every part of which may be
// missing while a container is being made or removed.
func convertContainer(r container.InspectResponse) Container {
	ct := Container{Health: HealthNone, Networks: map[string]Endpoint{}}
	if b := r.ContainerJSONBase; b != nil {
		ct.ID, ct.Name, ct.ImageID = b.ID, strings.TrimPrefix(b.Name, "/"), b.Image
		ct.RestartCount, ct.Created = b.RestartCount, parseTime(b.Created)
		if s := b.State; s != nil {
			ct.State, ct.ExitCode, ct.OOMKilled, ct.Error, ct.Pid = s.Status, s.ExitCode, s.OOMKilled, s.Error, s.Pid
			ct.StartedAt, ct.FinishedAt = parseTime(s.StartedAt), parseTime(s.FinishedAt)
			if s.Health != nil && s.Health.Status != "" {
				ct.Health = s.Health.Status
			}
		}
		if h := b.HostConfig; h != nil {
			ct.RestartPolicy = RestartPolicy{Name: cmp.Or(string(h.RestartPolicy.Name), "no"), MaximumRetryCount: h.RestartPolicy.MaximumRetryCount}
			ct.PortBindings = convertPorts(h.PortBindings)
			ct.NetworkMode, ct.PidMode, ct.IpcMode = string(h.NetworkMode), string(h.PidMode), string(h.IpcMode)
			ct.VolumesFrom = h.VolumesFrom
			ct.Init = h.Init != nil && *h.Init
		}
	}
	if cfg := r.Config; cfg != nil {
		for port := range cfg.ExposedPorts {
			ct.Exposed = append(ct.Exposed, string(port))
		}
		slices.Sort(ct.Exposed)
		ct.Command = slices.Concat(cfg.Entrypoint, cfg.Cmd)
		ct.Image, ct.Labels, ct.Tty = cfg.Image, cfg.Labels, cfg.Tty
		ct.User, ct.WorkingDir, ct.StopSignal = cfg.User, cfg.WorkingDir, cfg.StopSignal
		if cfg.StopTimeout != nil {
			d := time.Duration(*cfg.StopTimeout) * time.Second
			ct.StopTimeout = &d
		}
		ct.Service, ct.ConfigHash = cfg.Labels[LabelService], cfg.Labels[LabelConfigHash]
		if n, err := strconv.Atoi(cfg.Labels[LabelNumber]); err == nil {
			ct.Number = n
		}
		ct.Healthcheck = convertHealthcheck(cfg)
	}
	if n := r.NetworkSettings; n != nil {
		ct.Ports = convertPorts(n.Ports)
		for name, e := range n.Networks {
			if e == nil {
				continue
			}
			// A name that is given may begin as the ID does, such as db.
			aliases := slices.DeleteFunc(slices.Clone(e.Aliases), func(a string) bool { return a == shortID(ct.ID) })
			ct.Networks[name] = Endpoint{NetworkID: e.NetworkID, IP: cmp.Or(e.IPAddress, e.GlobalIPv6Address), Gateway: e.Gateway, Aliases: aliases, Links: e.Links}
		}
	}
	ct.Mounts = convertMounts(r.Mounts)
	return ct
}

func convertMounts(mounts []container.MountPoint) []Mount {
	var out []Mount
	for _, m := range mounts {
		out = append(out, Mount{Type: string(m.Type), Name: m.Name, Source: m.Source, Destination: m.Destination, RW: m.RW})
	}
	slices.SortFunc(out, func(a, b Mount) int { return cmp.Compare(a.Destination, b.Destination) })
	return out
}

func convertHealthcheck(cfg *container.Config) *Healthcheck {
	h := cfg.Healthcheck
	if h == nil || len(h.Test) < 2 || (h.Test[0] != "CMD" && h.Test[0] != "CMD-SHELL") {
		return nil
	}
	shell := []string(cfg.Shell)
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	return &Healthcheck{
		Test: h.Test, Shell: shell, StartPeriod: h.StartPeriod,
		Interval: cmp.Or(h.Interval, defaultHealthInterval),
		Timeout:  cmp.Or(h.Timeout, defaultHealthTimeout),
		Retries:  cmp.Or(h.Retries, defaultHealthRetries),
	}
}

func convertPorts(m nat.PortMap) []Port {
	var ports []Port
	for p, bindings := range m {
		for _, b := range bindings {
			n, err := strconv.Atoi(cmp.Or(b.HostPort, "0"))
			if err != nil {
				continue // a range, kept only by swarm; the engine publishes none for it
			}
			ports = append(ports, Port{ContainerPort: p.Int(), Protocol: p.Proto(), HostIP: b.HostIP, HostPort: n})
		}
	}
	slices.SortFunc(ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.ContainerPort, b.ContainerPort), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.HostIP, b.HostIP), cmp.Compare(a.HostPort, b.HostPort))
	})
	return ports
}

// parseTime reads the engine's time stamps; "0001-01-01…" and garbage are zero.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// ContainerEnv returns those of the named variables that the container was
// created with, the image's included. Values may be secrets: they must not
// reach status, logs or errors, which is why Container does not carry them.
func (c *Client) ContainerEnv(ctx context.Context, id string, names []string) (map[string]string, error) {
	env, err := c.ContainerEnvAll(ctx, id)
	maps.DeleteFunc(env, func(name, _ string) bool { return !slices.Contains(names, name) })
	return env, err
}

// ContainerEnvAll is ContainerEnv with all variables, for those who must know
// which values to keep out of a log.
func (c *Client) ContainerEnvAll(ctx context.Context, id string) (map[string]string, error) {
	r, err := c.ContainerInspect(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("inspect container %s: %w", shortID(id), err)
	}
	env := map[string]string{}
	if r.Config == nil {
		return env, nil
	}
	for _, entry := range r.Config.Env {
		if name, value, ok := strings.Cut(entry, "="); ok {
			env[name] = value
		}
	}
	return env, nil
}
