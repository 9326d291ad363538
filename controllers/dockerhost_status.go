// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
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
}

// bytes rounds to whole MiB, so that people can read it.
func bytes(n int64) *resource.Quantity {
	if n <= 0 {
		return nil
	}
	return resource.NewQuantity(n&^(1<<20-1), resource.BinarySI)
}
