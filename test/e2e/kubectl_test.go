// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// kubectl runs the real kubectl, which must work, and returns its output.
func (s *site) kubectl(stdin string, args ...string) string {
	s.t.Helper()
	out, errOut, code := s.Kubectl(stdin, args...)
	if code != 0 {
		s.t.Fatalf("kubectl %s: exit %d\n%s\n%s", strings.Join(args, " "), code, out, errOut)
	}
	return out
}

// refused runs the real kubectl, which must not work, and returns what it said.
func (s *site) refused(stdin string, args ...string) string {
	s.t.Helper()
	out, errOut, code := s.Kubectl(stdin, args...)
	if code == 0 {
		s.t.Fatalf("kubectl %s worked:\n%s", strings.Join(args, " "), out)
	}
	return errOut
}

const requestManifest = `apiVersion: fairlead.dev/v1alpha1
kind: UpdateRequest
metadata: {name: %s}
spec:
  applicationRef: {name: %s}
  commit: %q
`

// Everything that a person with nothing but kubectl does.
func TestKubectl(t *testing.T) {
	t.Parallel()
	s := newSite(t, apps.Hello)
	s.kubectl(harness.Manifest(s.name, s.repo, ""), "apply", "-f", "-")
	good, bad := s.name+"-good", s.name+"-bad"
	s.kubectl(fmt.Sprintf(requestManifest, good, s.name, "main"), "apply", "-f", "-")
	s.kubectl("", "wait", "--for=condition=Succeeded", "--timeout=120s", "updaterequest/"+good)
	s.wantVersion("1")
	commit := s.publish("Never healthy", map[string]string{"behaviour.json": apps.Behaviour{Unhealthy: true}.JSON()})
	s.kubectl(fmt.Sprintf(requestManifest, bad, s.name, commit[:9]), "apply", "-f", "-")
	s.kubectl("", "wait", "--for=condition=Succeeded=False", "--timeout=120s", "ur/"+bad)
	s.WantEnd(bad, v1alpha1.PhaseRolledBack)
	s.wantVersion("1")

	t.Run("get", func(t *testing.T) {
		s := s.in(t)
		first := s.deployed()
		wantColumns(t, s.kubectl("", "get", "ur", good), map[string]string{
			"NAME": good, "APPLICATION": s.name, "COMMIT": first, "PHASE": "Succeeded", "STEP": "CleanUp", "DURATION": "", "AGE": "",
		})
		wantColumns(t, s.kubectl("", "get", "ur", bad), map[string]string{"PHASE": "RolledBack", "COMMIT": commit})
		wantContains(t, "get -o wide", s.kubectl("", "get", "ur", bad, "-o", "wide"), "MESSAGE", "did not become healthy")
		wantColumns(t, s.kubectl("", "get", "rel", s.Releases(s.name)[0].Name), map[string]string{
			"APPLICATION": s.name, "NUMBER": "1", "COMMIT": first, "STATE": "Current", "VERIFIED": "true",
		})
		s.WaitApp(s.name, "a healthy application", func(a *v1alpha1.Application) bool { return a.Status.Healthy == "1/1" })
		wantContains(t, "get app", s.kubectl("", "get", "app", s.name), s.name, "1/1")
		wantContains(t, "get bk", s.kubectl("", "get", "bk"), s.name, "Checksums")
		wantContains(t, "get host", s.kubectl("", "get", "host"), "NAME")
		all := s.kubectl("", "get", "fairlead")
		wantContains(t, "get fairlead", all, "application.fairlead.dev/"+s.name, "updaterequest.fairlead.dev/"+good, "release.fairlead.dev/", "backup.fairlead.dev/")
		if got := s.kubectl("", "get", "ur", "--field-selector", "spec.applicationRef.name="+s.name, "-o", "name"); len(strings.Fields(got)) != 2 {
			t.Errorf("the requests of the application are %q", got)
		}
	})
	t.Run("describe", func(t *testing.T) {
		s := s.in(t)
		wantContains(t, "describe", s.kubectl("", "describe", "ur", bad), "Phase:", "RolledBack", "HealthCheckFailed", "Events:", "Warning", "Rolling")
		wantContains(t, "describe", s.kubectl("", "describe", "app", s.name), "Services:", "Healthy")
	})
	t.Run("explain", func(t *testing.T) { s.in(t).explainAll() })
	t.Run("viewer", func(t *testing.T) { s.in(t).viewer() })
	t.Run("what cannot be changed", func(t *testing.T) {
		s := s.in(t)
		for patch, wants := range map[string]string{
			`{"spec":{"commit":"0123456"}}`:                "commit cannot be changed: create a new UpdateRequest",
			`{"spec":{"applicationRef":{"name":"other"}}}`: "applicationRef cannot be changed: create a new UpdateRequest",
			`{"spec":{"rollbackTo":{"name":"other"}}}`:     "rollbackTo cannot be changed: create a new UpdateRequest",
			`{"spec":{"force":true}}`:                      "force cannot be changed",
		} {
			wantContains(t, "kubectl", s.refused("", "patch", "ur", good, "--type=merge", "-p", patch), wants)
		}
		both := "apiVersion: fairlead.dev/v1alpha1\nkind: UpdateRequest\nmetadata: {name: both}\nspec: {applicationRef: {name: shop}, commit: abcdef0, rollbackTo: {name: shop-1}}\n"
		wantContains(t, "kubectl", s.refused(both, "apply", "-f", "-"), "either a commit or a release")
		wantContains(t, "kubectl", s.refused("", "patch", "app", s.name, "--type=merge", "-p", `{"spec":{"compose":{"directory":"/elsewhere"}}}`), "compose.directory cannot be changed")
		release := s.Releases(s.name)[0].Name
		wantContains(t, "kubectl", s.refused("", "patch", "rel", release, "--type=merge", "-p", `{"spec":{"commit":"x"}}`), "a Release is a record")
		wantContains(t, "kubectl", s.refused("apiVersion: fairlead.dev/v1alpha1\nkind: Application\nmetadata: {name: relative}\nspec: {compose: {directory: opt/x}}\n", "apply", "-f", "-"), "must be an absolute path")
	})
	t.Run("samples", func(t *testing.T) {
		s := s.in(t)
		samples, err := filepath.Abs("../../config/samples")
		if err != nil {
			t.Fatal(err)
		}
		s.kubectl("", "apply", "--dry-run=server", "-k", samples)
	})
	t.Run("built in", func(t *testing.T) {
		s := s.in(t)
		out, errOut, code := s.Fairlead("kubectl", "get", "ur", good, "-o", "jsonpath={.status.phase}")
		if code != 0 || out != "Succeeded" {
			t.Errorf("fairlead kubectl: exit %d, %q, %s", code, out, errOut)
		}
	})
}

// wantColumns checks the one line below the heading; an empty value means any.
func wantColumns(t *testing.T, table string, want map[string]string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if len(lines) != 2 {
		t.Fatalf("not one line:\n%s", table)
	}
	names, values := strings.Fields(lines[0]), strings.Fields(lines[1])
	got := map[string]string{}
	for i, n := range names {
		if i < len(values) {
			got[n] = values[i]
		}
	}
	for n, v := range want {
		if g, ok := got[n]; !ok || v != "" && g != v {
			t.Errorf("column %s is %q, want %q:\n%s", n, g, v, table)
		}
	}
}

// explainAll checks that every field of every kind is described.
func (s *site) explainAll() {
	t := s.t
	for _, kind := range []string{"applications", "updaterequests", "releases", "backups", "dockerhosts", "manifestsources"} {
		text := s.kubectl("", "explain", kind, "--recursive")
		wantContains(t, "explain "+kind, text, "DESCRIPTION:", "spec", "status")
		if strings.Contains(text, "<empty>") {
			t.Errorf("%s has no description:\n%s", kind, text)
		}
	}
	wantContains(t, "explain", s.kubectl("", "explain", "ur.spec.commit"), "a SHA", "cannot")
	// explain itself is asked for a few; the schema, for all.
	var crds struct {
		Items []struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Schema struct{ OpenAPIV3Schema map[string]any }
				}
			}
		}
	}
	data := s.kubectl("", "get", "crd", "-o", "json")
	if err := json.Unmarshal([]byte(data), &crds); err != nil {
		t.Fatal(err)
	}
	if len(crds.Items) != 6 {
		t.Errorf("there are %d kinds, want 6", len(crds.Items))
	}
	for _, crd := range crds.Items {
		undescribed(t, crd.Spec.Names.Kind, crd.Spec.Versions[0].Schema.OpenAPIV3Schema)
	}
}

func undescribed(t *testing.T, path string, schema map[string]any) {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	for name, p := range properties {
		field, ok := p.(map[string]any)
		if !ok {
			continue
		}
		here := path + "." + name
		if text, _ := field["description"].(string); text == "" && name != "metadata" {
			t.Errorf("%s has no description", here)
		}
		undescribed(t, here, field)
		if items, ok := field["items"].(map[string]any); ok {
			undescribed(t, here, items)
		}
	}
}

// viewer checks that somebody with the role fairlead-viewer sees and changes nothing.
func (s *site) viewer() {
	t := s.t
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.name + "-viewer"}}
	if err := s.Client.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.kubectlCleanup("delete", "serviceaccount", account.Name) })
	s.kubectl("", "create", "clusterrolebinding", account.Name, "--clusterrole=fairlead-viewer", "--serviceaccount="+s.Namespace+":"+account.Name)
	t.Cleanup(func() { s.kubectlCleanup("delete", "clusterrolebinding", account.Name) })
	token := strings.TrimSpace(s.kubectl("", "create", "token", account.Name))
	// Without the administrator's certificate, which would go first.
	server := s.kubectl("", "config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
	anonymous := []string{"--kubeconfig=/dev/null", "--server=" + server, "--insecure-skip-tls-verify", "--token=" + token}
	as := func(args ...string) []string { return append(append([]string{}, anonymous...), args...) }

	wantContains(t, "the viewer's list", s.kubectl("", as("get", "ur")...), s.name+"-good")
	wantContains(t, "kubectl", s.refused("", as("get", "secrets")...), "forbidden")
	release := s.Releases(s.name)[0].Name
	const group = "apiVersion: fairlead.dev/v1alpha1\n"
	app := group + "kind: Application\nmetadata: {name: " + s.name + "-viewer}\nspec: {compose: {directory: /opt/x}}\n"
	source := group + "kind: ManifestSource\nmetadata: {name: " + s.name + "-viewer}\nspec: {url: \"https://example.com/x.git\"}\n"
	for _, w := range []struct {
		stdin          string
		args           []string
		verb, resource string
	}{
		{fmt.Sprintf(requestManifest, s.name+"-viewer", s.name, "main"), []string{"create", "-f", "-"}, "create", "updaterequests"},
		{fmt.Sprintf(requestManifest, s.name+"-viewer", s.name, "main"), []string{"apply", "--server-side", "-f", "-"}, "patch", "updaterequests"},
		{"", []string{"patch", "ur", s.name + "-good", "--type=merge", "-p", `{"spec":{"cancel":true}}`}, "patch", "updaterequests"},
		{"", []string{"patch", "ur", s.name + "-good", "--subresource=status", "--type=merge", "-p", `{"status":{"phase":"Failed"}}`}, "patch", "updaterequests"},
		{"", []string{"delete", "ur", s.name + "-good"}, "delete", "updaterequests"},
		{"", []string{"delete", "--raw", "/apis/fairlead.dev/v1alpha1/namespaces/" + s.Namespace + "/updaterequests"}, "deletecollection", "updaterequests"},
		{app, []string{"create", "-f", "-"}, "create", "applications"},
		{"", []string{"patch", "app", s.name, "--type=merge", "-p", `{"spec":{"suspend":true}}`}, "patch", "applications"},
		{"", []string{"annotate", "app", s.name, v1alpha1.AnnotationCheck + "=now"}, "patch", "applications"},
		{"", []string{"delete", "app", s.name}, "delete", "applications"},
		{"", []string{"delete", "rel", release}, "delete", "releases"},
		{"", []string{"patch", "rel", release, "--type=merge", "-p", `{"spec":{"commit":"x"}}`}, "patch", "releases"},
		{source, []string{"create", "-f", "-"}, "create", "manifestsources"},
		{"", []string{"create", "secret", "generic", s.name + "-viewer", "--from-literal=token=x"}, "create", "secrets"},
		{"", []string{"create", "serviceaccount", s.name + "-more"}, "create", "serviceaccounts"},
		{"", []string{"create", "token", account.Name}, "create", "serviceaccounts"},
		{"", []string{"create", "rolebinding", s.name + "-more", "--clusterrole=fairlead-admin", "--user=jo"}, "create", "rolebindings"},
	} {
		what := strings.Join(w.args, " ")
		said := s.refused(w.stdin, as(w.args...)...)
		if !strings.Contains(strings.ToLower(said), "forbidden") {
			t.Errorf("kubectl %s: %s", what, said)
		}
		if !s.audited(account.Name, w.verb, w.resource) {
			t.Errorf("the refusal of kubectl %s is not in the audit log", what)
		}
	}
	var r v1alpha1.UpdateRequest
	if err := s.Client.Get(t.Context(), client.ObjectKey{Namespace: s.Namespace, Name: s.name + "-viewer"}, &r); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("the viewer's request: %v", err)
	}
}

// audited reports whether the API's audit log has a refused write of a service account.
func (s *site) audited(account, verb, resource string) bool {
	s.t.Helper()
	log, err := os.ReadFile(filepath.Join(s.DataDir, "audit.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	who := "system:serviceaccount:" + s.Namespace + ":" + account
	for line := range bytes.Lines(log) {
		var e struct {
			Verb           string
			User           struct{ Username string }
			ObjectRef      struct{ Resource string }
			ResponseStatus struct{ Code int }
		}
		if err := json.Unmarshal(line, &e); err != nil {
			s.t.Fatalf("a line of the audit log is none: %v: %s", err, line)
		}
		if e.User.Username == who && e.Verb == verb && e.ObjectRef.Resource == resource && e.ResponseStatus.Code == http.StatusForbidden {
			return true
		}
	}
	return false
}

// kubectlCleanup is for what is left after a test.
func (s *site) kubectlCleanup(args ...string) {
	_, errOut, code := harness.Run(context.Background(), []string{"KUBECONFIG=" + s.Kubeconfig, "HOME=" + s.DataDir + ".kubectl"}, "", "kubectl", args...)
	if code != 0 {
		s.t.Errorf("kubectl %s: %s", strings.Join(args, " "), errOut)
	}
}
