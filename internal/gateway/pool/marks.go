// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"sync/atomic"
	"time"
)

// Marks are the targets of which somebody else says that they are not healthy. They may be
// used by several goroutines.
type Marks struct{ now atomic.Pointer[marked] }

type marked struct {
	ids   map[string]bool
	until time.Time
}

// Set marks those with these IDs, and no others, for some time.
func (m *Marks) Set(ids []string, lasting time.Duration) {
	if len(ids) == 0 {
		m.now.Store(nil)
		return
	}
	next := &marked{ids: map[string]bool{}, until: time.Now().Add(lasting)}
	for _, id := range ids {
		next.ids[id] = true
	}
	m.now.Store(next)
}

// Has says whether one is marked now. A nil Marks has none.
func (m *Marks) Has(id string) bool {
	if m == nil {
		return false
	}
	now := m.now.Load()
	return now != nil && now.ids[id] && time.Now().Before(now.until)
}
