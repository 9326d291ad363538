// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"strconv"

	"github.com/docker/compose/v5/pkg/api"
)

// Labels that Compose puts on containers, networks and volumes.
const (
	// LabelProject holds the project name.
	LabelProject = api.ProjectLabel
	// LabelService holds the service name.
	LabelService = api.ServiceLabel
	// LabelNumber holds the number of a replica, counted from 1.
	LabelNumber = api.ContainerNumberLabel
	// LabelOneOff is "True" on containers of `docker compose run`, "False" on others.
	LabelOneOff = api.OneoffLabel
	// LabelConfigHash holds the hash of the service's, network's or volume's definition.
	LabelConfigHash = api.ConfigHashLabel
	// LabelDependsOn holds "service:condition:restart", separated by commas.
	LabelDependsOn = api.DependenciesLabel
	// LabelImage holds the ID of the image that the container was made from.
	LabelImage = api.ImageDigestLabel
	// LabelReplace is on a container made to replace another one.
	LabelReplace = api.ContainerReplaceLabel
	// LabelWorkingDir holds the project directory.
	LabelWorkingDir = api.WorkingDirLabel
	// LabelConfigFiles holds the Compose files, separated by commas.
	LabelConfigFiles = api.ConfigFilesLabel
	// LabelEnvFiles holds the environment files, if named explicitly.
	LabelEnvFiles = api.EnvironmentFileLabel
	// LabelVersion holds the version of Compose.
	LabelVersion = api.VersionLabel
	// LabelNetwork holds a network's key in the model.
	LabelNetwork = api.NetworkLabel
	// LabelVolume holds a volume's key in the model.
	LabelVolume = api.VolumeLabel
)

// LabelDefinitionHash is ours: the hash of the service's definition without
// its image reference. It stays the same when only the image changes, see
// [Project.SameDefinition]. Containers made by [Creator.Create] carry it.
const LabelDefinitionHash = "fairlead.dev/definition-hash"

// ContainerNumber returns the replica number of a container of a service, or
// 0 when the labels hold none or an invalid one.
func ContainerNumber(labels map[string]string) int {
	n, err := strconv.Atoi(labels[LabelNumber])
	if err != nil || n < 1 {
		return 0
	}
	return n
}

// IsReplica reports whether the labels are those of a long-lived container of
// a Compose service: not of a `docker compose run`, nor of a lifecycle hook.
func IsReplica(labels map[string]string) bool {
	return labels[LabelService] != "" &&
		labels[LabelOneOff] != "True" &&
		labels[api.HookLabel] == "" &&
		labels[api.RelayLabel] == ""
}
