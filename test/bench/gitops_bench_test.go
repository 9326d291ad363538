// SPDX-License-Identifier: Apache-2.0

//go:build bench

package bench

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/github/githubtest"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// TestPushToFirstStep measures from the moment that GitHub delivers a push to the
// webhook until the first step of the update runs. GitHub is played by the test, as
// it signs and sends deliveries; the repository is a bare one on the same disk.
func TestPushToFirstStep(t *testing.T) {
	const secret = "a webhook secret"
	f := deploy(t, apps.Hello)
	github := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.daemon.Namespace, Name: "github"}, StringData: map[string]string{"webhook-secret": secret}}
	if err := f.daemon.Client.Create(t.Context(), github); err != nil {
		t.Fatal(err)
	}
	// Nobody looks in an hour but after a webhook.
	f.daemon.Apply(harness.Manifest(f.name, f.repo, settings+"  update: {policy: Automatic, interval: 1h}\n  github: {secretRef: {name: github}}\n"))
	before := f.publish(".")
	f.update(before)
	var times []time.Duration
	// Pushes within 5 s of each other are one burst, and one look.
	apart := time.NewTicker(7 * time.Second)
	defer apart.Stop()
	for i := range 5 {
		commit := f.publish(".")
		<-apart.C
		w, err := f.daemon.Client.Watch(t.Context(), &v1alpha1.UpdateRequestList{}, client.InNamespace(f.daemon.Namespace))
		if err != nil {
			t.Fatal(err)
		}
		url := fmt.Sprintf("http://%s/api/v1/namespaces/%s/applications/%s/webhooks/github", f.daemon.HTTP(), f.daemon.Namespace, f.name)
		delivery := githubtest.Delivery(url, "push", fmt.Sprintf("delivery-%d", i), secret, githubtest.Push("acme/hello", "refs/heads/main", before, commit))
		begin := time.Now()
		resp, err := http.DefaultClient.Do(delivery.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Fatal(resp.Status)
		}
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
		before = commit
	}
	row("push to first step: delivery of GitHub's webhook to the first step running", "under 1 s", "%.2f s", median(times).Seconds())
	if m := median(times); m >= time.Second {
		t.Errorf("it takes %s", m)
	}
}
