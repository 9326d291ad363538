// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/forecast"
)

// maxStatistics is how many updates and backups are told of.
const maxStatistics = 50

// statistics are what charts are drawn of, oldest first.
type statistics struct {
	Updates []updateFigures `json:"updates" nullable:"false"`
	Backups []backupFigures `json:"backups" nullable:"false"`
	Disk    *diskFigures    `json:"disk,omitempty"`
}

type updateFigures struct {
	Request    string         `json:"request"`
	Phase      v1alpha1.Phase `json:"phase"`
	Commit     string         `json:"commit,omitempty"`
	FinishedAt time.Time      `json:"finishedAt"`
	Seconds    float64        `json:"seconds" doc:"From the first step to the end"`
	// Downtime is nil where nothing was probed.
	Downtime *downtimeFigures `json:"downtime,omitempty" doc:"As it was measured from outside; missing where nothing was probed"`
}

type downtimeFigures struct {
	Seconds float64 `json:"seconds" doc:"Longest time without an answer"`
	Probes  int64   `json:"probes"`
	Failed  int64   `json:"failed" doc:"Probes without an answer"`
}

type backupFigures struct {
	Name  string    `json:"name"`
	Time  time.Time `json:"time"`
	Bytes int64     `json:"bytes"`
}

// diskFigures are of the disk with the engine's data.
type diskFigures struct {
	Host    string       `json:"host"`
	Free    int64        `json:"free" doc:"Bytes that are free now"`
	Total   int64        `json:"total"`
	History []diskFigure `json:"history" nullable:"false"`
	PerDay  float64      `json:"perDay,omitempty" doc:"Bytes by which it fills in a day"`
	FullAt  *time.Time   `json:"fullAt,omitempty" doc:"When it is full at this rate"`
	// Needs are of the next update that builds or pulls as earlier ones did.
	NextUpdate int64               `json:"nextUpdate,omitempty" doc:"Bytes that the next update is expected to write, as far as earlier ones tell"`
	Needs      []v1alpha1.DiskNeed `json:"needs,omitempty" doc:"What nextUpdate is the sum of, and what is not known"`
}

type diskFigure struct {
	Time time.Time `json:"time"`
	Free int64     `json:"free"`
}

type statisticsOutput struct{ Body statistics }

func (a *API) statistics(ctx context.Context, in *struct {
	NamespacePath
	NamePath
}) (*statisticsOutput, error) {
	var app v1alpha1.Application
	if err := a.kube().Get(ctx, client.ObjectKey{Namespace: in.Namespace, Name: in.Name}, &app); err != nil {
		return nil, err
	}
	of := []client.ListOption{client.InNamespace(in.Namespace), client.MatchingFieldsSelector{Selector: ofApplication(in.Name)}}
	var requests v1alpha1.UpdateRequestList
	if err := a.kube().List(ctx, &requests, of...); err != nil {
		return nil, err
	}
	var backups v1alpha1.BackupList
	if err := a.kube().List(ctx, &backups, of...); err != nil {
		return nil, err
	}
	out := &statisticsOutput{statistics{Updates: updatesOf(requests.Items), Backups: backupsOf(backups.Items)}}
	var hosts v1alpha1.DockerHostList
	if err := a.kube().List(ctx, &hosts); err != nil && !apierrors.IsForbidden(err) {
		return nil, err
	}
	// One daemon, and so one host, for each API.
	if len(hosts.Items) == 1 {
		out.Body.Disk = diskOf(&hosts.Items[0])
	}
	if out.Body.Disk == nil {
		return out, nil
	}
	var releases v1alpha1.ReleaseList
	if err := a.kube().List(ctx, &releases, of...); err != nil && !apierrors.IsForbidden(err) {
		return nil, err
	}
	out.Body.Disk.expect(backups.Items, releases.Items)
	return out, nil
}

// expect says what the next update will write. Of builds and pulls only what was
// measured is told: an application may have none.
func (d *diskFigures) expect(backups []v1alpha1.Backup, releases []v1alpha1.Release) {
	d.Needs = []v1alpha1.DiskNeed{forecast.Backup(backups)}
	for _, need := range []v1alpha1.DiskNeed{forecast.Build(releases), forecast.Pull(releases)} {
		if need.Bytes != nil {
			d.Needs = append(d.Needs, need)
		}
	}
	d.NextUpdate = forecast.Needed(d.Needs)
}

// downtimeOf is nil where nothing was probed, or nothing was seen but not all of the time looked.
func downtimeOf(ur v1alpha1.UpdateRequestStatus) *downtimeFigures {
	st := ur.Downtime
	if st == nil {
		return nil
	}
	// What is about no service is about the time.
	blind := slices.ContainsFunc(ur.Unmeasured, func(u v1alpha1.UnmeasuredPorts) bool { return u.Service == "" })
	if st.Failed == 0 && blind {
		return nil
	}
	gap, err := time.ParseDuration(st.LongestGap)
	if err != nil {
		return nil
	}
	return &downtimeFigures{Seconds: gap.Seconds(), Probes: st.Probes, Failed: st.Failed}
}

// updatesOf are the requests that updated something, or tried to.
func updatesOf(requests []v1alpha1.UpdateRequest) []updateFigures {
	out := []updateFigures{}
	for _, ur := range requests {
		st := ur.Status
		if ur.Spec.DryRun || ur.Spec.BackupOnly || st.StartedAt == nil || st.FinishedAt == nil {
			continue
		}
		took, err := time.ParseDuration(st.Duration)
		if err != nil {
			took = st.FinishedAt.Sub(st.StartedAt.Time)
		}
		out = append(out, updateFigures{
			Request: ur.Name, Phase: st.Phase, Commit: st.Commit, FinishedAt: st.FinishedAt.UTC(), Seconds: took.Seconds(),
			Downtime: downtimeOf(st),
		})
	}
	slices.SortFunc(out, func(a, b updateFigures) int { return a.FinishedAt.Compare(b.FinishedAt) })
	return out[max(0, len(out)-maxStatistics):]
}

func backupsOf(backups []v1alpha1.Backup) []backupFigures {
	out := []backupFigures{}
	for _, b := range backups {
		if b.Status.CompletedAt != nil {
			out = append(out, backupFigures{Name: b.Name, Time: b.Status.CompletedAt.UTC(), Bytes: b.Status.Bytes})
		}
	}
	slices.SortFunc(out, func(a, b backupFigures) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Name, b.Name)) })
	return out[max(0, len(out)-maxStatistics):]
}

// diskOf is nil where the disk cannot be seen.
func diskOf(host *v1alpha1.DockerHost) *diskFigures {
	st := host.Status
	if st.DiskFree == nil || st.DiskTotal == nil {
		return nil
	}
	out := &diskFigures{Host: host.Name, Free: st.DiskFree.Value(), Total: st.DiskTotal.Value(), History: []diskFigure{}}
	for _, s := range st.DiskHistory {
		out.History = append(out.History, diskFigure{s.Time.UTC(), s.Free.Value()})
	}
	if st.LastSeen != nil {
		out.forecast(st.LastSeen.UTC())
	}
	return out
}

const (
	// leastHistory is how long the history must be for a forecast, and farthest how
	// far one is worth telling.
	leastHistory = 24 * time.Hour
	farthest     = 365 * 24 * time.Hour
)

// forecast lays a straight line through the history, by least squares.
func (d *diskFigures) forecast(now time.Time) {
	points := append(slices.Clone(d.History), diskFigure{now, d.Free})
	if now.Sub(points[0].Time) < leastHistory {
		return
	}
	var n, sx, sy, sxx, sxy float64
	for _, p := range points {
		x, y := p.Time.Sub(points[0].Time).Hours()/24, float64(p.Free)
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	spread := n*sxx - sx*sx
	if spread <= 0 {
		return
	}
	perDay := -(n*sxy - sx*sy) / spread
	if perDay <= 0 {
		return
	}
	d.PerDay = math.Round(perDay)
	days := float64(d.Free) / perDay
	if left := time.Duration(days * 24 * float64(time.Hour)); days < farthest.Hours()/24 {
		at := now.Add(left).Truncate(time.Hour)
		d.FullAt = &at
	}
}
