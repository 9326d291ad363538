// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

const (
	jsonKind = "application/json"
	textKind = "text/plain; charset=utf-8"
)

// SsalgTen's operators put Fairlead where their updater stood and change nothing
// else. This is SsalgTen's client of the updater, written again.
func TestUpdater(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, map[string]string{"MAX_HEALTH_ATTEMPTS": "9", "BACKUP_RETENTION_DAYS": "14", "REPO_BRANCH": "production"}, (*monitor).publishesMore, (*monitor).onProduction)
	m.wantVersion("1")
	m.docker("exec", m.container("updater"), "sh", "-c", `printf 'old\n\n---\nUpdate finished with code 0\n' >/workspace/.update/logs/1700000000000.log`)

	m.in(t, "the contract", contract)
	m.in(t, "the Application", application)
	var first string
	m.in(t, "an update in the background", func(m *monitor) { first = background(m) })
	m.in(t, "a restart of the container", func(m *monitor) { restart(m, first) })
	m.in(t, "an update in the foreground, with agents", foreground)
	m.in(t, "a bad version", bad)
	m.in(t, "several at once", several)
	m.in(t, "the rollback script, when the updater is lost", rollbackByScript)
	m.in(t, "guessing", guessing)
}

// onProduction has all further commits on a branch that is not the default one, which
// goes another way.
func (m *monitor) onProduction() {
	m.publish("For nobody yet", map[string]string{"backend/version.txt": "from main\n"})
	for _, args := range [][]string{{"checkout", "--quiet", "-b", "production", "HEAD~1"}, {"push", "--quiet", "origin", "HEAD"}} {
		if _, errOut, code := harness.Run(m.t.Context(), nil, "", "git", append([]string{"-C", m.repo.Work}, args...)...); code != 0 {
			m.t.Fatalf("git %s: %s", args[0], errOut)
		}
	}
}

// in runs a part of a test on its own line.
func (m *monitor) in(t *testing.T, name string, part func(*monitor)) {
	t.Run(name, func(t *testing.T) {
		bound := *m
		bound.t = t
		part(&bound)
	})
}

func contract(m *monitor) {
	m.want(m.call(http.MethodGet, "/health", ""), 200, jsonKind, `{"ok":true}`)
	for _, path := range []string{"/jobs", "/jobs/12345678", "/jobs/x"} {
		m.want(m.call(http.MethodGet, path, ""), 401, jsonKind, `{"error":"unauthorized"}`)
	}
	m.asked(http.MethodGet, "/jobs", "") // what was wrong so far is forgiven
	m.want(m.call(http.MethodPost, "/update", "{}", "X-Updater-Token", "wrong"), 401, jsonKind, `{"error":"unauthorized"}`)
	m.want(m.asked(http.MethodGet, "/nowhere", ""), 404, jsonKind, `{"error":"not_found"}`)
	m.want(m.asked(http.MethodGet, "/update", ""), 404, jsonKind, `{"error":"not_found"}`)
	m.want(m.asked(http.MethodPost, "/health", ""), 404, jsonKind, `{"error":"not_found"}`)
	m.want(m.asked(http.MethodGet, "/jobs/bad-id", ""), 400, jsonKind, `{"success":false,"error":"invalid_job_id"}`)
	m.want(m.asked(http.MethodGet, "/jobs/1", ""), 400, jsonKind, `{"success":false,"error":"invalid_job_id"}`)
	m.want(m.asked(http.MethodGet, "/jobs/12345678", ""), 404, jsonKind, `{"success":false,"error":"log not found"}`)
	m.want(m.asked(http.MethodPost, "/update", strings.Repeat(" ", 1<<20+1)), 413, jsonKind, `{"error":"payload_too_large"}`)
	resp := m.open(http.MethodPost, "/update", io.MultiReader(strings.NewReader(strings.Repeat(" ", 1<<20)), strings.NewReader("  ")), "X-Updater-Token", m.token)
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 413 || string(body) != `{"error":"payload_too_large"}` {
		m.t.Errorf("a large body without a length: %s %s", resp.Status, body)
	}
	m.want(m.asked(http.MethodPost, "/update", `{"async":true,"DB_PORT":"evil"}`), 400, jsonKind,
		`{"error":"invalid_port","field":"DB_PORT","message":"DB_PORT must be a port from 1 to 65535"}`)
	m.want(m.asked(http.MethodGet, "/jobs/1700000000000?tail=2", ""), 200, textKind, "Update finished with code 0\n")
	if list := m.jobs(); len(list) != 1 || list[0].ID != "1700000000000" || list[0].SizeBytes != 37 {
		m.t.Errorf("jobs %+v, want the one of the former updater", list)
	}
}

type listedJob struct {
	ID        string
	SizeBytes int
	UpdatedAt string
}

func (m *monitor) jobs() []listedJob {
	m.t.Helper()
	a := m.asked(http.MethodGet, "/jobs", "")
	var list struct {
		Success bool
		Jobs    []listedJob
	}
	if err := json.Unmarshal([]byte(a.body), &list); err != nil || a.code != 200 || !list.Success {
		m.t.Fatalf("GET /jobs: %d %s", a.code, a.body)
	}
	return list.Jobs
}

// application checks what the environment became.
func application(m *monitor) {
	spec := m.kubectl("get", "application", m.repo.Project, "-o", "jsonpath={.spec}")
	for _, part := range []string{
		fmt.Sprintf(`"directory":%q`, m.repo.Dir), fmt.Sprintf(`"project":%q`, m.repo.Project), `"ref":"production"`, `"attempts":9`, `"age":"336h0m0s"`,
		`"url":"http://backend:3001/api/health"`, `"url":"http://frontend:80/"`, `"owner":"lonelyrower"`,
		`"secretRef":{"name":"` + m.repo.Project + `-github"}`,
	} {
		if !strings.Contains(spec, part) {
			m.t.Errorf("the Application lacks %s: %s", part, spec)
		}
	}
	if strings.Contains(spec, gitToken) || strings.Contains(m.dockerLogs(), gitToken) || strings.Contains(m.dockerLogs(), m.token) {
		m.t.Error("a secret is told")
	}
}

func background(m *monitor) (id string) {
	before := m.containers()
	sha := m.publish("Second version", map[string]string{"backend/version.txt": "2\n", "docs/new.md": "x"})
	id = m.start(`{"forceAgent":false}`)
	if a := m.asked(http.MethodGet, "/jobs/"+id, ""); a.code != 200 {
		m.t.Errorf("a job that was just started: %d %s", a.code, a.body)
	}
	log := m.ended(id)
	m.wantCode(log, 0)
	wantContains(m.t, "the log", log, "Second version", sha[:7], "log complete", ".update/backups/backup_")
	if strings.Contains(log, gitToken) {
		m.t.Error("the token is in the log")
	}
	m.wantVersion("2")
	m.wantSeen(id)
	after := m.containers()
	if after["backend"][0].ID == before["backend"][0].ID || after["backend"][0].Name != m.container("backend") {
		m.t.Errorf("the backend was not replaced: %v", identities(after["backend"]))
	}
	for _, service := range []string{"database", "updater", "frontend"} {
		if !slices.Equal(identities(before[service]), identities(after[service])) {
			m.t.Errorf("%s was touched: %v became %v", service, identities(before[service]), identities(after[service]))
		}
	}
	if got := m.git("rev-parse", "HEAD"); got != sha {
		m.t.Errorf("the deployment directory is at %s, want %s", got, sha)
	}
	if status := m.git("status", "--porcelain"); status != "" {
		m.t.Errorf("the deployment directory is not clean: %s", status)
	}
	// Docker's own command finds nothing to do: names, paths and hashes are its own.
	if _, err := m.repo.Compose(m.t.Context(), "up", "-d", "--no-build"); err != nil {
		m.t.Error(err)
	}
	for service, now := range m.containers() {
		if service != "backend" && !slices.Equal(identities(after[service]), identities(now)) {
			m.t.Errorf("docker-compose up changed %s: %v became %v", service, identities(after[service]), identities(now))
		}
	}
	return id
}

func restart(m *monitor, first string) {
	before := m.asked(http.MethodGet, "/jobs/"+first+"?tail=0", "")
	m.docker("restart", "--time", "30", m.container("updater"))
	m.waitReady()
	m.want(m.asked(http.MethodGet, "/jobs/"+first+"?tail=0", ""), 200, textKind, before.body)
	list := m.jobs()
	if len(list) != 2 || list[0].ID != "1700000000000" || list[1].ID != first || list[1].SizeBytes == 0 {
		m.t.Errorf("jobs %+v", list)
	}
	// Job, request and file belong together.
	name := m.kubectl("get", "updaterequests", "-l", "fairlead.dev/job="+first, "-o", "jsonpath={.items[*].metadata.name} {.items[*].status.phase}")
	if name != "update-"+first+" Succeeded" {
		m.t.Errorf("the request of the job is %q", name)
	}
	file := m.docker("exec", m.container("updater"), "cat", "/workspace/.update/logs/"+first+".log")
	if !strings.HasPrefix(before.body, file) || !strings.HasSuffix(file, "log complete") {
		m.t.Errorf("the job's file is not its log:\n%s", file)
	}
	if soak := m.kubectl("get", "application", m.repo.Project, "-o", "jsonpath={.spec.rollout.soak}"); soak != "1s" {
		m.t.Errorf("the operator's own setting is %q after a restart", soak)
	}
}

func foreground(m *monitor) {
	m.publish("Third version", map[string]string{"backend/version.txt": "3\n"})
	resp := m.open(http.MethodPost, "/update", strings.NewReader(`{"forceAgent":true}`), "X-Updater-Token", m.token)
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != textKind {
		m.t.Fatalf("%s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	r := bufio.NewReader(resp.Body)
	line, err := r.ReadString('\n')
	if err != nil {
		m.t.Fatal(err)
	}
	id := strings.TrimSuffix(strings.TrimPrefix(line, "# Update job "), " started...\n")
	// The answer comes while the update runs.
	if a := m.asked(http.MethodGet, "/jobs/"+id, ""); a.code != 200 || strings.Contains(a.body, "Update finished") {
		m.t.Errorf("when the first line came, the job was: %d %s", a.code, a.body)
	}
	rest, err := io.ReadAll(r)
	if err != nil {
		m.t.Fatal(err)
	}
	text := string(rest)
	want := "# Logs: /workspace/.update/logs/" + id + ".log\n# This endpoint is designed for async usage; logs are written to file.\n"
	if !strings.HasPrefix(text, want) {
		m.t.Errorf("the answer begins %q", text[:min(len(text), 200)])
	}
	m.wantCode(text, 0)
	if log := m.ended(id); !strings.HasSuffix(text, log) {
		m.t.Errorf("the answer is not the log:\n%s\n---\n%s", text, log)
	}
	m.wantVersion("3")
	agents := m.containers()["agent-nyc"]
	if len(agents) != 1 || !agents[0].Running {
		m.t.Errorf("agents: %v", identities(agents))
	}
	if profiles := m.kubectl("get", "updaterequest", "update-"+id, "-o", "jsonpath={.spec.profiles}"); profiles != `["agent"]` {
		m.t.Errorf("profiles %s", profiles)
	}
}

func bad(m *monitor) {
	before := m.containers()
	at := m.git("rev-parse", "HEAD")
	m.publish("A bad version", map[string]string{"backend/behaviour.json": apps.Behaviour{Crash: true}.JSON()})
	for range 2 { // somebody asks again, and it is tried again
		log := m.ended(m.start(``))
		m.wantCode(log, 3)
		wantContains(m.t, "the log", log, "RolledBack", "backend")
	}
	m.wantVersion("3")
	if got := m.git("rev-parse", "HEAD"); got != at {
		m.t.Errorf("the deployment directory is at %s, want %s", got, at)
	}
	after := m.containers()
	for _, service := range []string{"database", "updater", "agent-nyc"} { // agents of a profile that nobody asked for stay
		if !slices.Equal(identities(before[service]), identities(after[service])) {
			m.t.Errorf("%s was touched: %v became %v", service, identities(before[service]), identities(after[service]))
		}
	}
}

func several(m *monitor) {
	port, err := apps.FreePort(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	m.publish("Fourth version", map[string]string{"backend/behaviour.json": apps.Behaviour{}.JSON(), "backend/version.txt": "4\n"})
	first := m.start(`{}`)
	second := m.start(`{}`)
	third := m.start(`{}`)
	moved := m.start(fmt.Sprintf(`{"forceAgent":true,"NODE_PORT":"%d"}`, port))
	if ids := []string{first, second, third, moved}; len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 4 {
		m.t.Errorf("jobs %v", ids)
	}
	m.wantCode(m.ended(first), 0)
	superseded := m.ended(second)
	m.wantCode(superseded, 4)
	wantContains(m.t, "the log of the superseded job", superseded, "update-"+third)
	m.wantCode(m.ended(third), 0)
	m.wantCode(m.ended(moved), 0)
	if got, err := harness.Get(m.t.Context(), fmt.Sprintf("http://127.0.0.1:%d/version", port)); err != nil || got != "1" {
		m.t.Errorf("the agent at the port of the request: %q, %v", got, err)
	}
}

func guessing(m *monitor) {
	// What was wrong before counts too.
	var a answer
	for i := range 7 {
		if a = m.call(http.MethodGet, "/jobs", "", "X-Updater-Token", fmt.Sprint("guess", i)); a.code == 429 {
			break
		}
		m.want(a, 401, jsonKind, `{"error":"unauthorized"}`)
	}
	if a.code != 429 || a.header.Get("Retry-After") == "" || a.body != `{"error":"too_many_requests"}` {
		m.t.Errorf("after guessing: %d %s", a.code, a.body)
	}
	m.want(m.call(http.MethodGet, "/health", ""), 200, jsonKind, `{"ok":true}`)
	// The client whose token was right before is not made to wait for others.
	if a := m.asked(http.MethodGet, "/jobs", ""); a.code != 200 {
		m.t.Errorf("the right token after somebody's guesses: %d %s", a.code, a.body)
	}
}

func TestUpdaterRefusesToStart(t *testing.T) {
	t.Parallel()
	image := updaterImage(t)
	empty := t.TempDir()
	if err := os.Mkdir(filepath.Join(empty, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	const socket = "/var/run/docker.sock:/var/run/docker.sock"
	label := []string{"--label", "fairlead.dev/test=e2e", "--label", "com.docker.compose.project=refused", "--label", "com.docker.compose.service=updater"}
	for name, tt := range map[string]struct {
		args []string
		want []string
	}{
		"no token":      {append([]string{"-v", socket, "-v", empty + ":/workspace", "-e", "WORKSPACE=/workspace"}, label...), []string{"UPDATER_TOKEN", "must be set"}},
		"a blank token": {append([]string{"-v", socket, "-e", "UPDATER_TOKEN= "}, label...), []string{"UPDATER_TOKEN", "must be set"}},
		"no socket":     {append([]string{"-e", "UPDATER_TOKEN=t", "-e", "WORKSPACE=/workspace"}, label...), []string{"docker.sock:/var/run/docker.sock"}},
		"no workspace":  {append([]string{"-v", socket, "-e", "UPDATER_TOKEN=t"}, label...), []string{"WORKSPACE=/workspace", `.:/workspace`}},
		"no clone": {append([]string{"-v", socket, "-v", empty + ":/workspace", "-e", "UPDATER_TOKEN=t"}, label...),
			[]string{"WORKSPACE=/workspace", "no Git clone", empty}},
		"no service of a project": {[]string{"--label", "fairlead.dev/test=e2e", "-v", socket, "-v", empty + ":/workspace", "-e", "UPDATER_TOKEN=t", "-e", "WORKSPACE=/workspace"},
			[]string{"not a service of a Compose project"}},
		"several at once": {append([]string{"-v", socket, "-v", empty + ":/workspace", "-e", "WORKSPACE=/workspace", "-e", "PORT=x", "-e", "UPDATE_MODE=y"}, label...),
			[]string{"UPDATER_TOKEN", "PORT", "UPDATE_MODE"}},
	} {
		out, errOut, code := harness.Run(t.Context(), nil, "", "docker", append(append([]string{"run", "--rm"}, tt.args...), image)...)
		if code != 1 {
			t.Errorf("%s: exit code %d: %s%s", name, code, out, errOut)
		}
		wantContains(t, name, out+errOut, tt.want...)
	}
}
