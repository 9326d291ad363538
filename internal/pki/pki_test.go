// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/datadir"
)

var (
	testNow   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	testNames = []string{"localhost", "host-a"}
	testIPs   = []net.IP{net.IPv4(127, 0, 0, 1)}
)

func newPKI(t *testing.T) Files {
	t.Helper()
	p := Files{dir: filepath.Join(t.TempDir(), "pki")}
	changed, err := p.Ensure(testNow, testNames, testIPs)
	if err != nil {
		t.Fatal(err)
	}
	if !changed {
		t.Fatal("the first certificates are no change")
	}
	return p
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestPKIIsUsable(t *testing.T) {
	p := newPKI(t)
	ca, _, err := readPair(p.CACert(), p.caKey())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	server, _, err := readPair(p.ServerCert(), p.ServerKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"localhost", "host-a", "127.0.0.1"} {
		if _, err := server.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, CurrentTime: testNow,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
			t.Errorf("as %s: %v", host, err)
		}
	}
	admin, _, err := readPair(p.AdminCert(), p.AdminKey())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: testNow,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 7 {
		t.Errorf("%d files, want 7", len(entries))
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %s", e.Name(), info.Mode())
		}
	}
}

func TestPKIRenewal(t *testing.T) {
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		now          time.Time
		names        []string
		ips          []net.IP
		wantCA, want bool // whether the CA and the server's certificate are new
	}{
		"the same day":             {now: testNow, names: testNames, ips: testIPs},
		"more than a third left":   {now: testNow.Add(240 * day), names: testNames, ips: testIPs},
		"less than a third left":   {now: testNow.Add(250 * day), names: testNames, ips: testIPs, want: true},
		"expired":                  {now: testNow.Add(800 * day), names: testNames, ips: testIPs, want: true},
		"clock set back":           {now: testNow.Add(-time.Hour), names: testNames, ips: testIPs, wantCA: true, want: true},
		"authority near its end":   {now: testNow.Add(15 * 365 * day), names: testNames, ips: testIPs, wantCA: true, want: true},
		"new host name":            {now: testNow, names: []string{"localhost", "host-b"}, ips: testIPs, want: true},
		"fewer names than covered": {now: testNow, names: []string{"localhost"}, ips: testIPs},
		"new address":              {now: testNow, names: testNames, ips: []net.IP{net.IPv4(10, 0, 0, 7)}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPKI(t)
			ca, server, token := content(t, p.CACert()), content(t, p.ServerCert()), content(t, p.TokenKey())
			changed, err := p.Ensure(c.now, c.names, c.ips)
			if err != nil {
				t.Fatal(err)
			}
			if changed != c.want {
				t.Errorf("changed is %t, want %t", changed, c.want)
			}
			if got := !bytes.Equal(server, content(t, p.ServerCert())); got != c.want {
				t.Errorf("new certificate: %t, want %t", got, c.want)
			}
			if got := !bytes.Equal(ca, content(t, p.CACert())); got != c.wantCA {
				t.Errorf("new authority: %t, want %t", got, c.wantCA)
			}
			if !bytes.Equal(token, content(t, p.TokenKey())) {
				t.Error("the token key was replaced: every token made so far is void")
			}
			if again, err := p.Ensure(c.now, c.names, c.ips); err != nil || again {
				t.Errorf("a second time: changed %t, error %v", again, err)
			}
		})
	}
}

func TestPKIDamage(t *testing.T) {
	for name, c := range map[string]struct {
		damage  func(t *testing.T, p Files) error
		wantErr string // empty: repaired
	}{
		"server key lost":        {damage: func(_ *testing.T, p Files) error { return os.Remove(p.ServerKey()) }},
		"server certificate cut": {damage: func(_ *testing.T, p Files) error { return os.Truncate(p.ServerCert(), 20) }},
		"admin key of another": {damage: func(t *testing.T, p Files) error {
			return os.WriteFile(p.AdminKey(), content(t, p.ServerKey()), 0o600)
		}},
		"authority key lost": {damage: func(_ *testing.T, p Files) error { return os.Remove(p.caKey()) }, wantErr: "damaged"},
		"authority lost":     {damage: func(_ *testing.T, p Files) error { return os.Remove(p.CACert()) }, wantErr: "damaged"},
		"authority cut":      {damage: func(_ *testing.T, p Files) error { return os.Truncate(p.CACert(), 20) }, wantErr: "damaged"},
		"authority key of another": {damage: func(t *testing.T, p Files) error {
			return os.WriteFile(p.caKey(), content(t, p.ServerKey()), 0o600)
		}, wantErr: "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPKI(t)
			ca := content(t, p.path("sa.key"))
			if err := c.damage(t, p); err != nil {
				t.Fatal(err)
			}
			changed, err := p.Ensure(testNow, testNames, testIPs)
			switch {
			case c.wantErr != "" && (err == nil || !strings.Contains(err.Error(), c.wantErr)):
				t.Errorf("got error %v, want one with %q", err, c.wantErr)
			case c.wantErr == "" && (err != nil || !changed):
				t.Errorf("not repaired: changed %t, error %v", changed, err)
			}
			if !bytes.Equal(ca, content(t, p.path("sa.key"))) {
				t.Error("the token key was replaced")
			}
		})
	}
}

func TestServingCertificateIsRenewed(t *testing.T) {
	dir, err := datadir.Open(filepath.Join(t.TempDir(), "data"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	now, ip := time.Now(), net.IPv4(127, 0, 0, 1)
	for i, step := range []struct {
		now     time.Time
		names   []string
		changed bool
	}{
		{now, nil, true}, {now, nil, false}, {now.AddDate(0, 7, 0), nil, false},
		{now.AddDate(0, 9, 0), nil, true}, {now.AddDate(0, 9, 0), []string{"updates.example.com"}, true},
	} {
		cert, key, changed, err := ServingCertificate(dir, step.now, ip, step.names)
		if err != nil || changed != step.changed {
			t.Fatalf("step %d: changed %t, %v; want %t", i, changed, err, step.changed)
		}
		if _, _, err := readPair(cert, key); err != nil {
			t.Errorf("step %d: %v", i, err)
		}
	}
	// The API server takes over the authority that was made here.
	ca, err := os.ReadFile(dir.Join("pki", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	p := In(dir)
	if _, err := p.Ensure(now, []string{"localhost"}, []net.IP{ip}); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(p.CACert()); err != nil || string(after) != string(ca) {
		t.Errorf("there is another authority, %v", err)
	}
}
