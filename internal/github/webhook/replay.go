// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/sha256"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"
)

// remembered is how many deliveries of all applications are known again.
const remembered = 8192

// seen remembers deliveries with a good signature: by their signature, which is
// of their whole content, and by GitHub's ID of them, which is not signed. As
// nothing else gets in here, nobody who cannot sign can push them out.
type seen struct {
	mu  sync.Mutex
	lru *lru.Cache
}

type seenKey struct {
	app types.NamespacedName
	sum [sha256.Size]byte
}

func newSeen() *seen { return &seen{lru: lru.New(2 * remembered)} }

// first remembers a delivery and reports whether it was unknown.
func (s *seen) first(app types.NamespacedName, id, signature string) bool {
	byID := seenKey{app, sha256.Sum256([]byte("id " + id))}
	bySignature := seenKey{app, sha256.Sum256([]byte("signature " + signature))}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, idKnown := s.lru.Get(byID)
	_, signatureKnown := s.lru.Get(bySignature)
	s.lru.Add(byID, nil)
	s.lru.Add(bySignature, nil)
	return !idKnown && !signatureKnown
}
