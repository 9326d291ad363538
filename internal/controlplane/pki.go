// SPDX-License-Identifier: Apache-2.0

package controlplane

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

	adminUser  = "fairlead-admin"
	adminGroup = "system:masters"
)

// pki is the set of keys and certificates in one directory.
type pki struct {
	dir string
}

func (p pki) path(name string) string { return filepath.Join(p.dir, name) }

func (p pki) caCert() string     { return p.path("ca.crt") }
func (p pki) caKey() string      { return p.path("ca.key") }
func (p pki) serverCert() string { return p.path("apiserver.crt") }
func (p pki) serverKey() string  { return p.path("apiserver.key") }
func (p pki) adminCert() string  { return p.path("admin.crt") }
func (p pki) adminKey() string   { return p.path("admin.key") }
func (p pki) tokenKey() string   { return p.path("sa.key") }

// leaf is one certificate to keep valid.
type leaf struct {
	certPath, keyPath string
	subject           pkix.Name
	usage             x509.ExtKeyUsage
	dnsNames          []string
	ips               []net.IP
}

// ensure makes every key and certificate exist and be good at now for at least
// a third of its lifetime. It reports whether any certificate was (re)issued.
// An existing CA is never replaced silently while it is valid: a damaged one is
// an error, because replacing it cuts off every client.
func (p pki) ensure(now time.Time, dnsNames []string, ips []net.IP) (changed bool, err error) {
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
		{certPath: p.serverCert(), keyPath: p.serverKey(), subject: pkix.Name{CommonName: "fairlead-apiserver"},
			usage: x509.ExtKeyUsageServerAuth, dnsNames: dnsNames, ips: ips},
		{certPath: p.adminCert(), keyPath: p.adminKey(), usage: x509.ExtKeyUsageClientAuth,
			subject: pkix.Name{CommonName: adminUser, Organization: []string{adminGroup}}},
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
	p := pki{dir: dir.Join("pki")}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return "", "", false, fmt.Errorf("certificates: %w", err)
	}
	ca, caKey, _, err := p.ensureCA(now)
	if err != nil {
		return "", "", false, err
	}
	l := leaf{certPath: p.path("http.crt"), keyPath: p.path("http.key"), subject: pkix.Name{CommonName: "fairlead"},
		usage: x509.ExtKeyUsageServerAuth}
	l.dnsNames, l.ips = servingNames(ip)
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

func (p pki) ensureCA(now time.Time) (*x509.Certificate, crypto.Signer, bool, error) {
	cert, key, err := readPair(p.caCert(), p.caKey())
	switch {
	case err == nil && !needsRenewal(cert, now):
		return cert, key, false, nil
	case err != nil && !(errors.Is(err, os.ErrNotExist) && missing(p.caCert()) && missing(p.caKey())):
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
	cert, err = writePair(template, nil, key, key, p.caCert(), p.caKey())
	if err != nil {
		return nil, nil, false, fmt.Errorf("certificate authority: %w", err)
	}
	return cert, key, true, nil
}

// ensureTokenKey makes the key that signs service account tokens. A present but
// unreadable key is left to the API server to complain about.
func (p pki) ensureTokenKey() error {
	if !missing(p.tokenKey()) {
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
	return atomicfile.WriteFile(p.tokenKey(), data, 0o600)
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
