// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// changesKept is how many changes may wait for a listener before it is dropped; it comes again, and is
// told what is unhealthy then.
const changesKept = 256

// changes passes on what changes of targets to those who listen.
type changes struct {
	mu        sync.Mutex
	listeners map[chan gatewayapi.TargetChange]bool
}

// tell is called by targets, and never blocks.
func (c *changes) tell(change gatewayapi.TargetChange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.listeners {
		select {
		case l <- change:
		default:
			delete(c.listeners, l)
			close(l)
		}
	}
}

func (c *changes) listen() (heard chan gatewayapi.TargetChange, leave func()) {
	heard = make(chan gatewayapi.TargetChange, changesKept)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listeners == nil {
		c.listeners = map[chan gatewayapi.TargetChange]bool{}
	}
	c.listeners[heard] = true
	return heard, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.listeners, heard)
	}
}

// serveChanges serves PathChanges until ended is closed.
func (g *Gateway) serveChanges(w http.ResponseWriter, r *http.Request, ended <-chan struct{}) {
	control := http.NewResponseController(w)
	// The bounds of other calls are not for one that lasts.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	heard, leave := g.changes.listen()
	defer leave()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	for _, change := range g.unhealthy() {
		if out.Encode(change) != nil {
			return
		}
	}
	ticker := time.NewTicker(gatewayapi.ChangesEvery)
	defer ticker.Stop()
	for control.Flush() == nil {
		select {
		case change, ok := <-heard:
			if !ok || out.Encode(change) != nil {
				return
			}
		case <-ticker.C:
			if _, err := w.Write([]byte("\n")); err != nil {
				return
			}
		case <-ended:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// unhealthy are the targets that are so now.
func (g *Gateway) unhealthy() []gatewayapi.TargetChange {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []gatewayapi.TargetChange
	for _, p := range g.pools {
		out = append(out, p.Unhealthy()...)
	}
	return out
}
