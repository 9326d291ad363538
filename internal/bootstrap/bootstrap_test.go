// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"context"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"

	"github.com/fairlead-dev/fairlead/config"
)

func TestEmbeddedManifests(t *testing.T) {
	docs, err := config.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	crds, err := parse[apiextensionsv1.CustomResourceDefinition](docs, "CustomResourceDefinition")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, crd := range crds {
		kinds[crd.Spec.Names.Plural] = true
		if crd.Spec.Group != "fairlead.dev" {
			t.Errorf("%s belongs to %s", crd.Name, crd.Spec.Group)
		}
	}
	docs, err = config.Roles()
	if err != nil {
		t.Fatal(err)
	}
	roles, err := parse[rbacv1.ClusterRole](docs, "ClusterRole")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, role := range roles {
		names[role.Name] = true
		for _, rule := range role.Rules {
			for _, resource := range rule.Resources {
				plural, _, _ := strings.Cut(resource, "/")
				if rule.APIGroups[0] == "fairlead.dev" && plural != "*" && !kinds[plural] {
					t.Errorf("%s names %s, which no definition has", role.Name, resource)
				}
			}
		}
	}
	for _, want := range []string{"fairlead-admin", "fairlead-operator", "fairlead-viewer", "fairlead-manager"} {
		if !names[want] {
			t.Errorf("role %s is missing", want)
		}
	}
}

// In somebody's cluster, Fairlead's administrator must not be that of all of it.
func TestAdminOfACluster(t *testing.T) {
	admin := func(read func() ([][]byte, error)) []rbacv1.PolicyRule {
		t.Helper()
		docs, err := read()
		if err != nil {
			t.Fatal(err)
		}
		roles, err := parse[rbacv1.ClusterRole](docs, "ClusterRole")
		if err != nil {
			t.Fatal(err)
		}
		for _, role := range roles {
			if role.Name == "fairlead-admin" {
				return role.Rules
			}
		}
		t.Fatal("there is no role fairlead-admin")
		return nil
	}
	embedded, cluster := admin(config.Roles), admin(config.ClusterRoles)
	for _, tt := range []struct {
		verb, group, resource, sub, name string
		embedded, cluster                bool
	}{
		{"create", "fairlead.dev", "applications", "", "", true, true},
		{"get", "fairlead.dev", "backups", "download", "shop-1", true, true},
		{"create", "rbac.authorization.k8s.io", "rolebindings", "", "", true, true},
		{"bind", "rbac.authorization.k8s.io", "clusterroles", "", "fairlead-operator", true, true},
		{"bind", "rbac.authorization.k8s.io", "clusterroles", "", "cluster-admin", false, false},
		{"escalate", "rbac.authorization.k8s.io", "clusterroles", "", "fairlead-operator", false, false},
		{"get", "", "secrets", "", "any", true, false},
		{"create", "", "secrets", "", "", true, false},
		{"create", "", "serviceaccounts", "token", "any", true, false},
		{"create", "", "serviceaccounts", "", "", true, false},
		{"impersonate", "", "serviceaccounts", "", "any", false, false},
		{"delete", "", "namespaces", "", "kube-system", true, false},
		{"delete", "rbac.authorization.k8s.io", "clusterrolebindings", "", "cluster-admin", true, false},
		{"delete", "rbac.authorization.k8s.io", "rolebindings", "", "any", true, false},
		{"create", "", "pods", "", "", false, false},
	} {
		a := authorizer.AttributesRecord{User: &user.DefaultInfo{Name: "jo"}, Verb: tt.verb, APIGroup: tt.group, Resource: tt.resource,
			Subresource: tt.sub, Name: tt.name, Namespace: "any", ResourceRequest: true}
		if got := rbac.RulesAllow(a, embedded...); got != tt.embedded {
			t.Errorf("embedded: %s %s/%s/%s %q: %t", tt.verb, tt.group, tt.resource, tt.sub, tt.name, got)
		}
		if got := rbac.RulesAllow(a, cluster...); got != tt.cluster {
			t.Errorf("in a cluster: %s %s/%s/%s %q: %t", tt.verb, tt.group, tt.resource, tt.sub, tt.name, got)
		}
	}
}

func TestInstalledByNewer(t *testing.T) {
	for _, c := range []struct {
		own, installed string
		want           bool
	}{
		{"v1.2.0", "v1.3.0", true}, {"v1.2.0", "v1.2.0", false}, {"v1.2.0", "v1.1.9", false}, {"v1.10.0", "v1.9.0", false},
		{"v1.2.0-rc.1", "v1.2.0", true}, {"v1.2.0", "", false}, {"v1.2.0", "mine", false}, {"(devel)", "v9.0.0", false}, {"", "v9.0.0", false},
	} {
		got := bootstrapper{version: c.own}.installedByNewer(map[string]string{VersionAnnotation: c.installed})
		if got != c.want {
			t.Errorf("%q sees %q as newer: %t, want %t", c.own, c.installed, got, c.want)
		}
	}
}

// What an administrator has narrowed stays so, if the role says it.
func TestKeptRoles(t *testing.T) {
	rule := func(verbs ...string) []rbacv1.PolicyRule {
		return []rbacv1.PolicyRule{{APIGroups: []string{"fairlead.dev"}, Resources: []string{"updaterequests"}, Verbs: verbs}}
	}
	role := func(name string, annotations map[string]string, verbs ...string) *rbacv1.ClusterRole {
		return &rbacv1.ClusterRole{TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}, Rules: rule(verbs...)}
	}
	client := fake.NewClientset(role("kept", map[string]string{KeepAnnotation: "true"}, "get"), role("ours", nil, "get"),
		role("undecided", map[string]string{KeepAnnotation: "false"}, "get"))
	b := bootstrapper{client: client, version: "v1.0.0"}
	err := b.applyRoles(t.Context(), []rbacv1.ClusterRole{*role("kept", nil, "get", "create"), *role("ours", nil, "get", "create"),
		*role("undecided", nil, "get", "create"), *role("new", nil, "get", "create")})
	if err != nil {
		t.Fatal(err)
	}
	for name, verbs := range map[string]int{"kept": 1, "ours": 2, "undecided": 2, "new": 2} {
		got, err := client.RbacV1().ClusterRoles().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || len(got.Rules) != 1 || len(got.Rules[0].Verbs) != verbs {
			t.Errorf("%s: %+v, %v; want %d verbs", name, got.Rules, err, verbs)
		}
	}
}

func TestWrongManifestsAreRefused(t *testing.T) {
	for name, m := range map[string]Manifests{
		"another kind": {CRDs: [][]byte{[]byte("kind: ClusterRole")}},
		"no YAML":      {Roles: [][]byte{[]byte("\tx")}},
		"a typo":       {Roles: [][]byte{[]byte("kind: ClusterRole\nruels: []")}},
	} {
		if err := Apply(context.Background(), &rest.Config{Host: "127.0.0.1:1"}, m); err == nil || !strings.Contains(err.Error(), "embedded manifest") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
