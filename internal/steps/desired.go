// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/measure"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// Ways in which an image comes to the host.
const (
	imageBuild   = "Build"
	imageReuse   = "Reuse"
	imagePull    = "Pull"
	imagePresent = "Present"
)

// wanted is one service as it is to run.
type wanted struct {
	compose.Service
	how string
	// builtBy is the service whose build makes the image that this one, without
	// a build of its own, names.
	builtBy  string
	spec     build.Spec
	buildKey string
	// image is known once it is on the host.
	image docker.Image
	// definition is the hash of the configuration without the image's name.
	definition string
	// files is the digest of mounted files that the commit brings.
	files string
	// gateway says that its containers are behind the gateway, and direct names the
	// services that settings leave out: its links to the gateway depend on them.
	gateway bool
	direct  string
}

func (w wanted) known() bool { return w.image.ID != "" }

// revision is empty as long as the image is not known.
func (w wanted) revision() string {
	if !w.known() {
		return ""
	}
	definition := w.definition
	if w.gateway {
		definition += " behind the gateway" + w.direct // they are made otherwise
		if len(fixedPorts(w.Service)) < len(w.Ports) {
			definition += ", without ports" // as up to some version they had those that are chosen
		}
	}
	return release.Revision(definition, w.image.Content, w.files)
}

// desire works out what each service of the model at a commit is to run, as
// far as it is known before the build.
func (s *run) desire(ctx context.Context, w *workspace, project *compose.Project, commit string, releases []v1alpha1.Release) ([]wanted, error) {
	var out []wanted
	builders := imageBuilders(project.Services())
	for _, svc := range project.Services() {
		d := wanted{Service: svc}
		var err error
		if d.definition, err = project.DefinitionHash(svc.Name); err != nil {
			return nil, err
		}
		if d.files, err = w.filesDigest(ctx, commit, svc.TrackedPaths); err != nil {
			return nil, err
		}
		switch by := builders[fullName(svc.ImageName)]; {
		case svc.Build != nil:
			err = s.desireBuilt(ctx, w, project, commit, releases, &d)
		case by != "":
			d.builtBy = by
		default:
			err = s.desirePulled(ctx, &d)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	if err := s.findBuilt(ctx, out); err != nil {
		return nil, err
	}
	shareBuilt(out)
	return out, nil
}

func (s *run) desirePulled(ctx context.Context, d *wanted) error {
	found, err := s.lookup(ctx, d.ImageName, d)
	if err != nil {
		return err
	}
	d.how = imagePresent
	switch policy := s.pullPolicy(d.Service); {
	case policy == v1alpha1.PullMissing && !found:
		d.how = imagePull
	case policy == v1alpha1.PullAlways:
		digest, err := s.Puller.Digest(ctx, d.ImageName)
		if err == nil && found && slices.ContainsFunc(d.image.RepoDigests, func(have string) bool { return strings.HasSuffix(have, "@"+digest) }) {
			return nil // the registry has nothing newer
		}
		d.how, d.image = imagePull, docker.Image{}
	}
	return nil
}

// pullPolicy is the Application's, or what the Compose file says. Always is for
// services that may be pulled, as with `docker compose pull`: one whose own policy is
// not to, often as its image is in no registry, keeps that.
func (s *run) pullPolicy(svc compose.Service) v1alpha1.PullPolicy {
	application := s.Application.Spec.Build.Pull
	switch svc.PullPolicy {
	case "never", "missing", "if_not_present":
		if application == v1alpha1.PullAlways {
			application = v1alpha1.PullAuto
		}
	}
	if application != "" && application != v1alpha1.PullAuto {
		return application
	}
	switch svc.PullPolicy {
	case "always", "daily", "weekly", "refresh":
		return v1alpha1.PullAlways
	case "never":
		return v1alpha1.PullNever
	}
	if strings.HasPrefix(svc.PullPolicy, "every_") {
		return v1alpha1.PullAlways
	}
	return v1alpha1.PullMissing
}

// lookup puts in the image, if the host has it.
func (s *run) lookup(ctx context.Context, ref string, d *wanted) (bool, error) {
	img, err := s.Docker.ImageContent(ctx, ref)
	if docker.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the image %s: %w", ref, err)
	}
	d.image = img
	return true, nil
}

// buildSpec turns the build section of a service into what the builder takes.
func (s *run) buildSpec(ctx context.Context, w *workspace, project *compose.Project, commit string, svc compose.Service) (build.Spec, error) {
	b := svc.Build
	spec := build.Spec{
		Name: svc.Name, Context: b.Context, Dockerfile: b.Dockerfile, DockerfileInline: b.DockerfileInline,
		Args: b.Args, Target: b.Target, Labels: map[string]string{}, CacheFrom: b.CacheFrom, CacheTo: b.CacheTo,
		Platforms: b.Platforms, Network: b.Network, NoCache: b.NoCache, Pull: b.Pull, ShmSize: b.ShmSize,
		ExtraHosts: b.ExtraHosts, Entitlements: b.Entitlements,
	}
	for k, v := range b.Labels {
		spec.Labels[k] = v
	}
	spec.Labels[v1alpha1.LabelApplication] = applicationLabel(s.Application)
	if svc.Platform != "" && len(spec.Platforms) == 0 {
		spec.Platforms = []string{svc.Platform}
	}
	for _, u := range b.Ulimits {
		spec.Ulimits = append(spec.Ulimits, build.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	for _, secret := range b.Secrets {
		spec.Secrets = append(spec.Secrets, build.Secret{ID: secret.ID, File: secret.File, Value: []byte(secret.Value)})
	}
	for _, ssh := range b.SSH {
		spec.SSH = append(spec.SSH, build.SSH{ID: ssh.ID, Path: ssh.Path})
	}
	if len(b.AdditionalContexts) > 0 {
		spec.AdditionalContexts = map[string]build.NamedContext{}
		for name, src := range b.AdditionalContexts {
			digest, err := w.contextDigest(ctx, commit, src)
			if err != nil {
				return spec, err
			}
			spec.AdditionalContexts[name] = build.NamedContext{Source: src, Digest: digest}
		}
	}
	digest, err := w.contextDigest(ctx, commit, b.Context)
	if err != nil {
		return spec, err
	}
	if filepath.IsAbs(b.Dockerfile) {
		if spec.DockerfileDigest, err = w.contextDigest(ctx, commit, b.Dockerfile); err != nil {
			return spec, err
		}
	}
	if w.exported(commit, b.Context) && (!filepath.IsAbs(b.Dockerfile) || w.exported(commit, b.Dockerfile)) {
		spec.ContextKey = strings.Join([]string{w.dir, svc.Name}, "\n")
	}
	spec.Tags = []string{contentRepository(project, svc) + ":" + Short12(commit)}
	spec.NoCacheFilter = b.NoCacheFilter
	spec.Key = build.Key(spec, digest)
	if s.Request.Spec.Force {
		spec.NoCache = true
	}
	return spec, nil
}

// exported reports whether a path lies in the exported tree of a commit.
func (w *workspace) exported(commit, path string) bool {
	rel, err := filepath.Rel(w.treeRoot(commit), path)
	return err == nil && filepath.IsLocal(rel)
}

// contextDigest identifies the content of a build context: the Git tree of a
// directory in the export; "" for what Git does not vouch for.
func (w *workspace) contextDigest(ctx context.Context, commit, src string) (string, error) {
	if !filepath.IsAbs(src) {
		return "", nil // a URL
	}
	if rel, err := filepath.Rel(w.treeRoot(commit), src); err == nil && filepath.IsLocal(rel) {
		return w.repo.TreeDigest(ctx, commit, filepath.ToSlash(rel))
	}
	if rel, ok := w.inRepo(src); ok {
		return w.repo.TreeDigest(ctx, commit, rel)
	}
	return "", nil
}

// filesDigest identifies the mounted files that a commit brings.
func (w *workspace) filesDigest(ctx context.Context, commit string, paths []string) (string, error) {
	var parts []string
	for _, p := range paths {
		rel, ok := w.inRepo(filepath.Join(w.repo.Top(), filepath.FromSlash(w.repo.Prefix()), filepath.FromSlash(p)))
		if !ok {
			continue
		}
		digest, err := w.repo.TreeDigest(ctx, commit, rel)
		if err != nil {
			return "", err
		}
		if digest != "" {
			parts = append(parts, p+"="+digest)
		}
	}
	return strings.Join(parts, "\n"), nil
}

// contentRepository is the name under which a service's images are kept, with
// tags that say what they hold.
func contentRepository(p *compose.Project, svc compose.Service) string {
	if named, err := reference.ParseNormalizedNamed(svc.ImageName); err == nil && svc.Build != nil {
		return reference.FamiliarName(reference.TrimNamed(named))
	}
	return p.Name() + "-" + svc.Name
}

// contentRef is the name of an image by its content.
func contentRef(repository, imageID string) string {
	return repository + ":" + Short12(strings.TrimPrefix(imageID, "sha256:"))
}

// Short12 is the first twelve digits of a commit or image ID.
func Short12(id string) string { return id[:min(12, len(id))] }

func applicationLabel(app *v1alpha1.Application) string { return app.Namespace + "." + app.Name }

// planServices asks what is to be done with each service.
func (s *run) planServices(ctx context.Context, project *compose.Project, want []wanted, seen look,
	releases []v1alpha1.Release, current *v1alpha1.Release,
) ([]v1alpha1.ServicePlan, error) {
	containers, gateways := seen.containers, seen.gateways
	facts, err := s.facts(ctx, containers, releases)
	if err != nil {
		return nil, err
	}
	in := plan.SelectInput{Containers: facts, Force: s.Request.Spec.Force}
	behind := map[string]bool{}
	for _, d := range want {
		behind[d.Name] = d.gateway
	}
	if gateways == nil && s.Gateways != nil && (slices.ContainsFunc(want, func(d wanted) bool { return d.gateway }) ||
		slices.ContainsFunc(containers, func(c docker.Container) bool { return linked(c, project.Name(), nil) })) {
		if gateways, err = s.Gateways.List(ctx, project.Name()); err != nil {
			return nil, err
		}
	}
	made, err := anew(want, containers, project.Name(), gateways)
	if err != nil {
		return nil, err
	}
	lost, err := lostNames(want, containers, project.Name(), gateways)
	if err != nil {
		return nil, err
	}
	for _, d := range want {
		svc := s.planService(d, want, current)
		svc.Anew, svc.Lost = made[d.Name], lost[d.Name]
		if before, _ := release.Service(current, d.Name); d.gateway && before.Gateway {
			svc.Repair = missingGateway(d.Service, gateways)
		}
		svc.Handover = handover(d, containers)
		svc.Follows = follows(d.Service, behind)
		if !d.gateway {
			svc.HeldPort = heldByItself(d.Service, containers)
		}
		in.Services = append(in.Services, svc)
		in.Model = append(in.Model, d.Name)
	}
	in.Model = append(in.Model, project.AllServices()...)
	if current != nil {
		for _, rs := range current.Spec.Services {
			in.Previous = append(in.Previous, rs.Name)
		}
	}
	out := plan.Services(in)
	for i := range out {
		svc, ok := project.Service(out[i].Name)
		if ok && out[i].Action == v1alpha1.ActionReplace {
			out[i].Replacement = s.batches(svc).words(svc)
		}
		if ok && s.Application.Spec.Gateway.Mode == v1alpha1.GatewayAuto {
			out[i].Gateway = gatewayNote(svc, behind[svc.Name], s.gatewayMode(svc), gateways)
		}
	}
	return out, nil
}

func (s *run) planService(d wanted, all []wanted, current *v1alpha1.Release) plan.Service {
	out := plan.Service{
		Name: d.Name, Revision: d.revision(), Build: d.how, Replicas: d.Replicas, OneShot: d.OneShot,
		ContainerName: d.ContainerName, Exclusive: exclusive(d, all), Shares: shares(d.Service), VolumesFrom: volumesFrom(d.Service),
		Gateway: d.gateway, HoldTimeout: measure.Time(time.Duration(s.traffic(d.Service, defaultGatewayDrain).Hold.MaxWait)),
	}
	for _, dep := range d.DependsOn {
		out.DependsOn = append(out.DependsOn, plan.Dependency{Service: dep.Service, Condition: plan.Condition(dep.Condition), Restart: dep.Restart})
	}
	out.Order, out.OrderSource, out.OrderYields = s.order(d.Service)
	if s.Request.Spec.RollbackTo != nil {
		out.OrderYields = true // going back is never refused for a setting
	}
	if rs, ok := release.Service(current, d.Name); ok {
		out.Completed = d.OneShot && rs.Revision != "" && rs.Revision == out.Revision
		switch {
		case out.Revision != "" && rs.Revision == out.Revision:
		case d.gateway && !rs.Gateway:
			out.Changed = "comes behind the gateway"
		case !d.gateway && rs.Gateway:
			out.Changed = "does without the gateway from now on"
		case !d.known() && (d.Build != nil || d.builtBy != ""):
			out.Changed = "its image has to be built"
		case !d.known():
			out.Changed = "its image has to be pulled"
		case d.known() && rs.ImageID != d.image.ID:
			out.Changed = "its image changed"
		default:
			out.Changed = "its configuration or a mounted file changed"
		}
	}
	return out
}

// order is what settings say of a service's order, the narrowest first. It yields
// where it was written for other orchestrators, which share ports otherwise.
func (s *run) order(svc compose.Service) (o v1alpha1.RolloutOrder, source string, yields bool) {
	if o := svc.Extension.Order; o != "" {
		return v1alpha1.RolloutOrder(o), "x-fairlead of the Compose file", false
	}
	if c, name := s.deployConfig(svc); c != nil {
		if o := composeOrders[c.Order]; o != "" {
			return o, "deploy." + name + ".order of the Compose file", true
		}
	}
	for _, sr := range s.Application.Spec.Rollout.Services {
		if sr.Name == svc.Name && sr.Order != "" {
			return sr.Order, "rollout.services of the Application", false
		}
	}
	return s.Application.Spec.Rollout.Order, "rollout.order of the Application", false
}

// composeOrders are Compose's words for orders.
var composeOrders = map[string]v1alpha1.RolloutOrder{"start-first": v1alpha1.OrderStartFirst, "stop-first": v1alpha1.OrderStopFirst}

// impossibleOrders says which services are to start first though their own old
// container holds a port that the new one needs.
func impossibleOrders(services []v1alpha1.ServicePlan, want []wanted, containers []docker.Container) error {
	var why []string
	for _, sp := range services {
		if sp.Action != v1alpha1.ActionReplace || sp.Order != v1alpha1.OrderStartFirst {
			continue
		}
		i := slices.IndexFunc(want, func(d wanted) bool { return d.Name == sp.Name })
		if i < 0 || want[i].gateway {
			continue
		}
		if port := heldByItself(want[i].Service, containers); port != "" {
			why = append(why, fmt.Sprintf("the service %s is to start first (%s), but its old container publishes the host port %s, which two cannot have at once", sp.Name, sp.OrderReason, port))
		}
	}
	if len(why) == 0 {
		return nil
	}
	return fmt.Errorf("%s: set the order to Auto or StopFirst there, or publish no fixed host port", strings.Join(why, "; "))
}

// shares are the services whose namespaces a service lives in.
func shares(svc compose.Service) []string {
	var out []string
	for _, mode := range []string{svc.NetworkMode, svc.PidMode, svc.IpcMode} {
		if name, ok := strings.CutPrefix(mode, "service:"); ok && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// volumesFrom are the services whose volumes a service mounts.
func volumesFrom(svc compose.Service) []string {
	var out []string
	for _, from := range svc.VolumesFrom {
		name, _, _ := strings.Cut(from, ":")
		if !strings.HasPrefix(from, "container:") && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}
