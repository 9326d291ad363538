// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

var (
	here  = netip.MustParsePrefix("192.0.2.1/32")
	there = netip.MustParsePrefix("192.0.2.2/32")
)

// clock is a time that the test moves.
type clock struct{ now time.Time }

func newGuard(o Options) (*Guard, *clock) {
	c := &clock{now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
	o.Now = func() time.Time { return c.now }
	return New(o), c
}

func TestRate(t *testing.T) {
	g, c := newGuard(Options{Rate: 2, Burst: 3})
	for i := range 3 {
		if wait := g.Allow(here); wait != 0 {
			t.Fatalf("request %d of the burst waits %s", i, wait)
		}
	}
	for range 100 {
		if wait := g.Allow(here); wait != 500*time.Millisecond {
			t.Fatalf("beyond the burst: wait %s, want 500ms however often it was refused", wait)
		}
	}
	if wait := g.Allow(there); wait != 0 {
		t.Errorf("another address waits %s", wait)
	}
	c.now = c.now.Add(500 * time.Millisecond)
	if wait := g.Allow(here); wait != 0 {
		t.Errorf("after the wait: %s", wait)
	}
}

func TestGuessing(t *testing.T) {
	g, c := newGuard(Options{Guesses: 3, FirstWait: time.Second, LastWait: 10 * time.Second})
	for i, want := range []time.Duration{0, 0, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second} {
		secret := fmt.Sprint("guess-", i)
		if wait := g.Blocked(here, secret); wait != 0 {
			t.Fatalf("guess %d is not looked at for %s", i, wait)
		}
		if wait := g.Failed(here, secret); wait != want {
			t.Fatalf("guess %d: wait %s, want %s", i, wait, want)
		}
		if wait := g.Blocked(here, "another"); wait != want {
			t.Fatalf("after guess %d: blocked for %s, want %s", i, wait, want)
		}
		if wait := g.Blocked(there, "another"); wait != 0 {
			t.Fatalf("after guess %d another address is blocked for %s", i, wait)
		}
		c.now = c.now.Add(want)
	}
	// Many more guesses end in the longest wait, not in an overflow.
	for i := range 100 {
		if wait := g.Failed(here, fmt.Sprint("more-", i)); wait != 10*time.Second {
			t.Fatalf("guess %d more: wait %s", i, wait)
		}
	}
	c.now = c.now.Add(16 * time.Minute)
	if wait := g.Failed(here, "late"); wait != 0 {
		t.Errorf("after a quarter of an hour: wait %s, want a clean slate", wait)
	}
}

func TestStaleSecretIsOneGuess(t *testing.T) {
	g, _ := newGuard(Options{Guesses: 3})
	for range 50 {
		if wait := g.Failed(here, "expired"); wait != 0 {
			t.Fatalf("the same secret again: wait %s", wait)
		}
	}
}

func TestGoodSecretIsNotLockedOut(t *testing.T) {
	g, _ := newGuard(Options{Guesses: 1})
	g.Succeeded(here, "right")
	g.Failed(here, "guess")
	if g.Blocked(here, "guess-2") == 0 {
		t.Fatal("the address is not blocked")
	}
	if wait := g.Blocked(here, "right"); wait != 0 {
		t.Errorf("a client that was let in before waits %s for the guesses of others", wait)
	}
	if wait := g.Blocked(there, "right"); wait != 0 {
		t.Errorf("from another address it waits %s", wait)
	}
	g.Failed(there, "right") // revoked
	if g.Blocked(here, "right") == 0 {
		t.Error("a secret that is wrong now is still let through")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	g, _ := newGuard(Options{Addresses: 10, Secrets: 10})
	for i := range 1000 {
		addr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
		g.Allow(addr)
		g.Succeeded(addr, fmt.Sprint(i))
		for j := range 100 {
			g.Failed(addr, fmt.Sprint("wrong", j))
		}
		if n := len(g.address(addr).wrong); n > remembered {
			t.Fatalf("%d wrong secrets are kept", n)
		}
	}
	if g.addresses.Len() > 10 || g.good.Len() > 10 {
		t.Errorf("%d addresses and %d secrets are kept, want 10", g.addresses.Len(), g.good.Len())
	}
}

func TestAddress(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:5000":            "192.0.2.7/32",
		"[::ffff:192.0.2.7]:5000":   "192.0.2.7/32",
		"[2001:db8:1:2:3::9]:80":    "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80":         "fe80::/64",
		"@":                         "invalid Prefix",
		"192.0.2.7":                 "192.0.2.7/32",
		"[2001:db8:1:2:ffff::1]:80": "2001:db8:1:2::/64",
	} {
		if got := Address(&http.Request{RemoteAddr: remote}).String(); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}

func TestEqual(t *testing.T) {
	for _, c := range []struct {
		sent, right string
		want        bool
	}{{"secret", "secret", true}, {"secret", "Secret", false}, {"secret", "secret2", false}, {"", "secret", false}, {"", "", false}} {
		if got := Equal(c.sent, c.right); got != c.want {
			t.Errorf("Equal(%q, %q) is %t", c.sent, c.right, got)
		}
	}
}
