// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

// tellServices puts the services into the status of the request before anything is
// done with them, and has what becomes of their containers told.
func (w *work) tellServices(ctx context.Context) error {
	if w.record == nil {
		return nil
	}
	containers, err := w.containers(ctx)
	if err != nil {
		return err
	}
	services := w.offline.Services()
	for i := range services {
		for _, c := range containers {
			if c.Service == services[i].Name && c.Running() {
				services[i].OldContainers = append(services[i].OldContainers, steps.Short12(c.ID))
			}
		}
	}
	w.record(func(st *v1alpha1.UpdateRequestStatus) { steps.TellServices(st, services) })
	w.offline.Tell(w.record)
	return nil
}

// tellStopped says that a service is down while its data is put back.
func (w *work) tellStopped(service string) {
	if w.record == nil {
		return
	}
	w.record(func(st *v1alpha1.UpdateRequestStatus) {
		for i := range st.Services {
			if st.Services[i].Name == service {
				st.Services[i].Health = "stopped"
			}
		}
	})
}

// tellProgress says which part of the restore is done next.
func (w *work) tellProgress(done, total int, next string) {
	if w.record == nil {
		return
	}
	p := v1alpha1.StepProgress{Done: int64(done), Total: int64(total), Unit: v1alpha1.ProgressSteps, Message: "until " + next}
	w.record(func(st *v1alpha1.UpdateRequestStatus) {
		for i := range st.Steps {
			if st.Steps[i].Name == v1alpha1.StepRestore {
				st.Steps[i].Progress = &p
			}
		}
	})
}
