// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/errdefs"
	"github.com/docker/cli/cli/command"
	"github.com/docker/compose/v5/pkg/api"
	composesdk "github.com/docker/compose/v5/pkg/compose"
	"github.com/go-logr/logr"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// Engine is how to reach a Docker engine; a Docker client has these methods.
type Engine interface {
	// DaemonHost returns the engine's address.
	DaemonHost() string
	// Dialer returns a function that opens a connection to the engine.
	Dialer() func(context.Context) (net.Conn, error)
}

// operationTimeout bounds one creation, which a cancelled context does not
// stop. The engine may have to copy an image's content into new volumes.
const operationTimeout = 10 * time.Minute

// Creator makes containers, networks and volumes exactly as `docker compose`
// does, and never touches existing ones. Methods may be called by several
// goroutines; operations on one project wait for each other. It must be
// closed.
type Creator struct {
	client *client.Client

	mu    sync.Mutex
	locks map[string]chan struct{}
}

// NewCreator returns a Creator for an engine. It does not contact the engine.
func NewCreator(engine Engine) (*Creator, error) {
	dial := engine.Dialer()
	c, err := client.New(
		client.WithHost(engine.DaemonHost()),
		client.WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }),
		client.WithHTTPRequestHook(allowRequest),
	)
	if err != nil {
		return nil, fmt.Errorf("connecting Compose to the engine at %s: %w", engine.DaemonHost(), err)
	}
	return &Creator{client: c, locks: map[string]chan struct{}{}}, nil
}

// Close closes idle connections.
func (c *Creator) Close() error { return c.client.Close() }

// CreateRequest says which containers to create.
type CreateRequest struct {
	Project *Project
	// Service is the name of an active service.
	Service string
	// Image is the reference to create from; it must be on the host.
	Image string
	// Count is how many new containers are made, at least 1.
	Count int
	// KeepContainerName gives the container the service's container_name, which
	// must be free then, and demands Count 1. Otherwise Compose's own name is
	// given: <project>-<service>-<number>.
	KeepContainerName bool
	// DropPorts publishes no ports; the container still exposes them.
	DropPorts bool
	// Behind makes containers whose names and ports of the host something
	// else has: they have no alias in their networks and publish nothing.
	Behind bool
	// Links are "container:name", by the networks' names in the engine: what
	// answers to a name there, for these containers.
	Links map[string][]string
	// Unlinked are services that the service's own links do not lead to, as Links
	// take their place.
	Unlinked []string
	// Labels are put on the containers. They are not part of the configuration hash.
	Labels map[string]string
	// References says which container stands for a service that this one shares
	// the network, IPC or PID namespace or the volumes of (by service name).
	// Default: a running one with the highest number, else one with the highest number.
	References map[string]string
}

// Created is a new container, in state "created".
type Created struct {
	ID, Name string
	// Number is the replica number, one above the highest that existed.
	Number int
}

// Create makes exactly Count new containers of one service beside those that
// exist, running or not, and with them the service's missing networks and
// volumes. Nothing is started, and no other container is changed.
//
// The configuration hash on the containers is that of the service as the model
// has it, so that `docker compose` considers them its own and up to date, even
// when the name was not kept or the ports were dropped.
//
// Create waits for other operations on the project. Once it has begun, a
// cancelled ctx does not stop it. On error, what it created is removed again.
func (c *Creator) Create(ctx context.Context, r CreateRequest) ([]Created, error) {
	definition, err := r.definition()
	if err != nil {
		return nil, err
	}
	unlock, err := c.lock(ctx, r.Project.Name())
	if err != nil {
		return nil, err
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), operationTimeout)
	defer cancel()

	fail := func(err error) ([]Created, error) {
		return nil, fmt.Errorf("creating containers of service %s: %w", r.Service, err)
	}
	files, err := r.Project.inlineFiles(definition)
	if err != nil {
		return fail(err)
	}
	if _, err := c.client.ImageInspect(ctx, r.Image); err != nil {
		return fail(fmt.Errorf("the image %s is not on this host: %w", r.Image, err))
	}
	containers, err := c.containers(ctx, r.Project.Name())
	if err != nil {
		return fail(err)
	}
	existing := containers[r.Service]
	project, err := r.altered(definition, len(existing), containers)
	if err != nil {
		return fail(err)
	}
	g := &guard{
		APIClient:  c.client,
		project:    r.Project.model,
		existing:   existing,
		definition: &definition,
		labels:     r.Labels,
		behind:     r.Behind,
		links:      r.Links,
	}
	if r.KeepContainerName {
		g.name = definition.ContainerName
	}
	err = g.run(ctx, project)
	if err == nil && len(g.created) != r.Count {
		err = fmt.Errorf("%d were created instead of %d", len(g.created), r.Count)
	}
	for _, n := range g.created {
		if err == nil {
			err = g.inject(ctx, n.ID, files)
		}
	}
	if err != nil {
		return fail(errors.Join(err, c.discard(ctx, g.created)))
	}
	slices.SortFunc(g.created, func(a, b Created) int { return a.Number - b.Number })
	return g.created, nil
}

func (r CreateRequest) definition() (types.ServiceConfig, error) {
	if r.Project == nil {
		return types.ServiceConfig{}, errors.New("creating containers: no project is given")
	}
	definition, err := r.Project.model.GetService(r.Service)
	switch {
	case err != nil:
		return definition, fmt.Errorf("creating containers: project %s has no active service %q", r.Project.Name(), r.Service)
	case r.Image == "":
		return definition, fmt.Errorf("creating containers of service %s: no image is given", r.Service)
	case r.Count < 1:
		return definition, fmt.Errorf("creating containers of service %s: the count is %d, it must be at least 1", r.Service, r.Count)
	case r.Count > 1 && r.KeepContainerName && definition.ContainerName != "":
		return definition, fmt.Errorf("creating containers of service %s: only one can have the container_name %s", r.Service, definition.ContainerName)
	}
	return definition, nil
}

// altered is the project that the library is given: the one service, scaled
// up by the wanted count, with its image and without what we do otherwise.
func (r CreateRequest) altered(definition types.ServiceConfig, existing int, containers map[string][]container.Summary) (*types.Project, error) {
	project, err := r.Project.model.WithSelectedServices([]string{r.Service}, types.IgnoreDependencies)
	if err != nil {
		return nil, err
	}
	project = project.WithoutUnnecessaryResources()
	s := project.Services[r.Service]
	s.Image = r.Image
	s.Build = nil
	s.PullPolicy = types.PullPolicyNever
	s.DependsOn = nil
	// The library refuses to scale a service with a fixed name. Where it is to
	// be kept, guard gives it.
	s.ContainerName = ""
	s.SetScale(existing + r.Count)
	s.Ports = slices.Clone(s.Ports)
	s.Ports = slices.DeleteFunc(s.Ports, func(p types.ServicePortConfig) bool {
		drop := r.DropPorts || r.Behind
		if drop {
			s.Expose = append(slices.Clone(s.Expose), fmt.Sprintf("%d/%s", p.Target, p.Protocol))
		}
		return drop
	})
	s.Links = slices.DeleteFunc(slices.Clone(s.Links), func(link string) bool {
		service, _, _ := strings.Cut(link, ":")
		return slices.Contains(r.Unlinked, service)
	})
	if err := r.resolve(&s, containers); err != nil {
		return nil, err
	}
	definitionHash, err := r.Project.DefinitionHash(r.Service)
	if err != nil {
		return nil, err
	}
	s.CustomLabels = maps.Clone(definition.CustomLabels)
	maps.Copy(s.CustomLabels, r.Labels)
	s.CustomLabels[LabelDefinitionHash] = definitionHash
	project.Services[r.Service] = s
	return project, nil
}

// resolve replaces references to services by containers.
func (r CreateRequest) resolve(s *types.ServiceConfig, containers map[string][]container.Summary) error {
	for _, mode := range []*string{&s.NetworkMode, &s.Ipc, &s.Pid} {
		if name, ok := strings.CutPrefix(*mode, types.ServicePrefix); ok {
			id, err := r.reference(name, containers)
			if err != nil {
				return err
			}
			*mode = types.ContainerPrefix + id
		}
	}
	for i, v := range s.VolumesFrom {
		if strings.HasPrefix(v, types.ContainerPrefix) {
			continue
		}
		name, _, _ := strings.Cut(v, ":")
		id, err := r.reference(name, containers)
		if err != nil {
			return err
		}
		s.VolumesFrom[i] = types.ContainerPrefix + id
	}
	return nil
}

func (r CreateRequest) reference(service string, containers map[string][]container.Summary) (string, error) {
	if id := r.References[service]; id != "" {
		return id, nil
	}
	var best *container.Summary
	rank := func(c *container.Summary) int {
		n := ContainerNumber(c.Labels)
		if c.State == container.StateRunning {
			n += 1 << 30
		}
		return n
	}
	for i := range containers[service] {
		if c := &containers[service][i]; best == nil || rank(c) > rank(best) {
			best = c
		}
	}
	if best == nil {
		return "", fmt.Errorf("it shares namespaces or volumes with service %s, which has no container: create that one first", service)
	}
	return best.ID, nil
}

// containers lists the project's replicas in any state, by service.
func (c *Creator) containers(ctx context.Context, project string) (map[string][]container.Summary, error) {
	list, err := c.client.ContainerList(ctx, client.ContainerListOptions{
		All:     true,
		Filters: make(client.Filters).Add("label", LabelProject+"="+project, LabelConfigHash),
	})
	if err != nil {
		return nil, fmt.Errorf("listing the containers of project %s: %w", project, err)
	}
	result := map[string][]container.Summary{}
	for _, item := range list.Items {
		if IsReplica(item.Labels) {
			service := item.Labels[LabelService]
			result[service] = append(result[service], item)
		}
	}
	return result, nil
}

// discard removes new containers, provided that they were never started.
func (c *Creator) discard(ctx context.Context, created []Created) error {
	var errs []error
	for _, n := range created {
		inspected, err := c.client.ContainerInspect(ctx, n.ID, client.ContainerInspectOptions{})
		if err == nil && inspected.Container.State != nil && inspected.Container.State.Status != container.StateCreated {
			err = fmt.Errorf("it is %s", inspected.Container.State.Status)
		}
		if err == nil {
			_, err = c.client.ContainerRemove(ctx, n.ID, client.ContainerRemoveOptions{RemoveVolumes: true})
		}
		if err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("the new container %s could not be removed: %w", n.Name, err))
		}
	}
	return errors.Join(errs...)
}

// run lets the library create what the project lacks, seen through the guard.
func (g *guard) run(ctx context.Context, project *types.Project) error {
	dockerCLI, err := command.NewDockerCli(command.WithCombinedStreams(io.Discard))
	if err != nil {
		return err
	}
	service, err := composesdk.NewComposeService(engineCLI{Cli: dockerCLI, engine: g},
		composesdk.WithMaxConcurrency(1),
		composesdk.WithEventProcessor(warnings{log: logr.FromContextOrDiscard(ctx)}),
		composesdk.WithPrompt(func(string, bool) (bool, error) { return false, nil }),
	)
	if err != nil {
		return err
	}
	return service.Create(ctx, project, api.CreateOptions{
		Recreate:             api.RecreateNever,
		RecreateDependencies: api.RecreateNever,
		IgnoreOrphans:        true,
		SkipProviders:        true,
		QuietPull:            true,
	})
}

// engineCLI is what the library wants of the docker command: an engine, and the
// configuration file with its proxy settings. The docker command's own client
// is never used: where that cannot be made, it ends the process.
type engineCLI struct {
	command.Cli
	engine client.APIClient
}

func (c engineCLI) Client() client.APIClient { return c.engine }

// lock waits until no other operation runs on the project.
func (c *Creator) lock(ctx context.Context, project string) (func(), error) {
	c.mu.Lock()
	l, ok := c.locks[project]
	if !ok {
		l = make(chan struct{}, 1)
		c.locks[project] = l
	}
	c.mu.Unlock()
	select {
	case l <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		<-l
		return nil, err
	}
	return func() { <-l }, nil
}

// warnings passes the engine's warnings on to the log.
type warnings struct{ log logr.Logger }

func (warnings) Start(context.Context, string) {}
func (warnings) Done(string, bool)             {}

func (w warnings) On(events ...api.Resource) {
	for _, e := range events {
		if e.Status == api.Warning {
			w.log.Info("Docker engine: "+e.Text, "service", e.ID)
		}
	}
}
