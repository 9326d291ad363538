// SPDX-License-Identifier: Apache-2.0

package source

import "sync"

// known remembers what a Repo found out about commits. An object's name stands
// for its content, so none of it can become wrong; what is not here yet is not
// remembered, as it may come.
type known struct {
	mu       sync.Mutex
	here     map[string]bool
	commits  map[string]Commit
	digests  map[treePath]string
	listings map[treePath]map[string]bool
	olders   map[[2]string]string
	changes  map[[2]string][]change
}

// treePath is a path as of a commit.
type treePath struct{ commit, path string }

func (k *known) has(sha string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.here[sha]
}

func (k *known) commit(sha string) (Commit, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c, ok := k.commits[sha]
	return c, ok
}

func (k *known) digest(at treePath) (string, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d, ok := k.digests[at]
	return d, ok
}

func (k *known) sawCommit(sha string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.here == nil {
		k.here = map[string]bool{}
	}
	k.here[sha] = true
}

func (k *known) keepCommit(c Commit) {
	k.sawCommit(c.SHA)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.commits == nil {
		k.commits = map[string]Commit{}
	}
	k.commits[c.SHA] = c
}

func (k *known) keepDigest(at treePath, digest string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.digests == nil {
		k.digests = map[treePath]string{}
	}
	k.digests[at] = digest
}

// older is which of two commits is in the history of the other, if that is known of one.
func (k *known) older(a, b string) (string, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	older, ok := k.olders[inOrder(a, b)]
	return older, ok
}

func (k *known) keepOlder(a, b, older string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.olders == nil {
		k.olders = map[[2]string]string{}
	}
	k.olders[inOrder(a, b)] = older
}

func inOrder(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

// changed are the files that differ between two commits, which are not to be written to.
func (k *known) changed(from, to string) ([]change, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	changes, ok := k.changes[[2]string{from, to}]
	return changes, ok
}

func (k *known) keepChanged(from, to string, changes []change) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.changes == nil {
		k.changes = map[[2]string][]change{}
	}
	k.changes[[2]string{from, to}] = changes
}

func (k *known) listing(dir treePath) (map[string]bool, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	names, ok := k.listings[dir]
	return names, ok
}

func (k *known) keepListing(dir treePath, names map[string]bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.listings == nil {
		k.listings = map[treePath]map[string]bool{}
	}
	k.listings[dir] = names
}
