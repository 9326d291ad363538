// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"maps"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"
)

// engineSocket is the name of the socket by which a container manages others.
const engineSocket = "docker.sock"

// view makes the plain view of a service of the model.
func (p *Project) view(c types.ServiceConfig, extension Extension, oneShot bool) Service {
	s := Service{
		Name:          c.Name,
		Image:         c.Image,
		ImageName:     api.GetImageNameOrDefault(c, p.model.Name),
		Build:         p.build(c.Build),
		Platform:      c.Platform,
		PullPolicy:    c.PullPolicy,
		ContainerName: c.ContainerName,
		Hostname:      c.Hostname,
		Replicas:      c.GetScale(),
		DependsOn:     dependencies(c.DependsOn),
		OneShot:       oneShot,
		Ports:         ports(c.Ports),
		Expose:        slices.Clone(c.Expose),
		Mounts:        p.mounts(c),
		VolumesFrom:   slices.Clone(c.VolumesFrom),
		Networks:      p.networks(c),
		NetworkMode:   c.NetworkMode,
		PidMode:       c.Pid,
		IpcMode:       c.Ipc,
		Links:         slices.Clone(c.Links),
		ExternalLinks: slices.Clone(c.ExternalLinks),
		Healthcheck:   healthcheck(c.HealthCheck),
		Restart:       restart(c),
		StopSignal:    c.StopSignal,
		PostStart:     hooks(c.PostStart),
		PreStop:       hooks(c.PreStop),
		Environment:   values(c.Environment),
		Labels:        maps.Clone(c.Labels),
		Profiles:      slices.Clone(c.Profiles),
		Extension:     extension,
		TrackedPaths:  p.trackedPaths(c),
	}
	if c.Deploy != nil {
		s.UpdateConfig = updateConfig(c.Deploy.UpdateConfig)
		s.RollbackConfig = updateConfig(c.Deploy.RollbackConfig)
	}
	if c.StopGracePeriod != nil {
		d := time.Duration(*c.StopGracePeriod)
		s.StopGracePeriod = &d
	}
	return s
}

func dependencies(d types.DependsOnConfig) []Dependency {
	var result []Dependency
	for _, name := range slices.Sorted(maps.Keys(d)) {
		result = append(result, Dependency{
			Service:   name,
			Condition: d[name].Condition,
			Required:  d[name].Required,
			Restart:   d[name].Restart,
		})
	}
	return result
}

func ports(all []types.ServicePortConfig) []Port {
	var result []Port
	for _, p := range all {
		protocol := p.Protocol
		if protocol == "" {
			protocol = "tcp"
		}
		result = append(result, Port{HostIP: p.HostIP, Published: p.Published, Target: uint16(p.Target), Protocol: protocol, App: p.AppProtocol})
	}
	return result
}

func (p *Project) mounts(c types.ServiceConfig) []Mount {
	var result []Mount
	for _, v := range c.Volumes {
		m := Mount{Type: v.Type, Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly}
		if v.Type == MountVolume {
			m.Anonymous = v.Source == ""
			if volume, ok := p.model.Volumes[v.Source]; ok {
				m.Key, m.Source, m.External = v.Source, volume.Name, bool(volume.External)
				m.HostPath = bindDevice(volume)
			}
		}
		result = append(result, m)
	}
	for _, t := range c.Tmpfs {
		target, _, _ := strings.Cut(t, ":")
		result = append(result, Mount{Type: MountTmpfs, Target: target})
	}
	return result
}

// bindDevice returns the host path behind a volume that the local driver
// mounts with "bind".
func bindDevice(v types.VolumeConfig) string {
	if v.External || v.Driver != "" && v.Driver != "local" {
		return ""
	}
	for option := range strings.SplitSeq(v.DriverOpts["o"], ",") {
		if option == "bind" || option == "rbind" {
			return v.DriverOpts["device"]
		}
	}
	return ""
}

func (p *Project) networks(c types.ServiceConfig) []ServiceNetwork {
	var result []ServiceNetwork
	for _, key := range slices.Sorted(maps.Keys(c.Networks)) {
		n := ServiceNetwork{Key: key, Name: p.model.Networks[key].Name, External: bool(p.model.Networks[key].External)}
		if a := c.Networks[key]; a != nil {
			n.Aliases = slices.Clone(a.Aliases)
			n.IPv4Address, n.IPv6Address, n.MacAddress = a.Ipv4Address, a.Ipv6Address, a.MacAddress
		}
		if n.MacAddress == "" && len(c.Networks) == 1 {
			n.MacAddress = c.MacAddress
		}
		result = append(result, n)
	}
	return result
}

func healthcheck(h *types.HealthCheckConfig) *Healthcheck {
	if h == nil {
		return nil
	}
	duration := func(d *types.Duration) time.Duration {
		if d == nil {
			return 0
		}
		return time.Duration(*d)
	}
	result := &Healthcheck{
		Test:          slices.Clone([]string(h.Test)),
		Interval:      duration(h.Interval),
		Timeout:       duration(h.Timeout),
		StartPeriod:   duration(h.StartPeriod),
		StartInterval: duration(h.StartInterval),
	}
	result.Disabled = h.Disable || len(h.Test) > 0 && h.Test[0] == "NONE"
	if h.Retries != nil {
		result.Retries = int(*h.Retries)
	}
	return result
}

// restart follows Compose: deploy.restart_policy wins over restart.
func restart(c types.ServiceConfig) RestartPolicy {
	var r RestartPolicy
	if c.Restart != "" {
		name, attempts, _ := strings.Cut(c.Restart, ":")
		r.Name = name
		r.MaxAttempts, _ = strconv.Atoi(attempts)
	}
	if c.Deploy != nil && c.Deploy.RestartPolicy != nil {
		policy := c.Deploy.RestartPolicy
		r = RestartPolicy{Name: policy.Condition}
		switch policy.Condition {
		case "none":
			r.Name = "no"
		case "any":
			r.Name = "always"
		}
		if policy.MaxAttempts != nil {
			r.MaxAttempts = int(*policy.MaxAttempts)
		}
	}
	return r
}

func updateConfig(u *types.UpdateConfig) *UpdateConfig {
	if u == nil {
		return nil
	}
	return &UpdateConfig{
		Order:           u.Order,
		Parallelism:     u.Parallelism,
		Delay:           time.Duration(u.Delay),
		Monitor:         time.Duration(u.Monitor),
		FailureAction:   u.FailureAction,
		MaxFailureRatio: float64(u.MaxFailureRatio),
	}
}

func hooks(all []types.ServiceHook) []Hook {
	var result []Hook
	for _, h := range all {
		result = append(result, Hook{
			Command:     slices.Clone([]string(h.Command)),
			User:        h.User,
			Privileged:  h.Privileged,
			WorkingDir:  h.WorkingDir,
			Environment: values(h.Environment),
		})
	}
	return result
}

// values leaves out variables without a value, as the engine does.
func values(m types.MappingWithEquals) map[string]string {
	result := make(map[string]string, len(m))
	for name, value := range m {
		if value != nil {
			result[name] = *value
		}
	}
	return result
}

func (p *Project) build(b *types.BuildConfig) *Build {
	if b == nil {
		return nil
	}
	result := &Build{
		Context:            b.Context,
		Dockerfile:         b.Dockerfile,
		DockerfileInline:   b.DockerfileInline,
		Target:             b.Target,
		Args:               values(b.Args),
		Labels:             maps.Clone(b.Labels),
		AdditionalContexts: maps.Clone(b.AdditionalContexts),
		CacheFrom:          slices.Clone(b.CacheFrom),
		CacheTo:            slices.Clone(b.CacheTo),
		NoCache:            b.NoCache,
		Pull:               b.Pull,
		NoCacheFilter:      slices.Clone(b.NoCacheFilter),
		Network:            b.Network,
		ExtraHosts:         b.ExtraHosts.AsList(":"),
		Platforms:          slices.Clone(b.Platforms),
		Tags:               slices.Clone(b.Tags),
		Entitlements:       slices.Clone(b.Entitlements),
		Privileged:         b.Privileged,
		Isolation:          b.Isolation,
		ShmSize:            int64(b.ShmSize),
	}
	sort.Strings(result.ExtraHosts)
	for _, name := range slices.Sorted(maps.Keys(b.Ulimits)) {
		u := b.Ulimits[name]
		limit := Ulimit{Name: name, Soft: int64(u.Single), Hard: int64(u.Single)}
		if u.Soft != 0 {
			limit.Soft = int64(u.Soft)
		}
		if u.Hard != 0 {
			limit.Hard = int64(u.Hard)
		}
		result.Ulimits = append(result.Ulimits, limit)
	}
	for _, ref := range b.Secrets {
		id := ref.Target
		if id == "" {
			id = ref.Source
		}
		definition := p.model.Secrets[ref.Source]
		result.Secrets = append(result.Secrets, BuildSecret{ID: id, File: definition.File, Value: definition.Content})
	}
	for _, key := range b.SSH {
		result.SSH = append(result.SSH, BuildSSH{ID: key.ID, Path: key.Path})
	}
	sort.Slice(result.SSH, func(i, j int) bool { return result.SSH[i].ID < result.SSH[j].ID })
	return result
}

// trackedPaths lists the files and directories of the deployment directory
// that a container of the service sees. One that also has the engine's socket
// works on the deployment directory, as an updater does: the directory as a whole
// is not what it runs.
func (p *Project) trackedPaths(c types.ServiceConfig) []string {
	set := map[string]bool{}
	manager := slices.ContainsFunc(c.Volumes, func(v types.ServiceVolumeConfig) bool {
		return v.Type == types.VolumeTypeBind && filepath.Base(v.Source) == engineSocket
	})
	add := func(path string) {
		if path == "" || !filepath.IsAbs(path) || !within(p.info.DeployDir, path) {
			return
		}
		if rel, err := filepath.Rel(p.info.DeployDir, path); err == nil && (rel != "." || !manager) {
			set[filepath.ToSlash(rel)] = true
		}
	}
	for _, v := range c.Volumes {
		switch v.Type {
		case types.VolumeTypeBind:
			add(v.Source)
		case types.VolumeTypeVolume:
			if volume, ok := p.model.Volumes[v.Source]; ok {
				add(bindDevice(volume))
			}
		}
	}
	for _, ref := range c.Configs {
		add(p.model.Configs[ref.Source].File)
	}
	for _, ref := range c.Secrets {
		add(p.model.Secrets[ref.Source].File)
	}
	return slices.Sorted(maps.Keys(set))
}
