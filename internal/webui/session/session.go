// SPDX-License-Identifier: Apache-2.0

// Package session keeps who is signed in to the web UI. A session is a random ID,
// which only the browser has, and a record in a file of the data directory. The
// record is found by a hash of the ID, and the bearer token in it is encrypted
// with a key that is made of the ID and of a key file. So the two files together
// give nobody a token: that takes the browser's cookie too.
package session

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
)

const (
	sessionsFile = "web-sessions.json"
	keyFile      = "web-key"

	idBytes  = 32
	keyBytes = 32

	// touchEvery is how often it is written down that a session is in use.
	touchEvery = time.Minute

	// saveAgain is how long after a failed try the sessions are written again.
	saveAgain = 10 * time.Second

	// each and all bound what a sign-in in a loop can fill.
	each = 32
	all  = 4096
)

// ErrNone says that there is no such session, or not any more.
var ErrNone = errors.New("the session has ended")

// Limits of a session's life.
type Limits struct {
	// Idle is how long a session lives without a request of a person.
	Idle time.Duration
	// Absolute is how long it lives at most. A token that expires sooner ends it
	// sooner.
	Absolute time.Duration
}

// Credentials are what a session acts with.
type Credentials struct {
	// Token is the bearer token that requests are made with.
	Token string `json:"token"`
	// Refresh is what the sign-in left to renew the token with, or empty. With it,
	// the session outlives the token.
	Refresh string `json:"refresh,omitempty"`
	// Subject is who an identity provider says that the token is about; empty if it
	// comes from none.
	Subject string `json:"subject,omitempty"`
}

// Session is somebody who is signed in.
type Session struct {
	// Username as the API server has it.
	Username string
	Credentials
	// TokenExpires is when the token says that it expires; zero if it does not.
	TokenExpires time.Time
	// CSRF is what forms of this session must carry.
	CSRF string
	// Expires is when it ends, however busy.
	Expires time.Time
	// Ended is closed when the session is ended by a sign-out.
	Ended <-chan struct{}
}

// record is a session in the file.
type record struct {
	Username string    `json:"username"`
	Sealed   []byte    `json:"sealed"` // secrets, encrypted
	Begun    time.Time `json:"begun"`
	Seen     time.Time `json:"seen"`
	Expires  time.Time `json:"expires"`

	ended chan struct{}
}

// Store keeps sessions. It is safe for concurrent use. What cannot be written, as
// on a full disk, is kept in memory and tried again, so that nobody is kept out and
// a session that ended has ended; a restart before that forgets it.
type Store struct {
	path   string
	key    []byte
	limits Limits
	now    func() time.Time
	report func(error)

	mu      sync.Mutex
	records map[string]*record // by hash of the ID
	failing bool               // the last try to write them failed
	again   *time.Timer        // until the next try, after a failed one
}

// Open reads the sessions in dir, and makes the key if there is none. Sessions that
// cannot be read are dropped, as people can sign in again; a key file that is no
// key is an error. report is told when sessions cannot be written.
func Open(dir string, limits Limits, now func() time.Time, report func(error)) (*Store, error) {
	if now == nil {
		now = time.Now
	}
	s := &Store{path: filepath.Join(dir, sessionsFile), limits: limits, now: now, report: report, records: map[string]*record{}}
	var err error
	if s.key, err = openKey(filepath.Join(dir, keyFile)); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sessions of the web UI: %w", err)
	}
	if json.Unmarshal(data, &s.records) != nil || s.records == nil {
		s.records = map[string]*record{}
	}
	for hash, r := range s.records {
		if r == nil {
			delete(s.records, hash)
			continue
		}
		r.ended = make(chan struct{})
	}
	return s, nil
}

func openKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, keyBytes)
		_, _ = rand.Read(key) // it never fails
		err = atomicfile.WriteFile(path, key, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("key of the web UI's sessions: %w", err)
	}
	if len(key) != keyBytes {
		return nil, fmt.Errorf("key of the web UI's sessions: %s is no key of %d bytes; remove it, and everybody signs in again", path, keyBytes)
	}
	return key, nil
}

// Begin makes a session and returns its ID, for the browser alone.
func (s *Store) Begin(username string, c Credentials) (id string, _ *Session, err error) {
	raw := make([]byte, idBytes)
	_, _ = rand.Read(raw)
	id = base64.RawURLEncoding.EncodeToString(raw)
	now := s.now()
	expires := now.Add(s.limits.Absolute)
	if notAfter := Expiry(c.Token); c.Refresh == "" && !notAfter.IsZero() && notAfter.Before(expires) {
		expires = notAfter
	}
	r := &record{Username: username, Begun: now, Seen: now, Expires: expires, ended: make(chan struct{})}
	if r.Sealed, err = s.seal(raw, c); err != nil {
		return "", nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	s.makeRoom(username)
	s.records[hashOf(raw)] = r
	s.save()
	return id, s.session(r, raw, c), nil
}

// Get returns the session of id, or ErrNone. used says that a person has asked, and
// not a page by itself: it prolongs the session.
func (s *Store) Get(id string, used bool) (*Session, error) {
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(raw) != idBytes {
		return nil, ErrNone
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[hashOf(raw)]
	if r == nil {
		return nil, ErrNone
	}
	if !s.alive(r, now) {
		s.drop(hashOf(raw))
		s.save()
		return nil, ErrNone
	}
	var kept Credentials
	if err := s.open(raw, r.Sealed, &kept); err != nil {
		s.drop(hashOf(raw))
		s.save()
		return nil, ErrNone
	}
	if used && now.Sub(r.Seen) >= min(touchEvery, s.limits.Idle/4) {
		r.Seen = now
		s.save()
	}
	return s.session(r, raw, kept), nil
}

// Renew puts other credentials into the session of id.
func (s *Store) Renew(id string, c Credentials) error {
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(raw) != idBytes {
		return ErrNone
	}
	sealed, err := s.seal(raw, c)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[hashOf(raw)]
	if r == nil {
		return ErrNone
	}
	r.Sealed = sealed
	s.save()
	return nil
}

// End ends the session of id, if there is one.
func (s *Store) End(id string) {
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records[hashOf(raw)] == nil {
		return
	}
	s.drop(hashOf(raw))
	s.save()
}

// EndAll ends all sessions of a user.
func (s *Store) EndAll(username string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for hash, r := range s.records {
		if r.Username == username {
			s.drop(hash)
		}
	}
	s.save()
}

// Count is how many sessions a user has.
func (s *Store) Count(username string) int {
	now, n := s.now(), 0
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		if r.Username == username && s.alive(r, now) {
			n++
		}
	}
	return n
}

// Mark is a value that only this store can make of text, the same after a restart.
func (s *Store) Mark(text string) string { return s.mark("mark", text) }

func (s *Store) mark(use, text string) string {
	sum, err := hkdf.Key(sha256.New, s.key, []byte(text), "fairlead web "+use, 32)
	if err != nil {
		panic(err) // 32 bytes are never too many
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

func (s *Store) session(r *record, raw []byte, kept Credentials) *Session {
	return &Session{Username: r.Username, Credentials: kept, TokenExpires: Expiry(kept.Token), CSRF: s.mark("csrf", string(raw)),
		Expires: r.Expires, Ended: r.ended}
}

func (s *Store) alive(r *record, now time.Time) bool {
	return now.Before(r.Expires) && now.Sub(r.Seen) < s.limits.Idle
}

func (s *Store) sweep(now time.Time) {
	for hash, r := range s.records {
		if !s.alive(r, now) {
			s.drop(hash)
		}
	}
}

// makeRoom drops the session that was used least lately, of username if that one
// has too many, else of anybody.
func (s *Store) makeRoom(username string) {
	count := 0
	for _, r := range s.records {
		if r.Username == username {
			count++
		}
	}
	if count < each && len(s.records) < all {
		return
	}
	oldest := ""
	for hash, r := range s.records {
		if (count < each || r.Username == username) && (oldest == "" || r.Seen.Before(s.records[oldest].Seen)) {
			oldest = hash
		}
	}
	s.drop(oldest)
}

func (s *Store) drop(hash string) {
	if r := s.records[hash]; r != nil {
		close(r.ended)
		delete(s.records, hash)
	}
}

// save writes the sessions, now or as soon as it is possible. The caller holds mu.
func (s *Store) save() {
	err := s.write()
	if err == nil {
		s.failing = false
		if s.again != nil {
			s.again.Stop()
			s.again = nil
		}
		return
	}
	if !s.failing {
		s.failing = true
		s.report(fmt.Errorf("the sessions of the web UI cannot be written and are in memory alone: %w; see that there is room in %s", err, filepath.Dir(s.path)))
	}
	if s.again == nil {
		s.again = time.AfterFunc(saveAgain, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.again != nil { // nobody else has written them meanwhile
				s.again = nil
				s.save()
			}
		})
	}
}

func (s *Store) write() error {
	data, err := json.Marshal(s.records)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(s.path, data, 0o600)
}

func hashOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (s *Store) sealer(raw []byte) (key []byte, err error) {
	return hkdf.Key(sha256.New, s.key, raw, "fairlead web token", chacha20poly1305.KeySize)
}

func (s *Store) seal(raw []byte, v Credentials) ([]byte, error) {
	key, err := s.sealer(raw)
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce)
	return aead.Seal(nonce, nonce, plain, nil), nil
}

func (s *Store) open(raw, sealed []byte, into *Credentials) error {
	key, err := s.sealer(raw)
	if err != nil {
		return err
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return err
	}
	if len(sealed) < aead.NonceSize() {
		return ErrNone
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], nil)
	if err != nil {
		return ErrNone
	}
	return json.Unmarshal(plain, into)
}
