// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/source"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// Offline has those parts of the steps that a restore by hand is made of. They
// need the engine and the Git clone, and no API: what the steps would record is
// only logged. Its methods are called in the order in which they are here.
type Offline struct {
	run     *run
	w       *workspace
	commit  string
	project *compose.Project
	want    []wanted
	pins    []backup.Image
}

// nowhere is where an offline step records.
type nowhere struct{}

func (nowhere) Record(func(*v1alpha1.UpdateRequestStatus)) {}

func (nowhere) Begun(context.Context) error   { return nil }
func (nowhere) Written(context.Context) error { return nil }

// telling records by a function.
type telling func(change func(*v1alpha1.UpdateRequestStatus))

func (t telling) Record(change func(*v1alpha1.UpdateRequestStatus)) { t(change) }

func (telling) Begun(context.Context) error   { return nil }
func (telling) Written(context.Context) error { return nil }

// Tell has what becomes of containers recorded.
func (o *Offline) Tell(record func(change func(*v1alpha1.UpdateRequestStatus))) {
	o.run.rec = telling(record)
}

// NewOffline opens the deployment directory that app names. id marks what is made
// for this restore, so that it is known again when it is taken up after a crash.
// deps need no Store and no Secrets, and app no object in an API.
func NewOffline(ctx context.Context, deps Deps, app *v1alpha1.Application, id string, log *updatelog.Log) (*Offline, error) {
	request := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Name: "rollback-offline", UID: types.UID("offline-" + id)}}
	s := &run{Deps: deps, Work: Work{Step: v1alpha1.StepRollback, Request: request, Application: app}, rec: nowhere{}, log: log, clones: &clones{}, engineRoot: new(atomic.Pointer[string])}
	w, err := s.workspace(ctx)
	if err != nil {
		return nil, err
	}
	return &Offline{run: s, w: w}, nil
}

// Repo is the clone of the deployment directory.
func (o *Offline) Repo() *source.Repo { return o.w.repo }

// Head is what was checked out when the clone was opened.
func (o *Offline) Head() source.Head { return o.w.head }

// Load loads the Compose model of a commit, with the files below overlay in the
// place of those of the deployment directory. It writes to .update only.
func (o *Offline) Load(ctx context.Context, commit, overlay string) (*compose.Project, error) {
	if err := o.w.prepare(ctx); err != nil {
		return nil, err
	}
	if err := o.w.export(ctx, commit); err != nil {
		return nil, err
	}
	opts := o.w.options(ctx, commit)
	opts.Overlay, opts.Env = overlay, o.w.app.Spec.Compose.Variables
	var err error
	o.commit = commit
	o.project, err = compose.Load(ctx, opts)
	return o.project, err
}

// Image says how the image of a service comes to the host.
type Image struct {
	Service string
	// How in words, such as "is on this host".
	How string
	// Exact says that it is the very image of the backup.
	Exact bool
}

// PlanImages decides where the image of each service comes from: the one that
// ran when the backup was made, by its ID, else by its digest from the registry,
// else one that is built at the commit or pulled by its name. Nothing is changed.
func (o *Offline) PlanImages(ctx context.Context, ran []backup.Image) ([]Image, error) {
	want, err := o.run.desire(ctx, o.w, o.project, o.commit, nil)
	if err != nil {
		return nil, err
	}
	o.want, o.pins = want, make([]backup.Image, len(want))
	var out []Image
	for i := range want {
		d := &o.want[i]
		if d.OneShot {
			// It is not run, only its definition counts.
			out = append(out, Image{Service: d.Name, How: "is not run", Exact: true})
		}
		how, exact, err := o.pin(ctx, i, ran)
		if err != nil {
			return nil, err
		}
		if !d.OneShot {
			out = append(out, Image{Service: d.Name, How: how, Exact: exact})
		}
	}
	return out, nil
}

// pin chooses the image of one service.
func (o *Offline) pin(ctx context.Context, i int, ran []backup.Image) (how string, exact bool, err error) {
	d := &o.want[i]
	for _, image := range ran {
		if image.Service != d.Name || image.ID == "" {
			continue
		}
		found, err := o.run.lookup(ctx, image.ID, d)
		if err != nil {
			return "", false, err
		}
		if found {
			d.how, d.builtBy = imagePresent, ""
			o.pins[i] = image
			return "is on this host (" + Short12(strings.TrimPrefix(image.ID, "sha256:")) + ")", true, nil
		}
	}
	for _, image := range ran {
		if image.Service == d.Name && len(image.RepoDigests) > 0 {
			// What the name means here by now is another one.
			d.how, d.builtBy, d.image = imagePresent, "", docker.Image{}
			o.pins[i] = image
			return "is pulled by its digest: " + image.RepoDigests[0], true, nil
		}
	}
	switch {
	case d.builtBy != "":
		return "is that of " + d.builtBy, false, nil
	case d.how == imageReuse:
		return "is on this host, built of the same content (" + Short12(strings.TrimPrefix(d.image.ID, "sha256:")) + ")", true, nil
	case d.how == imageBuild:
		return "is built again at the commit, as it is not on this host any more", false, nil
	case d.how == imagePull:
		return "is pulled by its name, " + d.ImageName + ", which may mean another one by now", false, nil
	default:
		return "is what " + d.ImageName + " means on this host", false, nil
	}
}

// BringImages builds and pulls what PlanImages found missing.
func (o *Offline) BringImages(ctx context.Context) error {
	for i := range o.want {
		d := &o.want[i]
		if d.OneShot && !d.known() {
			continue
		}
		if o.pins[i].Service == "" || d.known() {
			continue
		}
		ref := o.pins[i].RepoDigests[0]
		lines := o.run.output(d.Name)
		_, _, err := o.run.Puller.Pull(ctx, ref, build.PullOptions{Platform: d.Platform}, lines)
		lines.Close()
		if err != nil {
			return fmt.Errorf("pull the image of %s: %w", d.Name, err)
		}
		if found, err := o.run.lookup(ctx, ref, d); err != nil || !found {
			return errors.Join(fmt.Errorf("the image %s of %s was pulled and is not there", ref, d.Name), err)
		}
	}
	var missing []wanted
	for _, d := range o.want {
		if !d.known() && !d.OneShot {
			missing = append(missing, d)
		}
	}
	// Whoever builds for a service that is missing must build as well.
	for _, d := range o.want {
		if !d.known() && d.OneShot && slices.ContainsFunc(missing, func(m wanted) bool { return m.builtBy == d.Name }) {
			missing = append(missing, d)
		}
	}
	if err := o.run.bringImages(ctx, missing); err != nil {
		return err
	}
	for _, m := range missing {
		i := slices.IndexFunc(o.want, func(d wanted) bool { return d.Name == m.Name })
		o.want[i] = m
	}
	shareBuilt(o.want)
	known := slices.DeleteFunc(slices.Clone(o.want), func(d wanted) bool { return !d.known() })
	return o.run.tagContent(ctx, o.project, known)
}

// BackupInput says what there is to save of what runs now, as for an update. The
// model of what is checked out names the files; where it does not load, the one
// that Load loaded.
func (o *Offline) BackupInput(ctx context.Context, containers []docker.Container) (backup.Input, error) {
	project, err := observe.LoadCheckedOut(ctx, o.run.Application)
	if err != nil {
		o.run.say("what is checked out cannot be loaded (%v): the safety backup has the files that the backup names", err)
		project = o.project
	}
	return o.run.backupInput(ctx, o.w, project, containers)
}

// EnsureResources makes the networks and volumes that are missing.
func (o *Offline) EnsureResources(ctx context.Context) error {
	return o.run.Creator.EnsureResources(ctx, o.project, o.run.resourceLabels())
}

// Rollout brings the containers of those services that only names to what Load
// and BringImages found, gated by their health, in the order of their
// dependencies. One-shot services are not run: the data is that from after they
// ran.
func (o *Offline) Rollout(ctx context.Context, only func(service string) bool) error {
	return o.executor(only).loop(ctx)
}

// Finish is Rollout for all services but the one called self ("" for none). What
// the model does not have is stopped, and the names of the images are those that
// `docker compose` would use.
func (o *Offline) Finish(ctx context.Context, self string) error {
	s := o.run
	containers, err := observe.Containers(ctx, s.Docker, o.project.Name())
	if err != nil {
		return err
	}
	e := o.executor(func(service string) bool { return service != self || self == "" })
	for _, c := range containers {
		if e.target(c.Service).Name == "" && c.Service != self {
			t := plan.Target{Service: plan.Service{Name: c.Service}, Action: v1alpha1.ActionRemove, Order: v1alpha1.OrderStopFirst}
			e.in.Targets = append(e.in.Targets, t)
		}
	}
	displace(e.in.Targets, o.project, containers, "")
	if err := e.loop(ctx); err != nil {
		return err
	}
	if err := e.restorePolicies(ctx); err != nil {
		return err
	}
	return s.pointTags(ctx, o.project, e.touchedImages())
}

func (o *Offline) executor(only func(service string) bool) *executor {
	e := &executor{
		run: o.run, project: o.project, in: plan.RolloutInput{Undo: true}, images: map[string]imageRef{},
		// What runs already may have been started by an attempt that was cut off.
		touched: func(docker.Container) bool { return true },
		labels: map[string]string{
			v1alpha1.LabelApplication: applicationLabel(o.run.Application),
			v1alpha1.LabelRequest:     string(o.run.Request.UID),
		},
	}
	for _, d := range o.want {
		t := plan.Target{Service: o.run.planService(d, o.want, nil), Action: v1alpha1.ActionReplace, Order: v1alpha1.OrderStopFirst}
		if !only(d.Name) {
			t.Action = v1alpha1.ActionKeep
		}
		e.in.Targets = append(e.in.Targets, t)
		e.images[d.Name] = imageRef{name: d.ImageName, id: d.image.ID}
	}
	return e
}

// CleanUp removes the stopped containers that the restored state does not have.
// One-shot services among them must go too, or an update would take their work
// for done, which the restored data has not seen. Anonymous volumes are left.
func (o *Offline) CleanUp(ctx context.Context, keep func(docker.Container) bool) error {
	containers, err := observe.Containers(ctx, o.run.Docker, o.project.Name())
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range containers {
		i := slices.IndexFunc(o.want, func(d wanted) bool { return d.Name == c.Service })
		if c.Running() || c.State == docker.StateRestarting || keep(c) {
			continue
		}
		if i >= 0 && o.want[i].revision() != "" && c.Labels[v1alpha1.LabelRevision] == o.want[i].revision() {
			continue
		}
		o.run.say("%s: removing %s, which the restored state does not have", c.Service, c.Name)
		errs = append(errs, o.run.Docker.Remove(ctx, c.ID, false))
	}
	return errors.Join(append(errs, o.w.removeTree(o.commit))...)
}

// Services are what the restored services are, for the status of a request: those
// that run were made anew, one-shot services were not run.
func (o *Offline) Services() []v1alpha1.ServiceUpdate {
	var out []v1alpha1.ServiceUpdate
	for _, d := range o.want {
		u := v1alpha1.ServiceUpdate{
			Name: d.Name, Action: v1alpha1.ActionReplace, Reason: "restored", Order: v1alpha1.OrderStopFirst,
			Image: d.ImageName, ImageID: d.image.ID, Revision: d.revision(), BuildKey: d.buildKey,
		}
		if d.OneShot {
			u.Action, u.Reason, u.Order = v1alpha1.ActionKeep, "not run: the data is from after it ran", ""
			if !d.known() {
				continue
			}
		}
		out = append(out, u)
	}
	return out
}

// ImageIDs are the images that BringImages brought, or found.
func (o *Offline) ImageIDs() []string {
	var out []string
	for _, d := range o.want {
		if d.known() {
			out = append(out, d.image.ID)
		}
	}
	return out
}
