// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/internal/doctor"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// ownFile is the Compose file that Fairlead ships for the updater's place.
const ownFile = "updater.yml"

// putOwnFile puts it beside the others in the deployment directory, where Git does not
// know it, with the names and the port of this test's project in the place of SsalgTen's,
// and another port in the container.
func (m *monitor) putOwnFile() {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "config", "compose", ownFile))
	if err != nil {
		m.t.Fatal(err)
	}
	text := string(data)
	for from, to := range map[string]string{
		"name: ssalgten-updater":   "name: ${PREFIX}-updater", // of the container and of the volume
		"PORT: 8765":               "PORT: 9765",
		"127.0.0.1:8765:8765":      "127.0.0.1:${UPDATER_PORT}:9765",
		"      - ssalgten-network": "      - net",
	} {
		if !strings.Contains(text, from) {
			m.t.Fatalf("%s lacks %q:\n%s", ownFile, from, text)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	if err := os.WriteFile(filepath.Join(m.repo.Dir, ownFile), []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
	m.env["FAIRLEAD_IMAGE"] = m.env["UPDATER_IMAGE"]
	m.writeEnv()
	// The name of the next version of Fairlead.
	next := m.nextImage()
	m.docker("tag", m.env["UPDATER_IMAGE"], next)
	m.t.Cleanup(func() { harness.Run(context.Background(), nil, "", "docker", "image", "rm", "--force", next) })
}

func (m *monitor) nextImage() string { return m.env["UPDATER_IMAGE"] + "-next" }

// redefine commits another definition of a service: what is put after a line of it.
func (m *monitor) redefine(message, line, more string) (sha string) {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join(m.repo.Work, imageFile))
	if err != nil {
		m.t.Fatal(err)
	}
	text := strings.Replace(string(data), line+"\n", line+"\n"+more, 1)
	if text == string(data) {
		m.t.Fatalf("%s has no line %q", imageFile, line)
	}
	return m.publish(message, map[string]string{imageFile: text})
}

// outlasted waits for the end of a job as ended does, and bears what a client sees while
// the updater is replaced: that nobody answers, or one that stops or starts.
func (m *monitor) outlasted(id string) (log string) {
	m.t.Helper()
	var first, last time.Time
	m.await("job "+id, func() bool {
		resp, err := m.dial(http.MethodGet, "/jobs/"+id+"?tail=0", nil, "X-Updater-Token", m.token)
		var body []byte
		if err == nil {
			body, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		switch {
		case err != nil:
		case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "" &&
			slices.Contains([]string{`{"error":"starting"}`, `{"error":"stopping"}`}, string(body)):
		case resp.StatusCode != http.StatusOK:
			m.t.Fatalf("GET /jobs/%s: %d %s", id, resp.StatusCode, body)
		default:
			if log = string(body); !first.IsZero() && last.IsZero() {
				last = time.Now()
			}
			return strings.Contains(log, "\n---\nUpdate finished with code ")
		}
		if first.IsZero() {
			first = time.Now()
		}
		return false
	})
	m.t.Logf("the API was away for %v", last.Sub(first).Round(10*time.Millisecond))
	return log
}

// theUpdater is the one container of the updater's service, and no helper is left.
func (m *monitor) theUpdater() harness.Container {
	m.t.Helper()
	all := m.containers()["updater"]
	if len(all) != 1 || !all[0].Running || all[0].Name != m.container("updater") {
		m.t.Fatalf("the containers of the updater: %v", identities(all))
	}
	if left := m.docker("ps", "--all", "--filter", "label=fairlead.dev/temporary=self-swap",
		"--filter", "label=fairlead.dev/application=default."+m.repo.Project, "--format", "{{.Names}} {{.Status}}"); left != "" {
		m.t.Errorf("helpers are left: %s", left)
	}
	return all[0]
}

// replacesItself: .env names another image of Fairlead, and a commit changes the
// updater's own service. A job that waits is carried out by the one that took over.
func replacesItself(m *monitor) {
	before, others := m.theUpdater(), m.containers()
	m.env["FAIRLEAD_IMAGE"] = m.nextImage()
	m.writeEnv()
	sha := m.redefine("A setting of the updater", "      UPDATE_LOG_DIR: /workspace/.update/logs", "      NOTE: two\n")
	first := m.start(`{}`)
	m.await("the first job to know its commit", func() bool {
		return strings.Contains(m.asked(http.MethodGet, "/jobs/"+first+"?tail=0", "").body, sha[:7])
	})
	m.redefine("A setting of the frontend", "    container_name: ${PREFIX}-frontend", "    environment: {NOTE: three}\n")
	second := m.start(`{}`)
	m.await("the second job to wait", func() bool {
		return strings.Contains(m.asked(http.MethodGet, "/jobs/"+second+"?tail=0", "").body, "# queued")
	})

	log := m.outlasted(first)
	m.wantCode(log, 0)
	wantContains(m.t, "the log", log, "handing over to", "the daemon was replaced", "log complete")
	m.wantCode(m.outlasted(second), 0)

	is := m.theUpdater()
	if is.ID == before.ID || is.RestartCount != 0 {
		m.t.Errorf("the updater is in %v, restarted %d times; it was in %v", identities([]harness.Container{is}), is.RestartCount, identities([]harness.Container{before}))
	}
	if got := m.docker("inspect", "--format", "{{.Config.Image}} {{.Config.Env}}", is.ID); !strings.HasPrefix(got, m.nextImage()+" ") || !strings.Contains(got, "NOTE=two") {
		m.t.Errorf("the updater's image and environment are %s", got)
	}
	s := &site{t: m.t, repo: m.repo}
	s.wantReplaced(others, "frontend")
	s.wantUntouched(others, "database", "backend")
	// At the same port of the host, and by the same name in the project's network.
	m.want(m.call(http.MethodGet, "/health", ""), 200, jsonKind, `{"ok":true}`)
	if got := m.docker("exec", is.ID, "curl", "-fsS", "http://updater:9765/health"); got != `{"ok":true}` {
		m.t.Errorf("by its name in the network it answers %q", got)
	}
	report, errOut, code := harness.Run(m.t.Context(), nil, "", "docker", "exec", is.ID, "fairlead", "doctor", "-o", "json")
	if code != cli.ExitOK && code != cli.ExitFailed {
		m.t.Fatalf("doctor: exit %d\n%s\n%s", code, report, errOut)
	}
	wantFinding(m.t, decode[doctor.Report](m.t, report).Findings, "http", doctor.OK, ":9765 is ready", "")
	jobs := m.jobs()
	if n := len(jobs); n < 3 || jobs[n-2].ID != first || jobs[n-1].ID != second || jobs[n-2].SizeBytes == 0 || jobs[n-1].SizeBytes == 0 {
		m.t.Errorf("the jobs are %+v, want %s and %s at the end", jobs, first, second)
	}
	if soak := m.kubectl("get", "application", m.repo.Project, "-o", "jsonpath={.spec.rollout.soak}"); soak != "1s" {
		m.t.Errorf("the operator's own setting is %q", soak)
	}
	// Docker's own command finds nothing to do.
	if _, err := m.repo.Compose(m.t.Context(), "up", "-d"); err != nil {
		m.t.Error(err)
	}
	if now := m.theUpdater(); now.ID != is.ID {
		m.t.Errorf("docker-compose up made %v of %v", identities([]harness.Container{now}), identities([]harness.Container{is}))
	}
}

// isPutBack: the new updater does not start. The client reads the answer as it comes,
// which ends with the updater.
func isPutBack(m *monitor) {
	before := m.theUpdater()
	m.redefine("A broken updater", "    container_name: ${PREFIX}-updater", "    command: [serve, --no-such-flag]\n")
	resp := m.open(http.MethodPost, "/update", strings.NewReader(`{}`), "X-Updater-Token", m.token)
	defer resp.Body.Close()
	r := bufio.NewReader(resp.Body)
	line, err := r.ReadString('\n')
	if err != nil {
		m.t.Fatal(err)
	}
	rest, err := io.ReadAll(r)
	if err == nil || strings.Contains(string(rest), "Update finished") {
		m.t.Errorf("the answer of the updater that was stopped looks whole (%v):\n%s", err, rest)
	}
	log := m.outlasted(strings.TrimSuffix(strings.TrimPrefix(line, "# Update job "), " started...\n"))
	m.wantCode(log, 3)
	wantContains(m.t, "the log", log, "RolledBack", "of the service updater did not become healthy", "unknown flag")
	if is := m.theUpdater(); is.ID != before.ID {
		m.t.Errorf("the updater is in %v, want %v again", identities([]harness.Container{is}), identities([]harness.Container{before}))
	}
	m.want(m.call(http.MethodGet, "/health", ""), 200, jsonKind, `{"ok":true}`)
	m.wantVersion("4")
}
