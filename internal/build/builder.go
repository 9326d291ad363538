// SPDX-License-Identifier: Apache-2.0

package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	dbuild "github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
)

// DefaultParallelism is how many builds one Builder runs at a time.
const DefaultParallelism = 2

// Docker is what a Builder needs of the engine; *client.Client has it.
type Docker interface {
	Dialer() func(context.Context) (net.Conn, error)
	DaemonHost() string
	Ping(ctx context.Context) (types.Ping, error)
	ImageBuild(ctx context.Context, buildContext io.Reader, options dbuild.ImageBuildOptions) (dbuild.ImageBuildResponse, error)
	ImageInspect(ctx context.Context, imageID string, opts ...client.ImageInspectOption) (image.InspectResponse, error)
	ImageList(ctx context.Context, options image.ListOptions) ([]image.Summary, error)
	ImageTag(ctx context.Context, source, target string) error
	NetworkInspect(ctx context.Context, networkID string, options network.InspectOptions) (network.Inspect, error)
}

// Options are the settings of a Builder or Puller.
type Options struct {
	// Parallelism is how many builds run at a time, over all callers of one
	// Builder. Default: DefaultParallelism.
	Parallelism int
	// ConfigDir is the directory of the Docker configuration with the registry
	// credentials. Default: DOCKER_CONFIG, else ~/.docker.
	ConfigDir string
	// Classic uses the classic builder even where BuildKit is available.
	Classic bool
}

// Builder builds images with one engine. It may be used by several goroutines.
type Builder struct {
	docker      Docker
	credentials credentials
	classic     bool
	slots       chan struct{}
}

// NewBuilder returns a Builder for the engine behind docker.
func NewBuilder(docker Docker, o Options) *Builder {
	if o.Parallelism <= 0 {
		o.Parallelism = DefaultParallelism
	}
	return &Builder{
		docker: docker, credentials: credentials{dir: o.ConfigDir}, classic: o.Classic,
		slots: make(chan struct{}, o.Parallelism),
	}
}

// job is one build in progress.
type job struct {
	*Builder
	spec     Spec
	src      *sources
	tags     []string
	secrets  map[string][]byte
	proxies  map[string]string
	out      *output
	ping     types.Ping
	buildKit *dialer // nil: the classic builder
	// classicReason says why BuildKit is not used.
	classicReason string
}

// Build builds one image and gives it the Spec's tags. It waits for a free slot
// first. The log gets plain text lines as they come; values of secrets are
// masked. The tags move only when the whole build has succeeded.
//
// Errors are *Error, save for a cancelled ctx, whose cause is wrapped. After a
// cancellation Build returns at once and the engine stops the running command.
func (b *Builder) Build(ctx context.Context, spec Spec, log io.Writer) (Result, error) {
	if err := spec.check(); err != nil {
		return Result{}, err
	}
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		return Result{}, cancelled(ctx, spec.Name)
	}
	j := &job{Builder: b, spec: spec}
	result, err := j.run(ctx, log)
	if err != nil && ctx.Err() != nil {
		return Result{}, cancelled(ctx, spec.Name)
	}
	return result, err
}

func cancelled(ctx context.Context, name string) error {
	return fmt.Errorf("build of %s cancelled: %w", name, context.Cause(ctx))
}

func (j *job) run(ctx context.Context, log io.Writer) (Result, error) {
	var err error
	if j.src, err = j.spec.resolve(); err != nil {
		return Result{}, err
	}
	if j.secrets, err = j.spec.readSecrets(); err != nil {
		return Result{}, err
	}
	if j.tags, err = j.spec.tags(); err != nil {
		return Result{}, err
	}
	j.proxies = j.credentials.proxies(j.docker.DaemonHost())
	j.out = newOutput(log, j.spec.redactor(j.secrets, j.proxies))
	if j.ping, err = j.docker.Ping(ctx); err != nil {
		return Result{}, engineError(j.spec.Name, "being asked for its version", err)
	}
	if err := j.chooseBuilder(ctx); err != nil {
		return Result{}, err
	}
	if j.buildKit == nil {
		return j.buildClassic(ctx)
	}
	defer j.buildKit.Close()
	return j.buildBuildKit(ctx)
}

// chooseBuilder asks the engine for BuildKit. Only a clear refusal leads to the
// classic builder: after a mere disturbance the same Spec would otherwise be
// built differently from one time to the next.
func (j *job) chooseBuilder(ctx context.Context) error {
	if j.classic {
		j.classicReason = "the classic builder is configured"
		return nil
	}
	if j.ping.OSType == "windows" {
		j.classicReason = "the engine is a Windows engine"
		return nil
	}
	d := newDialer(j.docker.Dialer())
	conn, err := d.hijack(ctx, "/grpc", "h2c", nil)
	switch {
	case err == nil:
		_ = conn.Close()
		j.buildKit = d
		return nil
	case notOffered(err):
		d.Close()
		j.classicReason = "BuildKit is not available on this engine (" + err.Error() + ")"
		return nil
	default:
		d.Close()
		return engineError(j.spec.Name, "being asked for BuildKit", err)
	}
}

// finish looks the built image up and makes the Result.
func (j *job) finish(ctx context.Context, id string, steps, cached int) (Result, error) {
	if id == "" {
		return Result{}, engineError(j.spec.Name, "ending the build", errors.New("it did not say which image it built"))
	}
	inspect, err := j.docker.ImageInspect(ctx, id)
	if err != nil {
		return Result{}, engineError(j.spec.Name, "looking up the built image", err)
	}
	return Result{ImageID: inspect.ID, UsedBuildKit: j.buildKit != nil, Steps: steps, CachedSteps: cached}, nil
}

// Keyed are images that were built under a key.
type Keyed []image.Summary

// ListKeyed lists the images of the host that were built under any key. The engine takes as long
// for those of one key.
func (b *Builder) ListKeyed(ctx context.Context) (Keyed, error) {
	return b.listKeyed(ctx, LabelBuildKey)
}

func (b *Builder) listKeyed(ctx context.Context, label string) (Keyed, error) {
	images, err := b.docker.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", label))})
	if err != nil {
		return nil, fmt.Errorf("cannot look for built images: %w", err)
	}
	return images, nil
}

// FindByKeys looks for images that were built under keys, and returns the IDs of those that are there, by
// key; see Find.
func (b *Builder) FindByKeys(ctx context.Context, keys []string) (map[string]string, error) {
	keys = slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return key == "" })
	slices.Sort(keys)
	label := LabelBuildKey
	switch keys = slices.Compact(keys); len(keys) {
	case 0:
		return nil, nil
	case 1:
		label += "=" + keys[0]
	}
	images, err := b.listKeyed(ctx, label)
	if err != nil {
		return nil, err
	}
	return images.Find(keys), nil
}

// Find returns the IDs of the images of keys, by key. An image that somebody built on top of ours
// inherits its labels, so only one counts that has a name by its content, as steps give to what they
// built: a tag that is the first twelve digits of its own ID. Of several of one key, the oldest counts.
func (k Keyed) Find(keys []string) map[string]string {
	images := slices.DeleteFunc(slices.Clone(k), func(i image.Summary) bool {
		key := i.Labels[LabelBuildKey]
		return key == "" || !slices.Contains(keys, key) || !namedByContent(i)
	})
	slices.SortFunc(images, func(a, b image.Summary) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID))
	})
	found := map[string]string{}
	for _, i := range images {
		if key := i.Labels[LabelBuildKey]; found[key] == "" {
			found[key] = i.ID
		}
	}
	return found
}

func namedByContent(i image.Summary) bool {
	return slices.ContainsFunc(i.RepoTags, func(tag string) bool { return strings.HasSuffix(tag, ":"+short(i.ID)) })
}

// built is FindByKeys with the errors of a build.
func (b *Builder) built(ctx context.Context, name string, keys ...string) (map[string]string, error) {
	found, err := b.FindByKeys(ctx, keys)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, cancelled(ctx, name)
	case err != nil:
		return nil, engineError(name, "listing images", err)
	}
	return found, nil
}

// ensure gives the image id the Spec's tags, or builds one where id is "".
func (b *Builder) ensure(ctx context.Context, spec Spec, id string, log io.Writer) (Result, error) {
	if id == "" {
		return b.Build(ctx, spec, log)
	}
	tags, err := spec.tags()
	if err != nil {
		return Result{}, err
	}
	for _, tag := range tags {
		err := b.docker.ImageTag(ctx, id, tag)
		switch {
		case cerrdefs.IsNotFound(err): // removed since it was listed
			return b.Build(ctx, spec, log)
		case err != nil && ctx.Err() != nil:
			return Result{}, cancelled(ctx, spec.Name)
		case err != nil:
			return Result{}, engineError(spec.Name, "tagging image "+short(id), err)
		}
	}
	newOutput(log, nil).line("", fmt.Sprintf("already built as %s, nothing to do", short(id)))
	return Result{ImageID: id, Reused: true}, nil
}

// short returns the 12 digits that people know an image by.
func short(id string) string {
	const prefix = "sha256:"
	if len(id) >= len(prefix)+12 && id[:len(prefix)] == prefix {
		return id[len(prefix) : len(prefix)+12]
	}
	return id
}
