// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const (
	idPrefix = "backup_"
	idLayout = "20060102_150405"

	partialSuffix = ".partial"
	trashPrefix   = ".trash_"

	// ManifestName is the file in a backup's directory that says what is in it.
	ManifestName = "manifest.json"
)

var idPattern = regexp.MustCompile(`^backup_[0-9]{8}_[0-9]{6}$`)

// Dir is the backups directory of the application in deployDir.
func Dir(deployDir string) string {
	return filepath.Join(deployDir, ".update", "backups")
}

// NewID names a backup that is begun at t: backup_YYYYMMDD_HHMMSS in UTC. While
// exists says that a name is taken, the next second is tried.
func NewID(t time.Time, exists func(id string) bool) string {
	t = t.UTC()
	for {
		id := idPrefix + t.Format(idLayout)
		if !exists(id) {
			return id
		}
		t = t.Add(time.Second)
	}
}

// ParseID accepts what people type, "backup_20231201_143022" or just
// "20231201_143022", and returns the ID. Everything else is an error, so that an
// ID can safely become part of a path.
func ParseID(s string) (string, error) {
	id := s
	if !strings.HasPrefix(id, idPrefix) {
		id = idPrefix + id
	}
	if err := checkID(id); err != nil {
		return "", fmt.Errorf("%q is not the ID of a backup; expected backup_YYYYMMDD_HHMMSS, such as backup_20231201_143022", s)
	}
	return id, nil
}

func checkID(id string) error {
	if !idPattern.MatchString(id) {
		return fmt.Errorf("invalid backup ID %q; expected backup_YYYYMMDD_HHMMSS", id)
	}
	if _, err := time.Parse(idLayout, strings.TrimPrefix(id, idPrefix)); err != nil {
		return fmt.Errorf("invalid backup ID %q: not a date and time", id)
	}
	return nil
}

func partialName(id string) string { return "." + id + partialSuffix }

// partialID returns the ID that a partial directory's name holds.
func partialID(name string) (string, bool) {
	if !strings.HasPrefix(name, ".") || !strings.HasSuffix(name, partialSuffix) {
		return "", false
	}
	id := strings.TrimSuffix(name[1:], partialSuffix)
	return id, checkID(id) == nil
}
