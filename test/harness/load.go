// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Load sends requests over connections that are kept, as browsers do, until it is
// ended, and counts what became of them.
type Load struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	sent    int
	bodies  map[string]int
	errors  []string
	failed  int
	last    time.Time
	longest time.Duration
}

// StartLoad sends GET url from clients at once, each every interval.
func StartLoad(url string, clients int, interval time.Duration) *Load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{cancel: cancel, bodies: map[string]int{}, last: time.Now()}
	for range clients {
		l.done.Go(func() {
			c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}, Timeout: time.Minute}
			defer c.CloseIdleConnections()
			ticker := time.NewTicker(interval)
			defer ticker.Stop()
			for {
				l.one(ctx, c, url)
				select {
				case <-ticker.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return l
}

func (l *Load) one(ctx context.Context, c *http.Client, url string) {
	// What is under way at the end comes to its end.
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, url, nil)
	if err != nil {
		l.note("", err)
		return
	}
	resp, err := c.Do(req)
	if err != nil {
		l.note("", err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.200s", resp.Status, body)
	}
	l.note(string(body), err)
}

func (l *Load) note(body string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	if err != nil {
		l.failed++
		if len(l.errors) < 5 {
			l.errors = append(l.errors, err.Error())
		}
		return
	}
	now := time.Now()
	l.longest, l.last = max(l.longest, now.Sub(l.last)), now
	l.bodies[body]++
}

// LoadResult is what became of requests.
type LoadResult struct {
	Sent, Failed int
	// Bodies counts the answers.
	Bodies map[string]int
	// Errors are the first ones.
	Errors []string
	// Longest is the longest time without a good answer.
	Longest time.Duration
}

// End waits for what is under way and tells what became of all.
func (l *Load) End() LoadResult {
	l.cancel()
	l.done.Wait()
	return LoadResult{Sent: l.sent, Failed: l.failed, Bodies: l.bodies, Errors: l.errors, Longest: l.longest}
}
