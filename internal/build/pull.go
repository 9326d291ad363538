// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/client"
)

// PullDocker is what a Puller needs of the engine; *client.Client has it.
type PullDocker interface {
	ImagePull(ctx context.Context, ref string, options image.PullOptions) (io.ReadCloser, error)
	ImageInspect(ctx context.Context, imageID string, opts ...client.ImageInspectOption) (image.InspectResponse, error)
	DistributionInspect(ctx context.Context, ref, encodedRegistryAuth string) (registry.DistributionInspect, error)
}

// Puller fetches images from registries with the credentials of the usual
// Docker configuration. It may be used by several goroutines.
type Puller struct {
	docker      PullDocker
	credentials credentials
}

// NewPuller returns a Puller for the engine behind docker. Of the Options it
// uses ConfigDir.
func NewPuller(docker PullDocker, o Options) *Puller {
	return &Puller{docker: docker, credentials: credentials{dir: o.ConfigDir}}
}

// PullOptions are the settings of one pull.
type PullOptions struct {
	// Platform is os/arch[/variant]. Default: the engine's own.
	Platform string
	// Progress, if not nil, is told how many layers are here, and of how many that
	// are fetched. It must be quick.
	Progress func(done, total int)
}

// Pull fetches an image and returns the engine's ID of it and the registry's
// digest (sha256:...). A name without a tag means latest. The log gets a few
// lines of progress. A pull that fails leaves a local image of that name as it is.
//
// Errors are *Error, save for a cancelled ctx, whose cause is wrapped.
func (p *Puller) Pull(ctx context.Context, ref string, o PullOptions, log io.Writer) (imageID, digest string, err error) {
	named, host, header, err := p.prepare(ctx, ref)
	if err != nil {
		return "", "", p.stopped(ctx, ref, err)
	}
	out := newOutput(log, nil)
	out.line("", "pulling "+reference.FamiliarString(named))
	body, err := p.docker.ImagePull(ctx, named.String(), image.PullOptions{RegistryAuth: header, Platform: o.Platform})
	if err != nil {
		return "", "", p.stopped(ctx, ref, pullError(named, host, o.Platform, err))
	}
	defer body.Close()
	stop := context.AfterFunc(ctx, func() { _ = body.Close() })
	defer stop()
	progress := &pullProgress{out: out, layers: map[string]*layer{}, report: o.Progress}
	digest, err = progress.read(body)
	if err != nil {
		return "", "", p.stopped(ctx, ref, pullError(named, host, o.Platform, err))
	}
	// By digest, so that another pull of the same tag at this moment cannot
	// give us its image.
	found := named.String()
	if digest != "" {
		found = named.Name() + "@" + digest
	}
	inspect, err := p.docker.ImageInspect(ctx, found)
	if err != nil {
		return "", "", p.stopped(ctx, ref, engineError("", "looking up the pulled image "+reference.FamiliarString(named), err))
	}
	if digest == "" {
		digest = repoDigest(named, inspect.RepoDigests)
	}
	out.line("", fmt.Sprintf("pulled %s: image %s", reference.FamiliarString(named), short(inspect.ID)))
	return inspect.ID, digest, nil
}

// Digest asks the registry for the digest that it has under ref now, without
// pulling. Errors are as those of Pull.
func (p *Puller) Digest(ctx context.Context, ref string) (string, error) {
	named, host, header, err := p.prepare(ctx, ref)
	if err != nil {
		return "", p.stopped(ctx, ref, err)
	}
	found, err := p.docker.DistributionInspect(ctx, named.String(), header)
	if err != nil {
		return "", p.stopped(ctx, ref, pullError(named, host, "", err))
	}
	return found.Descriptor.Digest.String(), nil
}

func (p *Puller) prepare(ctx context.Context, ref string) (named reference.Named, host, header string, err error) {
	named, err = reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, "", "", &Error{
			Kind: KindInvalid, Message: fmt.Sprintf("image name %q is not valid: %v", ref, err), Hint: "correct it in the Compose file",
		}
	}
	named = reference.TagNameOnly(named)
	host, header, err = p.credentials.forImage(ctx, named)
	return named, host, header, err
}

func (p *Puller) stopped(ctx context.Context, ref string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("pull of %s cancelled: %w", ref, context.Cause(ctx))
	}
	return err
}

// pullError makes a person's error of a registry's or the engine's.
func pullError(named reference.Named, host, platform string, err error) error {
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	if client.IsErrConnectionFailed(err) {
		return engineError("", "pulling "+reference.FamiliarString(named), err)
	}
	text := clean(err.Error())
	kind := classifyRegistry(text)
	switch {
	case kind != "":
	case cerrdefs.IsUnauthorized(err) || cerrdefs.IsPermissionDenied(err):
		kind = KindUnauthorized
	case cerrdefs.IsNotFound(err):
		kind = KindNotFound
	case isConnection(err):
		return engineError("", "pulling "+reference.FamiliarString(named), err)
	default:
		kind = KindUnreachable // nothing says that it would fail again
	}
	name := reference.FamiliarString(named)
	if platform != "" {
		name += " for " + platform
	}
	message := map[Kind]string{
		KindNotFound:     "the registry " + host + " has no image " + name,
		KindUnauthorized: "the registry " + host + " does not give " + name + " to this host",
		KindUnreachable:  "image " + name + " could not be fetched from " + host,
		KindNoSpace:      "image " + name + " does not fit on the engine's disk",
	}[kind]
	return &Error{Kind: kind, Message: message + " (" + plain(strings.Join(strings.Fields(text), " ")) + ")", Hint: hint(kind, loginHost(host)), Err: err}
}

// loginHost returns what `docker login` wants to be told.
func loginHost(host string) string {
	if host == hubHost {
		return ""
	}
	return host
}

func repoDigest(named reference.Named, digests []string) string {
	for _, d := range digests {
		if parsed, err := reference.ParseNormalizedNamed(d); err == nil && parsed.Name() == named.Name() {
			if digested, ok := parsed.(reference.Digested); ok {
				return digested.Digest().String()
			}
		}
	}
	return ""
}

// largeLayer is the size in bytes from which a layer's progress is told in
// tenths, and not only its end.
const largeLayer = 100e6

// pullProgress renders the engine's stream of a pull in a few lines: one per
// layer, and up to ten for a large one.
type pullProgress struct {
	out    *output
	layers map[string]*layer
	done   int
	report func(done, total int)
}

func (p *pullProgress) tell() {
	if p.report != nil {
		p.report(p.done, len(p.layers))
	}
}

type layer struct {
	total int64
	tenth int64
	done  bool
}

func (p *pullProgress) read(r io.Reader) (digest string, err error) {
	for dec := json.NewDecoder(r); ; {
		var m streamMessage
		switch err := dec.Decode(&m); {
		case errors.Is(err, io.EOF):
			return digest, nil
		case err != nil:
			return "", engineError("", "pulling", err)
		}
		if text, _, failed := m.failure(); failed {
			return "", errors.New(text)
		}
		if d, ok := strings.CutPrefix(m.Status, "Digest: "); ok {
			digest = strings.TrimSpace(d)
		}
		p.update(&m)
	}
}

func (p *pullProgress) update(m *streamMessage) {
	if m.ID == "" {
		return
	}
	if strings.HasPrefix(m.Status, "Pulling fs layer") {
		p.layers[m.ID] = &layer{}
		p.tell()
		return
	}
	l := p.layers[m.ID]
	if l == nil {
		return // an image's name, or a layer that is here already
	}
	switch {
	case strings.HasPrefix(m.Status, "Downloading") && m.ProgressDetail.Total > 0:
		l.total = m.ProgressDetail.Total
		if tenth := m.ProgressDetail.Current * 10 / l.total; l.total >= largeLayer && tenth > l.tenth {
			l.tenth = tenth
			p.out.line("", fmt.Sprintf("layer %s: %s of %s", m.ID, size(m.ProgressDetail.Current), size(l.total)))
		}
	case strings.HasPrefix(m.Status, "Pull complete") && !l.done:
		l.done = true
		p.done++
		text := fmt.Sprintf("layer %s: done, %d of %d", m.ID, p.done, len(p.layers))
		if l.total > 0 {
			text += ", " + size(l.total)
		}
		p.out.line("", text)
		p.tell()
	}
}
