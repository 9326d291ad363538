// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

var limits = Limits{Idle: time.Hour, Absolute: 8 * time.Hour}

func open(t *testing.T, dir string) (*Store, *clock) {
	t.Helper()
	c := &clock{at: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
	s, err := Open(dir, limits, c.now, func(err error) { t.Log(err) })
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func begin(t *testing.T, s *Store, user, token string, notAfter time.Time) string {
	t.Helper()
	if !notAfter.IsZero() {
		claims := fmt.Sprintf(`{"exp":%d}`, notAfter.Unix())
		token = "header." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".signature"
	}
	id, _, err := s.Begin(user, Credentials{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func wantNone(t *testing.T, s *Store, id string) {
	t.Helper()
	if found, err := s.Get(id, true); !errors.Is(err, ErrNone) {
		t.Errorf("there is a session: %+v, %v", found, err)
	}
}

func TestSessionSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	id := begin(t, s, "ann", "secret-token", time.Time{})
	before, err := s.Get(id, true)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := open(t, dir)
	after, err := again.Get(id, true)
	if err != nil {
		t.Fatal(err)
	}
	if after.Token != "secret-token" || after.Username != "ann" || after.CSRF != before.CSRF || after.CSRF == "" {
		t.Errorf("%+v became %+v", before, after)
	}
}

// The files give nobody a token, nor a session.
func TestFilesAloneTellNothing(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	id := begin(t, s, "ann", "secret-token", time.Time{})
	for _, name := range []string{sessionsFile, keyFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"secret-token", id, base64.StdEncoding.EncodeToString([]byte("secret-token"))} {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s has %q", name, secret)
			}
		}
	}
	// Another key: the record is of no use.
	if err := os.WriteFile(filepath.Join(dir, keyFile), make([]byte, keyBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	other, _ := open(t, dir)
	wantNone(t, other, id)
}

func TestExpiry(t *testing.T) {
	s, c := open(t, t.TempDir())
	idle := begin(t, s, "ann", "t", time.Time{})
	used := begin(t, s, "ann", "t", time.Time{})
	short := begin(t, s, "ann", "t", c.at.Add(30*time.Minute))
	watched := begin(t, s, "ann", "t", time.Time{})
	for range 7 {
		c.at = c.at.Add(59 * time.Minute)
		if _, err := s.Get(used, true); err != nil {
			t.Fatalf("a session in use has ended: %v", err)
		}
		_, _ = s.Get(watched, false)
	}
	wantNone(t, s, idle)
	wantNone(t, s, short)
	wantNone(t, s, watched)
	c.at = c.at.Add(59 * time.Minute)
	if _, err := s.Get(used, true); err != nil {
		t.Fatal(err)
	}
	c.at = c.at.Add(10 * time.Minute) // eight hours are over
	wantNone(t, s, used)
}

func TestEnd(t *testing.T) {
	s, _ := open(t, t.TempDir())
	one, two, other := begin(t, s, "ann", "t", time.Time{}), begin(t, s, "ann", "t", time.Time{}), begin(t, s, "bob", "t", time.Time{})
	open, err := s.Get(two, true)
	if err != nil {
		t.Fatal(err)
	}
	s.End(one)
	wantNone(t, s, one)
	select {
	case <-open.Ended:
		t.Error("the other session has ended too")
	default:
	}
	s.EndAll("ann")
	wantNone(t, s, two)
	<-open.Ended
	if _, err := s.Get(other, true); err != nil {
		t.Errorf("somebody else's session has ended: %v", err)
	}
}

// Where nothing can be written, everybody gets in and out all the same.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "data")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		var reports []string
		c := &clock{at: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
		s, err := Open(dir, limits, c.now, func(err error) { reports = append(reports, err.Error()) })
		if err != nil {
			t.Fatal(err)
		}
		before, out := begin(t, s, "ann", "t", time.Time{}), begin(t, s, "ann", "t", time.Time{})
		// Without the directory every write fails, also of root.
		if err := os.Rename(dir, dir+".gone"); err != nil {
			t.Fatal(err)
		}
		c.at = c.at.Add(30 * time.Minute)
		if _, err := s.Get(before, true); err != nil {
			t.Errorf("a session from before: %v", err)
		}
		s.End(out)
		wantNone(t, s, out)
		during := begin(t, s, "bob", "t", time.Time{})
		if _, err := s.Get(during, true); err != nil {
			t.Errorf("a session that began: %v", err)
		}
		time.Sleep(5 * saveAgain) //nolint:forbidigo // the time of the test's bubble
		synctest.Wait()
		if len(reports) != 1 || !strings.Contains(reports[0], dir) {
			t.Errorf("reported: %q", reports)
		}
		if err := os.Rename(dir+".gone", dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * saveAgain) //nolint:forbidigo // the time of the test's bubble
		synctest.Wait()
		again, err := Open(dir, limits, c.now, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{before, during} {
			if _, err := again.Get(id, false); err != nil {
				t.Errorf("after a restart: %v", err)
			}
		}
		wantNone(t, again, out)
	})
}

func TestForeignIDs(t *testing.T) {
	s, _ := open(t, t.TempDir())
	begin(t, s, "ann", "t", time.Time{})
	for _, id := range []string{"", "x", "%%%", base64.RawURLEncoding.EncodeToString(make([]byte, idBytes))} {
		wantNone(t, s, id)
		s.End(id)
	}
}

// Somebody who signs in again and again crowds out nobody but themselves.
func TestBounded(t *testing.T) {
	s, c := open(t, t.TempDir())
	other := begin(t, s, "bob", "t", time.Time{})
	first := begin(t, s, "ann", "t", time.Time{})
	for range each {
		c.at = c.at.Add(time.Second)
		begin(t, s, "ann", "t", time.Time{})
	}
	if n := s.Count("ann"); n != each {
		t.Errorf("there are %d sessions, want %d", n, each)
	}
	wantNone(t, s, first)
	if _, err := s.Get(other, true); err != nil {
		t.Error(err)
	}
}

func TestBrokenFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, sessionsFile), []byte("{half"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := open(t, dir)
	id := begin(t, s, "ann", "t", time.Time{})
	if _, err := s.Get(id, true); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, keyFile), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, limits, nil, nil); err == nil {
		t.Error("a short key was taken")
	}
}

func TestTokenExpiry(t *testing.T) {
	jwt := func(payload string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
	}
	for token, want := range map[string]int64{
		jwt(`{"exp":1893456000}`): 1893456000, jwt(`{"exp":"x"}`): 0, jwt(`{}`): 0, jwt(`{"exp":-1}`): 0, "opaque": 0, "a.b.c": 0,
	} {
		got := Expiry(token)
		if want == 0 && !got.IsZero() || want != 0 && got.Unix() != want {
			t.Errorf("%s expires %v, want %d", token, got, want)
		}
	}
}
