// SPDX-License-Identifier: Apache-2.0

package apps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// projectLabel is Compose's own label for the project of a thing.
const projectLabel = "com.docker.compose.project"

// Compose runs Docker's own docker-compose on the deployment directory, as a
// person would there, and returns what it printed to its standard output.
func (r *Repo) Compose(ctx context.Context, args ...string) (string, error) {
	binary, err := buildCompose(ctx, r.root)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = r.Dir
	// The classic builder, because buildx may not be there; and nothing from
	// the environment that a Compose file could take for a variable of its own.
	cmd.Env = []string{"DOCKER_BUILDKIT=0", "COMPOSE_PROGRESS=plain"}
	for _, key := range []string{"PATH", "HOME", "TMPDIR", "DOCKER_HOST", "DOCKER_CONFIG"} {
		if value, ok := os.LookupEnv(key); ok {
			cmd.Env = append(cmd.Env, key+"="+value)
		}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("docker-compose %s: %w:\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// Up starts the application by docker-compose up -d --build, as somebody did
// before Fairlead came. It returns when Compose does: what another service
// waits for is then healthy, the rest has started.
func (r *Repo) Up(ctx context.Context, args ...string) error {
	_, err := r.Compose(ctx, append([]string{"up", "-d", "--build"}, args...)...)
	return err
}

// Down removes all that the engine has of the project, whoever made it:
// containers, its gateways, networks, volumes with their data, and images. It goes on after
// an error and returns all of them.
func (r *Repo) Down(ctx context.Context) error {
	_, err := r.down(ctx)
	return err
}

// DownForGood is Down, and removes the image of its gateways too unless others use it. Nothing
// may be about to make a gateway meanwhile.
func (r *Repo) DownForGood(ctx context.Context) error {
	images, err := r.down(ctx)
	engine, clientErr := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if clientErr != nil {
		return errors.Join(err, clientErr)
	}
	defer engine.Close()
	for _, ref := range images {
		_, removeErr := engine.ImageRemove(ctx, ref, image.RemoveOptions{PruneChildren: true})
		if removeErr != nil && !cerrdefs.IsNotFound(removeErr) && !cerrdefs.IsConflict(removeErr) {
			err = errors.Join(err, removeErr)
		}
	}
	return err
}

// down also returns the names of the gateways' images.
func (r *Repo) down(ctx context.Context) (images []string, err error) {
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	var errs []error
	note := func(err error) {
		if err != nil && !cerrdefs.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	ours := filters.NewArgs(filters.Arg("label", projectLabel+"="+r.Project))

	containers, err := engine.ContainerList(ctx, container.ListOptions{All: true, Filters: ours})
	note(err)
	gateways, err := engine.ContainerList(ctx, container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", v1alpha1.LabelGatewayProject+"="+r.Project)),
	})
	note(err)
	for _, c := range append(containers, gateways...) {
		note(engine.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}))
	}
	for _, g := range gateways {
		images = append(images, g.Image)
	}
	networks, err := engine.NetworkList(ctx, network.ListOptions{Filters: ours})
	note(err)
	for _, n := range networks {
		note(removeNetwork(ctx, engine, n.ID))
	}
	volumes, err := engine.VolumeList(ctx, volume.ListOptions{Filters: ours})
	note(err)
	for _, v := range volumes.Volumes {
		note(engine.VolumeRemove(ctx, v.Name, false))
	}
	note(r.removeImages(ctx, engine, ours))
	if err := errors.Join(errs...); err != nil {
		return images, fmt.Errorf("remove project %s: %w", r.Project, err)
	}
	return images, nil
}

// removeNetwork waits for the engine where it has let go of a container already, and
// not yet of the container's endpoint: of that it tells nobody. One that the engine counts for
// good though it has it no more (Engine 20.10, seldom, until it is started anew) keeps its
// network, which is said.
func removeNetwork(ctx context.Context, engine *client.Client, id string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := engine.NetworkRemove(ctx, id)
		if err == nil || !strings.Contains(err.Error(), "active endpoints") {
			return err
		}
		select {
		case <-ctx.Done():
			n, unknown := engine.NetworkInspect(context.WithoutCancel(ctx), id, network.InspectOptions{})
			if unknown != nil || len(n.Containers) > 0 {
				return err
			}
			fmt.Fprintf(os.Stderr, "the network %s stays until the engine is started anew, which counts an endpoint that is none\n", n.Name)
			return nil
		case <-ticker.C:
		}
	}
}

// removeImages takes the project's names off images, and removes those of its
// images that have no name. One image may have names of several projects, as
// the same content has the same ID: what others use stays.
func (r *Repo) removeImages(ctx context.Context, engine *client.Client, ours filters.Args) error {
	labelled, err := engine.ImageList(ctx, image.ListOptions{Filters: ours})
	if err != nil {
		return err
	}
	named, err := engine.ImageList(ctx, image.ListOptions{
		Filters: filters.NewArgs(filters.Arg("reference", r.Project+"-*"), filters.Arg("reference", r.Project+"/*")),
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, i := range append(labelled, named...) {
		refs := []string{i.ID}
		if len(i.RepoTags) > 0 {
			refs = nil
			for _, tag := range i.RepoTags {
				if strings.HasPrefix(tag, r.Project) {
					refs = append(refs, tag)
				}
			}
		}
		for _, ref := range refs {
			_, err := engine.ImageRemove(ctx, ref, image.RemoveOptions{PruneChildren: true})
			if err != nil && !cerrdefs.IsNotFound(err) && !cerrdefs.IsConflict(err) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
