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

// Limits say which logs are kept. A limit of zero or less is no limit.
type Limits struct {
	// Age after which a log that was last written goes.
	Age time.Duration
	// Count of newest logs, by the time in their names, beyond which one goes.
	Count int
	// Except are the file names of logs that are left and not counted.
	Except map[string]bool
}

// Prune removes the logs in dir that either limit lets go, except those whose file
// names are in keep, which count among the newest, and returns the paths of those
// that it removed. Other files are not touched; a directory that does not exist is
// empty.
func Prune(dir string, limits Limits, now time.Time, keep ...string) (removed []string, err error) {
	if limits.Age <= 0 && limits.Count <= 0 {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("remove old logs: %w", err)
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool {
		return !e.Type().IsRegular() || !IsName(e.Name()) || limits.Except[e.Name()]
	})
	slices.Reverse(entries) // sorted by name, which is by time
	var errs []error
	for i, entry := range entries {
		if slices.Contains(keep, entry.Name()) {
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
		tooOld := limits.Age > 0 && now.Sub(info.ModTime()) > limits.Age
		tooMany := limits.Count > 0 && i >= limits.Count
		if !tooOld && !tooMany {
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
