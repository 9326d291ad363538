// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"io"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

// Labels of the containers that are made to reach a volume. They are created,
// never started, and removed after the copy.
const (
	labelTemporary = "fairlead.dev/temporary"
	labelBackup    = "fairlead.dev/backup"
	labelDirectory = "fairlead.dev/backup-directory"

	temporaryBackup = "backup"
)

// TemporaryLabels mark a temporary container of the backup id in the backups
// directory dir: what is left of it after a crash, [Runner.Sweep] removes. Labels that it would inherit from an
// image of the application are emptied, or Compose and Fairlead would take it
// for a container of the application.
func TemporaryLabels(dir, id string) map[string]string {
	labels := map[string]string{labelTemporary: temporaryBackup, labelBackup: id, labelDirectory: dir}
	for _, inherited := range []string{
		v1alpha1.LabelApplication, v1alpha1.LabelRelease, v1alpha1.LabelRequest, v1alpha1.LabelRevision,
		docker.LabelProject, docker.LabelService, docker.LabelOneOff,
	} {
		labels[inherited] = ""
	}
	return labels
}

// Engine is what a backup needs of the Docker engine; docker.Client satisfies it.
type Engine interface {
	// Exec runs a command in a container and returns its exit code.
	Exec(ctx context.Context, containerID string, cmd []string, o docker.ExecOptions) (int, error)

	ContainerCreate(ctx context.Context, config *container.Config, host *container.HostConfig, networks *network.NetworkingConfig,
		platform *ocispec.Platform, name string) (container.CreateResponse, error)
	ContainerRemove(ctx context.Context, containerID string, o container.RemoveOptions) error
	ContainerList(ctx context.Context, o container.ListOptions) ([]container.Summary, error)
	ContainerInspect(ctx context.Context, containerID string) (container.InspectResponse, error)
	ContainerPause(ctx context.Context, containerID string) error
	ContainerUnpause(ctx context.Context, containerID string) error
	// CopyFromContainer returns a path of a container as a tar stream.
	CopyFromContainer(ctx context.Context, containerID, srcPath string) (io.ReadCloser, container.PathStat, error)
	VolumeInspect(ctx context.Context, volumeID string) (volume.Volume, error)
}
