// SPDX-License-Identifier: Apache-2.0

// Package hostaccess is what clients may see of the Docker host that is in no
// object: the output of containers, the files of a backup, and whether a directory
// is one that an Application can be made of. Who may see it is asked of RBAC before,
// as subresources: applications/log and backups/download.
package hostaccess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// Subresources of the API server.
const (
	LogSubresource      = "log"
	DownloadSubresource = "download"
)

// ErrNotFound says that there is no such container, or no such backup on the host.
var ErrNotFound = errors.New("not found")

// Host gives access to the host that the daemon runs on.
type Host interface {
	// ContainerLog sends lines of a container of app to to, oldest first, until there
	// are no more, or with Follow until the container has ended or ctx has. The error
	// is ErrNotFound where there is no such container.
	ContainerLog(ctx context.Context, app *v1alpha1.Application, q LogQuery, to LogReceiver) error
	// OpenBackup opens the files of a backup of app. The error is ErrNotFound where
	// they are gone.
	OpenBackup(ctx context.Context, app *v1alpha1.Application, b *v1alpha1.Backup) (Archive, error)
	// Unfit says why no Application can be made of a directory; empty if one can. It
	// tells nothing else of it.
	Unfit(dir string) string
}

// Sources tells what an Application can be brought to.
type Sources interface {
	// Refs are the branches and tags of the Application's source, as its server has
	// them now: branches by name, then tags, the highest version first.
	Refs(ctx context.Context, app *v1alpha1.Application) ([]Ref, error)
}

// Ref is a branch or a tag.
type Ref struct {
	// Name without refs/heads/ or refs/tags/.
	Name string `json:"name"`
	// Kind is Branch or Tag.
	Kind string `json:"kind"`
	// Commit that it points to, as a full SHA.
	Commit string `json:"commit"`
}

// Kinds of a Ref.
const (
	KindBranch = "Branch"
	KindTag    = "Tag"
)

// Archive is a backup that can be sent.
type Archive interface {
	// WriteTo writes it as a tar archive, as it lies on the disk.
	io.WriterTo
	io.Closer
}

// LogQuery says what of which container is wanted.
type LogQuery struct {
	// Service of the Compose model, and Container by name; one of them is enough. Of
	// a service with several containers, one that runs is taken.
	Service, Container string
	// Tail is how many lines before the end it begins; -1 for all.
	Tail int
	// After goes before Tail: the lines after that one.
	After *Position
	// Follow waits for more.
	Follow bool
}

// LogReceiver takes what comes of a log.
type LogReceiver interface {
	// Begin is called once, before all lines.
	Begin(Container) error
	// Lines takes lines that came at once. It must not keep them.
	Lines([]Line) error
}

// Container is where lines come from.
type Container struct {
	// ID in twelve digits.
	ID      string `json:"id"`
	Name    string `json:"name"`
	Service string `json:"service"`
	State   string `json:"state"`
}

// Line is a line that a container wrote.
type Line struct {
	Position
	// Stream is stdout or stderr.
	Stream string
	// Text without its end, at most 16 KiB; whatever the application wrote.
	Text string
}

// Position is that of a line in the log of a container.
type Position struct {
	// Container by its ID in twelve digits.
	Container string
	Time      time.Time
	// Index counts the lines of the same time, from 0.
	Index int
}

// String is what ParsePosition reads.
func (p Position) String() string {
	return fmt.Sprintf("%s-%d-%d", p.Container, p.Time.UnixNano(), p.Index)
}

// ParsePosition reads a position.
func ParsePosition(s string) (Position, error) {
	bad := fmt.Errorf("%q is no position in the log of a container", s)
	parts := strings.Split(s, "-")
	if len(parts) != 3 || len(parts[0]) != 12 {
		return Position{}, bad
	}
	nanos, err1 := strconv.ParseInt(parts[1], 10, 64)
	index, err2 := strconv.Atoi(parts[2])
	if err1 != nil || err2 != nil || nanos < 0 || index < 0 {
		return Position{}, bad
	}
	return Position{Container: parts[0], Time: time.Unix(0, nanos).UTC(), Index: index}, nil
}
