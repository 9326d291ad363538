// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package webui

import (
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/identity"
)

// byUpdaterToken is about somebody who signs in with UPDATER_TOKEN: they see and update
// what is in the updater's namespace, and nothing else.
func (r *realm) byUpdaterToken() {
	r.must(r.admin.Create(r.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}}))
	for namespace, name := range map[string]string{"default": "shop", "other": "blog"} {
		app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		app.Spec.Compose.Directory = "/opt/" + name
		r.must(r.admin.Create(r.Context(), app))
	}
	v := r.visitor()
	csrf := func(page visit) string {
		r.Helper()
		found := csrfValue.FindStringSubmatch(page.body)
		if found == nil {
			r.Fatalf("no form at %s: %d %s", page.url, page.status, page.body)
		}
		return found[1]
	}
	r.until("signed in by UPDATER_TOKEN", func() bool {
		got := v.ask(http.MethodPost, Prefix+"sign-in", url.Values{"csrf": {csrf(v.get(Prefix + "sign-in"))}, "token": {updaterToken}})
		return got.status == http.StatusOK && strings.Contains(got.body, "/applications/shop")
	})
	got := v.wants(Prefix, 200, "/ui/namespaces/default/applications/shop", identity.UpdaterAccount)
	for _, hidden := range []string{"blog", `href="/ui/tokens"`, `href="/ui/audit"`, `href="/ui/hosts"`, updaterToken} {
		if strings.Contains(got.body, hidden) {
			r.Errorf("the first page has %s", hidden)
		}
	}
	shop := v.wants("/ui/namespaces/default/applications/shop", 200)
	for _, path := range []string{"/ui/namespaces/other/applications/blog", "/ui/namespaces/other/applications/blog/choose", "/ui/tokens", "/ui/audit", "/ui/hosts"} {
		v.wants(path, 403)
	}
	for path, want := range map[string]int{"/ui/namespaces/other/applications/blog/update": 403, "/ui/namespaces/default/applications/shop/update": 200} {
		if got := v.ask(http.MethodPost, path, url.Values{"csrf": {csrf(shop)}}); got.status != want {
			r.Errorf("POST %s: %d %s, want %d", path, got.status, got.body, want)
		}
	}
	var requests v1alpha1.UpdateRequestList
	r.must(r.admin.List(r.Context(), &requests, client.InNamespace(metav1.NamespaceAll)))
	if len(requests.Items) != 1 || requests.Items[0].Namespace != "default" || requests.Items[0].Annotations[v1alpha1.AnnotationRequestedBy] != identity.UpdaterName {
		r.Errorf("the requests are %+v", requests.Items)
	}
}
