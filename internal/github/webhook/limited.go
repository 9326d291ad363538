// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"net/netip"
	"sync"

	"k8s.io/utils/lru"
)

// limited knows which addresses are being refused, so that a flood is one line in
// the audit log.
type limited struct {
	mu  sync.Mutex
	lru *lru.Cache
}

func newLimited() *limited { return &limited{lru: lru.New(1024)} }

// begins reports whether the address was not being refused before.
func (l *limited) begins(addr netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, known := l.lru.Get(addr)
	l.lru.Add(addr, nil)
	return !known
}

func (l *limited) ends(addr netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lru.Remove(addr)
}
