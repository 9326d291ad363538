// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// Store keeps Releases and Backups as objects. It is the only writer of their
// status.
type Store struct {
	// Client must read its own writes: the API server itself, not a cache.
	Client client.Client
}

// Releases of an application, newest first.
func (s Store) Releases(ctx context.Context, app *v1alpha1.Application) ([]v1alpha1.Release, error) {
	var list v1alpha1.ReleaseList
	if err := s.Client.List(ctx, &list, client.InNamespace(app.Namespace),
		client.MatchingFields{"spec.applicationRef.name": app.Name}); err != nil {
		return nil, fmt.Errorf("list the releases of %s: %w", app.Name, err)
	}
	Sort(list.Items)
	return list.Items, nil
}

// Backups of an application.
func (s Store) Backups(ctx context.Context, app *v1alpha1.Application) ([]v1alpha1.Backup, error) {
	var list v1alpha1.BackupList
	if err := s.Client.List(ctx, &list, client.InNamespace(app.Namespace),
		client.MatchingFields{"spec.applicationRef.name": app.Name}); err != nil {
		return nil, fmt.Errorf("list the backups of %s: %w", app.Name, err)
	}
	return list.Items, nil
}

// LogsOfOthers are the file names of the logs of requests of all applications but
// app: they may have its deployment directory as well.
func (s Store) LogsOfOthers(ctx context.Context, app *v1alpha1.Application) (map[string]bool, error) {
	var list v1alpha1.UpdateRequestList
	if err := s.Client.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("list the requests of other applications: %w", err)
	}
	names := map[string]bool{}
	for _, ur := range list.Items {
		if own := ur.Namespace == app.Namespace && ur.Spec.ApplicationRef.Name == app.Name; !own && ur.Status.LogFile != "" {
			names[filepath.Base(ur.Status.LogFile)] = true
		}
	}
	return names, nil
}

// ImagesOfOthers are the image IDs that all applications but app need: for what they
// run, to go back to a release, or for a request that is under way.
func (s Store) ImagesOfOthers(ctx context.Context, app *v1alpha1.Application) ([]string, error) {
	var releases v1alpha1.ReleaseList
	if err := s.Client.List(ctx, &releases); err != nil {
		return nil, fmt.Errorf("list the releases of other applications: %w", err)
	}
	var requests v1alpha1.UpdateRequestList
	if err := s.Client.List(ctx, &requests); err != nil {
		return nil, fmt.Errorf("list the requests of other applications: %w", err)
	}
	own := func(namespace string, ref v1alpha1.LocalReference) bool {
		return namespace == app.Namespace && ref.Name == app.Name
	}
	ids := Images(slices.DeleteFunc(releases.Items, func(r v1alpha1.Release) bool { return own(r.Namespace, r.Spec.ApplicationRef) }))
	for _, ur := range requests.Items {
		if own(ur.Namespace, ur.Spec.ApplicationRef) || ur.Status.FinishedAt != nil {
			continue
		}
		for _, u := range ur.Status.Services {
			if u.ImageID != "" {
				ids = append(ids, u.ImageID)
			}
		}
	}
	return ids, nil
}

// Record makes r known. A release of that name that exists already is left as
// it is, and so is one that came from here: it was made by an earlier attempt.
func (s Store) Record(ctx context.Context, r *v1alpha1.Release) error {
	if r.ResourceVersion != "" {
		return nil
	}
	if err := s.Client.Create(ctx, r); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("record the release %s: %w", r.Name, err)
	}
	return nil
}

// SetCurrent says that the release called name runs, and no other.
func (s Store) SetCurrent(ctx context.Context, app *v1alpha1.Application, name string, verified bool) error {
	releases, err := s.Releases(ctx, app)
	if err != nil {
		return err
	}
	return s.setCurrent(ctx, releases, name, verified)
}

// SetCurrentOf is SetCurrent for who has just listed the releases of the application. Where somebody wrote to them
// since, it lists them anew.
func (s Store) SetCurrentOf(ctx context.Context, app *v1alpha1.Application, releases []v1alpha1.Release, name string, verified bool) error {
	err := s.setCurrent(ctx, releases, name, verified)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return s.SetCurrent(ctx, app, name, verified)
	}
	return err
}

// setCurrent writes the releases at the same time: another attempt mends what a failure of one of them leaves.
func (s Store) setCurrent(ctx context.Context, releases []v1alpha1.Release, name string, verified bool) error {
	var writes errgroup.Group
	for i := range releases {
		r := &releases[i]
		want := r.Status
		switch {
		case r.Name == name:
			want.State = v1alpha1.ReleaseCurrent
			want.Verified = want.Verified || verified
			want.Message = ""
		case r.Status.State == v1alpha1.ReleaseCurrent || r.Status.State == "":
			want.State = v1alpha1.ReleasePrevious
		}
		writes.Go(func() error { return s.setStatus(ctx, r, want) })
	}
	return writes.Wait()
}

// SetBackup notes from which backup the data of a release could come back.
func (s Store) SetBackup(ctx context.Context, app *v1alpha1.Application, name, backup string) error {
	releases, err := s.Releases(ctx, app)
	if err != nil {
		return err
	}
	r := Find(releases, name)
	if r == nil {
		return nil
	}
	want := r.Status
	want.Backup = backup
	return s.setStatus(ctx, r, want)
}

// Expire says that a release cannot be gone back to any more.
func (s Store) Expire(ctx context.Context, r *v1alpha1.Release, message string) error {
	want := r.Status
	want.State, want.Message = v1alpha1.ReleaseExpired, message
	return s.setStatus(ctx, r, want)
}

func (s Store) setStatus(ctx context.Context, r *v1alpha1.Release, want v1alpha1.ReleaseStatus) error {
	if r.Status == want {
		return nil
	}
	r.Status = want
	if err := s.Client.Status().Update(ctx, r); err != nil {
		return fmt.Errorf("write the status of the release %s: %w", r.Name, err)
	}
	return nil
}

// RecordBackup makes a backup known, with what it holds.
func (s Store) RecordBackup(ctx context.Context, b *v1alpha1.Backup) error {
	status := b.Status
	err := s.Client.Create(ctx, b)
	if apierrors.IsAlreadyExists(err) {
		err = s.Client.Get(ctx, client.ObjectKeyFromObject(b), b)
	}
	if err != nil {
		return fmt.Errorf("record the backup %s: %w", b.Name, err)
	}
	b.Status = status
	if err := s.Client.Status().Update(ctx, b); err != nil {
		return fmt.Errorf("write the status of the backup %s: %w", b.Name, err)
	}
	return nil
}

// Delete forgets objects; one that is gone already is no error.
func (s Store) Delete(ctx context.Context, objects ...client.Object) error {
	for _, o := range objects {
		if err := client.IgnoreNotFound(s.Client.Delete(ctx, o)); err != nil {
			return fmt.Errorf("delete %s: %w", o.GetName(), err)
		}
	}
	return nil
}

// Held are the backups that kept releases refer to.
func Held(releases []v1alpha1.Release) map[string]bool {
	held := map[string]bool{}
	for _, r := range releases {
		if r.Status.State != v1alpha1.ReleaseExpired && r.Status.Backup != "" {
			held[r.Status.Backup] = true
		}
	}
	return held
}

// Images are the image IDs that releases which can be gone back to need.
func Images(releases []v1alpha1.Release) []string {
	var ids []string
	for _, r := range releases {
		if r.Status.State == v1alpha1.ReleaseExpired {
			continue
		}
		for _, s := range r.Spec.Services {
			if s.ImageID != "" && !slices.Contains(ids, s.ImageID) {
				ids = append(ids, s.ImageID)
			}
		}
	}
	return ids
}
