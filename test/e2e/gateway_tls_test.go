// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/pki"
	"github.com/fairlead-dev/fairlead/test/apps"
)

// ownTLS is a site of which the gateway sees nothing but bytes: nginx ends TLS itself. %s is the version.
const ownTLS = `services:
  web:
    image: fairlead-test/nginx:1.22
    restart: unless-stopped
    labels: &labels {fairlead.dev/test: hello}
    environment: {VERSION: "%s"}
    ports: ["127.0.0.1:${HELLO_PORT}:443"]
    volumes: ["./site:/etc/nginx/conf.d:ro"]
    healthcheck: {test: ["CMD", "nginx", "-t"], interval: 30s}
networks:
  default: {labels: *labels}
`

// ownTLSConf serves a download that takes six seconds.
const ownTLSConf = `server {
    listen 443 ssl;
    ssl_certificate conf.d/tls.crt;
    ssl_certificate_key conf.d/tls.key;
    location = /version { return 200 "%s\n"; }
    location = /download { limit_rate 100k; root /etc/nginx/conf.d; }
}
`

// A request over TLS that the service ends itself is not broken off when the time of its connection is over: the gateway
// cannot see it, so nginx is told to stop, and ends when it has answered.
func TestGatewayOwnTLS(t *testing.T) {
	t.Parallel()
	const size = 600 << 10
	s := siteOf(t, shared, apps.Hello)
	t.Cleanup(func() { s.removeGateways() })
	s.apply(gatewayOn + "  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 30s, soak: 0s, drainTimeout: 1s}\n")
	cert, key, err := pki.SelfSigned(time.Now(), "localhost", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	site := func(version string) map[string]string {
		return map[string]string{
			"docker-compose.yml": fmt.Sprintf(ownTLS, version), "site/tls.conf": fmt.Sprintf(ownTLSConf, version),
			"site/tls.crt": string(cert), "site/tls.key": string(key), "site/download": strings.Repeat("x", size),
		}
	}
	s.succeeds(s.publish("TLS", site("1")))
	s.wantBehind("web")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	get := func(path string) (*http.Response, error) {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}}}
		return client.Get("https://127.0.0.1:" + strconv.Itoa(s.repo.Port) + path)
	}
	download, err := get("/download")
	if err != nil {
		t.Fatal(err)
	}
	defer download.Body.Close()
	whole := make(chan string, 1)
	go func() {
		body, err := io.ReadAll(download.Body)
		whole <- fmt.Sprintf("%d bytes, %v", len(body), err)
	}()
	r := s.Update(s.name, s.publish("TLS, two", site("2")))
	s.waitLog(r.Name, "the gateway sends what is new for web")
	resp, err := get("/version")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); string(body) != "2\n" || err != nil {
		t.Errorf("what is new got %q, %v", body, err)
	}
	if got, want := <-whole, fmt.Sprintf("%d bytes, <nil>", size); got != want {
		t.Errorf("the download had %s, want %s", got, want)
	}
	s.WantEnd(r.Name, v1alpha1.PhaseSucceeded)
	s.wantOneOfEach()
}
