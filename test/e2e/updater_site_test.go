// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// monitor is SsalgTen in small, brought up by docker-compose with Fairlead in the
// updater's container and nothing but the updater's own mounts and environment.
type monitor struct {
	t     *testing.T
	repo  *apps.Repo
	env   map[string]string
	token string
	base  string // of the updater's API, as published on the host
	// reached are further ports that the backend publishes, if any.
	reached []string
}

// gitToken is what the Git server wants, as a private repository on GitHub does.
const gitToken = "ghp_a-token-of-github"

// newMonitor brings one up. prepare is called before anything runs.
func newMonitor(t *testing.T, env map[string]string, prepare ...func(*monitor)) *monitor {
	t.Helper()
	m := &monitor{t: t, repo: apps.ForTest(t, apps.Monitor, apps.Options{Label: "e2e"}), token: rand.Text()}
	ports := map[string]int{}
	for _, name := range []string{"BACKEND_PORT", "DB_PORT", "UPDATER_PORT"} {
		port, err := apps.FreePort(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ports[name] = port
	}
	server := serveRepositories(t, filepath.Dir(m.repo.Origin))
	m.env = map[string]string{
		"PREFIX": m.repo.Project, "TEST_LABEL": "e2e", "HEALTH_INTERVAL": "5s",
		"DB_PASSWORD": rand.Text(), "UPDATER_TOKEN": m.token, "UPDATER_IMAGE": updaterImage(t),
		"FRONTEND_PORT": strconv.Itoa(m.repo.Port),
		"REPO_OWNER":    "lonelyrower", "REPO_NAME": m.repo.Project, "GITHUB_TOKEN": gitToken, "GITHUB_SERVER_URL": server,
	}
	for name, port := range ports {
		m.env[name] = strconv.Itoa(port)
	}
	for name, value := range env {
		m.env[name] = value
	}
	m.writeEnv()
	m.git("remote", "set-url", "origin", server+"/lonelyrower/"+m.repo.Project+".git")
	m.base = "http://127.0.0.1:" + m.env["UPDATER_PORT"]
	for _, p := range prepare {
		p(m)
	}
	if err := m.repo.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the updater's log:\n%s", m.dockerLogs())
			out, errOut, _ := harness.Run(context.Background(), nil, "", "docker", "exec", m.container("updater"), "sh", "-c",
				"fairlead kubectl get updaterequests,applications -o yaml; tail -n 100 /workspace/.update/logs/*.log")
			t.Logf("the requests:\n%s%s", out, errOut)
		}
		// What the daemon wrote as root must not keep the directory from being removed.
		harness.Run(context.Background(), nil, "", "docker", "stop", "--time", "20", m.container("updater"))
	})
	m.waitReady()
	// An operator's own settings, which suit a test.
	m.kubectl("patch", "application", m.repo.Project, "--type=merge", "-p",
		`{"spec":{"rollout":{"soak":"1s","stopTimeout":"3s","minHealthy":"500ms"},"preflight":{"minFreeDisk":"256Mi","minFreeMemory":"64Mi"}}}`)
	return m
}

func (m *monitor) writeEnv() {
	m.t.Helper()
	if err := m.repo.WriteEnv(m.env); err != nil {
		m.t.Fatal(err)
	}
}

// hostAddress is an address of this machine that containers reach.
func hostAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Fatal("this machine has no address but loopback")
	return ""
}

// serveRepositories serves the repositories below root as NAME.git of lonelyrower, to those
// who have the token, where containers can reach it. It stands for GitHub's Git.
func serveRepositories(t *testing.T, root string) string {
	t.Helper()
	execPath, errOut, code := harness.Run(t.Context(), nil, "", "git", "--exec-path")
	if code != 0 {
		t.Fatalf("git: %s", errOut)
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(execPath), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + t.TempDir()},
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", net.JoinHostPort(hostAddress(t), "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.StripPrefix("/lonelyrower", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != gitToken {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	return "http://" + listener.Addr().String()
}

func (m *monitor) git(args ...string) string {
	m.t.Helper()
	out, errOut, code := harness.Run(m.t.Context(), nil, "", "git", append([]string{"-C", m.repo.Dir}, args...)...)
	if code != 0 {
		m.t.Fatalf("git %s: %s", args[0], errOut)
	}
	return strings.TrimSpace(out)
}

// container is the name of the container of a service.
func (m *monitor) container(service string) string { return m.repo.Project + "-" + service }

func (m *monitor) docker(args ...string) string {
	m.t.Helper()
	out, errOut, code := harness.Run(m.t.Context(), nil, "", "docker", args...)
	if code != 0 {
		m.t.Fatalf("docker %s: %s", strings.Join(args, " "), errOut)
	}
	return strings.TrimSpace(out)
}

func (m *monitor) dockerLogs() string {
	out, errOut, _ := harness.Run(context.Background(), nil, "", "docker", "logs", "--tail", "60", m.container("updater"))
	return out + errOut
}

// kubectl runs the one in the updater's container, as its administrator would.
func (m *monitor) kubectl(args ...string) string {
	m.t.Helper()
	return m.docker(append([]string{"exec", m.container("updater"), "fairlead", "kubectl"}, args...)...)
}

func (m *monitor) waitReady() {
	m.t.Helper()
	m.await("the updater to be ready", func() bool {
		resp, err := http.Get(m.base + "/readyz") // on loopback, and tried again
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (m *monitor) await(what string, done func() bool) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), harness.Patience)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			m.t.Fatalf("waited for %s in vain; the updater says:\n%s", what, m.dockerLogs())
		case <-ticker.C:
		}
	}
}

// answer is what the updater's API answered.
type answer struct {
	code   int
	header http.Header
	body   string
}

// call asks the updater's API. headers are pairs.
func (m *monitor) call(method, path, body string, headers ...string) answer {
	m.t.Helper()
	resp := m.open(method, path, strings.NewReader(body), headers...)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, string(data)}
}

func (m *monitor) open(method, path string, body io.Reader, headers ...string) *http.Response {
	m.t.Helper()
	resp, err := m.dial(method, path, body, headers...)
	if err != nil {
		m.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp
}

// dial is open for when nobody may be there.
func (m *monitor) dial(method, path string, body io.Reader, headers ...string) (*http.Response, error) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), method, m.base+path, body)
	if err != nil {
		m.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return http.DefaultClient.Do(req)
}

// asked is a call with the right token.
func (m *monitor) asked(method, path, body string, headers ...string) answer {
	m.t.Helper()
	return m.call(method, path, body, append([]string{"X-Updater-Token", m.token}, headers...)...)
}

// want checks an answer to the letter.
func (m *monitor) want(a answer, code int, kind, body string) {
	m.t.Helper()
	if a.code != code || a.header.Get("Content-Type") != kind || a.body != body {
		m.t.Errorf("answer %d %s %q; want %d %s %q", a.code, a.header.Get("Content-Type"), a.body, code, kind, body)
	}
}

// start starts an update as SsalgTen's backend does, and returns the job's ID.
func (m *monitor) start(body string) string {
	m.t.Helper()
	a := m.asked(http.MethodPost, "/update", body, "Content-Type", "application/json", "Prefer", "respond-async")
	var got struct {
		Started bool
		Job     struct{ ID, Logfile string }
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.code != http.StatusAccepted {
		m.t.Fatalf("POST /update: %d %s", a.code, a.body)
	}
	if want := fmt.Sprintf(`{"started":true,"job":{"id":%q,"logfile":"/workspace/.update/logs/%s.log"}}`, got.Job.ID, got.Job.ID); a.body != want {
		m.t.Errorf("POST /update: %s, want %s", a.body, want)
	}
	if a.header.Get("Content-Type") != "application/json" {
		m.t.Errorf("POST /update is %q", a.header.Get("Content-Type"))
	}
	return got.Job.ID
}

// ended waits for the end of a job by its log, as a page does, and returns it.
func (m *monitor) ended(id string) string {
	m.t.Helper()
	log := ""
	m.await("job "+id, func() bool {
		a := m.asked(http.MethodGet, "/jobs/"+id+"?tail=0", "")
		if a.code != http.StatusOK || a.header.Get("Content-Type") != "text/plain; charset=utf-8" {
			m.t.Fatalf("GET /jobs/%s: %d %s", id, a.code, a.body)
		}
		log = a.body
		return strings.Contains(log, "\n---\nUpdate finished with code ")
	})
	return log
}

func (m *monitor) wantCode(log string, code int) {
	m.t.Helper()
	if want := fmt.Sprintf("\n---\nUpdate finished with code %d\n", code); !strings.HasSuffix(log, want) {
		m.t.Fatalf("the log does not end in %q:\n%s", want, log)
	}
}

func (m *monitor) containers() map[string][]harness.Container {
	m.t.Helper()
	return harness.Containers(m.t, m.repo.Project)
}

// wantVersion checks what answers on the frontend's published port.
func (m *monitor) wantVersion(version string) {
	m.t.Helper()
	got, err := harness.Get(m.t.Context(), m.repo.URL("/api/version"))
	if err != nil || got != version {
		m.t.Errorf("version %q (%v), want %s", got, err, version)
	}
}

func (m *monitor) publish(message string, files map[string]string) string {
	m.t.Helper()
	sha, err := m.repo.Publish(m.t.Context(), message, files)
	if err != nil {
		m.t.Fatal(err)
	}
	return sha
}
