// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"
)

// EnsureResources makes the networks and volumes that active services need and
// that do not exist. Existing ones are used as they are, whatever their
// configuration; see [Creator.CheckResources]. The labels are put on what is
// made. It waits for other operations on the project; once begun, a cancelled
// ctx does not stop it.
func (c *Creator) EnsureResources(ctx context.Context, p *Project, labels map[string]string) error {
	unlock, err := c.lock(ctx, p.Name())
	if err != nil {
		return err
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), operationTimeout)
	defer cancel()
	if c.present(ctx, p) {
		return nil
	}

	project := *p.model
	project.Services = types.Services{}
	project.Networks = maps.Clone(p.model.Networks)
	project.Volumes = maps.Clone(p.model.Volumes)
	g := &guard{APIClient: c.client, project: p.model, labels: labels}
	if err := g.run(ctx, &project); err != nil {
		return fmt.Errorf("making the networks and volumes of project %s: %w", p.Name(), err)
	}
	return nil
}

// present reports whether all networks and volumes are there, which takes the library several questions to find out. What
// it cannot find out, it is left to the library to tell.
func (c *Creator) present(ctx context.Context, p *Project) bool {
	asked, ctx := errgroup.WithContext(ctx)
	for _, n := range p.Networks() {
		asked.Go(func() error {
			found, err := c.client.NetworkInspect(ctx, n.Name, client.NetworkInspectOptions{})
			if err == nil && found.Network.Name != n.Name { // the engine finds networks by the beginning of their ID, too
				err = errdefs.ErrNotFound
			}
			return err
		})
	}
	for _, v := range p.Volumes() {
		asked.Go(func() error {
			_, err := c.client.VolumeInspect(ctx, v.Name, client.VolumeInspectOptions{})
			return err
		})
	}
	return asked.Wait() == nil
}

// Kinds of resources.
const (
	KindNetwork = "network"
	KindVolume  = "volume"
)

// Divergence is an existing network or volume that is not as the model says.
type Divergence struct {
	// Kind is KindNetwork or KindVolume.
	Kind string
	// Key is the key in the model, Name the name in the engine.
	Key, Name string
	// Blocking says that containers cannot be created: an external one is missing.
	// Otherwise what exists is used as it is.
	Blocking bool
	// Message says what differs and what to do.
	Message string
}

// CheckResources compares networks and volumes that active services use with
// those that exist. It changes nothing. What does not exist yet, and will be
// made, is no divergence.
func (c *Creator) CheckResources(ctx context.Context, p *Project) ([]Divergence, error) {
	var result []Divergence
	for _, n := range p.Networks() {
		d, err := c.checkNetwork(ctx, p, n)
		if err != nil {
			return nil, fmt.Errorf("inspecting network %s: %w", n.Name, err)
		}
		if d != nil {
			d.Kind, d.Key, d.Name = KindNetwork, n.Key, n.Name
			result = append(result, *d)
		}
	}
	for _, v := range p.Volumes() {
		d, err := c.checkVolume(ctx, p, v)
		if err != nil {
			return nil, fmt.Errorf("inspecting volume %s: %w", v.Name, err)
		}
		if d != nil {
			d.Kind, d.Key, d.Name = KindVolume, v.Key, v.Name
			result = append(result, *d)
		}
	}
	return result, nil
}

func (c *Creator) checkNetwork(ctx context.Context, p *Project, n Network) (*Divergence, error) {
	inspected, err := c.client.NetworkInspect(ctx, n.Name, client.NetworkInspectOptions{})
	absent := errdefs.IsNotFound(err)
	if err == nil {
		// The engine finds networks by the beginning of their ID, too.
		absent = inspected.Network.Name != n.Name && inspected.Network.ID != n.Name
	} else if !absent {
		return nil, err
	}
	switch {
	case absent && n.External:
		return &Divergence{Blocking: true, Message: fmt.Sprintf(
			"the external network %s does not exist: make it with `docker network create %s`", n.Name, n.Name)}, nil
	case absent || n.External:
		return nil, nil
	}
	hash, err := p.networkHash(n.Key)
	if err != nil {
		return nil, err
	}
	if made := inspected.Network.Labels[LabelConfigHash]; made == "" || made == hash {
		return nil, nil
	}
	return &Divergence{Message: fmt.Sprintf(
		"the network %s exists with another configuration than the model's and is used as it is: "+
			"to change it, stop the application, remove the network and update again", n.Name)}, nil
}

func (c *Creator) checkVolume(ctx context.Context, p *Project, v Volume) (*Divergence, error) {
	inspected, err := c.client.VolumeInspect(ctx, v.Name, client.VolumeInspectOptions{})
	switch {
	case errdefs.IsNotFound(err) && v.External:
		return &Divergence{Blocking: true, Message: fmt.Sprintf(
			"the external volume %s does not exist: make it with `docker volume create %s`", v.Name, v.Name)}, nil
	case errdefs.IsNotFound(err):
		return c.renamedVolume(ctx, p, v)
	case err != nil:
		return nil, err
	case v.External:
		return nil, nil
	}
	hash, err := p.volumeHash(v.Key)
	if err != nil {
		return nil, err
	}
	if made := inspected.Volume.Labels[LabelConfigHash]; made == "" || made == hash {
		return nil, nil
	}
	return &Divergence{Message: fmt.Sprintf(
		"the volume %s exists with another configuration than the model's and is used as it is, with its data: "+
			"to change it, give it another name in the model and move the data", v.Name)}, nil
}

// renamedVolume warns of a volume that will be made empty while the project
// has data in another one under the same key.
func (c *Creator) renamedVolume(ctx context.Context, p *Project, v Volume) (*Divergence, error) {
	list, err := c.client.VolumeList(ctx, client.VolumeListOptions{
		Filters: make(client.Filters).Add("label", LabelProject+"="+p.Name(), LabelVolume+"="+v.Key),
	})
	if err != nil {
		return nil, err
	}
	if len(list.Items) == 0 {
		return nil, nil
	}
	return &Divergence{Message: fmt.Sprintf(
		"the volume %s does not exist and will be made empty, while the project's volume for %s is so far %s: "+
			"if its data is meant, give it as the volume's name", v.Name, v.Key, list.Items[0].Name)}, nil
}

// Blocking returns the messages of all blocking divergences as one error, nil
// when there are none.
func Blocking(all []Divergence) error {
	var errs []error
	for _, d := range all {
		if d.Blocking {
			errs = append(errs, errors.New(d.Message))
		}
	}
	return errors.Join(errs...)
}
