// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// requestPatience is how long a request may take until it counts as failed.
const requestPatience = time.Minute

// Load sends requests until it is ended, and counts what became of them. Each of its
// clients has one connection and goes on with it as long as the server does not say
// that it will close it. Nothing is tried again: where browsers would repeat a request
// whose connection broke, it counts as failed here.
type Load struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	result LoadResult
	last   time.Time
}

// LoadResult is what became of requests.
type LoadResult struct {
	Sent, Failed int
	// Connections is how many were made. It is the number of clients if none was ever closed.
	Connections int
	// Bodies counts the good answers.
	Bodies map[string]int
	// Latest is the last of them.
	Latest string
	// Errors are the first ones.
	Errors []string
	// Longest is the longest time without a good answer, and Slowest the time of the slowest one.
	Longest, Slowest time.Duration
}

// StartLoad sends GET target from clients at once, each every interval, or without a
// pause if that is 0.
func StartLoad(target string, clients int, interval time.Duration) *Load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{cancel: cancel, result: LoadResult{Bodies: map[string]int{}}, last: time.Now()}
	u, err := url.Parse(target)
	if err != nil {
		l.note("", err, 0, false)
		return l
	}
	for i := range clients {
		l.done.Go(func() {
			c := &loadClient{load: l, url: u}
			defer c.close()
			if !pause(ctx, interval*time.Duration(i)/time.Duration(clients)) {
				return
			}
			next := time.Now()
			for ctx.Err() == nil {
				c.one()
				// What is late is not caught up with.
				next = next.Add(interval)
				if now := time.Now(); next.Before(now) {
					next = now
				}
				pause(ctx, time.Until(next))
			}
		})
	}
	return l
}

// pause waits, and returns false if ctx ends before that.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// loadClient is one connection after the other.
type loadClient struct {
	load *Load
	url  *url.URL
	conn net.Conn
	in   *bufio.Reader
}

func (c *loadClient) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// one sends one request. What is under way at the end of the load comes to its end.
func (c *loadClient) one() {
	begun, fresh := time.Now(), c.conn == nil
	body, err := c.ask()
	if err != nil {
		c.close()
		if !fresh {
			err = fmt.Errorf("on a kept connection: %w", err)
		}
	}
	c.load.note(body, err, time.Since(begun), fresh)
}

func (c *loadClient) ask() (body string, err error) {
	u := c.url
	if c.conn == nil {
		// Not with the context of the load: what is under way at its end comes to an end.
		conn, err := (&net.Dialer{Timeout: requestPatience}).DialContext(context.Background(), "tcp", u.Host)
		if err != nil {
			return "", err
		}
		c.conn = conn
		c.in = bufio.NewReader(c.conn)
	}
	if err := c.conn.SetDeadline(time.Now().Add(requestPatience)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(c.conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", u.RequestURI(), u.Host); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.200s", resp.Status, data)
	}
	if resp.Close {
		c.close()
	}
	return string(data), err
}

func (l *Load) note(body string, err error, took time.Duration, fresh bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &l.result
	r.Sent++
	if fresh {
		r.Connections++
	}
	now := time.Now()
	if err != nil {
		r.Failed++
		if len(r.Errors) < 5 {
			r.Errors = append(r.Errors, fmt.Sprintf("%s after %s: %v", now.Format("15:04:05.000"), took.Round(time.Millisecond), err))
		}
		return
	}
	r.Longest, r.Slowest, l.last = max(r.Longest, now.Sub(l.last)), max(r.Slowest, took), now
	r.Bodies[body]++
	r.Latest = body
}

// Now is what became of the requests until now.
func (l *Load) Now() LoadResult {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.result
	r.Bodies, r.Errors = maps.Clone(r.Bodies), slices.Clone(r.Errors)
	return r
}

// End waits for what is under way and tells what became of all.
func (l *Load) End() LoadResult {
	l.cancel()
	l.done.Wait()
	return l.result
}
