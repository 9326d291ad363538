// SPDX-License-Identifier: Apache-2.0

package updatelog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Prune removes the logs in dir that were last written more than age before now,
// except those whose file names are in keep, and returns the paths of those that
// it removed. Other files are not touched. An age of zero or less removes nothing;
// a directory that does not exist is empty.
func Prune(dir string, age time.Duration, now time.Time, keep ...string) (removed []string, err error) {
	if age <= 0 {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("remove old logs: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		if !entry.Type().IsRegular() || !IsName(entry.Name()) || slices.Contains(keep, entry.Name()) {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if now.Sub(info.ModTime()) <= age {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		if err := os.Remove(path); err != nil {
			if !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
			continue
		}
		removed = append(removed, path)
	}
	if len(errs) > 0 {
		return removed, fmt.Errorf("remove old logs: %w", errors.Join(errs...))
	}
	return removed, nil
}
