// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// watching is a run whose application publishes the port of a server of this test.
func watching(t *testing.T, answer http.HandlerFunc) (*run, *compose.Project) {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	s := newRun(func(_ *v1alpha1.Application, r *v1alpha1.UpdateRequest) { r.UID = "watched" })
	s.log, s.rec = updatelog.Lost("", nil), &written{}
	return s, project(t, fmt.Sprintf(`services: {web: {image: web, ports: ["127.0.0.1:%s:80"]}}`, port))
}

// A request that hangs at the end of a step has failed, until the next step sees it answered.
func TestWatchedHangs(t *testing.T) {
	t.Parallel()
	asked, hang := make(chan struct{}, 100), make(chan struct{})
	s, model := watching(t, func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		if len(asked) > 1 {
			<-hang
		}
	})
	s.Step = v1alpha1.StepRollout
	err := s.watched(t.Context(), model, nil, func() error {
		<-time.After(2 * time.Second) // nobody tells of an answer that does not come
		return nil
	})
	d := s.Request.Status.Downtime
	if err != nil || d == nil || d.Probes != 2 || d.Failed != 1 || d.Slowest[0] == '0' || d.LongestGap[0] == '0' {
		t.Fatalf("seen: %+v, %v", d, err)
	}
	close(hang)
	s.Step = v1alpha1.StepVerify
	for len(asked) > 0 {
		<-asked
	}
	err = s.watched(t.Context(), model, nil, func() error { <-asked; return nil })
	if d := s.Request.Status.Downtime; err != nil || d.Probes < 2 || d.Failed != 0 || d.Slowest[0] == '0' || d.LongestGap != "0s" {
		t.Errorf("seen after that: %+v, %v", d, err)
	}
}

// A gap that goes over two steps is one in the figures of all updates.
func TestGapOverTwoStepsIsOne(t *testing.T) {
	asked, down := make(chan struct{}, 100), make(chan struct{})
	s, model := watching(t, untilDown(asked, down))
	gapSeconds.DeleteLabelValues("prod", "gaps") // of the same test before
	r := &Runner{}
	s.sights = &r.sights
	s.Request.Namespace, s.Request.Spec.ApplicationRef.Name = "prod", "gaps"
	s.sights.meet(s.Request.UID, sight{})
	var once sync.Once
	work := func() error {
		<-asked
		<-asked // the first answer is counted
		once.Do(func() { close(down) })
		for range 3 {
			<-asked
		}
		return nil
	}
	for _, s.Step = range []v1alpha1.StepName{v1alpha1.StepRollout, v1alpha1.StepVerify} {
		if err := s.watched(t.Context(), model, nil, work); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time as after a write that was refused
		if err := r.Summarize(s.Request); err != nil {
			t.Fatal(err)
		}
	}
	longest := beforeNow(s.Request.Status.Downtime).LongestGap
	if count, sum := observedGaps(t, "gaps"); count != 1 || longest == 0 || time.Duration(sum*float64(time.Second)).Round(time.Millisecond) != longest {
		t.Errorf("%d gaps of %f s together, want one of %s", count, sum, longest)
	}
}

// untilDown answers well until down is closed, and says whenever it was asked.
func untilDown(asked chan<- struct{}, down <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-down:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
		}
		asked <- struct{}{}
	}
}

// observedGaps are the metric's for an application.
func observedGaps(t *testing.T, app string) (count uint64, sum float64) {
	t.Helper()
	all, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "fairlead_update_gap_seconds" && l.GetName() == "application" && l.GetValue() == app {
					count, sum = count+m.GetHistogram().GetSampleCount(), sum+m.GetHistogram().GetSampleSum()
				}
			}
		}
	}
	return count, sum
}

// What is cancelled still stops containers, and clients may lose something by that.
func TestWatchedUntilTheWorkEnds(t *testing.T) {
	t.Parallel()
	asked, down := make(chan struct{}, 100), make(chan struct{})
	s, model := watching(t, untilDown(asked, down))
	s.Step = v1alpha1.StepRollout
	ctx, cancel := context.WithCancel(t.Context())
	err := s.watched(ctx, model, nil, func() error {
		<-asked
		<-asked // the first answer is counted
		cancel()
		close(down)
		for range 3 {
			select {
			case <-asked:
			case <-time.After(5 * time.Second):
				t.Fatal("nothing is asked any more")
			}
		}
		return ctx.Err()
	})
	if d := s.Request.Status.Downtime; !errors.Is(err, context.Canceled) || d == nil || d.Failed == 0 || len(s.Request.Status.Unmeasured) > 0 {
		t.Errorf("seen: %+v, not seen: %v, %v", d, s.Request.Status.Unmeasured, err)
	}
}

// unasked is a daemon that cannot ask the engine where it runs, once that is not wanted any more.
type unasked struct{}

func (unasked) Find(ctx context.Context) (string, error) { return "", ctx.Err() }

// The engine is not to blame for what was cancelled before it could be asked.
func TestCancelledIsNotUnasked(t *testing.T) {
	s, _ := watching(t, func(http.ResponseWriter, *http.Request) {})
	s.Self = unasked{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	told := []v1alpha1.UnmeasuredPorts{{Service: "dns", Ports: "53/udp", Reason: notTCP}}
	s.Request.Status.Unmeasured = slices.Clone(told)
	err := s.watched(ctx, project(t, `services: {web: {image: web, ports: ["80"]}}`), nil, func() error { return ctx.Err() })
	if !errors.Is(err, context.Canceled) || !slices.Equal(s.Request.Status.Unmeasured, told) {
		t.Errorf("not seen: %v, %v", s.Request.Status.Unmeasured, err)
	}
}

// A daemon that was restarted between two steps does not know of a port that does not answer at first for how long it has not.
func TestWatchedAfterARestart(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		first int
		want  []v1alpha1.UnmeasuredPorts
	}{
		"it answers":     {http.StatusNotFound, nil},
		"it is away yet": {http.StatusBadGateway, []v1alpha1.UnmeasuredPorts{{Reason: cutOff}}},
	} {
		asked := make(chan struct{}, 100)
		s, model := watching(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.first)
			asked <- struct{}{}
		})
		s.Step = v1alpha1.StepVerify
		s.Request.Status.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepRollout, State: v1alpha1.StepSucceeded, Attempt: 1}}
		s.sights.meet(s.Request.UID, s.before())
		if err := s.watched(t.Context(), model, nil, func() error { <-asked; <-asked; return nil }); err != nil {
			t.Fatal(err)
		}
		if got := s.Request.Status.Unmeasured; !slices.Equal(got, tt.want) {
			t.Errorf("%s: not seen is %v", name, got)
		}
	}
}
