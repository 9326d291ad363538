// SPDX-License-Identifier: Apache-2.0

// Package openapi is the part of Kubernetes' schema that the API server publishes.
package openapi

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	openapicommon "k8s.io/kube-openapi/pkg/common"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"
)

// servedModels are the prefixes of the names of all types that requests to this
// server mention, and what those types are made of is found from there.
func servedModels() []string {
	return []string{
		"io.k8s.api.authentication.v1.",
		"io.k8s.api.authorization.v1.",
		"io.k8s.api.autoscaling.v1.Scale",
		"io.k8s.api.coordination.v1.",
		"io.k8s.api.core.v1.ConfigMap",
		"io.k8s.api.core.v1.Event",
		"io.k8s.api.core.v1.Namespace",
		"io.k8s.api.core.v1.ResourceQuota",
		"io.k8s.api.core.v1.Secret",
		"io.k8s.api.core.v1.ServiceAccount",
		"io.k8s.api.events.v1.",
		"io.k8s.api.rbac.v1.",
		"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.",
		"io.k8s.apimachinery.",
		"io.k8s.kube-aggregator.",
	}
}

// Definitions is the part of Kubernetes' schema that describes what this
// server serves. The whole of it is most of an idle server's heap.
func Definitions(ref openapicommon.ReferenceCallback) map[string]openapicommon.OpenAPIDefinition {
	all := generatedopenapi.GetOpenAPIDefinitions(ref)
	prefixes := servedModels()
	served := make(map[string]openapicommon.OpenAPIDefinition)
	seen := sets.New[string]()
	var keep func(name string)
	keep = func(name string) {
		definition, ok := all[name]
		if !ok || seen.Has(name) {
			return
		}
		seen.Insert(name)
		served[name] = definition
		for _, dependency := range definition.Dependencies {
			keep(dependency)
		}
	}
	for name := range all {
		for _, prefix := range prefixes {
			if strings.HasPrefix(name, prefix) {
				keep(name)
				break
			}
		}
	}
	return served
}
