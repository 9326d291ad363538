// SPDX-License-Identifier: Apache-2.0

// Package pki keeps the keys and certificates of the daemon in one directory: an authority of
// its own, what it signed for the API server, the HTTP endpoints and the administrator, and
// the key that signs tokens. They are made where they are missing and renewed in time.
package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
	"github.com/fairlead-dev/fairlead/internal/datadir"
)

const (
	caLifetime   = 20 * 365 * 24 * time.Hour
	leafLifetime = 365 * 24 * time.Hour

	// backdate tolerates a clock that is set back a little after the start.
	backdate = 5 * time.Minute

	// AdminUser is whom the administrator's certificate is for.
	AdminUser  = "fairlead-admin"
	adminGroup = "system:masters"
)

// Files are the keys and certificates in one directory.
type Files struct {
	dir string
}

// In are the files in the data directory.
func In(dir *datadir.Dir) Files { return Files{dir: dir.Join("pki")} }

func (p Files) path(name string) string { return filepath.Join(p.dir, name) }

// CACert is the path of the authority's certificate.
func (p Files) CACert() string { return p.path("ca.crt") }

func (p Files) caKey() string { return p.path("ca.key") }

// ServerCert is the path of the API server's certificate.
func (p Files) ServerCert() string { return p.path("apiserver.crt") }

// ServerKey is the path of its key.
func (p Files) ServerKey() string { return p.path("apiserver.key") }

// AdminCert is the path of the administrator's client certificate.
func (p Files) AdminCert() string { return p.path("admin.crt") }

// AdminKey is the path of its key.
func (p Files) AdminKey() string { return p.path("admin.key") }

// TokenKey is the path of the key that signs service account tokens.
func (p Files) TokenKey() string { return p.path("sa.key") }

// leaf is one certificate to keep valid.
type leaf struct {
	certPath, keyPath string
	subject           pkix.Name
	usage             x509.ExtKeyUsage
	dnsNames          []string
	ips               []net.IP
}

// Ensure makes every key and certificate exist and be good at now for at least
// a third of its lifetime. It reports whether any certificate was (re)issued.
// An existing CA is never replaced silently while it is valid: a damaged one is
// an error, because replacing it cuts off every client.
func (p Files) Ensure(now time.Time, dnsNames []string, ips []net.IP) (changed bool, err error) {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return false, fmt.Errorf("certificates: %w", err)
	}
	ca, caKey, newCA, err := p.ensureCA(now)
	if err != nil {
		return false, err
	}
	if err := p.ensureTokenKey(); err != nil {
		return false, err
	}
	changed = newCA
	for _, l := range []leaf{
		{certPath: p.ServerCert(), keyPath: p.ServerKey(), subject: pkix.Name{CommonName: "fairlead-apiserver"},
			usage: x509.ExtKeyUsageServerAuth, dnsNames: dnsNames, ips: ips},
		{certPath: p.AdminCert(), keyPath: p.AdminKey(), usage: x509.ExtKeyUsageClientAuth,
			subject: pkix.Name{CommonName: AdminUser, Organization: []string{adminGroup}}},
	} {
		if l.valid(ca, now) {
			continue
		}
		if err := l.issue(ca, caKey, now); err != nil {
			return false, err
		}
		changed = true
	}
	return changed, nil
}

// ServingCertificate makes sure that dir has a certificate for a server of this
// host besides the API: signed by the same authority, good at now for at least a
// third of its lifetime, for this host's names, ip, and names, which may be IP
// addresses. It returns the paths of the certificate and its key, and whether it
// was (re)issued.
func ServingCertificate(dir *datadir.Dir, now time.Time, ip net.IP, names []string) (certPath, keyPath string, changed bool, err error) {
	p := In(dir)
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return "", "", false, fmt.Errorf("certificates: %w", err)
	}
	ca, caKey, _, err := p.ensureCA(now)
	if err != nil {
		return "", "", false, err
	}
	l := leaf{certPath: p.path("http.crt"), keyPath: p.path("http.key"), subject: pkix.Name{CommonName: "fairlead"},
		usage: x509.ExtKeyUsageServerAuth}
	l.dnsNames, l.ips = ServingNames(ip)
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			l.ips = append(l.ips, ip)
		} else {
			l.dnsNames = append(l.dnsNames, name)
		}
	}
	if l.valid(ca, now) {
		return l.certPath, l.keyPath, false, nil
	}
	return l.certPath, l.keyPath, true, l.issue(ca, caKey, now)
}

func (p Files) ensureCA(now time.Time) (*x509.Certificate, crypto.Signer, bool, error) {
	cert, key, err := readPair(p.CACert(), p.caKey())
	switch {
	case err == nil && !needsRenewal(cert, now):
		return cert, key, false, nil
	case err != nil && !(errors.Is(err, os.ErrNotExist) && missing(p.CACert()) && missing(p.caKey())):
		return nil, nil, false, fmt.Errorf("certificate authority in %s is damaged: %w; restore ca.crt and ca.key from a copy, "+
			"or delete the directory to make new ones (every kubeconfig and token made so far stops working)", p.dir, err)
	}
	key, err = newKey()
	if err != nil {
		return nil, nil, false, fmt.Errorf("certificate authority: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, false, fmt.Errorf("certificate authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "fairlead-ca"},
		NotBefore:    now.Add(-backdate), NotAfter: now.Add(caLifetime),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:     true, BasicConstraintsValid: true,
	}
	cert, err = writePair(template, nil, key, key, p.CACert(), p.caKey())
	if err != nil {
		return nil, nil, false, fmt.Errorf("certificate authority: %w", err)
	}
	return cert, key, true, nil
}

// ensureTokenKey makes the key that signs service account tokens. A present but
// unreadable key is left to the API server to complain about.
func (p Files) ensureTokenKey() error {
	if !missing(p.TokenKey()) {
		return nil
	}
	key, err := newKey()
	if err != nil {
		return fmt.Errorf("service account key: %w", err)
	}
	data, err := encodeKey(key)
	if err != nil {
		return fmt.Errorf("service account key: %w", err)
	}
	return atomicfile.WriteFile(p.TokenKey(), data, 0o600)
}

// valid says whether the pair on disk can stay as it is.
func (l leaf) valid(ca *x509.Certificate, now time.Time) bool {
	cert, _, err := readPair(l.certPath, l.keyPath)
	if err != nil || needsRenewal(cert, now) || cert.CheckSignatureFrom(ca) != nil {
		return false
	}
	if cert.Subject.CommonName != l.subject.CommonName || !slices.Equal(cert.Subject.Organization, l.subject.Organization) ||
		!slices.Contains(cert.ExtKeyUsage, l.usage) {
		return false
	}
	for _, name := range l.dnsNames {
		if !slices.Contains(cert.DNSNames, name) {
			return false
		}
	}
	for _, ip := range l.ips {
		if !slices.ContainsFunc(cert.IPAddresses, ip.Equal) {
			return false
		}
	}
	return true
}

func (l leaf) issue(ca *x509.Certificate, caKey crypto.Signer, now time.Time) error {
	name := filepath.Base(l.certPath)
	key, err := newKey()
	if err != nil {
		return fmt.Errorf("certificate %s: %w", name, err)
	}
	serial, err := newSerial()
	if err != nil {
		return fmt.Errorf("certificate %s: %w", name, err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      l.subject,
		NotBefore:    now.Add(-backdate), NotAfter: now.Add(leafLifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{l.usage},
		DNSNames:    l.dnsNames, IPAddresses: l.ips,
	}
	if _, err := writePair(template, ca, key, caKey, l.certPath, l.keyPath); err != nil {
		return fmt.Errorf("certificate %s: %w", name, err)
	}
	return nil
}

// SelfSigned makes a certificate for a server called name that signs itself and nothing else, and
// its key, both in PEM.
func SelfSigned(now time.Time, name string, lifetime time.Duration) (certPEM, keyPEM []byte, err error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    now.Add(-backdate), NotAfter: now.Add(lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err = encodeKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM, err
}

// needsRenewal says whether less than a third of the lifetime is left, or the
// certificate is not valid yet (the clock was set back).
func needsRenewal(cert *x509.Certificate, now time.Time) bool {
	lifetime := cert.NotAfter.Sub(cert.NotBefore)
	return now.Before(cert.NotBefore) || cert.NotAfter.Sub(now) < lifetime/3
}

// readPair reads a certificate and its key and checks that they belong together.
func readPair(certPath, keyPath string) (*x509.Certificate, crypto.Signer, error) {
	certPEM, err := os.ReadFile(certPath)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := os.ReadFile(keyPath)
	if err != nil {
		return nil, nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", certPath, err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("%s: the key cannot sign", keyPath)
	}
	return pair.Leaf, key, nil
}

// writePair signs template (by itself when parent is nil) and writes key and
// certificate. After a crash between the two files they do not match and are
// issued again.
func writePair(template, parent *x509.Certificate, key, signer crypto.Signer, certPath, keyPath string) (*x509.Certificate, error) {
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	if err := atomicfile.WriteFile(keyPath, keyPEM, 0o600); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		return nil, err
	}
	return cert, atomicfile.WriteFile(certPath, out.Bytes(), 0o600)
}

func newKey() (crypto.Signer, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("unexpected key type %T", key)
	}
	der, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, os.ErrNotExist)
}

// ServingNames are the names and addresses that the serving certificate must
// cover when the server listens on ip.
func ServingNames(ip net.IP) ([]string, []net.IP) {
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	if host, err := os.Hostname(); err == nil && host != "" && !slices.Contains(names, host) {
		names = append(names, host)
	}
	ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if !ip.IsUnspecified() {
		if !slices.ContainsFunc(ips, ip.Equal) {
			ips = append(ips, ip)
		}
		return names, ips
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return names, ips
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			ips = append(ips, n.IP)
		}
	}
	return names, ips
}
