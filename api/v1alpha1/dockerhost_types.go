// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DockerHostSpec says which engine the object stands for. It is written by the
// daemon on that host.
type DockerHostSpec struct {
	// endpoint of the engine as the daemon reaches it, such as
	// unix:///var/run/docker.sock. Changing it has no effect.
	// +optional
	Endpoint string `json:"endpoint,omitempty"`
}

// DockerHostStatus is what the daemon saw last.
type DockerHostStatus struct {
	// engineID is the engine's own ID.
	// +optional
	EngineID string `json:"engineID,omitempty"`
	// engineVersion, such as 20.10.24.
	// +optional
	EngineVersion string `json:"engineVersion,omitempty"`
	// apiVersion that was negotiated, such as 1.41.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`
	// platform is the operating system and the architecture, such as
	// linux/x86_64.
	// +optional
	Platform string `json:"platform,omitempty"`
	// rootDir is the engine's data directory.
	// +optional
	RootDir string `json:"rootDir,omitempty"`
	// cpus is the number of processors of the host.
	// +optional
	CPUs int32 `json:"cpus,omitempty"`
	// memory of the host in all.
	// +optional
	Memory *resource.Quantity `json:"memory,omitempty"`
	// memoryAvailable is the memory that is available now.
	// +optional
	MemoryAvailable *resource.Quantity `json:"memoryAvailable,omitempty"`
	// diskFree is the space that is free for the engine's data.
	// +optional
	DiskFree *resource.Quantity `json:"diskFree,omitempty"`
	// diskTotal is the size of that file system.
	// +optional
	DiskTotal *resource.Quantity `json:"diskTotal,omitempty"`
	// containersRunning is the number of containers that run.
	// +optional
	ContainersRunning int32 `json:"containersRunning,omitempty"`
	// containers is the number of containers, running or not.
	// +optional
	Containers int32 `json:"containers,omitempty"`
	// images is the number of images on the engine.
	// +optional
	Images int32 `json:"images,omitempty"`
	// usage is what the engine's objects take on the disk, and what removing what
	// nobody uses would free. It is measured less often than the rest.
	// +optional
	Usage *DiskUsage `json:"usage,omitempty"`
	// diskHistory is what was free now and then, oldest first, at most 60 times,
	// six hours apart.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=60
	// +optional
	DiskHistory []DiskSample `json:"diskHistory,omitempty"`
	// projects are the Compose projects that have containers on the engine, at most
	// 100.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=100
	// +optional
	Projects []ComposeProject `json:"projects,omitempty"`
	// fairleadVersion of the daemon.
	// +optional
	FairleadVersion string `json:"fairleadVersion,omitempty"`
	// lastSeen is when the engine answered last.
	// +optional
	LastSeen *metav1.Time `json:"lastSeen,omitempty"`
	// conditions: Ready.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// DiskUsage is what the objects of an engine take on its disk.
type DiskUsage struct {
	// measuredAt is when it was added up.
	MeasuredAt metav1.Time `json:"measuredAt"`
	// images, all layers of them.
	// +optional
	Images *resource.Quantity `json:"images,omitempty"`
	// containers, what they wrote in their own layers.
	// +optional
	Containers *resource.Quantity `json:"containers,omitempty"`
	// volumes of the local driver.
	// +optional
	Volumes *resource.Quantity `json:"volumes,omitempty"`
	// buildCache of BuildKit.
	// +optional
	BuildCache *resource.Quantity `json:"buildCache,omitempty"`
	// unusedImages is what images take that no container uses, without layers
	// that others use as well: docker image prune --all frees about that. Images that
	// releases need to be gone back to are among them.
	// +optional
	UnusedImages *resource.Quantity `json:"unusedImages,omitempty"`
	// unusedBuildCache is what docker builder prune frees.
	// +optional
	UnusedBuildCache *resource.Quantity `json:"unusedBuildCache,omitempty"`
}

// DiskSample is what was free on the engine's disk at a time.
type DiskSample struct {
	// time of the sample.
	Time metav1.Time `json:"time"`
	// free space.
	Free resource.Quantity `json:"free"`
}

// ComposeProject is a Compose project that has containers on the engine.
type ComposeProject struct {
	// name of the project.
	Name string `json:"name"`
	// directory that it was started in, as its containers say.
	// +optional
	Directory string `json:"directory,omitempty"`
	// running is the number of its containers that run.
	// +optional
	Running int32 `json:"running,omitempty"`
	// adoptable says that the directory is a Git clone with a Compose file, so
	// that an Application can be made of it.
	// +optional
	Adoptable bool `json:"adoptable,omitempty"`
	// message says why it is not adoptable.
	// +optional
	Message string `json:"message,omitempty"`
}

// DockerHost is one Docker engine, as the daemon on its host sees it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=host;hosts,categories=all;fairlead
// +kubebuilder:printcolumn:name="Engine",type=string,JSONPath=`.status.engineVersion`
// +kubebuilder:printcolumn:name="API",type=string,JSONPath=`.status.apiVersion`
// +kubebuilder:printcolumn:name="Platform",type=string,JSONPath=`.status.platform`
// +kubebuilder:printcolumn:name="Free",type=string,JSONPath=`.status.diskFree`
// +kubebuilder:printcolumn:name="Memory",type=string,JSONPath=`.status.memoryAvailable`
// +kubebuilder:printcolumn:name="Running",type=integer,JSONPath=`.status.containersRunning`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].status`
// +kubebuilder:printcolumn:name="Seen",type=date,JSONPath=`.status.lastSeen`
type DockerHost struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says which engine it is.
	// +optional
	Spec DockerHostSpec `json:"spec,omitzero"`
	// status is what was seen last.
	// +optional
	Status DockerHostStatus `json:"status,omitzero"`
}

// DockerHostList is a list of DockerHosts.
//
// +kubebuilder:object:root=true
type DockerHostList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []DockerHost `json:"items"`
}
