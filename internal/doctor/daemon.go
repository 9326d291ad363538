// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/datadir"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

// certificateWarning is how long before its end a certificate is told of.
const certificateWarning = 30 * 24 * time.Hour

const startDaemon = "start the daemon (systemctl start fairlead, or docker start the updater's container) and read its log: " +
	"journalctl -u fairlead, or docker logs. Until then, `fairlead rollback-offline` restores a backup without it"

// daemon looks whether the updater can be reached, by all of its ways in.
func (d *Doctor) daemon(ctx context.Context) []Finding {
	out := []Finding{d.holder(), d.api(ctx)}
	http, served := d.http(ctx)
	return append(append(out, http), d.certificates(ctx, served)...)
}

func (d *Doctor) api(ctx context.Context) Finding {
	if d.API == nil {
		return problem("api", startDaemon+"; or name a kubeconfig with --kubeconfig, or the directory alone with --directory",
			"the API of the daemon cannot be asked: %v", d.APIError)
	}
	ask, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var apps v1alpha1.ApplicationList
	if err := d.API.List(ask, &apps); err != nil {
		return problem("api", startDaemon, "the API at %s does not answer as it should: %v", d.Config.Host, err)
	}
	return ok("api", "the API at %s answers, and has %d applications", d.Config.Host, len(apps.Items))
}

// holder tells who holds the data directory.
func (d *Doctor) holder() Finding {
	holder, held, err := datadir.HeldBy(d.DataDir)
	switch {
	case err != nil:
		return warning("daemon", "run this as the user of the daemon, often with sudo", "who holds the data directory cannot be told: %v", err)
	case !held && d.API == nil:
		return problem("daemon", startDaemon, "no daemon holds the data directory %s", d.DataDir)
	case !held:
		return ok("daemon", "no daemon of this host holds %s; the API is elsewhere", d.DataDir)
	case holder == nil:
		return ok("daemon", "a daemon that is just starting holds %s", d.DataDir)
	}
	return ok("daemon", "process %d (%s) holds %s since %s", holder.PID, holder.Command, d.DataDir, holder.Since.Format(time.RFC3339))
}

// http asks the endpoints of the daemon, which the updater's clients use. It
// returns their certificates too, where they are served with TLS.
func (d *Doctor) http(ctx context.Context) (Finding, []*x509.Certificate) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	status, body, certificates, err := d.ready(ctx, "http")
	if err == nil && status == http.StatusBadRequest && strings.Contains(body, "HTTPS server") {
		status, body, certificates, err = d.ready(ctx, "https")
	}
	switch {
	case err != nil:
		do := startDaemon
		if d.API != nil {
			do = "see which address the daemon was told to listen on (--listen), and name it here with --listen; see that no firewall is in between"
		}
		return problem("http", do, "the updater cannot be reached at %s: %v", d.Listen, shortError(err)), nil
	case status != http.StatusOK:
		return problem("http", "mend what it says, or wait where it is just starting", "the daemon at %s is not ready: %s", d.Listen, body), certificates
	}
	return ok("http", "the daemon at %s is ready", d.Listen), certificates
}

// ready asks for the readiness of the daemon.
func (d *Doctor) ready(ctx context.Context, scheme string) (status int, body string, certificates []*x509.Certificate, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+d.Listen+"/readyz", nil)
	if err != nil {
		return 0, "", nil, err
	}
	c := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // nothing is sent: its end is looked at
	}}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 1000)) // what came is told
	if resp.TLS != nil {
		certificates = resp.TLS.PeerCertificates
	}
	return resp.StatusCode, strings.TrimSpace(string(data)), certificates, nil
}

func shortError(err error) string {
	text := err.Error()
	return text[strings.LastIndex(text, ": ")+len(": "):]
}

// certificates tells of those that end soon: that of the client, of the
// authority, of the API server, and of the HTTP endpoints. It needs no API that
// answers: one with a certificate that has ended does not.
func (d *Doctor) certificates(ctx context.Context, served []*x509.Certificate) []Finding {
	type named struct {
		name         string
		certificates []*x509.Certificate
		do           string
	}
	const anew = "restart the daemon, which makes new certificates and a new kubeconfig, and give that to its users"
	all := []named{{"the certificate of the HTTP endpoints", served, "put a new one into the file of --tls-cert-file, or with --tls restart the daemon, which makes one"}}
	if d.Config != nil {
		all = append(all,
			named{"the client certificate of the kubeconfig", fileOr(d.Config.CertFile, d.Config.CertData), anew},
			named{"the authority in the kubeconfig", fileOr(d.Config.CAFile, d.Config.CAData), anew},
			named{"the certificate of the API server", peer(ctx, d.Config.Host), anew})
	}
	var out []Finding
	now := d.Deps.Clock.Now()
	for _, n := range all {
		for _, c := range n.certificates {
			if f, bad := judgeCertificate(n.name, n.do, c.NotAfter, now); bad {
				out = append(out, f)
			}
		}
	}
	if len(out) == 0 && d.Config != nil {
		out = append(out, ok("certificates", "none ends within %d days", int(certificateWarning.Hours()/24)))
	}
	return out
}

// peer are the certificates that a server of the API shows.
func peer(ctx context.Context, host string) []*x509.Certificate {
	u, err := url.Parse(host)
	if err != nil || u.Host == "" {
		return nil
	}
	where := u.Host
	if u.Port() == "" {
		where = net.JoinHostPort(u.Hostname(), "443")
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // nothing is sent: its end is looked at
	conn, err := dialer.DialContext(ctx, "tcp", where)
	if err != nil {
		return nil // which the check of the API tells
	}
	defer func() { _ = conn.Close() }()
	if c, isTLS := conn.(*tls.Conn); isTLS {
		return c.ConnectionState().PeerCertificates
	}
	return nil
}

func judgeCertificate(name, do string, end, now time.Time) (Finding, bool) {
	switch left := end.Sub(now); {
	case left <= 0:
		return problem("certificates", do, "%s ended at %s", name, end.Format(time.RFC3339)), true
	case left < certificateWarning:
		return warning("certificates", do, "%s ends at %s", name, end.Format(time.RFC3339)), true
	}
	return Finding{}, false
}

// fileOr parses the certificates in the file, or in data where none is named.
func fileOr(file string, data []byte) []*x509.Certificate {
	if file != "" {
		data, _ = os.ReadFile(file) //nolint:gosec // that of the kubeconfig; one that cannot be read keeps the API from being asked
	}
	var out []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, c)
		}
	}
	return out
}

// updaterToken is what the drop-in updater does not start without.
const updaterToken = "UPDATER_TOKEN"

// updaters looks at containers that stand in for the updater of an application.
func (d *Doctor) updaters(ctx context.Context) []Finding {
	containers, err := d.Deps.Docker.ContainersByLabel(ctx, map[string]string{docker.LabelService: "updater"})
	if err != nil {
		return []Finding{problem("updater", "see the check of the engine", "the containers cannot be listed: %v", err)}
	}
	var out []Finding
	for _, c := range containers {
		env, err := d.Deps.Docker.ContainerEnv(ctx, c.ID, []string{updaterToken})
		if docker.IsNotFound(err) {
			continue
		}
		switch {
		case err != nil:
			out = append(out, warning("updater", "look at it: docker inspect "+c.Name, "%v", err))
		case strings.TrimSpace(env[updaterToken]) == "":
			out = append(out, problem("updater", "set "+updaterToken+" in the application's .env, to something long and random (openssl rand -hex 32), "+
				"and start the container again: docker compose up -d updater", "%s has no %s, without which it does not start", c.Name, updaterToken))
		case !c.Running():
			out = append(out, problem("updater", "mend what it says, then: docker start "+c.Name, "%s does not run (%s)%s", c.Name, d.state(c), d.lastLines(ctx, c)))
		default:
			out = append(out, ok("updater", "%s runs", c.Name))
		}
	}
	return out
}

func (d *Doctor) state(c docker.Container) string {
	switch {
	case c.OOMKilled:
		return "was killed, as it had no memory left"
	case c.Error != "":
		return c.State + ": " + c.Error
	case c.State == docker.StateExited:
		return fmt.Sprintf("exited with code %d", c.ExitCode)
	}
	return c.State
}

// shownLines of a container that is not well are told.
const shownLines = 5

func (d *Doctor) lastLines(ctx context.Context, c docker.Container) string {
	lines, err := d.Deps.Docker.LogTail(ctx, c.ID, shownLines)
	if err != nil || len(lines) == 0 {
		return ""
	}
	return "; its last lines: " + strings.Join(lines, " / ")
}
