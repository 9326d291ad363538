// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/types"
	composesdk "github.com/docker/compose/v5/pkg/compose"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"
)

// The Compose library decides by itself what an operation needs, and with it
// may stop, recreate or remove things, start paused containers or pull images.
// Two walls keep it to adding new things: allowRequest at the HTTP level knows
// only the requests that add, and guard lets it see the existing state in a
// way that gives it no reason for anything else.

// additions are the requests that add something, besides reading ones.
// Containers are removed only through guard, which knows its own.
var additions = []struct {
	method string
	path   *regexp.Regexp
}{
	{http.MethodPost, regexp.MustCompile(`^(/v[\d.]+)?/containers/create$`)},
	{http.MethodPut, regexp.MustCompile(`^(/v[\d.]+)?/containers/[^/]+/archive$`)},
	{http.MethodDelete, regexp.MustCompile(`^(/v[\d.]+)?/containers/[^/]+$`)},
	{http.MethodPost, regexp.MustCompile(`^(/v[\d.]+)?/networks/create$`)},
	{http.MethodPost, regexp.MustCompile(`^(/v[\d.]+)?/networks/[^/]+/connect$`)},
	{http.MethodPost, regexp.MustCompile(`^(/v[\d.]+)?/volumes/create$`)},
}

// errRefused says that the library wanted to do more than add.
var errRefused = errors.New("refused: creating containers must not change what exists")

func allowRequest(r *http.Request) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	for _, a := range additions {
		if r.Method == a.method && a.path.MatchString(r.URL.Path) {
			return nil
		}
	}
	return fmt.Errorf("%w (%s %s)", errRefused, r.Method, r.URL.Path)
}

// guard is the engine as the Compose library sees it during one operation.
type guard struct {
	client.APIClient

	project *types.Project
	// existing are the containers of the service at the operation's start.
	existing []container.Summary
	// definition is the service as the model has it, nil when only networks
	// and volumes are made. The library is given an altered copy of it.
	definition *types.ServiceConfig
	// name is the fixed name that the one new container gets, "" for Compose's own.
	name string
	// labels go on networks and volumes that are made.
	labels map[string]string
	// behind takes aliases away; links are added, by network.
	behind bool
	links  map[string][]string

	mu        sync.Mutex
	created   []Created
	generated string // the name that was replaced by the fixed one
}

// ContainerCreate corrects the labels that the library derives from the
// altered definition, and remembers what was created.
func (g *guard) ContainerCreate(ctx context.Context, o client.ContainerCreateOptions) (client.ContainerCreateResult, error) {
	if g.definition == nil {
		return client.ContainerCreateResult{}, fmt.Errorf("%w (create container %s)", errRefused, o.Name)
	}
	hash, err := hashAsCreated(*g.definition, o.HostConfig)
	if err != nil {
		return client.ContainerCreateResult{}, err
	}
	o.Config.Labels[LabelConfigHash] = hash
	o.Config.Labels[LabelDependsOn] = dependsOnLabel(g.project, g.definition.DependsOn)
	if g.name != "" {
		g.generated, o.Name = o.Name, g.name
		if o.NetworkingConfig != nil {
			for _, endpoint := range o.NetworkingConfig.EndpointsConfig {
				g.rename(endpoint)
			}
		}
	}
	if o.NetworkingConfig != nil {
		for name, endpoint := range o.NetworkingConfig.EndpointsConfig {
			g.retreat(name, endpoint)
		}
	}
	result, err := g.APIClient.ContainerCreate(ctx, o)
	if err == nil {
		g.mu.Lock()
		g.created = append(g.created, Created{ID: result.ID, Name: o.Name, Number: ContainerNumber(o.Config.Labels)})
		g.mu.Unlock()
	}
	return result, err
}

// hashAsCreated is the hash that `docker compose` puts on a container: of the
// service's definition with references to other services resolved.
func hashAsCreated(c types.ServiceConfig, host *container.HostConfig) (string, error) {
	c.NetworkMode = resolvedAs(c.NetworkMode, string(host.NetworkMode))
	c.Ipc = resolvedAs(c.Ipc, string(host.IpcMode))
	c.Pid = resolvedAs(c.Pid, string(host.PidMode))
	c.VolumesFrom = volumesFromAs(c.VolumesFrom, host.VolumesFrom)
	return composesdk.ServiceHash(c)
}

// dependsOnLabel has the form that Compose reads. Optional dependencies that
// are not active are left out, as Compose does.
func dependsOnLabel(project *types.Project, dependencies types.DependsOnConfig) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(dependencies)) {
		d := dependencies[name]
		if _, active := project.Services[name]; !active && !d.Required {
			continue
		}
		parts = append(parts, fmt.Sprintf("%s:%s:%t", name, d.Condition, d.Restart))
	}
	return strings.Join(parts, ",")
}

func (g *guard) own(id string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.created, func(c Created) bool { return c.ID == id })
}

// ContainerRemove removes only what this operation created.
func (g *guard) ContainerRemove(ctx context.Context, id string, o client.ContainerRemoveOptions) (client.ContainerRemoveResult, error) {
	if !g.own(id) {
		return client.ContainerRemoveResult{}, fmt.Errorf("%w (remove container %s)", errRefused, id)
	}
	// With the anonymous volumes that came with it.
	o.RemoveVolumes = true
	return g.APIClient.ContainerRemove(ctx, id, o)
}

// CopyToContainer writes only into what this operation created.
func (g *guard) CopyToContainer(ctx context.Context, id string, o client.CopyToContainerOptions) (client.CopyToContainerResult, error) {
	if !g.own(id) {
		return client.CopyToContainerResult{}, fmt.Errorf("%w (copy to container %s)", errRefused, id)
	}
	return g.APIClient.CopyToContainer(ctx, id, o)
}

// NetworkConnect connects only what this operation created.
func (g *guard) NetworkConnect(ctx context.Context, id string, o client.NetworkConnectOptions) (client.NetworkConnectResult, error) {
	if !g.own(o.Container) {
		return client.NetworkConnectResult{}, fmt.Errorf("%w (connect container %s)", errRefused, o.Container)
	}
	g.rename(o.EndpointConfig)
	g.retreat(id, o.EndpointConfig)
	return g.APIClient.NetworkConnect(ctx, id, o)
}

// retreat takes the aliases of a container that something stands in front of,
// and links it to what answers to names in its network.
func (g *guard) retreat(network string, endpoint *network.EndpointSettings) {
	if endpoint == nil {
		return
	}
	if g.behind {
		endpoint.Aliases = nil
	}
	endpoint.Links = append(slices.Clone(endpoint.Links), g.links[network]...)
}

// rename makes the fixed name the container's alias, as Compose does.
func (g *guard) rename(endpoint *network.EndpointSettings) {
	if endpoint == nil || g.name == "" {
		return
	}
	for i, alias := range endpoint.Aliases {
		if alias == g.generated {
			endpoint.Aliases[i] = g.name
		}
	}
}

// ContainerList answers the library's question for the project's containers
// with those of the service as they were at the start, so that number and
// count cannot change in between. All appear as exited: of others, such as
// paused ones, the library would think that they have to be started.
func (g *guard) ContainerList(ctx context.Context, o client.ContainerListOptions) (client.ContainerListResult, error) {
	for filter := range o.Filters["label"] {
		if strings.HasPrefix(filter, LabelService+"=") {
			return g.APIClient.ContainerList(ctx, o) // for links
		}
	}
	items := slices.Clone(g.existing)
	for i := range items {
		items[i].State = container.StateExited
	}
	return client.ContainerListResult{Items: items}, nil
}

// NetworkList shows the networks with the names of the model, as ones that
// Compose did not make: those it uses as they are. One that bears the key of
// the model but another name is not the network meant.
func (g *guard) NetworkList(ctx context.Context, o client.NetworkListOptions) (client.NetworkListResult, error) {
	result, err := g.APIClient.NetworkList(ctx, o)
	if _, byProject := o.Filters["label"]; err != nil || !byProject {
		return result, err
	}
	result.Items = slices.DeleteFunc(result.Items, func(n network.Summary) bool {
		key, ok := g.project.Networks[n.Labels[LabelNetwork]]
		return !ok || key.Name != n.Name
	})
	for i := range result.Items {
		result.Items[i].Labels = withoutHash(result.Items[i].Labels)
	}
	return result, nil
}

// NetworkInspect hides the configuration hash, see NetworkList.
func (g *guard) NetworkInspect(ctx context.Context, id string, o client.NetworkInspectOptions) (client.NetworkInspectResult, error) {
	result, err := g.APIClient.NetworkInspect(ctx, id, o)
	result.Network.Labels = withoutHash(result.Network.Labels)
	return result, err
}

// VolumeList does for volumes what NetworkList does for networks.
func (g *guard) VolumeList(ctx context.Context, o client.VolumeListOptions) (client.VolumeListResult, error) {
	result, err := g.APIClient.VolumeList(ctx, o)
	if err != nil {
		return result, err
	}
	result.Items = slices.DeleteFunc(result.Items, func(v volume.Volume) bool {
		key, ok := g.project.Volumes[v.Labels[LabelVolume]]
		return !ok || key.Name != v.Name
	})
	for i := range result.Items {
		result.Items[i].Labels = withoutHash(result.Items[i].Labels)
	}
	return result, nil
}

// VolumeInspect hides the configuration hash, see NetworkList.
func (g *guard) VolumeInspect(ctx context.Context, id string, o client.VolumeInspectOptions) (client.VolumeInspectResult, error) {
	result, err := g.APIClient.VolumeInspect(ctx, id, o)
	result.Volume.Labels = withoutHash(result.Volume.Labels)
	return result, err
}

// NetworkCreate adds the labels.
func (g *guard) NetworkCreate(ctx context.Context, name string, o client.NetworkCreateOptions) (client.NetworkCreateResult, error) {
	o.Labels = g.withLabels(o.Labels)
	return g.APIClient.NetworkCreate(ctx, name, o)
}

// VolumeCreate adds the labels.
func (g *guard) VolumeCreate(ctx context.Context, o client.VolumeCreateOptions) (client.VolumeCreateResult, error) {
	o.Labels = g.withLabels(o.Labels)
	return g.APIClient.VolumeCreate(ctx, o)
}

func (g *guard) withLabels(labels map[string]string) map[string]string {
	result := maps.Clone(labels)
	if result == nil {
		result = map[string]string{}
	}
	result[LabelVersion] = composeVersion
	maps.Copy(result, g.labels)
	return result
}

func withoutHash(labels map[string]string) map[string]string {
	if _, ok := labels[LabelConfigHash]; !ok {
		return labels
	}
	result := maps.Clone(labels)
	delete(result, LabelConfigHash)
	return result
}
