// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the objects of the API group fairlead.dev: what people
// wish for (spec) and what became of it (status). It has no behaviour.
//
// +kubebuilder:object:generate=true
// +groupName=fairlead.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is fairlead.dev/v1alpha1.
	GroupVersion = schema.GroupVersion{Group: "fairlead.dev", Version: "v1alpha1"}

	// SchemeBuilder registers the types of this package.
	SchemeBuilder = runtime.NewSchemeBuilder(func(s *runtime.Scheme) error {
		s.AddKnownTypes(GroupVersion,
			&Application{}, &ApplicationList{},
			&UpdateRequest{}, &UpdateRequestList{},
			&Release{}, &ReleaseList{},
			&Backup{}, &BackupList{},
			&DockerHost{}, &DockerHostList{},
			&ManifestSource{}, &ManifestSourceList{},
		)
		metav1.AddToGroupVersion(s, GroupVersion)
		return nil
	})

	// AddToScheme adds the types of this package to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)
