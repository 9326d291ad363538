// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/internal/tokens"
)

func TestTokenCreate(t *testing.T) {
	for name, everywhere := range map[string]bool{"here": false, "everywhere": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			args := []string{"token", "create", "ci-bot", "--role", "operator", "--for", "24h", "-n", "prod"}
			if everywhere {
				args = append(args, "--all-namespaces")
			}
			if err := w.run(t.Context(), args...); err != nil {
				t.Fatal(err)
			}
			if out := w.stdout(); len(strings.Fields(out)) != 1 || !strings.HasSuffix(out, "\n") {
				t.Errorf("standard output has more than the token: %q", out)
			}
			var account corev1.ServiceAccount
			if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: "prod", Name: "fairlead-token-ci-bot"}, &account); err != nil {
				t.Fatal(err)
			}
			if at, err := time.Parse(time.RFC3339, account.Annotations[tokens.AnnotationExpires]); err != nil || at.IsZero() {
				t.Errorf("expires %v, %v", at, err)
			}
			var here rbacv1.RoleBindingList
			var all rbacv1.ClusterRoleBindingList
			if err := errors.Join(w.client.List(t.Context(), &here), w.client.List(t.Context(), &all)); err != nil {
				t.Fatal(err)
			}
			if len(here.Items)+len(all.Items) != 1 || (len(all.Items) == 1) != everywhere {
				t.Fatalf("bindings %+v, %+v", here.Items, all.Items)
			}
			var ref rbacv1.RoleRef
			var subjects []rbacv1.Subject
			for _, b := range here.Items {
				ref, subjects = b.RoleRef, b.Subjects
			}
			for _, b := range all.Items {
				ref, subjects = b.RoleRef, b.Subjects
			}
			if ref.Name != "fairlead-operator" || ref.Kind != "ClusterRole" || subjects[0].Namespace != "prod" || subjects[0].Name != account.Name {
				t.Errorf("%+v for %+v", ref, subjects)
			}
			if err := w.run(t.Context(), args...); err == nil || !strings.Contains(err.Error(), "already") {
				t.Errorf("a second one of the name: %v", err)
			}
			if err := w.run(t.Context(), "token", "revoke", "ci-bot", "-n", "prod"); err != nil {
				t.Fatal(err)
			}
			var accounts corev1.ServiceAccountList
			if err := errors.Join(w.client.List(t.Context(), &here), w.client.List(t.Context(), &all), w.client.List(t.Context(), &accounts)); err != nil {
				t.Fatal(err)
			}
			if n := len(here.Items) + len(all.Items) + len(accounts.Items); n != 0 {
				t.Errorf("%d objects are left after the revocation", n)
			}
			if err := w.run(t.Context(), "token", "revoke", "ci-bot", "-n", "prod"); err == nil || !strings.Contains(err.Error(), "no token") {
				t.Errorf("a second revocation: %v", err)
			}
		})
	}
}

func TestTokenUsage(t *testing.T) {
	for _, args := range []string{
		"create", "create --role root", "create --role viewer --for 5m", "create Bad_Name --role viewer", "create a b --role viewer",
		"revoke", "revoke x --expired", "list -o yaml",
	} {
		w := newWorld(t)
		if err := w.run(t.Context(), append([]string{"token"}, strings.Fields(args)...)...); err == nil {
			t.Errorf("token %s: no error", args)
		}
		if out := w.stdout(); out != "" {
			t.Errorf("token %s prints %q", args, out)
		}
		var accounts corev1.ServiceAccountList
		if err := w.client.List(t.Context(), &accounts); err != nil || len(accounts.Items) != 0 {
			t.Errorf("token %s leaves %d accounts, %v", args, len(accounts.Items), err)
		}
	}
}

// account is a token's service account as it lies in the API.
func account(name, role string, expires time.Time) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "fairlead-token-" + name,
		CreationTimestamp: metav1.NewTime(testTime.Add(-48 * time.Hour)),
		Labels:            map[string]string{tokens.LabelName: name, tokens.LabelRole: role},
		Annotations:       map[string]string{tokens.AnnotationExpires: expires.Format(time.RFC3339)}}}
}

func TestTokenList(t *testing.T) {
	w := newWorld(t, account("fresh", "viewer", testTime.Add(time.Hour)), account("old", "operator", testTime.Add(-time.Hour)),
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "somebody-else"}})
	if err := w.run(t.Context(), "token", "list"); err != nil {
		t.Fatal(err)
	}
	w.says("NAME", "fresh", "viewer", "namespace default", "2026-03-04T06:06:07Z", "old", "operator", "2026-03-04T04:06:07Z (expired)")
	if strings.Contains(w.stdout(), "somebody") {
		t.Error("an account that is no token is listed")
	}
	w = newWorld(t, account("fresh", "viewer", testTime.Add(time.Hour)), account("old", "operator", testTime.Add(-time.Hour)))
	if err := w.run(t.Context(), "token", "list", "-o", "json"); err != nil {
		t.Fatal(err)
	}
	var items []tokenItem
	if err := json.Unmarshal([]byte(w.stdout()), &items); err != nil || len(items) != 2 || items[0].Expired || !items[1].Expired {
		t.Errorf("%v, %+v", err, items)
	}
	if err := w.run(t.Context(), "token", "revoke", "--expired"); err != nil {
		t.Fatal(err)
	}
	left, err := tokens.List(t.Context(), w.client, "")
	if err != nil || len(left) != 1 || left[0].Name != "fresh" {
		t.Errorf("left %+v, %v", left, err)
	}
}
