// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"container/list"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
)

const (
	// maxAnswer bounds what is read of one answer: a comparison can name
	// hundreds of files with their patches.
	maxAnswer = 16 << 20
	// maxCached is the largest answer that is kept, maxCache all that is kept.
	maxCached = 512 << 10
	maxCache  = 8 << 20
)

var errTooLarge = errors.New("the answer is too large")

// transport adds the token, and asks GitHub for what is known already only
// whether it is still so: such an answer does not count against the rate limit.
type transport struct {
	base  http.RoundTripper
	token string
	cache *cache
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	if t.token != "" {
		req.Header.Set("Authorization", "Bearer "+t.token)
	}
	key := cacheKey{url: req.URL.String(), accept: req.Header.Get("Accept"), token: t.token}
	known, ok := entry{}, false
	if req.Method == http.MethodGet {
		if known, ok = t.cache.get(key); ok {
			req.Header.Set("If-None-Match", known.etag)
		}
	}
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if ok && resp.StatusCode == http.StatusNotModified {
		_ = resp.Body.Close()
		// The headers of the rate limit are those of now.
		for name, values := range known.header {
			if _, fresh := resp.Header[name]; !fresh {
				resp.Header[name] = values
			}
		}
		resp.StatusCode, resp.Status = http.StatusOK, "200 OK"
		resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(known.body)), int64(len(known.body))
		return resp, nil
	}
	resp.Body = &bounded{body: resp.Body, left: maxAnswer}
	if etag := resp.Header.Get("ETag"); req.Method == http.MethodGet && resp.StatusCode == http.StatusOK && etag != "" {
		return resp, t.keep(key, etag, resp)
	}
	return resp, nil
}

// keep puts an answer into the cache, unless it is too large for that.
func (t *transport) keep(key cacheKey, etag string, resp *http.Response) error {
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxCached+1))
	if err != nil {
		_ = resp.Body.Close()
		return err
	}
	if len(head) <= maxCached {
		t.cache.put(key, entry{etag: etag, body: head, header: http.Header{"Link": resp.Header["Link"], "Content-Type": resp.Header["Content-Type"]}})
	}
	resp.Body = &rejoined{Reader: io.MultiReader(bytes.NewReader(head), resp.Body), Closer: resp.Body}
	return nil
}

type rejoined struct {
	io.Reader
	io.Closer
}

// bounded is a body that fails where it gets too long.
type bounded struct {
	body io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.body.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func (b *bounded) Close() error { return b.body.Close() }

// sameHost follows redirects, as of a repository that was renamed, but gives
// the token to nobody else.
func sameHost(req *http.Request, via []*http.Request) error {
	if len(via) >= 5 {
		return errors.New("too many redirects")
	}
	from := via[0].URL
	if !strings.EqualFold(req.URL.Host, from.Host) || req.URL.Scheme != from.Scheme {
		return errors.New("redirected to another server")
	}
	return nil
}

// cache keeps answers by how lately they were used. It may be shared.
type cache struct {
	mu      sync.Mutex
	size    int
	order   *list.List // of *item, the one used last in front
	entries map[cacheKey]*list.Element
}

type cacheKey struct{ url, accept, token string }

type entry struct {
	etag   string
	body   []byte
	header http.Header
}

type item struct {
	key cacheKey
	entry
}

func newCache() *cache { return &cache{order: list.New(), entries: map[cacheKey]*list.Element{}} }

func (c *cache) get(key cacheKey) (entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return entry{}, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*item).entry, true
}

func (c *cache) put(key cacheKey, e entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(c.entries[key])
	c.entries[key] = c.order.PushFront(&item{key: key, entry: e})
	c.size += weight(key, e)
	for c.size > maxCache {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(e *list.Element) {
	if e == nil {
		return
	}
	it := c.order.Remove(e).(*item)
	delete(c.entries, it.key)
	c.size -= weight(it.key, it.entry)
}

// weight is about what an entry takes of memory.
func weight(key cacheKey, e entry) int { return len(e.body) + 2*len(key.url) + 512 }
