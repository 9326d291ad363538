// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/doctor"
	"github.com/fairlead-dev/fairlead/internal/testenv"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// doctorOfHost runs fairlead doctor on a host whose daemon is not there.
func doctorOfHost(t *testing.T, kubeconfig string, args ...string) []doctor.Finding {
	t.Helper()
	binary, err := testenv.Binary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"doctor", "-o", "json", "--data-dir", t.TempDir(), "--listen", "127.0.0.1:1"}, args...)
	out, errOut, code := harness.Run(t.Context(), []string{"KUBECONFIG=" + kubeconfig}, "", binary, args...)
	if code != cli.ExitFailed {
		t.Fatalf("doctor: exit %d, want %d\n%s\n%s", code, cli.ExitFailed, out, errOut)
	}
	return decode[doctor.Report](t, out).Findings
}

// fewInodes mounts a file system of its own, and leaves n inodes in it.
func fewInodes(t *testing.T, dir string, n int) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	for i := range int(st.Ffree) - n {
		if err := os.WriteFile(filepath.Join(dir, "small-"+strconv.Itoa(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func mountTmpfs(t *testing.T, inodes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=16m,mode=0755,nr_inodes=%d", inodes)); err != nil {
		t.Fatalf("mount a file system with few inodes: %v: run this test as root", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// engineTelling stands before the real engine and changes what it tells of itself:
// the clock of a machine that others use cannot be turned, nor its disk filled.
func engineTelling(t *testing.T, change func(info map[string]any)) string {
	t.Helper()
	engine, err := docker.New("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "engine"}) },
		Transport: &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return engine.Dialer()(ctx)
		}},
		ModifyResponse: func(resp *http.Response) error {
			if resp.StatusCode != http.StatusOK || !strings.HasSuffix(resp.Request.URL.Path, "/info") {
				return nil
			}
			var info map[string]any
			if err := json.NewDecoder(resp.Body).Decode(&info); err != nil {
				return err
			}
			change(info)
			data, err := json.Marshal(info)
			resp.Body = io.NopCloser(bytes.NewReader(data))
			resp.ContentLength = int64(len(data))
			resp.Header.Set("Content-Length", strconv.Itoa(len(data)))
			return err
		},
	}
	socket := filepath.Join(t.TempDir(), "engine.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return "unix://" + socket
}

func TestDoctorFindsAFileSystemWithoutInodes(t *testing.T) {
	t.Parallel()
	repo := apps.ForTest(t, apps.Hello, apps.Options{})
	mount := mountTmpfs(t, 1000)
	dir := filepath.Join(mount, "app")
	if out, errOut, code := harness.Run(t.Context(), nil, "", "git", "clone", "--quiet", repo.Origin, dir); code != 0 {
		t.Fatal(out, errOut)
	}
	found := doctorOfHost(t, "", "--directory", dir)
	wantFinding(t, found, "inodes", doctor.OK, dir, "")
	fewInodes(t, mount, 40)
	found = doctorOfHost(t, "", "--directory", dir)
	wantFinding(t, found, "inodes", doctor.Problem, "the deployment directory "+dir+" has ", "du --inodes")
	wantFinding(t, found, "inodes", doctor.OK, "the engine's directory", "")

	host := engineTelling(t, func(info map[string]any) { info["DockerRootDir"] = mount })
	found = doctorOfHost(t, "", "--docker-host", host)
	wantFinding(t, found, "inodes", doctor.Problem, "the engine's directory "+mount+" has ", "docker image prune")
}

func TestDoctorFindsAClockThatIsWrong(t *testing.T) {
	t.Parallel()
	right := engineTelling(t, func(map[string]any) {})
	wantFinding(t, doctorOfHost(t, "", "--docker-host", right), "clock", doctor.OK, "agrees", "")
	for _, by := range []time.Duration{-time.Hour, time.Hour} {
		host := engineTelling(t, func(info map[string]any) { info["SystemTime"] = time.Now().Add(by).Format(time.RFC3339Nano) })
		wantFinding(t, doctorOfHost(t, "", "--docker-host", host), "clock", doctor.Problem, "1 h apart", "set-ntp")
	}
}

// certificateUntil is a certificate for the loopback address that signs itself.
func certificateUntil(t *testing.T, end time.Time) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: end.Add(-48 * time.Hour), NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

func TestDoctorFindsCertificatesThatHaveEnded(t *testing.T) {
	t.Parallel()
	ended, endedKey := certificateUntil(t, time.Now().Add(-time.Hour))
	soon, soonKey := certificateUntil(t, time.Now().Add(24*time.Hour))
	pair, err := tls.X509KeyPair(ended, endedKey)
	if err != nil {
		t.Fatal(err)
	}
	// In the place of an API server whose certificate was not made anew.
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.Config.ErrorLog = nil
	server.StartTLS()
	t.Cleanup(server.Close)
	config := clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: server.URL, CertificateAuthorityData: ended}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {ClientCertificateData: soon, ClientKeyData: soonKey}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	found := doctorOfHost(t, kubeconfig)
	wantFinding(t, found, "api", doctor.Problem, "certificate has expired", "")
	wantFinding(t, found, "certificates", doctor.Problem, "the certificate of the API server ended", "restart the daemon")
	wantFinding(t, found, "certificates", doctor.Problem, "the authority in the kubeconfig ended", "restart the daemon")
	wantFinding(t, found, "certificates", doctor.Warning, "the client certificate of the kubeconfig ends", "restart the daemon")

	// The endpoints of a daemon, with a certificate of the operator's own.
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, data := range map[string][]byte{certFile: soon, keyFile: soonKey} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := harness.Start(t, harness.Options{Args: []string{"--tls-cert-file", certFile, "--tls-private-key-file", keyFile}})
	out, errOut, code := harness.Run(t.Context(), []string{"KUBECONFIG="}, "", d.Binary, "doctor", "-o", "json", "--data-dir", d.DataDir, "--listen", d.Listen())
	if code != cli.ExitOK && code != cli.ExitFailed { // what else there is on the host
		t.Fatalf("doctor: exit %d\n%s\n%s", code, out, errOut)
	}
	found = decode[doctor.Report](t, out).Findings
	wantFinding(t, found, "http", doctor.OK, "is ready", "")
	wantFinding(t, found, "certificates", doctor.Warning, "the certificate of the HTTP endpoints ends", "--tls-cert-file")
}
