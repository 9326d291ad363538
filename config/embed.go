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

//go:embed crd/bases/*.yaml rbac/*_role.yaml
var manifests embed.FS

// CRDs returns the CustomResourceDefinitions, one YAML document per element, in
// the order of their file names.
func CRDs() ([][]byte, error) { return read("crd/bases") }

// Roles returns the ClusterRoles, one YAML document per element, in the order
// of their file names.
func Roles() ([][]byte, error) { return read("rbac") }

func read(dir string) ([][]byte, error) {
	entries, err := fs.ReadDir(manifests, dir)
	if err != nil {
		return nil, fmt.Errorf("embedded manifests: %w", err)
	}
	var docs [][]byte
	for _, entry := range entries {
		data, err := manifests.ReadFile(path.Join(dir, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("embedded manifests: %w", err)
		}
		docs = append(docs, data)
	}
	return docs, nil
}
