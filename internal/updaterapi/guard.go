// SPDX-License-Identifier: Apache-2.0

package updaterapi

import (
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// freeGuesses is how many wrong tokens cost nothing: people mistype.
	freeGuesses = 5
	// firstPause doubles with each further one, up to lastPause.
	firstPause = time.Second
	lastPause  = 5 * time.Minute
	// guardSize bounds the clients that are remembered; beyond it the one that has
	// been quiet longest is forgotten.
	guardSize = 1024
)

// Backoff is a Guard that makes a client wait longer after each wrong token. The
// client is its address.
type Backoff struct {
	// Now is the clock.
	Now func() time.Time

	mu      sync.Mutex
	clients map[string]*guesses
}

type guesses struct {
	wrong int
	last  time.Time
	until time.Time
}

// NewBackoff returns a guard that remembers nobody yet.
func NewBackoff(now func() time.Time) *Backoff {
	return &Backoff{Now: now, clients: map[string]*guesses{}}
}

// Wait implements Guard.
func (b *Backoff) Wait(r *http.Request) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	g, ok := b.clients[clientOf(r)]
	if !ok {
		return 0
	}
	return max(0, g.until.Sub(b.Now()))
}

// Note implements Guard.
func (b *Backoff) Note(r *http.Request, right bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	client, now := clientOf(r), b.Now()
	if right {
		delete(b.clients, client)
		return
	}
	g, ok := b.clients[client]
	if !ok || now.Sub(g.last) > 2*lastPause {
		if !ok {
			b.makeRoom()
		}
		g = &guesses{}
		b.clients[client] = g
	}
	g.wrong++
	g.last = now
	if over := g.wrong - freeGuesses; over > 0 {
		pause := lastPause
		if over < 16 {
			pause = min(lastPause, firstPause<<(over-1))
		}
		g.until = now.Add(pause)
	}
}

func (b *Backoff) makeRoom() {
	if len(b.clients) < guardSize {
		return
	}
	oldest := ""
	for client, g := range b.clients {
		if oldest == "" || g.last.Before(b.clients[oldest].last) {
			oldest = client
		}
	}
	delete(b.clients, oldest)
}

func clientOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
