// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"slices"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// What a hook or a pre_stop comes to is written by the step that runs it.
func TestWhatEndsEarly(t *testing.T) {
	plain, stopping := "services: {web: {image: x}}", "services: {web: {image: x, pre_stop: [{command: [bye]}]}}"
	for _, tt := range []struct {
		name, model string
		change      func(a *v1alpha1.Application, ur *v1alpha1.UpdateRequest)
		want        bool
	}{
		{"an update", plain, func(*v1alpha1.Application, *v1alpha1.UpdateRequest) {}, true},
		{"an update of nothing behind a gateway", plain, func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) { ur.Status.Services[0].Gateway = false }, false},
		{"with pre_stop", stopping, func(*v1alpha1.Application, *v1alpha1.UpdateRequest) {}, false},
		{"with hooks", plain, func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) { a.Spec.Hooks = []v1alpha1.Hook{{Name: "h"}} }, false},
		{"a restore", plain, func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
			ur.Spec.RestoreFrom = &v1alpha1.LocalReference{}
		}, false},
	} {
		s := newRun(func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
			ur.Status.Services = []v1alpha1.ServiceUpdate{{Name: "web", Action: v1alpha1.ActionReplace, Gateway: true}}
		}, tt.change)
		s.Gateways = &boxes.Keeper{}
		if got := s.endsEarly(project(t, "name: shop\n"+tt.model+"\n")); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	s := newRun()
	if s.endsEarly(project(t, "name: shop\n"+plain+"\n")) {
		t.Error("without gateways nothing is kept")
	}
}

// The end of old containers is the last only where nothing is left to do when they have ended.
func TestForeseen(t *testing.T) {
	target := func(name, containerName string) plan.Target {
		return plan.Target{
			Service: plan.Service{Name: name, Revision: "2", Replicas: 1, ContainerName: containerName},
			Action:  v1alpha1.ActionReplace, Order: v1alpha1.OrderStartFirst,
		}
	}
	pair := func(service, name string, state plan.ContainerState) []plan.Container {
		return []plan.Container{
			{ID: service + "-1", Name: name, Service: service, Revision: "1", State: state, Ready: state == plan.StateRunning},
			{ID: service + "-2", Name: service + "-2", Service: service, Revision: "2", State: plan.StateRunning, Ready: true, Mine: true},
		}
	}
	for _, tt := range []struct {
		name       string
		targets    []plan.Target
		containers []plan.Container
		begun      bool
		last       []string
	}{
		{"one", []plan.Target{target("web", "")}, pair("web", "web-1", plan.StateRunning), true, []string{"web-1"}},
		{"two", []plan.Target{target("api", ""), target("web", "")},
			slices.Concat(pair("api", "api-1", plan.StateRunning), pair("web", "web-1", plan.StateRunning)), true, []string{"api-1", "web-1"}},
		{"none", []plan.Target{target("web", "")}, pair("web", "web-1", plan.StateExited), false, nil},
		{"one whose name is passed on", []plan.Target{target("web", "site")}, pair("web", "site", plan.StateRunning), true, nil},
		{"one beside a name that is passed on", []plan.Target{target("api", "api"), target("web", "")},
			slices.Concat(pair("api", "api", plan.StateExited), pair("web", "web-1", plan.StateRunning)), true, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var begun int
			var last [][]string
			e := &executor{old: old{begun: func() { begun++ }, last: func(containers []docker.Container) func(string) {
				var ids []string
				for _, c := range containers {
					ids = append(ids, c.ID)
				}
				last = append(last, ids)
				return func(string) {}
			}}}
			in := plan.RolloutInput{Targets: tt.targets, Containers: tt.containers}
			for range 2 { // it is told once
				e.foresee(in, plan.Rollout(in))
			}
			if (begun == 1) != tt.begun || begun > 1 {
				t.Errorf("told %d times that it has begun", begun)
			}
			if (e.stops != nil) != (tt.last != nil) {
				t.Error("who tells of their ends is not known")
			}
			if want := tt.last; len(last) > 1 || len(last) != min(1, len(want)) || len(want) > 0 && !slices.Equal(last[0], want) {
				t.Errorf("the last are %v, want %v", last, want)
			}
			if in.Containers[0].State != tt.containers[0].State {
				t.Error("what is foreseen has come true")
			}
		})
	}
}
