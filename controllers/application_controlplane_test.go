// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"k8s.io/apimachinery/pkg/api/meta"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/controllers"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/observe"
)

func (f *fakeObserver) see(seen observe.Application, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen, f.err = seen, err
}

func TestApplicationFollowsTheEngine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	web := v1alpha1.ServiceStatus{Name: "web", State: "Running", Health: "Healthy", Replicas: 1}
	tell := func() { w.engine <- event.TypedGenericEvent[string]{Object: "shop"} }

	w.observer.see(observe.Application{Project: "shop", Branch: "main", Commit: sha("aaaa"), Services: []v1alpha1.ServiceStatus{web}}, nil)
	tell()
	w.awaitApp("shop", "healthy", func(app *v1alpha1.Application) bool {
		return app.Status.Healthy == "1/1" && app.Status.Project == "shop" && meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionHealthy)
	})
	web.Health = "Unhealthy"
	w.observer.see(observe.Application{Project: "shop", Services: []v1alpha1.ServiceStatus{web}}, nil)
	tell()
	w.awaitApp("shop", "unhealthy", func(app *v1alpha1.Application) bool {
		c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionHealthy)
		return app.Status.Healthy == "0/1" && c.Reason == v1alpha1.ReasonServicesUnhealthy && c.Message == "not healthy: web (unhealthy)"
	})
	w.observer.see(observe.Application{}, errors.New("permission denied"))
	tell()
	w.awaitApp("shop", "not seen", func(app *v1alpha1.Application) bool {
		c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
		return c.Message == "permission denied" && app.Status.Healthy == "0/1"
	})
}

func TestHistoryIsPruned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.application("small", func(app *v1alpha1.Application) { app.Spec.Retention.Requests = 2 })
	small := func(ur *v1alpha1.UpdateRequest) { ur.Spec.ApplicationRef.Name = "small" }
	var gates []*gate
	for i := range 5 {
		name := fmt.Sprintf("r%d", i)
		gates = append(gates, w.steps.hold(name, v1alpha1.StepCleanUp))
		w.request(name, small)
		gates[i].await(t)
		gates[i].release()
		w.until(name+" ended", func() bool {
			seen := w.requests[name]
			return w.gone[name] || seen[len(seen)-1].Status.Phase == v1alpha1.PhaseSucceeded
		})
	}
	for i := range 3 {
		w.awaitGone(fmt.Sprintf("r%d", i))
	}
	w.request("other")
	w.awaitEnd("other", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	var list v1alpha1.UpdateRequestList
	must(t, w.direct.List(t.Context(), &list, client.InNamespace(w.ns)))
	have := map[string]bool{}
	for _, ur := range list.Items {
		have[ur.Name] = true
	}
	if len(have) != 3 || !have["r3"] || !have["r4"] || !have["other"] {
		t.Errorf("kept: %v", have)
	}
}

var seenAt = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestDockerHost(t *testing.T) {
	w := newWorld(t)
	w.stop() // its controllers are not needed
	fake := testclock.NewFakePassiveClock(seenAt)
	observer := &fakeObserver{host: observe.Host{Engine: docker.Engine{ID: "e1", Version: "20.10.24", APIVersion: "1.41", OS: "linux", Arch: "amd64"}}}
	foreign := &v1alpha1.DockerHost{}
	foreign.Name = "foreign-" + w.ns
	must(t, w.direct.Create(t.Context(), foreign))
	t.Cleanup(func() { _ = w.direct.Delete(context.Background(), foreign) })

	mgr, err := ctrl.NewManager(env.Config, ctrl.Options{
		Scheme: w.scheme, Logger: testr.New(t), Metrics: server.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: new(true)},
	})
	must(t, err)
	r := &controllers.DockerHostReconciler{Client: mgr.GetClient(), Observer: observer, Clock: fake, Name: "host-" + w.ns, Endpoint: "unix:///run/docker.sock", Version: "v1"}
	must(t, r.SetupWithManager(mgr))
	list := &v1alpha1.DockerHostList{}
	watcher, err := w.direct.Watch(t.Context(), list)
	must(t, err)
	defer watcher.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() { cancel(); must(t, <-done) })

	for e := range watcher.ResultChan() {
		host, ok := e.Object.(*v1alpha1.DockerHost)
		if !ok || host.Name != r.Name || host.Status.EngineVersion == "" {
			continue
		}
		t.Cleanup(func() { _ = w.direct.Delete(context.Background(), host) })
		if host.Status.Usage == nil || host.Status.Usage.Images.String() != "2Gi" || host.Spec.Endpoint != r.Endpoint || host.Status.Platform != "linux/amd64" || host.Status.FairleadVersion != "v1" ||
			!host.Status.LastSeen.Time.Equal(seenAt) || !meta.IsStatusConditionTrue(host.Status.Conditions, v1alpha1.ConditionReady) {
			t.Errorf("got %+v", host.Status)
		}
		break
	}
	must(t, w.direct.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign))
	if foreign.Status.EngineID != "" {
		t.Errorf("another host's object was written: %+v", foreign.Status)
	}
}
