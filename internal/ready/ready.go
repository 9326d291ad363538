// SPDX-License-Identifier: Apache-2.0

// Package ready is the file by which a daemon that chose its own ports tells
// whoever started it that it is ready, and where.
package ready

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
)

// Addresses are the actual addresses of a ready daemon.
type Addresses struct {
	// PID of the daemon.
	PID int `json:"pid"`
	// Kubeconfig to reach its API with.
	Kubeconfig string `json:"kubeconfig"`
	// API is the URL of the Kubernetes API that it works against.
	API string `json:"api"`
	// HTTP is the host and port of its HTTP endpoints.
	HTTP string `json:"http"`
}

// Write puts a into path atomically, readable by its owner only.
func Write(path string, a Addresses) error {
	data, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("ready file: %w", err)
	}
	if err := atomicfile.WriteFile(path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("ready file: %w", err)
	}
	return nil
}

// Read returns what Write wrote. Until then the error is os.ErrNotExist.
func Read(path string) (Addresses, error) {
	var a Addresses
	data, err := os.ReadFile(path)
	if err != nil {
		return a, fmt.Errorf("ready file: %w", err)
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return a, fmt.Errorf("ready file %s: %w", path, err)
	}
	return a, nil
}
