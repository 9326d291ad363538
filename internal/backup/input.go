// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Input holds the facts and wishes from which a backup is planned.
type Input struct {
	// Application is namespace/name of the Application.
	Application string
	// Project is the Compose project's name.
	Project string
	// DeployDir is the deployment directory, absolute, as the Compose model and
	// the engine name it.
	DeployDir string
	// RealDeployDir is DeployDir with symbolic links resolved; empty where it
	// is the same. Mounts below either one are inside of it.
	RealDeployDir string
	// Commit and Branch that are checked out; empty where unknown.
	Commit, Branch string
	// ComposeFiles and Files are saved as the artifact "files". Files are .env,
	// env_files and whatever the Application's backup.paths name; a directory
	// is saved with everything below it. Paths are absolute or relative to
	// DeployDir; each must exist.
	ComposeFiles, Files []string
	// EnvFiles, Profiles and Variables are recorded, so that the Compose model can
	// be loaded again without the Application. They hold no secrets.
	EnvFiles, Profiles []string
	Variables          map[string]string
	// Volumes selects named volumes and bind mounts.
	Volumes Selection
	// Databases selects services whose databases are dumped.
	Databases Selection
	// Services of the application as they are now.
	Services []Service
	// Images are the IDs of other local images, to reach volumes with where those of
	// the Services do not do.
	Images []string
}

// Service is one container of a Compose service. A service with several
// containers is listed several times.
type Service struct {
	Name string
	// Image is the reference in the Compose model, ImageID what it runs.
	Image, ImageID string
	// RepoDigests are the image's names by digest, if any.
	RepoDigests []string
	// ContainerID is empty for a service without a container.
	ContainerID string
	// Absent says that the service is known from a Compose model only and has no
	// container, as before its first deployment or after `docker compose down`. Its
	// Mounts are those of the model; of them, those that Exist are saved.
	Absent bool
	// Running says that commands can be run in the container.
	Running bool
	// Own says that this process runs in the container. It is never paused, and
	// what only it mounts is no data of the application.
	Own bool
	// OneShot says that the service runs to completion, as a migration does; it
	// is never taken for a database server.
	OneShot bool
	// Env is the container's environment, as far as EnvKeys names it. It may
	// hold a password and goes to no log, status or manifest.
	Env Env
	// Mounts of the container, or of the model where there is no container.
	Mounts []Mount
}

// Mount is one volume or bind mount of a service.
type Mount struct {
	// Type is the engine's: "volume" or "bind"; others hold no lasting data.
	Type string
	// VolumeName is the engine's name of the volume, VolumeKey the one in the
	// Compose file (empty where unknown).
	VolumeName, VolumeKey string
	// Source is the path of a bind mount on the host.
	Source string
	// SourceKind is what is found at Source; see SourceKindOf.
	SourceKind SourceKind
	// Destination is the path in the container.
	Destination string
	// RW says that the container may write.
	RW bool
	// Others are the names of running containers of others that may write there as
	// well.
	Others []string
	// Exists says, of a service that is Absent, that the volume or path is there.
	Exists bool
}

// SourceKind is what a bind mount's source is. The empty value is taken for
// something that can be archived.
type SourceKind string

// The kinds of a bind mount's source.
const (
	SourceDirectory SourceKind = "directory"
	SourceFile      SourceKind = "file"
	// SourceSpecial is a socket, a device or a named pipe.
	SourceSpecial SourceKind = "special"
	// SourceMissing cannot be seen from here.
	SourceMissing SourceKind = "missing"
)

// SourceKindOf looks at path, following symbolic links as the engine does.
func SourceKindOf(path string) SourceKind {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return SourceMissing
	case err != nil:
		return ""
	case info.IsDir():
		return SourceDirectory
	case info.Mode().IsRegular():
		return SourceFile
	default:
		return SourceSpecial
	}
}

// Env is a container's environment. It prints as its names only.
type Env map[string]string

// String lists the names, without the values.
func (e Env) String() string {
	names := make([]string, 0, len(e))
	for name := range e {
		names = append(names, name)
	}
	slices.Sort(names)
	return "env[" + strings.Join(names, " ") + "]"
}

// GoString is String, for %#v.
func (e Env) GoString() string { return e.String() }

// MarshalText is String, so that encoders show no values either.
func (e Env) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// MarshalJSON keeps the values out of JSON.
func (e Env) MarshalJSON() ([]byte, error) { return []byte(`"` + e.String() + `"`), nil }

// Selection is Auto (the zero value), None or a list of names.
type Selection struct {
	// None selects nothing.
	None bool
	// Names selects just these; empty: everything that is found.
	Names []string
}

// ParseSelection reads "Auto" or "" (everything that is found), "None", or names
// separated by commas.
func ParseSelection(s string) Selection {
	switch s = strings.TrimSpace(s); s {
	case "", "Auto":
		return Selection{}
	case "None":
		return Selection{None: true}
	}
	var names []string
	for _, name := range strings.Split(s, ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return Selection{Names: names}
}

func (s Selection) auto() bool { return !s.None && len(s.Names) == 0 }
