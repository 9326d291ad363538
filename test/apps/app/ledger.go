// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ledger appends the version as one line to the file runs in the directory
// that LEDGER names: a one-shot service whose every run can be counted.
func ledger(v version) (err error) {
	path := filepath.Join(envOr("LEDGER", "/ledger"), "runs")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := fmt.Fprintln(f, v.name); err != nil {
		return err
	}
	return f.Sync()
}
