// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-dev/fairlead/internal/source"
)

// maxClones bounds how many requests' clones are remembered. One that is
// forgotten too early is opened once more.
const maxClones = 32

// clones keeps the opened Git clone of each request that is being carried out,
// so that not every step has to open it. What may change under it, such as the
// commit that is checked out, is not remembered; and after a restart of the
// daemon nothing is. The zero value is ready.
type clones struct {
	mu   sync.Mutex
	open map[types.UID]clone
	next []types.UID // in the order in which they were opened
}

type clone struct {
	dir  string
	opts source.Options
	repo *source.Repo
}

// get returns the clone in dir, opened with opts by this request.
func (c *clones) get(ctx context.Context, request types.UID, dir string, opts source.Options) (*source.Repo, error) {
	if repo := c.known(request, dir, opts); repo != nil {
		return repo, nil
	}
	repo, err := source.Open(ctx, dir, opts)
	if err != nil {
		return nil, err
	}
	c.keep(request, clone{dir: dir, opts: opts, repo: repo})
	return repo, nil
}

// atHead is get, and what is checked out now.
func (c *clones) atHead(ctx context.Context, request types.UID, dir string, opts source.Options) (*source.Repo, source.Head, error) {
	if repo := c.known(request, dir, opts); repo != nil {
		head, err := repo.Head(ctx)
		return repo, head, err
	}
	repo, head, err := source.OpenAtHead(ctx, dir, opts)
	if err != nil {
		return nil, source.Head{}, err
	}
	c.keep(request, clone{dir: dir, opts: opts, repo: repo})
	return repo, head, nil
}

// known returns the clone if it is open, and nil otherwise.
func (c *clones) known(request types.UID, dir string, opts source.Options) *source.Repo {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.open[request]; ok && known.dir == dir && reflect.DeepEqual(known.opts, opts) {
		return known.repo
	}
	return nil
}

func (c *clones) keep(request types.UID, opened clone) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(request)
	for len(c.next) >= maxClones {
		c.drop(c.next[0])
	}
	if c.open == nil {
		c.open = map[types.UID]clone{}
	}
	c.open[request] = opened
	c.next = append(c.next, request)
}

// forget drops what is kept for a request.
func (c *clones) forget(request types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(request)
}

func (c *clones) drop(request types.UID) {
	if _, ok := c.open[request]; !ok {
		return
	}
	delete(c.open, request)
	for i, u := range c.next {
		if u == request {
			c.next = append(c.next[:i:i], c.next[i+1:]...)
			return
		}
	}
}
