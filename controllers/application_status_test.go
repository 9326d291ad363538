// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/follow"
	"github.com/fairlead-dev/fairlead/internal/gateway/upkeep"
	"github.com/fairlead-dev/fairlead/internal/observe"
)

// outcome makes a request that ended.
func outcome(name, commit string, finished int, phase v1alpha1.Phase, step v1alpha1.StepName, reason string, change ...func(*v1alpha1.UpdateRequest)) v1alpha1.UpdateRequest {
	end := at(finished)
	return request(name, finished, append(slices.Clone(change), func(ur *v1alpha1.UpdateRequest) {
		ur.Status.Phase, ur.Status.Commit, ur.Status.FinishedAt = phase, commit, &end
		ur.Status.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepPreflight, State: v1alpha1.StepSucceeded}}
		if reason != "" {
			ur.Status.Failure = &v1alpha1.FailureStatus{Step: step, Reason: reason}
		}
	})...)
}

func TestMergeFailed(t *testing.T) {
	const good, bad = v1alpha1.PhaseSucceeded, v1alpha1.PhaseFailed
	known := func(commit string, seconds int) v1alpha1.FailedCommit {
		return v1alpha1.FailedCommit{Commit: commit, Request: "known", Reason: "Known", Time: at(seconds)}
	}
	build := func(name, commit string, seconds int, change ...func(*v1alpha1.UpdateRequest)) v1alpha1.UpdateRequest {
		return outcome(name, commit, seconds, bad, v1alpha1.StepBuild, v1alpha1.ReasonBuildFailed, change...)
	}
	works := func(name, commit string, seconds int, change ...func(*v1alpha1.UpdateRequest)) v1alpha1.UpdateRequest {
		return outcome(name, commit, seconds, good, "", "", change...)
	}
	tests := []struct {
		name     string
		known    []v1alpha1.FailedCommit
		requests []v1alpha1.UpdateRequest
		want     []string // commit by request
	}{
		{"nothing", nil, nil, nil},
		{"what is known stays, though its request is gone", []v1alpha1.FailedCommit{known("c1", 1)}, nil, []string{"c1 by known"}},
		{"a failed build", nil, []v1alpha1.UpdateRequest{build("a", "c1", 1)}, []string{"c1 by a"}},
		{"rolled back", nil, []v1alpha1.UpdateRequest{outcome("a", "c1", 1, v1alpha1.PhaseRolledBack, v1alpha1.StepRollout, v1alpha1.ReasonHealthCheckFailed)}, []string{"c1 by a"}},
		{"verification", nil, []v1alpha1.UpdateRequest{outcome("a", "c1", 1, v1alpha1.PhaseRolledBack, v1alpha1.StepVerify, v1alpha1.ReasonVerifyFailed)}, []string{"c1 by a"}},
		{"the host is to blame", nil, []v1alpha1.UpdateRequest{
			outcome("a", "c1", 1, bad, v1alpha1.StepPreflight, v1alpha1.ReasonPreflightFailed),
			outcome("b", "c2", 2, bad, v1alpha1.StepBackup, v1alpha1.ReasonBackupFailed),
			outcome("c", "c3", 3, bad, v1alpha1.StepFetch, v1alpha1.ReasonFetchFailed),
		}, nil},
		{"a person is to blame", nil, []v1alpha1.UpdateRequest{outcome("a", "c1", 1, v1alpha1.PhaseCancelled, v1alpha1.StepRollout, v1alpha1.ReasonCancelled)}, nil},
		{"a rollback to a release blames no commit", nil, []v1alpha1.UpdateRequest{
			outcome("a", "c1", 1, v1alpha1.PhaseRolledBack, v1alpha1.StepRollout, v1alpha1.ReasonHealthCheckFailed, rollbackTo)}, nil},
		{"it worked later", nil, []v1alpha1.UpdateRequest{build("a", "c1", 1), works("b", "c1", 2)}, nil},
		{"it worked later than what is known", []v1alpha1.FailedCommit{known("c1", 1)}, []v1alpha1.UpdateRequest{works("b", "c1", 2)}, nil},
		{"it failed again after it worked", nil, []v1alpha1.UpdateRequest{works("a", "c1", 1), build("b", "c1", 2)}, []string{"c1 by b"}},
		{"the later failure counts", nil, []v1alpha1.UpdateRequest{build("b", "c1", 5), build("a", "c1", 1)}, []string{"c1 by b"}},
		{"a dry run proves nothing", []v1alpha1.FailedCommit{known("c1", 1)}, []v1alpha1.UpdateRequest{works("b", "c1", 2, dryRun)}, []string{"c1 by known"}},
		{"newest first", nil, []v1alpha1.UpdateRequest{build("a", "c1", 1), build("b", "c2", 3), build("c", "c3", 2)}, []string{"c2 by b", "c3 by c", "c1 by a"}},
		{"of one second by name", nil, []v1alpha1.UpdateRequest{build("b", "c2", 1), build("a", "c1", 1)}, []string{"c1 by a", "c2 by b"}},
		{"one that has not ended", nil, []v1alpha1.UpdateRequest{request("a", 1, started)}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			merge := func(known []v1alpha1.FailedCommit) []string {
				var got []string
				for _, f := range mergeFailed(known, tt.requests) {
					got = append(got, f.Commit+" by "+f.Request)
				}
				return got
			}
			if got := merge(tt.known); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			// What was derived once is derived again: no hot loop.
			if got := merge(mergeFailed(tt.known, tt.requests)); !slices.Equal(got, tt.want) {
				t.Errorf("the second time: got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMergeFailedIsBounded(t *testing.T) {
	var requests []v1alpha1.UpdateRequest
	for i := range 30 {
		requests = append(requests, outcome(fmt.Sprint("r", i), fmt.Sprint("c", i), i, v1alpha1.PhaseFailed, v1alpha1.StepBuild, v1alpha1.ReasonBuildFailed))
	}
	got := mergeFailed(nil, requests)
	if len(got) != maxFailedCommits || got[0].Commit != "c29" || got[maxFailedCommits-1].Commit != "c10" {
		t.Errorf("%d commits from %s on", len(got), got[0].Commit)
	}
}

func TestHistory(t *testing.T) {
	good := func(name string, finished int, change ...func(*v1alpha1.UpdateRequest)) v1alpha1.UpdateRequest {
		return outcome(name, "c-"+name, finished, v1alpha1.PhaseSucceeded, "", "", change...)
	}
	notStarted := func(ur v1alpha1.UpdateRequest) v1alpha1.UpdateRequest {
		ur.Status.Phase, ur.Status.Steps = v1alpha1.PhaseCancelled, nil
		return ur
	}
	tests := []struct {
		name     string
		had      string
		requests []v1alpha1.UpdateRequest
		active   string
		last     string
	}{
		{"nothing", "", nil, "", ""},
		{"queued is not active", "", []v1alpha1.UpdateRequest{request("a", 1)}, "", ""},
		{"active", "", []v1alpha1.UpdateRequest{request("a", 1, started), request("b", 2)}, "a", ""},
		{"a dry run is neither", "", []v1alpha1.UpdateRequest{request("a", 1, started, dryRun), good("b", 2, dryRun)}, "", ""},
		{"the last that ended", "", []v1alpha1.UpdateRequest{good("b", 5), good("a", 1)}, "", "b"},
		{"cancelled in the queue is no end", "", []v1alpha1.UpdateRequest{good("a", 1), notStarted(good("b", 5))}, "", "a"},
		{"what is known stays when the request is pruned", "old", nil, "", "old"},
		{"a newer one replaces it", "old", []v1alpha1.UpdateRequest{good("a", 1)}, "", "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := v1alpha1.ApplicationStatus{ActiveRequest: "stale"}
			if tt.had != "" {
				end := at(0)
				st.LastRequest = &v1alpha1.RequestSummary{Name: tt.had, FinishedAt: &end}
			}
			history(&st, tt.requests)
			last := ""
			if st.LastRequest != nil {
				last = st.LastRequest.Name
			}
			if st.ActiveRequest != tt.active || last != tt.last {
				t.Errorf("active %q, last %q; want %q, %q", st.ActiveRequest, last, tt.active, tt.last)
			}
		})
	}
}

func TestWriteApplicationStatus(t *testing.T) {
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "shop", Generation: 3}}
	check := func(typ string, want metav1.ConditionStatus, reason string) {
		t.Helper()
		c := meta.FindStatusCondition(app.Status.Conditions, typ)
		if c == nil || c.Status != want || c.Reason != reason || c.ObservedGeneration != app.Generation {
			t.Errorf("%s is %+v, want %s %s", typ, c, want, reason)
		}
	}
	seen := observe.Application{
		Project: "shop", Branch: "main", Commit: "c9",
		Services: []v1alpha1.ServiceStatus{{Name: "web", State: "Running", Health: "Healthy"}, {Name: "migrate", State: "Completed"}},
		Releases: []v1alpha1.Release{
			{ObjectMeta: metav1.ObjectMeta{Name: "shop-2"}, Spec: v1alpha1.ReleaseSpec{Number: 2, Commit: "c2"}, Status: v1alpha1.ReleaseStatus{State: v1alpha1.ReleaseCurrent}},
			{ObjectMeta: metav1.ObjectMeta{Name: "shop-1"}, Spec: v1alpha1.ReleaseSpec{Number: 1, Commit: "c1"}},
		},
	}
	writeApplicationStatus(app, nil, seen, nil, epoch)
	st := app.Status
	if st.Release != "shop-2" || st.Commit != "c2" || st.LastReleaseNumber != 2 || st.Healthy != "2/2" || st.ObservedGeneration != 3 {
		t.Errorf("got %+v", st)
	}
	check(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonObserved)
	check(v1alpha1.ConditionHealthy, metav1.ConditionTrue, v1alpha1.ReasonAllHealthy)
	check(v1alpha1.ConditionProgressing, metav1.ConditionFalse, "Idle")

	// A backup was restored by hand: neither the release nor its commit runs, and the
	// policy does not bring it back.
	byHand := seen
	byHand.RestoredAt = epoch.Add(time.Hour)
	back := app.DeepCopy()
	seenAt := metav1.NewTime(epoch)
	back.Status.Update = &v1alpha1.UpdateStatus{Ref: "refs/heads/main", Commit: "c2", CheckedAt: &seenAt}
	writeApplicationStatus(back, nil, byHand, nil, epoch.Add(2*time.Hour))
	writeUpdateStatus(back, nil, byHand.RestoredAt, follow.Answer{Running: "c9", Ref: "refs/heads/main", Commit: "c2", Behind: 7}, true, epoch.Add(2*time.Hour))
	if st := back.Status; st.Release != "" || st.Commit != "c9" || !st.Update.Available || st.Update.Attempted != "c2" || st.LastReleaseNumber != 2 {
		t.Errorf("after a restore by hand: %+v, %+v", st, st.Update)
	}
	// What was pushed since is not what they went away from.
	writeUpdateStatus(back, nil, byHand.RestoredAt, follow.Answer{Running: "c9", Ref: "refs/heads/main", Commit: "c10", Behind: 8}, true, epoch.Add(2*time.Hour))
	if u := back.Status.Update; !u.Available || u.Attempted == u.Commit {
		t.Errorf("a newer commit after a restore by hand: %+v", u)
	}

	before := app.DeepCopy()
	writeApplicationStatus(app, nil, seen, nil, epoch.Add(time.Hour))
	if !equality.Semantic.DeepEqual(before.Status, app.Status) {
		t.Errorf("the same facts gave another status: a hot loop\n%+v\n%+v", before.Status, app.Status)
	}

	seen.Services[0].Health = "Unhealthy"
	writeApplicationStatus(app, []v1alpha1.UpdateRequest{request("a", 1, started)}, seen, nil, epoch)
	check(v1alpha1.ConditionHealthy, metav1.ConditionFalse, v1alpha1.ReasonServicesUnhealthy)
	check(v1alpha1.ConditionProgressing, metav1.ConditionTrue, v1alpha1.ReasonRunning)
	if app.Status.Healthy != "1/2" {
		t.Errorf("healthy is %s", app.Status.Healthy)
	}

	// A number that was given once is not given again, also when its release is gone.
	seen.Releases = nil
	seen.Services = nil
	writeApplicationStatus(app, nil, seen, nil, epoch)
	if app.Status.LastReleaseNumber != 2 || app.Status.Release != "" || app.Status.Commit != "c9" {
		t.Errorf("got %+v", app.Status)
	}
	check(v1alpha1.ConditionHealthy, metav1.ConditionFalse, v1alpha1.ReasonNotRunning)

	// What was seen stays when looking fails, and is not taken for the new generation.
	app.Generation = 4
	writeApplicationStatus(app, nil, observe.Application{}, errors.New("permission denied"), epoch)
	if app.Status.Project != "shop" || app.Status.ObservedGeneration != 3 {
		t.Errorf("got %+v", app.Status)
	}
	check(v1alpha1.ConditionReady, metav1.ConditionFalse, "ObservationFailed")
	check(v1alpha1.ConditionHealthy, metav1.ConditionUnknown, "ObservationFailed")
}

func TestWriteHostStatus(t *testing.T) {
	host := &v1alpha1.DockerHost{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	seen := observe.Host{
		Engine: docker.Engine{ID: "e1", Version: "20.10.24", APIVersion: "1.41", OS: "linux", Arch: "amd64", CPUs: 2, MemTotal: 8<<30 + 12345},
		Disk:   observe.Disk{Free: 5<<30 + 1, Total: 10 << 30},
		Projects: []observe.Project{
			{Project: docker.Project{Name: "shop", Directory: "/opt/shop", Running: 3}}, {Project: docker.Project{Name: "x"}, Unfit: "it is no Git clone"},
		},
	}
	writeHostStatus(host, seen, nil, "v1", epoch)
	writeUsage(host, docker.Usage{Images: 3<<30 + 5, UnusedImages: 1 << 30}, epoch)
	st := host.Status
	if p := st.Projects; len(p) != 2 || !p[0].Adoptable || p[0].Running != 3 || p[0].Directory != "/opt/shop" || p[1].Adoptable || p[1].Message == "" {
		t.Errorf("projects %+v", p)
	}
	if u := st.Usage; u.Images.String() != "3Gi" || u.UnusedImages.String() != "1Gi" || u.BuildCache.String() != "0" {
		t.Errorf("usage %+v", u)
	}
	// One sample in six hours, the newest sixty.
	for i := range 100 {
		at := epoch.Add(time.Duration(i) * sampleInterval)
		seen.Disk.Free = int64(100-i) << 30
		writeHostStatus(host, seen, nil, "v1", at)
		writeHostStatus(host, seen, nil, "v1", at.Add(sampleInterval-time.Second))
	}
	if h := host.Status.DiskHistory; len(h) != maxSamples || h[0].Free.String() != "60Gi" || h[maxSamples-1].Free.String() != "1Gi" {
		t.Errorf("%d samples, %+v", len(h), h)
	}
	host.Status.LastSeen = st.LastSeen
	if st.Platform != "linux/amd64" || st.Memory.String() != "8Gi" || st.DiskFree.String() != "5Gi" || st.MemoryAvailable != nil || st.FairleadVersion != "v1" {
		t.Errorf("got %+v", st)
	}
	if !meta.IsStatusConditionTrue(st.Conditions, v1alpha1.ConditionReady) {
		t.Error("not ready")
	}
	writeHostStatus(host, observe.Host{}, errors.New("connection refused"), "v1", epoch.Add(time.Hour))
	if host.Status.EngineVersion != "20.10.24" || !host.Status.LastSeen.Time.Equal(epoch) {
		t.Errorf("what was seen is gone: %+v", host.Status)
	}
	if c := meta.FindStatusCondition(host.Status.Conditions, v1alpha1.ConditionReady); c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonEngineUnavailable {
		t.Errorf("Ready is %+v", c)
	}
}

func TestObjectName(t *testing.T) {
	for host, want := range map[string]string{
		"docker-1": "docker-1", "Docker_1.Example.COM": "docker-1.example.com", "-x-": "x", "": "host", "ÄÖ": "host",
	} {
		if got := objectName(host); got != want {
			t.Errorf("%q becomes %q, want %q", host, got, want)
		}
	}
}

func TestWriteGateways(t *testing.T) {
	two := []string{"shop-gateway-1", "shop-gateway-front-1"}
	for name, c := range map[string]struct {
		answer upkeep.Answer
		known  bool
		want   string // status, reason and message
	}{
		"not looked at yet":  {known: false, want: "True Before before"},
		"none":               {known: true, want: ""},
		"all run":            {answer: upkeep.Answer{Gateways: two}, known: true, want: "True GatewaysRun all 2 run, with the version of this daemon"},
		"replaced":           {answer: upkeep.Answer{Gateways: two, Replaced: two[:1]}, known: true, want: "True GatewayReplaced replaced without an interruption by the version of this daemon: shop-gateway-1"},
		"one does not run":   {answer: upkeep.Answer{Gateways: two, Down: two[1:], Problem: "x"}, known: true, want: "False GatewayDown not running: shop-gateway-front-1; the next update makes it anew, or start it"},
		"not replaced":       {answer: upkeep.Answer{Gateways: two, Replaced: two[:1], Problem: "no room"}, known: true, want: "False GatewayNotReplaced a gateway goes on with an older version, which is tried to be replaced again: no room"},
		"could not be found": {answer: upkeep.Answer{Problem: "no engine"}, known: true, want: "False GatewayNotReplaced a gateway goes on with an older version, which is tried to be replaced again: no engine"},
	} {
		app := &v1alpha1.Application{}
		meta.SetStatusCondition(&app.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionGatewayCurrent, Status: metav1.ConditionTrue, Reason: "Before", Message: "before"})
		writeGateways(app, c.answer, c.known, time.Unix(1, 0))
		got := ""
		if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionGatewayCurrent); c != nil {
			got = string(c.Status) + " " + c.Reason + " " + c.Message
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
