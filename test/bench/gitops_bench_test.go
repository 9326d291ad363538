// SPDX-License-Identifier: Apache-2.0

//go:build bench

package bench

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// TestPushToFirstStep measures from the word that there was a push, as a webhook
// or `fairlead check` gives it, until the first step of the update runs.
func TestPushToFirstStep(t *testing.T) {
	f := deploy(t, apps.Hello)
	f.daemon.Apply(harness.Manifest(f.name, f.repo, settings+"  update: {policy: Automatic, interval: 1h}\n"))
	f.update(f.publish("."))
	var times []time.Duration
	for range 5 {
		commit := f.publish(".")
		w, err := f.daemon.Client.Watch(t.Context(), &v1alpha1.UpdateRequestList{}, client.InNamespace(f.daemon.Namespace))
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		f.daemon.Patch(&v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: f.name}},
			fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationCheck, begin.Format(time.RFC3339Nano)))
		name := ""
		for e := range w.ResultChan() {
			if ur, ok := e.Object.(*v1alpha1.UpdateRequest); ok && ur.Spec.Commit == commit && len(ur.Status.Steps) > 0 {
				times = append(times, time.Since(begin))
				name = ur.Name
				break
			}
		}
		w.Stop()
		if name == "" {
			t.Fatal("the watch ended")
		}
		f.daemon.WantEnd(name, v1alpha1.PhaseSucceeded)
	}
	row("push to first step, from the word of it on", "under 1 s", "%.2f s", median(times).Seconds())
	if m := median(times); m >= time.Second {
		t.Errorf("it takes %s", m)
	}
}
