// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/observe"
)

// writeHostStatus derives the status from what was seen. If the engine did not
// answer, what was seen before stays.
func writeHostStatus(host *v1alpha1.DockerHost, seen observe.Host, err error, version string, now time.Time) {
	st := &host.Status
	c := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonObserved,
		Message: "the engine answers", ObservedGeneration: host.Generation, LastTransitionTime: metav1.NewTime(now),
	}
	if err != nil {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonEngineUnavailable, limit(err.Error())
		meta.SetStatusCondition(&st.Conditions, c)
		return
	}
	meta.SetStatusCondition(&st.Conditions, c)
	t := metav1.NewTime(now)
	st.LastSeen = &t
	st.EngineID, st.EngineVersion, st.APIVersion = seen.Engine.ID, seen.Engine.Version, seen.Engine.APIVersion
	st.Platform = seen.Engine.OS + "/" + seen.Engine.Arch
	st.RootDir, st.CPUs = seen.Engine.DockerRootDir, int32(seen.Engine.CPUs)
	st.Memory = bytes(seen.Engine.MemTotal)
	st.MemoryAvailable = bytes(seen.MemoryAvailable)
	st.DiskFree, st.DiskTotal = bytes(seen.Disk.Free), bytes(seen.Disk.Total)
	st.Containers, st.ContainersRunning, st.Images = int32(seen.Engine.Containers), int32(seen.Engine.ContainersRunning), int32(seen.Engine.Images)
	st.FairleadVersion = version
	st.Projects = nil
	for _, p := range seen.Projects[:min(len(seen.Projects), maxProjects)] {
		st.Projects = append(st.Projects, v1alpha1.ComposeProject{
			Name: p.Name, Directory: p.Directory, Running: int32(p.Running), Adoptable: p.Unfit == "", Message: p.Unfit,
		})
	}
	sampleDisk(st, now)
}

const (
	// maxProjects and maxSamples are what the schema allows.
	maxProjects = 100
	maxSamples  = 60
	// sampleInterval is the time between two samples: fifteen days are kept.
	sampleInterval = 6 * time.Hour
)

// sampleDisk keeps what is free now and then, so that it can be told when the disk
// will be full.
func sampleDisk(st *v1alpha1.DockerHostStatus, now time.Time) {
	n := len(st.DiskHistory)
	if st.DiskFree == nil || n > 0 && now.Sub(st.DiskHistory[n-1].Time.Time) < sampleInterval {
		return
	}
	st.DiskHistory = append(st.DiskHistory, v1alpha1.DiskSample{Time: metav1.NewTime(now), Free: *st.DiskFree})
	st.DiskHistory = st.DiskHistory[max(0, n+1-maxSamples):]
}

// writeUsage puts in what the engine's objects take.
func writeUsage(host *v1alpha1.DockerHost, u docker.Usage, now time.Time) {
	host.Status.Usage = &v1alpha1.DiskUsage{
		MeasuredAt: metav1.NewTime(now), Images: mebibytes(u.Images), Containers: mebibytes(u.Containers), Volumes: mebibytes(u.Volumes),
		BuildCache: mebibytes(u.BuildCache), UnusedImages: mebibytes(u.UnusedImages), UnusedBuildCache: mebibytes(u.UnusedBuildCache),
	}
}

// mebibytes is bytes where nothing is something to tell.
func mebibytes(n int64) *resource.Quantity {
	return resource.NewQuantity(max(n, 0)&^(1<<20-1), resource.BinarySI)
}

// bytes rounds to whole MiB, so that people can read it.
func bytes(n int64) *resource.Quantity {
	if n <= 0 {
		return nil
	}
	return resource.NewQuantity(n&^(1<<20-1), resource.BinarySI)
}
