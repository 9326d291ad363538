// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
)

// Image is what the engine knows about one local image.
type Image struct {
	// ID is the engine's ID, "sha256:…". It changes with every build that is
	// not cached, because the configuration holds time stamps.
	ID string
	// Content is "sha256:…" over all that a container of this image can
	// notice: layers and runtime configuration, but no labels, history or
	// time stamps. Equal content means that a container need not be replaced.
	Content     string
	RepoTags    []string
	RepoDigests []string
	// Size is in bytes, all layers.
	Size    int64
	Created time.Time
	// Tagged is when the image got a name last on this engine, as a build does
	// even where all of it came from the cache; zero when unknown.
	Tagged time.Time
	Labels map[string]string
	// HasHealthcheck says that the image brings a test of its own.
	HasHealthcheck bool
	// Volumes are the paths for which a container without a mount there gets
	// an anonymous volume, sorted.
	Volumes []string
	// Exposed are the ports that the image says it listens on, as "80/tcp", sorted.
	Exposed []string
	// Architecture and OS as in "amd64" and "linux".
	Architecture, OS string
}

// ImageContent inspects the local image ref (tag, digest or ID). IsNotFound is
// true for the error when there is none.
func (c *Client) ImageContent(ctx context.Context, ref string) (Image, error) {
	r, err := c.ImageInspect(ctx, ref)
	if err != nil {
		return Image{}, fmt.Errorf("inspect image %s: %w", ref, err)
	}
	content, err := contentDigest(r)
	if err != nil {
		return Image{}, fmt.Errorf("inspect image %s: %w", ref, err)
	}
	img := Image{
		ID: r.ID, Content: content, RepoTags: r.RepoTags, RepoDigests: r.RepoDigests,
		Size: r.Size, Created: parseTime(r.Created), Tagged: r.Metadata.LastTagTime, Architecture: r.Architecture, OS: r.Os,
	}
	if r.Config != nil {
		img.Labels = r.Config.Labels
		img.Volumes = slices.Sorted(maps.Keys(r.Config.Volumes))
		img.Exposed = slices.Sorted(maps.Keys(r.Config.ExposedPorts))
		h := r.Config.Healthcheck
		img.HasHealthcheck = h != nil && len(h.Test) > 0 && h.Test[0] != testNone
	}
	return img, nil
}

// contentDigest hashes what containers of the image can notice. The struct is
// the format: a change to it makes every application look changed once.
func contentDigest(r image.InspectResponse) (string, error) {
	type health struct {
		Test                                          []string
		Interval, Timeout, StartPeriod, StartInterval time.Duration
		Retries                                       int
	}
	content := struct {
		OS, OSVersion, Architecture, Variant string
		Layers                               []string
		User, WorkingDir, StopSignal         string
		Env, Entrypoint, Cmd, Shell          []string
		ExposedPorts, Volumes                []string
		ArgsEscaped                          bool
		Healthcheck                          *health
	}{
		OS: r.Os, OSVersion: r.OsVersion, Architecture: r.Architecture, Variant: r.Variant,
		Layers: orEmpty(r.RootFS.Layers),
	}
	if len(r.RootFS.Layers) == 0 && r.Size > 0 {
		return "", errors.New("the engine did not name the layers of the image")
	}
	if cfg := r.Config; cfg != nil {
		content.User, content.WorkingDir, content.StopSignal = cfg.User, cfg.WorkingDir, cfg.StopSignal
		content.Env, content.Entrypoint, content.Cmd, content.Shell = orEmpty(cfg.Env), orEmpty(cfg.Entrypoint), orEmpty(cfg.Cmd), orEmpty(cfg.Shell)
		content.ExposedPorts = orEmpty(slices.Sorted(maps.Keys(cfg.ExposedPorts)))
		content.Volumes = orEmpty(slices.Sorted(maps.Keys(cfg.Volumes)))
		content.ArgsEscaped = cfg.ArgsEscaped //nolint:staticcheck // old Windows images still depend on it
		if h := cfg.Healthcheck; h != nil && len(h.Test) > 0 {
			content.Healthcheck = &health{h.Test, h.Interval, h.Timeout, h.StartPeriod, h.StartInterval, h.Retries}
		}
	}
	data, err := json.Marshal(content)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// orEmpty makes nil and empty the same; engines differ in which they send.
func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// TagImage gives the image source (tag or ID) the further name target,
// "repository:tag". The name moves if another image has it.
func (c *Client) TagImage(ctx context.Context, source, target string) error {
	c.names.Lock()
	defer c.names.Unlock()
	if err := c.ImageTag(ctx, source, target); err != nil {
		return fmt.Errorf("tag image %s as %s: %w", source, target, err)
	}
	return nil
}

// RemoveImageTag takes the name ref from its image and, if it was the last
// name, removes the image with its unnamed parents. A name that does not exist
// is success. IsConflict is true for the error when it is the last name and a
// container uses the image. An ID is refused, because that would take all
// names away; RemoveImage is for that.
func (c *Client) RemoveImageTag(ctx context.Context, ref string) error {
	if strings.HasPrefix(ref, "sha256:") || isHexID(ref) {
		return fmt.Errorf("remove image tag %s: this is an image ID, not a tag", ref)
	}
	return c.removeImage(ctx, ref)
}

// RemoveImage removes the image by ID, unless a container uses it or more than
// one repository names it; IsConflict tells. A missing image is success.
func (c *Client) RemoveImage(ctx context.Context, id string) error {
	return c.removeImage(ctx, id)
}

func (c *Client) removeImage(ctx context.Context, ref string) error {
	c.names.Lock()
	defer c.names.Unlock()
	_, err := c.ImageRemove(ctx, ref, image.RemoveOptions{PruneChildren: true})
	if err != nil && !IsNotFound(err) {
		return fmt.Errorf("remove image %s: %w", ref, err)
	}
	return nil
}

// isHexID says whether ref has the shape of an image ID without its prefix.
func isHexID(ref string) bool {
	_, err := hex.DecodeString(ref)
	return err == nil && len(ref) >= 12
}

// Images lists the local images, tagged or not, newest first. Content and
// configuration are not filled in: ask ImageContent. An engine takes as long to
// list a few of its images as all of them: 0.2 ms for each that it has.
func (c *Client) Images(ctx context.Context) ([]Image, error) {
	list, err := c.ImageList(ctx, image.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	images := make([]Image, 0, len(list))
	for _, s := range list {
		images = append(images, Image{
			ID: s.ID, RepoTags: withoutNone(s.RepoTags), RepoDigests: withoutNone(s.RepoDigests),
			Size: s.Size, Created: time.Unix(s.Created, 0).UTC(), Labels: s.Labels,
		})
	}
	slices.SortFunc(images, func(a, b Image) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
	return images, nil
}

// ImagesInUse are the IDs of the images that containers were made from, running or
// not.
func (c *Client) ImagesInUse(ctx context.Context) (map[string]bool, error) {
	list, err := c.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, fmt.Errorf("list the images in use: %w", err)
	}
	used := map[string]bool{}
	for _, ct := range list {
		used[ct.ImageID] = true
	}
	return used, nil
}

// withoutNone drops the "<none>:<none>" that engines list for unnamed images.
func withoutNone(refs []string) []string {
	return slices.DeleteFunc(refs, func(r string) bool { return strings.HasPrefix(r, "<none>") })
}
