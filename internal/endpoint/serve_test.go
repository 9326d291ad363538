// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
	"github.com/fairlead-dev/fairlead/internal/datadir"
	"github.com/fairlead-dev/fairlead/internal/pki"
)

func openDir(t *testing.T) *datadir.Dir {
	t.Helper()
	dir, err := datadir.Open(filepath.Join(t.TempDir(), "data"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

func serveTest(t *testing.T, dir *datadir.Dir, opts Options) (*Server, error) {
	t.Helper()
	opts.Dir, opts.Logger = dir, logr.Discard()
	s, err := Serve(t.Context(), opts, http.HandlerFunc(hello))
	if err == nil {
		t.Cleanup(func() {
			if err := s.Stop(t.Context()); err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
		})
	}
	return s, err
}

func TestListenRefusals(t *testing.T) {
	dir := openDir(t)
	for name, c := range map[string]struct {
		opts Options
		says string // empty: it is served
	}{
		"loopback":                     {opts: Options{Address: "127.0.0.1:0"}},
		"loopback, IPv6":               {opts: Options{Address: "[::1]:0"}},
		"beyond this host":             {opts: Options{Address: "0.0.0.0:0"}, says: "--tls"},
		"beyond this host, by no name": {opts: Options{Address: ":0"}, says: "--insecure-http"},
		"with the operator's word":     {opts: Options{Address: "0.0.0.0:0", InsecureHTTP: true}},
		"with TLS":                     {opts: Options{Address: "0.0.0.0:0", TLS: TLS{Generate: true}}},
		"half a certificate":           {opts: Options{Address: "127.0.0.1:0", TLS: TLS{CertFile: "x"}}, says: "belong together"},
		"two certificates":             {opts: Options{Address: "127.0.0.1:0", TLS: TLS{Generate: true, CertFile: "x", KeyFile: "y"}}, says: "either"},
		"names for nothing":            {opts: Options{Address: "127.0.0.1:0", TLS: TLS{Names: []string{"x"}}}, says: "--tls-san"},
		"no such certificate":          {opts: Options{Address: "127.0.0.1:0", TLS: TLS{CertFile: "/none", KeyFile: "/none"}}, says: "/none"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := serveTest(t, dir, c.opts)
			if c.says == "" && err != nil {
				t.Error(err)
			}
			if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%v, want a refusal that says %q", err, c.says)
			}
		})
	}
}

// getTLS asks over TLS, with the authority in dir alone, and returns the serial of
// the certificate.
func getTLS(t *testing.T, dir *datadir.Dir, addr, name string) string {
	t.Helper()
	ca, err := os.ReadFile(dir.Join("pki", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: name}, DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Get("https://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "hello" {
		t.Fatalf("%q, %v", body, err)
	}
	return response.TLS.PeerCertificates[0].SerialNumber.String()
}

func TestGeneratedCertificate(t *testing.T) {
	dir := openDir(t)
	s, err := serveTest(t, dir, Options{Address: "127.0.0.1:0", TLS: TLS{Generate: true, Names: []string{"updates.example.com", "192.0.2.7"}}})
	if err != nil {
		t.Fatal(err)
	}
	first := getTLS(t, dir, s.Addr(), "")
	for _, name := range []string{"updates.example.com", "192.0.2.7", "localhost"} {
		if got := getTLS(t, dir, s.Addr(), name); got != first {
			t.Errorf("%s: another certificate", name)
		}
	}
	if response, err := http.Get("http://" + s.Addr()); err == nil {
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			t.Error("it is served without TLS too")
		}
	}
	for _, file := range []string{"http.key", "http.crt"} {
		if info, err := os.Stat(dir.Join("pki", file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	// Another one is served without a restart.
	if _, _, changed, err := pki.ServingCertificate(dir, time.Now(), net.IPv4(127, 0, 0, 1), []string{"more.example.com"}); err != nil || !changed {
		t.Fatalf("changed %t, %v", changed, err)
	}
	awaitAnother(t, dir, s, first)
}

// awaitAnother waits until a certificate other than that of the serial is served.
func awaitAnother(t *testing.T, dir *datadir.Dir, s *Server, serial string) {
	t.Helper()
	deadline, ticker := time.After(30*time.Second), time.NewTicker(20*time.Millisecond)
	defer ticker.Stop()
	for getTLS(t, dir, s.Addr(), "localhost") == serial {
		select {
		case <-deadline:
			t.Fatal("the old certificate is still served")
		case <-ticker.C:
		}
	}
}

// A certificate of somebody else's authority, as an operator has it. It is renewed by
// whoever looks after it; a pair that does not fit leaves the last good one in place.
func TestGivenCertificate(t *testing.T) {
	own, authority := openDir(t), openDir(t)
	issue := func(name string) (cert, key []byte) {
		t.Helper()
		certFile, keyFile, _, err := pki.ServingCertificate(authority, time.Now(), net.IPv4(127, 0, 0, 1), []string{name})
		if err != nil {
			t.Fatal(err)
		}
		for path, data := range map[string]*[]byte{certFile: &cert, keyFile: &key} {
			if *data, err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
		return cert, key
	}
	dir := t.TempDir()
	given := TLS{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
	put := func(path string, data []byte) {
		t.Helper()
		if err := atomicfile.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, key := issue("one.example.com")
	otherCert, otherKey := issue("two.example.com")

	for name, pair := range map[string][2][]byte{"another key": {cert, otherKey}, "no key": {cert, cert}, "no certificate": {[]byte("x"), key}} {
		put(given.CertFile, pair[0])
		put(given.KeyFile, pair[1])
		_, err := serveTest(t, own, Options{Address: "127.0.0.1:0", TLS: given})
		if err == nil || !strings.Contains(err.Error(), given.CertFile) || !strings.Contains(err.Error(), given.KeyFile) {
			t.Errorf("%s: %v, want a refusal that names the files", name, err)
		}
	}

	put(given.CertFile, cert)
	put(given.KeyFile, key)
	s, err := serveTest(t, own, Options{Address: "127.0.0.1:0", TLS: given})
	if err != nil {
		t.Fatal(err)
	}
	first := getTLS(t, authority, s.Addr(), "one.example.com")
	if _, err := os.Stat(own.Join("pki", "http.crt")); err == nil {
		t.Error("a certificate was generated besides")
	}
	// Half of the renewal, and then the other half.
	put(given.CertFile, otherCert)
	if got := getTLS(t, authority, s.Addr(), "one.example.com"); got != first {
		t.Error("a certificate is served without its key")
	}
	put(given.KeyFile, otherKey)
	awaitAnother(t, authority, s, first)
	getTLS(t, authority, s.Addr(), "two.example.com")
}
