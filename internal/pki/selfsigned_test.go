// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"
)

func TestSelfSigned(t *testing.T) {
	now := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	cert, key, err := SelfSigned(now, "loopback", 20*365*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := pair.PrivateKey.(*ecdsa.PrivateKey); !ok {
		t.Errorf("the key is a %T: making it takes long", pair.PrivateKey)
	}
	if pair.Leaf.IsCA {
		t.Error("it may sign other certificates")
	}
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	for _, at := range []time.Time{now.Add(-time.Minute), now.AddDate(10, 0, 0)} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "loopback", Roots: roots, CurrentTime: at}); err != nil {
			t.Errorf("at %s: %v", at, err)
		}
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "localhost", Roots: roots, CurrentTime: now}); err == nil {
		t.Error("it is good for another name")
	}
}
