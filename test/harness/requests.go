// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
)

// Patience is how long the waiting methods wait before they fail the test.
const Patience = 2 * time.Minute

// TryApply creates or replaces the objects of a manifest of one or more documents, by
// server-side apply. Objects without a namespace get the daemon's.
func (d *Daemon) TryApply(ctx context.Context, manifest string) error {
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096)
	for {
		var o unstructured.Unstructured
		if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		if len(o.Object) == 0 {
			continue
		}
		if o.GetNamespace() == "" {
			o.SetNamespace(d.Namespace)
		}
		apply := client.ApplyConfigurationFromUnstructured(&o)
		if err := d.Client.Apply(ctx, apply, client.FieldOwner("test"), client.ForceOwnership); err != nil {
			return err
		}
	}
}

// Apply is TryApply that must work.
func (d *Daemon) Apply(manifest string) {
	d.t.Helper()
	if err := d.TryApply(d.t.Context(), manifest); err != nil {
		d.t.Fatalf("apply: %v\n%s", err, manifest)
	}
}

// An Option changes an UpdateRequest before it is created.
type Option func(*v1alpha1.UpdateRequest)

// Named gives the request a name; without it the server makes one.
func Named(name string) Option { return func(r *v1alpha1.UpdateRequest) { r.Name = name } }

// DryRun sets spec.dryRun.
func DryRun(r *v1alpha1.UpdateRequest) { r.Spec.DryRun = true }

// Force sets spec.force.
func Force(r *v1alpha1.UpdateRequest) { r.Spec.Force = true }

// Retry sets spec.retry.
func Retry(r *v1alpha1.UpdateRequest) { r.Spec.Retry = true }

// Suspend sets spec.suspend.
func Suspend(r *v1alpha1.UpdateRequest) { r.Spec.Suspend = true }

// RollbackTo sets spec.rollbackTo.
func RollbackTo(release string) Option {
	return func(r *v1alpha1.UpdateRequest) { r.Spec.RollbackTo = &v1alpha1.LocalReference{Name: release} }
}

// BackupOnly sets spec.backupOnly.
func BackupOnly(r *v1alpha1.UpdateRequest) { r.Spec.BackupOnly = true }

// RestoreFrom sets spec.restoreFrom.
func RestoreFrom(backup string) Option {
	return func(r *v1alpha1.UpdateRequest) { r.Spec.RestoreFrom = &v1alpha1.LocalReference{Name: backup} }
}

// Update creates a request to bring app to commit, and returns it as created.
func (d *Daemon) Update(app, commit string, options ...Option) *v1alpha1.UpdateRequest {
	d.t.Helper()
	r := &v1alpha1.UpdateRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace},
		Spec:       v1alpha1.UpdateRequestSpec{ApplicationRef: v1alpha1.LocalReference{Name: app}, Commit: commit},
	}
	for _, o := range options {
		o(r)
	}
	if r.Name == "" {
		r.GenerateName = app + "-"
	}
	if err := d.Client.Create(d.t.Context(), r); err != nil {
		d.t.Fatalf("create a request: %v", err)
	}
	return r
}

// Patch applies a JSON merge patch to an object that has its name set, such as
// {"spec":{"cancel":true}}.
func (d *Daemon) Patch(o client.Object, patch string) {
	d.t.Helper()
	if o.GetNamespace() == "" {
		o.SetNamespace(d.Namespace)
	}
	if err := d.Client.Patch(d.t.Context(), o, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		d.t.Fatalf("patch %s: %v", o.GetName(), err)
	}
}

// Cancel sets spec.cancel of a request.
func (d *Daemon) Cancel(name string) {
	d.t.Helper()
	d.Patch(&v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Name: name}}, `{"spec":{"cancel":true}}`)
}

// Request reads a request.
func (d *Daemon) Request(name string) *v1alpha1.UpdateRequest {
	d.t.Helper()
	var r v1alpha1.UpdateRequest
	if err := d.Client.Get(d.t.Context(), client.ObjectKey{Namespace: d.Namespace, Name: name}, &r); err != nil {
		d.t.Fatalf("read request %s: %v", name, err)
	}
	return &r
}

// WaitRequest waits until a request is as cond wants it, over restarts of the
// daemon. what says in words what is waited for.
func (d *Daemon) WaitRequest(name, what string, cond func(*v1alpha1.UpdateRequest) bool) *v1alpha1.UpdateRequest {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), Patience)
	defer cancel()
	var last *v1alpha1.UpdateRequest
	deleted, ended := false, false
	err := requestwatch.Run(ctx, d.Client, d.Request(name), func(e requestwatch.Event) bool {
		deleted = e.Deleted
		if e.Request == nil {
			return e.Deleted
		}
		last = e.Request
		// What has not come true when the request has ended never will.
		if ended = requestwatch.Concluded(last); ended {
			return true
		}
		return cond(last)
	})
	switch {
	case err != nil:
		d.t.Fatalf("request %s: waiting for %s: %v\n%s", name, what, err, d.explain(last))
	case deleted:
		d.t.Fatalf("request %s was deleted while it was waited for %s", name, what)
	case ended && !cond(last):
		d.t.Fatalf("request %s has ended without %s\n%s", name, what, d.explain(last))
	}
	return last
}

// WaitEnded waits for the end of a request, whatever it is, and for what is left
// to do then, such as the end of its log.
func (d *Daemon) WaitEnded(name string) *v1alpha1.UpdateRequest {
	d.t.Helper()
	return d.WaitRequest(name, "its end", requestwatch.Concluded)
}

// WaitPhase waits until a request is in one of the phases.
func (d *Daemon) WaitPhase(name string, phases ...v1alpha1.Phase) *v1alpha1.UpdateRequest {
	d.t.Helper()
	return d.WaitRequest(name, fmt.Sprintf("a phase of %v", phases), func(r *v1alpha1.UpdateRequest) bool {
		return slices.Contains(phases, r.Status.Phase)
	})
}

// WaitStep waits until a step of a request runs, or ran.
func (d *Daemon) WaitStep(name string, step v1alpha1.StepName) *v1alpha1.UpdateRequest {
	d.t.Helper()
	return d.WaitRequest(name, "step "+string(step), func(r *v1alpha1.UpdateRequest) bool {
		return Step(r, step).State != ""
	})
}

// WantEnd waits for the end of a request and fails the test, with the logs, unless
// it is phase.
func (d *Daemon) WantEnd(name string, phase v1alpha1.Phase) *v1alpha1.UpdateRequest {
	d.t.Helper()
	r := d.WaitEnded(name)
	if r.Status.Phase != phase {
		d.t.Fatalf("request %s ended as %s, want %s\n%s", name, r.Status.Phase, phase, d.explain(r))
	}
	return r
}

// Step finds a step of a request; one that was not reached has no state.
func Step(r *v1alpha1.UpdateRequest, name v1alpha1.StepName) v1alpha1.StepStatus {
	for _, s := range r.Status.Steps {
		if s.Name == name {
			return s
		}
	}
	return v1alpha1.StepStatus{Name: name}
}

// App reads an application.
func (d *Daemon) App(name string) *v1alpha1.Application {
	d.t.Helper()
	var a v1alpha1.Application
	if err := d.Client.Get(d.t.Context(), client.ObjectKey{Namespace: d.Namespace, Name: name}, &a); err != nil {
		d.t.Fatalf("read application %s: %v", name, err)
	}
	return &a
}

// WaitApp waits until an application is as cond wants it.
func (d *Daemon) WaitApp(name, what string, cond func(*v1alpha1.Application) bool) *v1alpha1.Application {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), Patience)
	defer cancel()
	var last *v1alpha1.Application
	for ctx.Err() == nil {
		w, err := d.Client.Watch(ctx, &v1alpha1.ApplicationList{}, &client.ListOptions{
			Namespace: d.Namespace, FieldSelector: fields.OneTermEqualSelector("metadata.name", name),
		})
		if err != nil {
			d.t.Fatalf("watch application %s: %v", name, err)
		}
		for event := range w.ResultChan() {
			a, ok := event.Object.(*v1alpha1.Application)
			if !ok {
				break
			}
			if last = a; cond(a) {
				w.Stop()
				return a
			}
		}
		w.Stop()
	}
	d.t.Fatalf("application %s: waiting for %s: %v\nstatus %+v\nthe daemon says last:\n%s", name, what, ctx.Err(), last, d.DaemonLog())
	return nil
}

// WaitGone waits until an object does not exist any more.
func (d *Daemon) WaitGone(o client.Object) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), Patience)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := d.Client.Get(ctx, client.ObjectKeyFromObject(o), o)
		if apierrors.IsNotFound(err) {
			return
		}
		select {
		case <-ctx.Done():
			d.t.Fatalf("%s is still there: %v", o.GetName(), err)
		case <-ticker.C:
		}
	}
}

// Releases of an application, newest first.
func (d *Daemon) Releases(app string) []v1alpha1.Release {
	d.t.Helper()
	var list v1alpha1.ReleaseList
	if err := d.Client.List(d.t.Context(), &list, client.InNamespace(d.Namespace)); err != nil {
		d.t.Fatalf("list releases: %v", err)
	}
	list.Items = slices.DeleteFunc(list.Items, func(r v1alpha1.Release) bool { return r.Spec.ApplicationRef.Name != app })
	slices.SortFunc(list.Items, func(a, b v1alpha1.Release) int { return int(b.Spec.Number - a.Spec.Number) })
	return list.Items
}

// Log is the log file of a request.
func (d *Daemon) Log(r *v1alpha1.UpdateRequest) string {
	data, err := os.ReadFile(r.Status.LogFile)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// explain is all that helps to find out what happened to a request.
func (d *Daemon) explain(r *v1alpha1.UpdateRequest) string {
	if r == nil {
		return ""
	}
	var b bytes.Buffer
	st := r.Status
	fmt.Fprintf(&b, "phase %s, step %s: %s\n", st.Phase, st.Step, st.Message)
	for _, s := range st.Steps {
		fmt.Fprintf(&b, "  %-10s %-12s attempt %d %s %s\n", s.Name, s.State, s.Attempt, s.Reason, s.Message)
	}
	for _, s := range st.Services {
		fmt.Fprintf(&b, "  %-10s %-8s %s old %v new %v: %s %s\n", s.Name, s.Action, s.Order, s.OldContainers, s.NewContainers, s.Health, strings.Join(s.Log, "\n    "))
	}
	fmt.Fprintf(&b, "its log:\n%s\nthe daemon says last:\n%s", d.Log(r), d.DaemonLog())
	return b.String()
}
