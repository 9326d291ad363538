// SPDX-License-Identifier: Apache-2.0

package self

import (
	"context"
	"errors"
	"sync"
)

// Finder is Find that remembers its answer, which never changes. It is safe for
// concurrent use.
type Finder struct {
	Engine Inspector

	mu    sync.Mutex
	known bool
	id    string
}

// Find returns the full ID of the container that this process runs in, and ""
// when it runs in none that the engine knows. An error says that the engine
// could not be asked; then the next call asks again.
func (f *Finder) Find(ctx context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known {
		return f.id, nil
	}
	c, err := Find(ctx, f.Engine)
	if err != nil && !errors.Is(err, ErrNoContainer) {
		return "", err
	}
	f.id, f.known = c.ID, true
	return f.id, nil
}
