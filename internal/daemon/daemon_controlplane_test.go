// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package daemon_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-dev/fairlead/internal/testenv"
)

const commandTimeout = time.Minute

// TestMain builds the binary once for all tests.
func TestMain(m *testing.M) {
	bin, err := testenv.Binary(context.Background())
	if err == nil {
		err = os.Setenv(testenv.BinaryEnv, bin)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func binary(t *testing.T) string {
	t.Helper()
	bin, err := testenv.Binary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

func serve(t *testing.T, dataDir string, args ...string) *testenv.Process {
	t.Helper()
	p, err := testenv.Serve(t.Context(), binary(t), dataDir, append([]string{"--controllers=false"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// tool runs a command with KUBECONFIG set.
type tool struct {
	command    []string
	kubeconfig string
}

func (k tool) try(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, k.command[0], append(k.command[1:len(k.command):len(k.command)], args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+k.kubeconfig, "HOME="+t.TempDir())
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (k tool) run(t *testing.T, stdin, want string, args ...string) string {
	t.Helper()
	out, err := k.try(t, stdin, args...)
	if err != nil || !strings.Contains(out, want) {
		t.Fatalf("kubectl %s: %v, want output with %q; got\n%s", strings.Join(args, " "), err, want, out)
	}
	return out
}

func (k tool) refused(t *testing.T, stdin, want string, args ...string) {
	t.Helper()
	out, err := k.try(t, stdin, args...)
	if err == nil || !strings.Contains(out, want) {
		t.Fatalf("kubectl %s: %v, want a failure with %q; got\n%s", strings.Join(args, " "), err, want, out)
	}
}

func get(t *testing.T, address, path string) (int, string) {
	t.Helper()
	response, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func application(name string) string {
	return fmt.Sprintf(`{"apiVersion":"fairlead.dev/v1alpha1","kind":"Application","metadata":{"name":%q},"spec":{"compose":{"directory":"/opt/web"}}}`, name)
}

func TestServe(t *testing.T) {
	dataDir := filepath.Join(t.TempDir(), "data")
	p := serve(t, dataDir)
	t.Logf("ready after %s", p.ReadyAfter.Round(time.Millisecond))

	for path, want := range map[string]os.FileMode{dataDir: 0o700, p.Addresses.Kubeconfig: 0o600, filepath.Join(dataDir, "pki", "ca.key"): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %s, want %s", path, info.Mode().Perm(), want)
		}
	}
	if code, body := get(t, p.Addresses.HTTP, "/health"); code != http.StatusOK || body != `{"ok":true}` {
		t.Errorf("/health says %d %s", code, body)
	}
	if code, body := get(t, p.Addresses.HTTP, "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz says %d %s", code, body)
	}
	// A slow machine may add warnings.
	if lines := strings.Count(p.Log(), `"level":"info"`); lines > 4 {
		t.Errorf("a quiet start prints %d lines:\n%s", lines, p.Log())
	}

	_, err := testenv.Serve(t.Context(), binary(t), dataDir, "--controllers=false")
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("in use by process %d", p.PID())) || !strings.Contains(err.Error(), "since") {
		t.Errorf("a second daemon: got %v, want a refusal that names process %d", err, p.PID())
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(dataDir), "data.ready")); err == nil {
		t.Error("the ready file outlives the daemon")
	}
}

// TestWatchesDoNotHoldUpTheStop has a client that would watch for ever, as
// `kubectl get --watch` does.
func TestWatchesDoNotHoldUpTheStop(t *testing.T) {
	p := serve(t, filepath.Join(t.TempDir(), "data"))
	config, err := clientcmd.BuildConfigFromFlags("", p.Addresses.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, gvr := range []schema.GroupVersionResource{
		{Group: "fairlead.dev", Version: "v1alpha1", Resource: "updaterequests"}, {Version: "v1", Resource: "configmaps"},
	} {
		w, err := c.Resource(gvr).Watch(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
	}
	// It fails when the API server did not finish its requests in time.
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

func TestMetrics(t *testing.T) {
	// The daemon says no other port than the one that it was given.
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	serve(t, filepath.Join(t.TempDir(), "data"), "--controllers=true", "--metrics-bind-address", address)
	code, body := get(t, address, "/metrics")
	for _, want := range []string{
		`controller_runtime_max_concurrent_reconciles{controller="updaterequest"}`,
		`controller_runtime_max_concurrent_reconciles{controller="application"}`,
		"controller_runtime_reconcile_total", "process_resident_memory_bytes",
		// The embedded API server has a registry of its own for those of its queues.
		`workqueue_adds_total{controller="updaterequest",name="updaterequest"}`,
		`workqueue_unfinished_work_seconds{controller="updaterequest",name="updaterequest"}`,
	} {
		if code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("the metrics answer %d without %s", code, want)
		}
	}
}

func TestStateSurvivesKill(t *testing.T) {
	// A directory whose path is too long for a unix socket.
	dataDir := filepath.Join(t.TempDir(), strings.Repeat("long-", 20), "data")
	if err := os.MkdirAll(filepath.Dir(dataDir), 0o700); err != nil {
		t.Fatal(err)
	}
	p := serve(t, dataDir)
	kubectl := tool{[]string{"kubectl"}, p.Addresses.Kubeconfig}
	ca, err := os.ReadFile(filepath.Join(dataDir, "pki", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		kubectl.run(t, application(fmt.Sprintf("app-%d", i)), "created", "apply", "-f", "-")
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		p = serve(t, dataDir)
		if got := strings.Fields(kubectl.run(t, "", "app-", "get", "applications", "-o", "name")); len(got) != i+1 {
			t.Fatalf("after kill %d: %v", i, got)
		}
	}
	again, err := os.ReadFile(filepath.Join(dataDir, "pki", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ca, again) {
		t.Error("the certificate authority changed")
	}
}

// TestUpgradesInPlace has the definitions and roles of an earlier version, whose
// schema lacks a field and whose viewers may see less.
func TestUpgradesInPlace(t *testing.T) {
	dataDir := filepath.Join(t.TempDir(), "data")
	p := serve(t, dataDir)
	admin := tool{[]string{"kubectl"}, p.Addresses.Kubeconfig}
	admin.run(t, application("web"), "created", "apply", "-f", "-")
	const (
		crd, role = "crd/applications.fairlead.dev", "clusterrole/fairlead-viewer"
		field     = "properties.spec.properties.suspend"
	)
	look := func(object, path string) string {
		t.Helper()
		return admin.run(t, "", "", "get", object, "-o", "jsonpath={"+path+"}")
	}
	pointer := "/spec/versions/0/schema/openAPIV3Schema/" + strings.ReplaceAll(field, ".", "/")
	typeOf, rules := ".spec.versions[0].schema.openAPIV3Schema."+field+".type", look(role, ".rules")
	admin.run(t, "", "patched", "patch", crd, "--type=json", "-p", `[{"op":"remove","path":"`+pointer+`"}]`)
	admin.run(t, "", "patched", "patch", role, "--type=json", "-p", `[{"op":"remove","path":"/rules/0"}]`)
	if got := look(crd, typeOf); got != "" {
		t.Fatalf("the field is still there: %q", got)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	serve(t, dataDir)
	if got := look(crd, typeOf); got != "boolean" {
		t.Errorf("the type of the new field is %q", got)
	}
	if got := look(role, ".rules"); got != rules {
		t.Errorf("the rules are %s, want %s", got, rules)
	}
	admin.run(t, "", "web", "get", "application", "web")
	admin.run(t, "", "patched", "patch", "application", "web", "--type=merge", "-p", `{"spec":{"suspend":true}}`)
}

func TestKubectl(t *testing.T) {
	p := serve(t, filepath.Join(t.TempDir(), "data"))
	for name, command := range map[string][]string{"real": {"kubectl"}, "built in": {binary(t), "kubectl"}} {
		t.Run(name, func(t *testing.T) {
			k := tool{command, p.Addresses.Kubeconfig}
			ns := "team-" + strings.ReplaceAll(name, " ", "-")
			k.run(t, "", "Server Version: v1.", "version")
			k.run(t, "", "default", "get", "namespaces")
			k.run(t, "", "created", "create", "namespace", ns)
			k.run(t, application("web"), "created", "apply", "-n", ns, "-f", "-")
			k.run(t, application("web"), "unchanged", "apply", "-n", ns, "-f", "-")
			k.run(t, application("server-side"), "serverside-applied", "apply", "--server-side", "-n", ns, "-f", "-")
			k.run(t, "", "web", "get", "app", "-n", ns)
			k.run(t, "", "application.fairlead.dev/web", "get", "all", "-n", ns)
			k.run(t, "", "Compose", "explain", "application.spec.compose")
			k.refused(t, strings.Replace(application("bad"), "directory", "folder", 1), "folder", "apply", "--validate=strict", "-n", ns, "-f", "-")
			k.run(t, "", "condition met", "wait", "--for=condition=Established", "crd/applications.fairlead.dev", "--timeout=10s")
			k.run(t, "", "deleted", "delete", "namespace", ns, "--timeout=30s")
			k.refused(t, "", "NotFound", "get", "namespace", ns)
		})
	}
}

func TestRoles(t *testing.T) {
	p := serve(t, filepath.Join(t.TempDir(), "data"))
	admin := tool{[]string{"kubectl"}, p.Addresses.Kubeconfig}
	as := func(role string) tool {
		t.Helper()
		account := strings.TrimPrefix(role, "fairlead-")
		admin.run(t, "", "created", "create", "serviceaccount", account)
		admin.run(t, "", "created", "create", "clusterrolebinding", account, "--clusterrole="+role, "--serviceaccount=default:"+account)
		token := strings.TrimSpace(admin.run(t, "", ".", "create", "token", account, "--duration=10m"))
		kubeconfig := filepath.Join(t.TempDir(), account)
		data, err := os.ReadFile(admin.kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(kubeconfig, data, 0o600); err != nil {
			t.Fatal(err)
		}
		k := tool{[]string{"kubectl"}, kubeconfig}
		k.run(t, "", "", "config", "set-credentials", account, "--token="+token)
		k.run(t, "", "", "config", "set-context", "--current", "--user="+account)
		k.run(t, "", "system:serviceaccount:default:"+account, "auth", "whoami")
		return k
	}
	admin.run(t, application("web"), "created", "apply", "-f", "-")
	const request = `{"apiVersion":"fairlead.dev/v1alpha1","kind":"UpdateRequest","metadata":{"name":"u"},"spec":{"applicationRef":{"name":"web"},"commit":"main"}}`

	viewer := as("fairlead-viewer")
	viewer.run(t, "", "web", "get", "applications")
	viewer.refused(t, request, "Forbidden", "create", "-f", "-")
	viewer.refused(t, "", "Forbidden", "get", "secrets")
	for verb, want := range map[string]string{"get updaterequests/log": "yes", "list events": "yes", "create updaterequests": "no", "get secrets": "no"} {
		out, _ := viewer.try(t, "", append([]string{"auth", "can-i"}, strings.Fields(verb)...)...)
		if fields := strings.Fields(out); len(fields) == 0 || fields[len(fields)-1] != want {
			t.Errorf("viewer can %s: %q, want %s", verb, out, want)
		}
	}

	operator := as("fairlead-operator")
	operator.run(t, request, "created", "create", "-f", "-")
	operator.refused(t, application("other"), "Forbidden", "create", "-f", "-")
	operator.refused(t, "", "Forbidden", "get", "secrets")

	manager := as("fairlead-admin")
	manager.run(t, application("other"), "created", "create", "-f", "-")
	manager.run(t, "", "created", "create", "secret", "generic", "git", "--from-literal=token=x")
	manager.run(t, "", "created", "create", "clusterrolebinding", "more", "--clusterrole=fairlead-viewer", "--user=jo")
	manager.refused(t, "", "forbidden", "create", "clusterrolebinding", "most", "--clusterrole=cluster-admin", "--user=jo")
}

func TestAgentOfACluster(t *testing.T) {
	cluster := serve(t, filepath.Join(t.TempDir(), "cluster"))
	admin := tool{[]string{"kubectl"}, cluster.Addresses.Kubeconfig}

	// With an administrator's kubeconfig the agent installs what is missing.
	admin.run(t, "", "deleted", "delete", "crd", "applications.fairlead.dev")
	agentDir := filepath.Join(t.TempDir(), "agent")
	agent := serve(t, agentDir, "--kubeconfig", cluster.Addresses.Kubeconfig)
	if agent.Addresses.API != cluster.Addresses.API {
		t.Errorf("the agent works against %s, want %s", agent.Addresses.API, cluster.Addresses.API)
	}
	admin.run(t, application("web"), "created", "apply", "-f", "-")
	for _, absent := range []string{"etcd", "pki", "kubeconfig"} {
		if _, err := os.Stat(filepath.Join(agentDir, absent)); err == nil {
			t.Errorf("the agent has made %s", absent)
		}
	}

	// The manager's role is enough where everything is installed already.
	admin.run(t, "", "created", "create", "serviceaccount", "agent")
	admin.run(t, "", "created", "create", "clusterrolebinding", "agent", "--clusterrole=fairlead-manager", "--serviceaccount=default:agent")
	limited := admin.limited(t, "agent")
	second := serve(t, filepath.Join(t.TempDir(), "second"), "--kubeconfig", limited)
	if err := second.Stop(); err != nil {
		t.Error(err)
	}
	admin.run(t, "", "deleted", "delete", "crd", "releases.fairlead.dev")
	_, err := testenv.Serve(t.Context(), binary(t), filepath.Join(t.TempDir(), "third"), "--controllers=false", "--kubeconfig", limited)
	if err == nil || !strings.Contains(err.Error(), "releases.fairlead.dev/v1alpha1") || !strings.Contains(err.Error(), "administrator") {
		t.Errorf("without the definitions: got %v, want an error that says what is missing and whom to ask", err)
	}
}

// limited is a kubeconfig with nothing but a token of a service account.
func (k tool) limited(t *testing.T, account string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	data, err := os.ReadFile(k.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	own := tool{k.command, path}
	own.run(t, "", "", "config", "set-credentials", account, "--token="+k.token(t, account))
	own.run(t, "", "", "config", "set-context", "--current", "--user="+account)
	return path
}

func (k tool) token(t *testing.T, account string) string {
	t.Helper()
	return strings.TrimSpace(k.run(t, "", ".", "create", "token", account))
}

// TestAgentServesTheCluster: the HTTP API of an agent that has no more than the
// manager's role takes the cluster's tokens, and the cluster's RBAC decides.
func TestAgentServesTheCluster(t *testing.T) {
	cluster := serve(t, filepath.Join(t.TempDir(), "cluster"))
	admin := tool{[]string{"kubectl"}, cluster.Addresses.Kubeconfig}
	for account, role := range map[string]string{"agent": "fairlead-manager", "ops": "fairlead-operator", "reader": "fairlead-viewer"} {
		admin.run(t, "", "created", "create", "serviceaccount", account)
		admin.run(t, "", "created", "create", "clusterrolebinding", account, "--clusterrole="+role, "--serviceaccount=default:"+account)
	}
	admin.run(t, "", "created", "create", "serviceaccount", "stranger")
	admin.run(t, application("web"), "created", "apply", "-f", "-")
	limited := admin.limited(t, "agent")
	t.Setenv("UPDATER_TOKEN", "the-updaters-secret")

	// Without the account of UPDATER_TOKEN it says whom to ask.
	_, err := testenv.Serve(t.Context(), binary(t), filepath.Join(t.TempDir(), "none"), "--kubeconfig", limited)
	if err == nil || !strings.Contains(err.Error(), "fairlead-updater") || !strings.Contains(err.Error(), "administrator") {
		t.Errorf("without the updater's account: %v", err)
	}
	// As docs/guides/kubernetes.md had it, in all namespaces.
	admin.run(t, "", "created", "create", "namespace", "fairlead-system")
	admin.run(t, "", "created", "-n", "fairlead-system", "create", "serviceaccount", "fairlead-updater")
	admin.run(t, "", "created", "create", "clusterrolebinding", "fairlead-updater", "--clusterrole=fairlead-operator", "--serviceaccount=fairlead-system:fairlead-updater")
	dir := filepath.Join(t.TempDir(), "agent")
	agent := serve(t, dir, "--controllers=true", "--kubeconfig", limited)

	const wish = `{"spec":{"applicationRef":{"name":"web"},"suspend":true}}`
	call := func(token, method, path, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+agent.Addresses.HTTP+"/api/v1"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	for _, c := range []struct {
		who, token, name string
		create, list     int
	}{
		{"system:serviceaccount:default:ops", admin.token(t, "ops"), "by-ops", http.StatusCreated, http.StatusOK},
		{"system:serviceaccount:default:reader", admin.token(t, "reader"), "by-reader", http.StatusForbidden, http.StatusOK},
		{"system:serviceaccount:default:stranger", admin.token(t, "stranger"), "by-stranger", http.StatusForbidden, http.StatusForbidden},
		{"system:serviceaccount:fairlead-system:fairlead-updater", "the-updaters-secret", "by-updater", http.StatusCreated, http.StatusOK},
		{"", "guessed", "by-nobody", http.StatusUnauthorized, http.StatusUnauthorized},
	} {
		wished := strings.Replace(wish, "{", `{"metadata":{"name":"`+c.name+`"},`, 1)
		if code, body := call(c.token, http.MethodPost, "/namespaces/default/requests", wished); code != c.create {
			t.Errorf("%s creates: %d %s, want %d", c.name, code, body, c.create)
		}
		if code, body := call(c.token, http.MethodGet, "/namespaces/default/requests", ""); code != c.list {
			t.Errorf("%s lists: %d %s, want %d", c.name, code, body, c.list)
		}
		if c.create != http.StatusCreated {
			admin.refused(t, "", "NotFound", "get", "updaterequest", c.name)
			continue
		}
		if by := admin.run(t, "", "", "get", "updaterequest", c.name, "-o", `jsonpath={.metadata.annotations.fairlead\.dev/requested-by}`); by != c.who {
			t.Errorf("%s was asked for by %q, want %s", c.name, by, c.who)
		}
	}
	log, err := os.ReadFile(filepath.Join(dir, "audit-http.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"name":"by-ops"`, `"name":"by-updater"`, `"status":403`, `"status":401`} {
		if !strings.Contains(string(log), part) {
			t.Errorf("the audit log has no %s:\n%s", part, log)
		}
	}

	// A ManifestSource may name the account that is meant for it, and no other.
	for _, account := range []string{"fairlead-manifests", "ops"} {
		as := "system:serviceaccount:default:" + account
		out, err := tool{admin.command, limited}.try(t, "", "--as="+as, "auth", "whoami")
		if may := err == nil && strings.Contains(out, as); may != (account == "fairlead-manifests") {
			t.Errorf("the agent may act as %s: %t\n%s", as, may, out)
		}
	}
}
