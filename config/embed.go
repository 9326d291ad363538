// SPDX-License-Identifier: Apache-2.0

// Package config carries the manifests of this directory inside the binary, so
// that the daemon installs exactly what `kubectl apply -k` would.
package config

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
)

//go:embed crd/bases/*.yaml rbac/*_role.yaml rbac-embedded/*_role.yaml
var manifests embed.FS

// CRDs returns the CustomResourceDefinitions, one YAML document per element, in
// the order of their file names.
func CRDs() ([][]byte, error) { return read("crd/bases") }

// Roles returns the ClusterRoles for Fairlead's own API server, one YAML document
// per element, in the order of their file names.
func Roles() ([][]byte, error) { return read("rbac", "rbac-embedded") }

// ClusterRoles is Roles for an existing cluster, where Fairlead's administrator is
// not that of everything.
func ClusterRoles() ([][]byte, error) { return read("rbac") }

// read returns the files of dir; those of the same name in the others go before.
func read(dir string, instead ...string) ([][]byte, error) {
	entries, err := fs.ReadDir(manifests, dir)
	if err != nil {
		return nil, fmt.Errorf("embedded manifests: %w", err)
	}
	var docs [][]byte
	for _, entry := range entries {
		data, err := manifests.ReadFile(path.Join(dir, entry.Name()))
		for _, other := range instead {
			if own, otherErr := manifests.ReadFile(path.Join(other, entry.Name())); otherErr == nil {
				data = own
			}
		}
		if err != nil {
			return nil, fmt.Errorf("embedded manifests: %w", err)
		}
		docs = append(docs, data)
	}
	return docs, nil
}
