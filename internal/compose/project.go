// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	composesdk "github.com/docker/compose/v5/pkg/compose"
	"github.com/opencontainers/go-digest"
)

// Project is a loaded model. It does not change and may be used by several
// goroutines.
type Project struct {
	model    *types.Project
	info     projectInfo
	services []Service
}

// projectInfo is what belongs to a project besides Compose's own model.
type projectInfo struct {
	DeployDir    string
	EnvFileLabel string
	EnvFiles     []string
	Unset        []UnsetVariable
}

func newProject(model *types.Project, info projectInfo) (*Project, error) {
	p := &Project{model: model, info: info}
	oneShot := map[string]bool{}
	for _, c := range model.Services {
		for name, d := range c.DependsOn {
			if d.Condition == ConditionCompleted {
				oneShot[name] = true
			}
		}
	}
	var problems []Problem
	for _, name := range slices.Sorted(maps.Keys(model.Services)) {
		c := model.Services[name]
		problems = append(problems, unsupported(c)...)
		extension, wrong := parseExtension(name, c.Extensions[ExtensionKey])
		problems = append(problems, wrong...)
		c.CustomLabels = p.customLabels(name)
		model.Services[name] = c
		p.services = append(p.services, p.view(c, extension, oneShot[name]))
	}
	if len(model.Services) == 0 {
		problems = append(problems, Problem{Message: "no service is active: define one, or activate a profile with spec.compose.profiles"})
	}
	if len(problems) > 0 {
		return nil, &ModelError{Problems: problems}
	}
	return p, nil
}

// unsupported names the parts of a definition that containers created by us
// would silently lack.
func unsupported(c types.ServiceConfig) []Problem {
	var problems []Problem
	report := func(what, instead string) {
		problems = append(problems, Problem{Message: fmt.Sprintf("service %s: %s is not supported: %s", c.Name, what, instead)})
	}
	if c.Provider != nil {
		report("provider", "run what it provides as an ordinary service")
	}
	if len(c.PreStart) > 0 {
		report("pre_start", "use a service of its own, with depends_on: {condition: service_completed_successfully}")
	}
	if len(c.Models) > 0 {
		report("models", "run the model as an ordinary service")
	}
	if c.UseAPISocket {
		report("use_api_socket", "mount the engine's socket with volumes")
	}
	if b := c.Build; b != nil {
		if b.Privileged {
			report("build.privileged", "allow what the build needs with build.entitlements: [security.insecure]")
		}
		if b.Isolation != "" && b.Isolation != "default" {
			report("build.isolation", "leave it out, it is for Windows hosts")
		}
		for _, name := range slices.Sorted(maps.Keys(b.AdditionalContexts)) {
			if src := b.AdditionalContexts[name]; strings.HasPrefix(src, types.ServicePrefix) {
				report("build.additional_contexts "+name+"="+src, "make what it builds a stage of the same Dockerfile, or push it and use docker-image://")
			}
		}
	}
	return problems
}

// customLabels are Compose's labels of a container that do not depend on how
// it is created. They are not part of the configuration hash.
func (p *Project) customLabels(service string) types.Labels {
	labels := types.Labels{
		LabelProject:     p.model.Name,
		LabelService:     service,
		LabelVersion:     composeVersion,
		LabelWorkingDir:  p.model.WorkingDir,
		LabelConfigFiles: strings.Join(p.model.ComposeFiles, ","),
		LabelOneOff:      "False",
	}
	if p.info.EnvFileLabel != "" {
		labels[LabelEnvFiles] = p.info.EnvFileLabel
	}
	return labels
}

// composeVersion is the version of the library, for the label that says which
// Compose made a container. The library knows its own only in release builds.
const composeVersion = "5.6.0"

// Name returns the project's name.
func (p *Project) Name() string { return p.model.Name }

// WorkingDir returns the project directory: that of the first Compose file.
func (p *Project) WorkingDir() string { return p.model.WorkingDir }

// Files returns the paths of the Compose files in the deployment directory,
// without included and extended ones.
func (p *Project) Files() []string { return slices.Clone(p.model.ComposeFiles) }

// Services returns the active services, sorted by name.
func (p *Project) Services() []Service { return slices.Clone(p.services) }

// AllServices returns the names of all services of the Compose files, also of
// those whose profiles are not active, sorted.
func (p *Project) AllServices() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(p.model.Services)), slices.Collect(maps.Keys(p.model.DisabledServices))...)))
}

// Profiles returns the active profiles.
func (p *Project) Profiles() []string { return slices.Clone(p.model.Profiles) }

// ProfilesOf returns the profiles of a service, active or not, of which one must
// be active for the service to be.
func (p *Project) ProfilesOf(service string) []string {
	if s, ok := p.model.DisabledServices[service]; ok {
		return slices.Clone(s.Profiles)
	}
	return slices.Clone(p.model.Services[service].Profiles)
}

// EnvFiles returns the paths of the services' env_files that were read. It is
// empty for a project that was read back with [Parse].
func (p *Project) EnvFiles() []string { return slices.Clone(p.info.EnvFiles) }

// Service returns an active service; false when there is none of that name.
func (p *Project) Service(name string) (Service, bool) {
	for _, s := range p.services {
		if s.Name == name {
			return s, true
		}
	}
	return Service{}, false
}

// UnsetVariables returns the variables without a default that the model uses
// and that are not set, one entry per name, sorted by name.
func (p *Project) UnsetVariables() []UnsetVariable { return slices.Clone(p.info.Unset) }

// Network is a network of the model.
type Network struct {
	// Key is the key in the model, Name the name in the engine.
	Key, Name string
	// External says that the project does not make it.
	External bool
	// Internal says that it has no way out.
	Internal bool
}

// Networks returns the networks that active services use, sorted by key.
func (p *Project) Networks() []Network {
	var result []Network
	for _, key := range p.model.NetworkNames() {
		n := p.model.Networks[key]
		result = append(result, Network{Key: key, Name: n.Name, External: bool(n.External), Internal: n.Internal})
	}
	return result
}

// Volume is a named volume of the model.
type Volume struct {
	// Key is the key in the model, Name the name in the engine.
	Key, Name string
	// External says that the project does not make it.
	External bool
	// Driver is "" for the default, local.
	Driver string
	// HostPath is set when the volume is in truth a bind mount.
	HostPath string
}

// Volumes returns the named volumes that active services use, sorted by key.
func (p *Project) Volumes() []Volume {
	var result []Volume
	for _, key := range p.model.VolumeNames() {
		v := p.model.Volumes[key]
		result = append(result, Volume{Key: key, Name: v.Name, External: bool(v.External), Driver: v.Driver, HostPath: bindDevice(v)})
	}
	return result
}

// Hash returns the configuration hash of a service as `docker compose`
// computes it, with references to other services (network_mode and so on) as
// written. A container's label has those resolved, see [Project.SameDefinition].
func (p *Project) Hash(service string) (string, error) {
	c, err := p.model.GetService(service)
	if err != nil {
		return "", err
	}
	return composesdk.ServiceHash(c)
}

// HashWithImage is Hash with another image reference; "" for none.
func (p *Project) HashWithImage(service, image string) (string, error) {
	c, err := p.model.GetService(service)
	if err != nil {
		return "", err
	}
	c.Image = image
	return composesdk.ServiceHash(c)
}

// DefinitionHash is the hash of a service without its image reference: the
// value of [LabelDefinitionHash].
func (p *Project) DefinitionHash(service string) (string, error) {
	return p.HashWithImage(service, "")
}

// RunningContainer is what of an existing container is needed to compare it
// with the model. All of it is in the engine's inspection.
type RunningContainer struct {
	Labels map[string]string
	// Image is the reference it was created from (Config.Image).
	Image string
	// NetworkMode, PidMode, IpcMode and VolumesFrom are those of its HostConfig.
	NetworkMode, PidMode, IpcMode string
	VolumesFrom                   []string
}

// SameDefinition reports whether a container was made from the same
// definition of the service, whatever its image. References to other services
// are compared by name: whether the other container is still there, the caller
// must check.
func (p *Project) SameDefinition(service string, c RunningContainer) (bool, error) {
	if own := c.Labels[LabelDefinitionHash]; own != "" {
		hash, err := p.DefinitionHash(service)
		return hash == own, err
	}
	definition, err := p.model.GetService(service)
	if err != nil {
		return false, err
	}
	// Made by `docker compose`: its hash covers the image reference of then,
	// which is the one that the container was created from, unless it was
	// only built, and has references resolved to container IDs.
	definition.NetworkMode = resolvedAs(definition.NetworkMode, c.NetworkMode)
	definition.Pid = resolvedAs(definition.Pid, c.PidMode)
	definition.Ipc = resolvedAs(definition.Ipc, c.IpcMode)
	definition.VolumesFrom = volumesFromAs(definition.VolumesFrom, c.VolumesFrom)
	for _, image := range []string{definition.Image, c.Image, ""} {
		definition.Image = image
		hash, err := composesdk.ServiceHash(definition)
		if err != nil {
			return false, err
		}
		if hash == c.Labels[LabelConfigHash] {
			return true, nil
		}
	}
	return false, nil
}

func resolvedAs(written, actual string) string {
	if strings.HasPrefix(written, types.ServicePrefix) && strings.HasPrefix(actual, types.ContainerPrefix) {
		return actual
	}
	return written
}

func volumesFromAs(written, actual []string) []string {
	if len(written) != len(actual) {
		return written
	}
	result := slices.Clone(written)
	for i, v := range written {
		if name, ok := strings.CutPrefix(v, types.ContainerPrefix); ok {
			result[i] = name
			continue
		}
		result[i] = actual[i]
	}
	return result
}

// networkHash is the hash that Compose puts on a network it makes.
func (p *Project) networkHash(key string) (string, error) {
	n := p.model.Networks[key]
	return composesdk.NetworkHash(&n)
}

// volumeHash is the hash that Compose puts on a volume it makes.
func (p *Project) volumeHash(key string) (string, error) {
	return composesdk.VolumeHash(p.model.Volumes[key])
}

func digestOf(data []byte) string { return digest.SHA256.FromBytes(data).Encoded() }
