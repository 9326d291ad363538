// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// SchemaVersion of the manifests that this package writes, and the highest one
// that it reads.
const SchemaVersion = 1

// Manifest is the content of manifest.json: all that a restore needs to know. Sizes
// are in bytes, times in UTC.
type Manifest struct {
	// SchemaVersion is 1.
	SchemaVersion int `json:"schemaVersion"`
	// ID is also the name of the directory.
	ID string `json:"id"`
	// Application is namespace/name, Project the name of the Compose project.
	Application string `json:"application"`
	Project     string `json:"project"`
	// Request is the UID of the request that the backup was made for, Release the
	// name of the release that ran.
	Request string `json:"request,omitempty"`
	Release string `json:"release,omitempty"`
	// CreatedAt is when the backup was begun, CompletedAt when the last artifact
	// was verified.
	CreatedAt   time.Time `json:"createdAt"`
	CompletedAt time.Time `json:"completedAt"`
	// Commit and Branch that were checked out in DeployDir.
	Commit string `json:"commit,omitempty"`
	Branch string `json:"branch,omitempty"`
	// DeployDir is the deployment directory on the host.
	DeployDir string `json:"deployDir"`
	// ComposeFiles are the paths of the Compose files.
	ComposeFiles []string `json:"composeFiles"`
	// EnvFiles, Profiles and Variables are what the Application said of the
	// Compose model besides; empty where it said nothing.
	EnvFiles  []string          `json:"envFiles,omitempty"`
	Profiles  []string          `json:"profiles,omitempty"`
	Variables map[string]string `json:"variables,omitempty"`
	// Images are what the services ran.
	Images []Image `json:"images"`
	// Artifacts are the files of the backup, in the order in which they were made.
	Artifacts []Artifact `json:"artifacts"`
	// Bytes is the size of all artifacts.
	Bytes int64 `json:"bytes"`
	// Skipped is what needed no backup.
	Skipped []Skipped `json:"skipped,omitempty"`
	// Warnings name data that is not in the backup, or may not be usable.
	Warnings []string `json:"warnings,omitempty"`
	// Verified says how the backup was verified: VerifiedChecksums.
	Verified string `json:"verified"`
	// Version of Fairlead that made the backup.
	Version string `json:"fairleadVersion,omitempty"`
}

// VerifiedChecksums says that every file was read back after it was written:
// its SHA-256, its compression and its archive or dump, up to the end.
const VerifiedChecksums = "Checksums"

// Image is what a service ran.
type Image struct {
	Service string `json:"service"`
	// Ref is the name in the Compose model, ID the engine's image ID.
	Ref string `json:"ref"`
	ID  string `json:"id,omitempty"`
	// RepoDigests are the names by digest; empty for an image that was built here.
	RepoDigests []string `json:"repoDigests,omitempty"`
}

// Format says how the file of an artifact is read.
type Format string

// The formats of artifacts.
const (
	FormatTar Format = "tar+gzip"
	FormatSQL Format = "sql+gzip"
)

// Artifact is one file of a backup.
type Artifact struct {
	Name   string `json:"name"`
	Kind   Kind   `json:"kind"`
	Format Format `json:"format"`
	// File is the name of the file in the backup's directory.
	File string `json:"file"`
	// Service that was dumped, or the first that mounts the place.
	Service string `json:"service,omitempty"`
	// Volume is the engine's name of the volume (KindVolume).
	Volume string `json:"volume,omitempty"`
	// Path of the bind mount on the host (KindBind).
	Path string `json:"path,omitempty"`
	// Bytes and SHA256 (hexadecimal) of the file, UncompressedBytes of what is in it.
	Bytes             int64  `json:"bytes"`
	UncompressedBytes int64  `json:"uncompressedBytes"`
	SHA256            string `json:"sha256"`
	// Entries of the archive; 0 for a dump.
	Entries int64 `json:"entries,omitempty"`
	// Databases that are in the dump.
	Databases []string `json:"databases,omitempty"`
	// Files maps the paths that were to be saved to their entries (KindFiles).
	Files []SavedFile `json:"files,omitempty"`
	// Excluded are paths, relative to Path, that were left out.
	Excluded []string `json:"excluded,omitempty"`
	// Tool that produced the data, with its version.
	Tool string `json:"tool,omitempty"`
	// Reason says why the artifact is there.
	Reason string `json:"reason,omitempty"`
	// Notes say what is worth knowing before the artifact is restored.
	Notes []string `json:"notes,omitempty"`
}

// SavedFile is one path of the files artifact.
type SavedFile struct {
	// Path on the host.
	Path string `json:"path"`
	// Entry is its name in the archive.
	Entry string `json:"entry"`
}

// Lacks names the data, settings aside, that other has and m does not.
func (m *Manifest) Lacks(other *Manifest) []string {
	var names []string
	for _, a := range other.Artifacts {
		same := func(b Artifact) bool {
			return b.Kind == a.Kind && b.Volume == a.Volume && b.Path == a.Path && (a.Kind != KindPostgreSQL || b.Service == a.Service)
		}
		if a.Kind != KindFiles && !slices.ContainsFunc(m.Artifacts, same) {
			names = append(names, a.Name)
		}
	}
	return names
}

func (m *Manifest) encode() ([]byte, error) {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the manifest: %w", err)
	}
	return append(data, '\n'), nil
}

// decodeManifest reads a manifest and refuses what cannot be one of ID id.
func decodeManifest(id string, data []byte) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%s: %w: not valid JSON: %w", ManifestName, ErrCorrupt, err)
	}
	switch {
	case m.SchemaVersion > SchemaVersion:
		return nil, fmt.Errorf("%s has schema version %d, this version of Fairlead reads up to %d; use a newer one", ManifestName, m.SchemaVersion, SchemaVersion)
	case m.SchemaVersion < 1:
		return nil, fmt.Errorf("%s: %w: no schema version", ManifestName, ErrCorrupt)
	case m.ID != id:
		return nil, fmt.Errorf("%s: %w: it is the manifest of %q", ManifestName, ErrCorrupt, m.ID)
	case m.CompletedAt.IsZero():
		return nil, fmt.Errorf("%s: %w: the backup was not completed", ManifestName, ErrCorrupt)
	}
	for _, a := range m.Artifacts {
		if a.File == "" || a.File == ManifestName || !filepath.IsLocal(a.File) || filepath.Base(a.File) != a.File {
			return nil, fmt.Errorf("%s: %w: invalid file name %q", ManifestName, ErrCorrupt, a.File)
		}
	}
	return &m, nil
}
