// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/jobs"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

// begin starts a step of which it is not written yet that it begins.
func (r *UpdateRequestReconciler) begin(key types.NamespacedName, work steps.Work) bool {
	return r.jobs.Begin(key, func(ctx context.Context, j *Job) error {
		return r.Steps.Run(ctx, work, j)
	})
}

// wasRefused reports whether the last write of a request failed.
func (r *UpdateRequestReconciler) wasRefused(request types.NamespacedName) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused[request]
}

func (r *UpdateRequestReconciler) setRefused(request types.NamespacedName, refused bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if refused {
		r.refused[request] = true
	} else {
		delete(r.refused, request)
	}
}

// confirm says that it is written that the step of ur begins.
func (r *UpdateRequestReconciler) confirm(ur *v1alpha1.UpdateRequest) {
	key := client.ObjectKeyFromObject(ur)
	a := attempt{step: ur.Status.Step}
	for _, s := range ur.Status.Steps {
		if s.Name == a.step {
			a.number = s.Attempt
		}
	}
	r.mu.Lock()
	r.attempts[key] = a
	r.mu.Unlock()
	r.ids.written(ur.UID)
	r.jobs.Confirm(key)
}

func (r *UpdateRequestReconciler) attemptOf(request types.NamespacedName) attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.attempts[request]
}

// idle ends the work on a request that is not there any more, or that somebody
// else ended. It returns false as long as that goes on: its end wakes us.
func (r *UpdateRequestReconciler) idle(request types.NamespacedName) bool {
	r.jobs.Cancel(request)
	r.jobs.Forget(request)
	_, runs := r.jobs.Poll(request)
	return !runs && !r.jobs.Withdrawn(request)
}

// jobStopper ends jobs with the manager: they are taken up again at the next
// start.
type jobStopper struct {
	jobs    *jobs.Runner[types.NamespacedName, v1alpha1.UpdateRequestStatus]
	stopped chan struct{}
}

// Start waits for the end of the manager.
func (s *jobStopper) Start(ctx context.Context) error {
	<-ctx.Done()
	close(s.stopped)
	stop, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return s.jobs.Stop(stop)
}
