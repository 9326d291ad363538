// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"testing"

	"k8s.io/kube-openapi/pkg/validation/spec"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"
)

func TestDefinitions(t *testing.T) {
	ref := func(path string) spec.Ref { return spec.MustCreateRef("#/definitions/" + path) }
	all, served := generatedopenapi.GetOpenAPIDefinitions(ref), Definitions(ref)
	t.Logf("%d of %d definitions", len(served), len(all))
	if len(served) == 0 || len(served)*3 > len(all) {
		t.Errorf("%d of %d definitions are kept: the filter does not work", len(served), len(all))
	}
	for _, name := range []string{
		"io.k8s.api.core.v1.Secret", "io.k8s.api.core.v1.NamespaceList", "io.k8s.api.rbac.v1.ClusterRole",
		"io.k8s.api.coordination.v1.Lease", "io.k8s.api.events.v1.Event", "io.k8s.api.authentication.v1.TokenRequest",
		"io.k8s.api.authorization.v1.SelfSubjectAccessReview", "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
		"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
	} {
		if _, ok := served[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	for name, definition := range served {
		for _, dependency := range definition.Dependencies {
			if _, ok := served[dependency]; !ok {
				t.Errorf("%s needs %s, which was filtered out", name, dependency)
			}
		}
	}
	for _, name := range []string{"io.k8s.api.core.v1.Pod", "io.k8s.api.apps.v1.Deployment"} {
		if _, ok := served[name]; ok {
			t.Errorf("%s is kept although no such kind is served", name)
		}
	}
}
