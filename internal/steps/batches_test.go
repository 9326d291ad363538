// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/failure"
)

func uints(n uint64) *uint64 { return &n }

func ints(n int32) *int32 { return &n }

func ratio(f float64) *float64 { return &f }

// batchRun is a step of an application with settings for all, and for the service web.
func batchRun(all, web v1alpha1.RolloutBatches) *run {
	s := &run{Work: Work{Request: &v1alpha1.UpdateRequest{}, Application: &v1alpha1.Application{}}}
	s.Application.Spec.Rollout.RolloutBatches = all
	s.Application.Spec.Rollout.Services = []v1alpha1.ServiceRollout{{Name: "web", RolloutBatches: web}}
	return s
}

func TestBatches(t *testing.T) {
	none := v1alpha1.RolloutBatches{}
	all := v1alpha1.RolloutBatches{
		Parallelism: ints(3), Delay: &metav1.Duration{Duration: time.Second}, Monitor: &metav1.Duration{Duration: 2 * time.Second},
		FailureAction: v1alpha1.FailurePause, MaxFailureRatio: "0.1",
	}
	file := &compose.UpdateConfig{Parallelism: uints(2), Delay: 3 * time.Second, Monitor: 4 * time.Second, FailureAction: "continue", MaxFailureRatio: 0.2}
	own := compose.Extension{Parallelism: uints(1), Delay: 5 * time.Second, Monitor: 6 * time.Second, FailureAction: "Rollback", MaxFailureRatio: ratio(0.3)}
	zero := v1alpha1.RolloutBatches{Parallelism: ints(0), Delay: &metav1.Duration{}, Monitor: &metav1.Duration{}, FailureAction: v1alpha1.FailureRollback, MaxFailureRatio: "0"}
	for _, c := range []struct {
		name     string
		all, web v1alpha1.RolloutBatches
		svc      compose.Service
		back     bool
		want     batches
	}{
		{"nothing set", none, none, compose.Service{}, false, batches{action: v1alpha1.FailureRollback}},
		{"for all", all, none, compose.Service{}, false, batches{3, time.Second, 2 * time.Second, v1alpha1.FailurePause, 0.1}},
		{"the Compose file goes before that", all, none, compose.Service{UpdateConfig: file}, false, batches{2, 3 * time.Second, 4 * time.Second, v1alpha1.FailureContinue, 0.2}},
		{"but only with what it says", all, none, compose.Service{UpdateConfig: &compose.UpdateConfig{FailureAction: "rollback"}}, false, batches{3, time.Second, 2 * time.Second, v1alpha1.FailureRollback, 0.1}},
		{"x-fairlead goes before that", all, none, compose.Service{UpdateConfig: file, Extension: own}, false, batches{1, 5 * time.Second, 6 * time.Second, v1alpha1.FailureRollback, 0.3}},
		{"the Application's for the service goes before all", none, all, compose.Service{UpdateConfig: file, Extension: own}, false, batches{3, time.Second, 2 * time.Second, v1alpha1.FailurePause, 0.1}},
		{"also where it says none", all, zero, compose.Service{UpdateConfig: file, Extension: own}, false, batches{action: v1alpha1.FailureRollback}},
		{"an update is none of rollback_config", none, none, compose.Service{RollbackConfig: file}, false, batches{action: v1alpha1.FailureRollback}},
		{"going back to a release is", none, none, compose.Service{UpdateConfig: &compose.UpdateConfig{Parallelism: uints(9)}, RollbackConfig: file}, true, batches{2, 3 * time.Second, 4 * time.Second, v1alpha1.FailureContinue, 0.2}},
		{"and goes by update_config without one", none, none, compose.Service{UpdateConfig: file}, true, batches{2, 3 * time.Second, 4 * time.Second, v1alpha1.FailureContinue, 0.2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := batchRun(c.all, c.web)
			if c.back {
				s.Request.Spec.RollbackTo = &v1alpha1.LocalReference{Name: "shop-1"}
			}
			c.svc.Name = "web"
			if got := s.batches(c.svc); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestBatchesInWords(t *testing.T) {
	for _, c := range []struct {
		b        batches
		replicas int
		oneShot  bool
		want     string
	}{
		{batches{}, 3, false, ""},
		{batches{parallelism: 1}, 3, false, "1 of 3 containers at once"},
		{batches{parallelism: 3}, 3, false, ""},
		{batches{parallelism: 1, delay: time.Second, monitor: 5 * time.Second}, 3, false, "1 of 3 containers at once, each group watched for 5s"},
		{batches{action: v1alpha1.FailureContinue}, 3, false, "2 may fail"},
		{batches{ratio: 0.5}, 4, false, "2 may fail"},
		{batches{ratio: 0.5, parallelism: 2, action: v1alpha1.FailurePause}, 4, false, "2 of 4 containers at once; 2 may fail; if it fails, everything is left as it is"},
		{batches{ratio: 1, parallelism: 1}, 1, false, ""},
		{batches{ratio: 1, parallelism: 1}, 4, true, ""},
	} {
		if got := c.b.words(compose.Service{Replicas: c.replicas, OneShot: c.oneShot}); got != c.want {
			t.Errorf("%+v: %q, want %q", c.b, got, c.want)
		}
	}
}

func TestSettingsWithoutEffectAreTold(t *testing.T) {
	config := &compose.UpdateConfig{}
	published := []compose.Port{{Published: "80", Target: 80, Protocol: "tcp"}}
	for _, c := range []struct {
		name string
		svc  compose.Service
		want []string
	}{
		{"nothing", compose.Service{Replicas: 1}, nil},
		{"all of use", compose.Service{Replicas: 4, UpdateConfig: &compose.UpdateConfig{
			Parallelism: uints(1), Delay: time.Second, Monitor: time.Second, FailureAction: "pause", MaxFailureRatio: 0.25, Order: "start-first",
		}}, nil},
		{"one-shot", compose.Service{Replicas: 1, OneShot: true, UpdateConfig: config}, []string{"runs to its end once"}},
		{"delay of one", compose.Service{Replicas: 1, UpdateConfig: &compose.UpdateConfig{Delay: time.Second}}, []string{"delay has no effect"}},
		{"continue with one", compose.Service{Replicas: 1, UpdateConfig: &compose.UpdateConfig{FailureAction: "continue"}}, []string{"failure_action: continue has no effect"}},
		{"too small a ratio", compose.Service{Replicas: 3, UpdateConfig: &compose.UpdateConfig{MaxFailureRatio: 0.3}}, []string{"max_failure_ratio has no effect"}},
		{"rollback_config", compose.Service{Replicas: 1, RollbackConfig: &compose.UpdateConfig{FailureAction: "pause"}}, []string{"is for requests with rollbackTo"}},
		{"its order", compose.Service{Replicas: 1, RollbackConfig: &compose.UpdateConfig{Order: "stop-first"}, Ports: published}, nil},
		{"its order with a port", compose.Service{Replicas: 1, RollbackConfig: &compose.UpdateConfig{Order: "start-first"}, Ports: published}, []string{"behind a gateway only"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.svc.Name = "web"
			got := withoutEffect(c.svc, batchRun(v1alpha1.RolloutBatches{}, v1alpha1.RolloutBatches{}).batches(c.svc))
			if len(got) != len(c.want) {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			for i := range got {
				if !strings.Contains(got[i], c.want[i]) || !strings.HasPrefix(got[i], "the service web: ") {
					t.Errorf("got %q, want %q", got[i], c.want[i])
				}
			}
		})
	}
}

func TestPause(t *testing.T) {
	s := batchRun(v1alpha1.RolloutBatches{FailureAction: v1alpha1.FailurePause}, v1alpha1.RolloutBatches{FailureAction: v1alpha1.FailureRollback})
	for name, want := range map[string]bool{"": true, "other": true, "web": false} {
		if got := s.pauses(&failure.Terminal{}, compose.Service{Name: name}).Paused; got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
