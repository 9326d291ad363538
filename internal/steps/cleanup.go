// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/claim"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/measure"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/release"
	"github.com/fairlead-dev/fairlead/internal/source"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// Defaults of retention, as in the schema of the Application.
const (
	defaultReleases    = 5
	defaultBackupCount = 7
	defaultAge         = 720 * time.Hour
	// workAge is the age at which what other requests left is removed.
	workAge = 24 * time.Hour
)

// cleanUp ends the old containers that still run, which is tried until it is done:
// they must not go on beside the new ones. Then it removes what nothing needs any
// more, unless they are being ended since Verify: an update has succeeded when they
// have ended, and End does the rest.
func (s *run) cleanUp(ctx context.Context) error {
	over, failed := s.endings.await(ctx, s.application(), s.Request.UID)
	if over {
		s.leaveRest()
		return s.tell(s.endRestore(s.directory())) // which nobody may go on with from now on
	}
	return s.cleanAll(ctx, func(listed func() ([]v1alpha1.Release, error), begun func()) error {
		if failed != nil {
			return failed
		}
		return s.settle(ctx, listed, look{}, old{begun: begun})
	})
}

// leaveRest leaves to End all of the clean-up but the end of the old containers, which is over.
func (s *run) leaveRest() {
	s.record(func(st *v1alpha1.UpdateRequestStatus) { st.CleanUpPending = true })
}

// leftPatience is how long End waits before it tries once more to end old containers.
var leftPatience = []time.Duration{time.Second, 3 * time.Second, 9 * time.Second}

// cleanLeft does what the clean-up of a request that has succeeded left.
func (s *run) cleanLeft(ctx context.Context) error {
	return s.cleanAll(ctx, func(listed func() ([]v1alpha1.Release, error), begun func()) error {
		begun()
		known, err := s.endings.gone(ctx, s.application(), s.Request.UID)
		if !known {
			err = s.settle(ctx, listed, look{}, old{}) // the daemon was started anew since
		}
		for _, pause := range leftPatience {
			if !again(ctx, err) || ctx.Err() != nil {
				break
			}
			s.say("met a disturbance and will be tried again: %v", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			err = s.settle(ctx, listed, look{}, old{})
		}
		if again(ctx, err) && ctx.Err() == nil {
			err = failure.Terminalf(v1alpha1.ReasonHostConflict, "%w", err) // the rest is done all the same
		}
		return err
	})
}

// cleanAll has old containers ended, and removes what nothing needs any more, which never fails the
// update: what could not be removed is told, and the next update tries again. end is given what lists the
// releases, and what it calls when there is nothing to do for it but to wait.
func (s *run) cleanAll(ctx context.Context, end func(listed func() ([]v1alpha1.Release, error), begun func()) error) error {
	listed := sync.OnceValues(func() ([]v1alpha1.Release, error) { return s.Store.Releases(ctx, s.Application) })
	var settled, removed, looked error
	var keep kept
	ending := make(chan struct{})
	begun := sync.OnceFunc(func() { close(ending) })
	// Old containers take their time to end; nothing else of this changes what runs, or needs them gone. It
	// does not delay the beginning of that.
	panicked := s.together(
		func() error {
			settled = s.together(func() error { // a panic of it is tried again, too
				defer begun()
				return end(listed, begun)
			})
			if releases, unknown := listed(); unknown == nil && !again(ctx, settled) {
				removed = s.cleanContainers(ctx, releases)
			}
			return nil
		},
		func() error {
			<-ending
			releases, unknown := listed()
			keep, looked = s.forget(ctx, releases, unknown)
			return nil
		},
	)
	if again(ctx, settled) {
		return settled
	}
	if unsynced := (*unsyncedError)(nil); settled != nil && !asError(settled, &unsynced) {
		settled = fmt.Errorf("the old containers may run on beside the new ones: %w", settled)
	}
	err := errors.Join(panicked, looked, removed, s.clean(ctx, keep))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.tell(errors.Join(settled, err))
}

// again reports whether old containers are ended once more.
func again(ctx context.Context, settled error) bool {
	return settled != nil && (ctx.Err() != nil || failure.AsTerminal(settled) == nil)
}

// kept is what a clean-up keeps and what it lets go.
type kept struct {
	w *workspace
	// gone are the releases that are forgotten, left the others; known says that these are all.
	gone, left []v1alpha1.Release
	known      bool
	// images may be needed by none any more, but by old containers.
	images []string
}

// forget lets go what old containers do not need, of the releases that there are unless
// these are unknown.
func (s *run) forget(ctx context.Context, releases []v1alpha1.Release, unknown error) (k kept, err error) {
	if k.w, err = s.opened(ctx); err != nil {
		return k, err
	}
	if k.known = unknown == nil; !k.known {
		return k, errors.Join(unknown, s.cleanLogs(ctx, k.w), k.w.repo.Maintain(ctx))
	}
	looked := s.together(
		func() error {
			var err error
			k.gone, k.left, err = s.forgetReleases(ctx, k.w, releases)
			return errors.Join(err, s.cleanBackups(ctx, k.w, k.left))
		},
		func() (err error) { k.images, err = s.imageCandidates(ctx, releases); return err },
		func() error { return errors.Join(s.cleanLogs(ctx, k.w), k.w.repo.Maintain(ctx)) },
	)
	err = s.dropImages(ctx, &k)
	return k, errors.Join(looked, err, s.expireReleases(ctx, k.left)) // an image that old containers keep is of no release that is left
}

// dropImages removes what no container uses of the images that may go, and leaves in k.images what old ones
// use still. The releases that k keeps are its own from then on.
func (s *run) dropImages(ctx context.Context, k *kept) error {
	for i := range k.left {
		k.left[i] = *k.left[i].DeepCopy() // others read them, while this writes
	}
	images := k.images
	k.images = nil
	if err := s.expireAged(ctx, k.left); err != nil {
		return err // who may go back to a release has its images
	}
	var err error
	k.images, err = s.removeImages(ctx, images, k.gone, k.left, nil)
	return err
}

// clean removes what is left when the old containers have ended and are removed: one
// that is there would keep its image.
func (s *run) clean(ctx context.Context, k kept) error {
	if k.w == nil {
		return nil // Git does not answer
	}
	err := errors.Join(s.cleanWork(k.w), s.endRestore(k.w))
	if !k.known {
		return err
	}
	if len(k.images) > 0 {
		_, left := s.removeImages(ctx, k.images, k.gone, k.left, nil)
		err = errors.Join(err, left)
	}
	return err
}

// together runs the parts at the same time. A panic of one is its error.
func (s *run) together(parts ...func() error) error {
	errs := make([]error, len(parts))
	var all sync.WaitGroup
	for i, part := range parts {
		all.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					errs[i] = failure.Panicked(p)
					s.tellPanic(errs[i])
				}
			}()
			errs[i] = part()
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (s *run) tell(err error) error {
	if err == nil {
		return nil
	}
	message := limitTo("not everything could be cleaned up: "+err.Error(), 4096)
	s.say("%s", message)
	s.record(func(st *v1alpha1.UpdateRequestStatus) {
		for i := range st.Steps {
			if told := st.Steps[i].Message; st.Steps[i].Name == v1alpha1.StepCleanUp && !strings.Contains(told, message) {
				st.Steps[i].Message = limitTo(strings.TrimPrefix(told+"; "+message, "; "), 8192)
			}
		}
	})
	return nil
}

// cleanContainers removes stopped containers of other revisions than the
// current release's, and those that are more than it wants. Anonymous volumes are
// left: nobody knows what they hold.
func (s *run) cleanContainers(ctx context.Context, releases []v1alpha1.Release) error {
	current := release.Current(releases)
	if current == nil {
		return nil
	}
	containers, err := observe.Containers(ctx, s.Docker, current.Spec.Project)
	if err != nil {
		return err
	}
	var parts []func() error
	for _, c := range s.leftBehind(containers, releases, current) {
		parts = append(parts, func() error {
			if err := s.Docker.Remove(ctx, c.ID, false); err != nil {
				return err
			}
			s.say("removed the old container %s", c.Name)
			return nil
		})
	}
	return s.together(parts...)
}

// leftBehind are the stopped containers that the current release does not need.
func (s *run) leftBehind(containers []docker.Container, releases []v1alpha1.Release, current *v1alpha1.Release) []docker.Container {
	fresh := s.fresh()
	up := map[string]int32{} // by service, of the wanted revision
	wanted := func(c docker.Container) (rs v1alpha1.ReleaseService, ok bool) {
		rs, ok = release.Service(current, c.Service)
		// Where containers were replaced by others of the same revision, as with
		// force, the revision does not tell the old ones.
		replaced := fresh[c.Service] && c.Labels[v1alpha1.LabelRequest] != string(s.Request.UID)
		return rs, ok && rs.Revision == release.RevisionOf(releases, c.ID, c.Labels) && !replaced
	}
	stopped := func(c docker.Container) bool {
		return c.State == docker.StateExited || c.State == docker.StateCreated || c.State == docker.StateDead
	}
	for _, c := range containers {
		if _, ok := wanted(c); ok && !stopped(c) {
			up[c.Service]++
		}
	}
	var out []docker.Container
	for _, c := range containers {
		if !stopped(c) || release.RevisionOf(releases, c.ID, c.Labels) == release.UnknownRevision(c.ID) {
			continue
		}
		// One that was to run to its end is not more than is wanted, nor is one that
		// ended where another one should run.
		if rs, ok := wanted(c); !ok || !rs.OneShot && up[c.Service] >= rs.Replicas {
			out = append(out, c)
		}
	}
	return out
}

// forgetReleases forgets releases beyond those that can be gone back to. It
// returns those that were surplus, and those that are left.
func (s *run) forgetReleases(ctx context.Context, w *workspace, releases []v1alpha1.Release) (gone, left []v1alpha1.Release, err error) {
	keep := defaultReleases
	if n := s.Application.Spec.Retention.Releases; n > 0 {
		keep = int(n)
	}
	var errs []error
	gone = release.Surplus(releases, keep, s.Request.Status.PreviousRelease)
	forgotten := map[string]bool{}
	for i := range gone {
		if err := os.Remove(w.releaseModelPath(gone[i].Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		if err := s.Store.Delete(ctx, &gone[i]); err != nil {
			errs = append(errs, err)
			continue
		}
		forgotten[gone[i].Name] = true
		s.say("forgot the release %s", gone[i].Name)
	}
	left = slices.DeleteFunc(slices.Clone(releases), func(r v1alpha1.Release) bool { return forgotten[r.Name] })
	return gone, left, errors.Join(errs...)
}

// expireReleases says of releases whose images somebody removed that they
// cannot be gone back to.
func (s *run) expireReleases(ctx context.Context, left []v1alpha1.Release) error {
	missing := map[string]bool{} // by image, each of which is asked for once
	var errs []error
	for i := range left {
		if left[i].Status.State == v1alpha1.ReleaseCurrent || left[i].Status.State == v1alpha1.ReleaseExpired {
			continue
		}
		for _, rs := range left[i].Spec.Services {
			if rs.ImageID == "" || rs.OneShot {
				continue
			}
			gone, known := missing[rs.ImageID]
			if !known {
				_, err := s.Docker.ImageContent(ctx, rs.ImageID)
				gone = docker.IsNotFound(err)
				missing[rs.ImageID] = gone
			}
			if gone {
				errs = append(errs, s.Store.Expire(ctx, &left[i], fmt.Sprintf("the image of %s was removed from the host", rs.Name)))
				break
			}
		}
	}
	return errors.Join(errs...)
}

// expireAged gives up releases that are older than the Application wants images
// to be kept. That is written first: nobody may go back to one while its images
// go.
func (s *run) expireAged(ctx context.Context, releases []v1alpha1.Release) error {
	age := s.Application.Spec.Retention.ImageAge
	if age == nil {
		return nil
	}
	why := "it is older than retention.imageAge (" + measure.Time(age.Duration) + "), so its images are not kept"
	for _, r := range release.Aged(releases, age.Duration, s.Clock.Now(), s.Request.Status.PreviousRelease) {
		if err := s.Store.Expire(ctx, release.Find(releases, r.Name), why); err != nil {
			return err
		}
		s.say("the release %s cannot be gone back to any more: %s", r.Name, why)
	}
	return nil
}

func (s *run) cleanBackups(ctx context.Context, w *workspace, releases []v1alpha1.Release) error {
	dir := backup.Dir(w.dir)
	whole, broken, err := backup.List(dir)
	if err != nil {
		return err
	}
	// Another application may have the directory as well: its backups are not ours.
	whole = slices.DeleteFunc(whole, func(m backup.Manifest) bool { return m.Application != s.applicationName() })
	for _, b := range broken {
		s.say("warning: %s is damaged and is left as it is: %v", b.Path, b.Err)
	}
	held := release.Held(releases)
	held[s.Request.Status.Backup] = true
	count, age := defaultBackupCount, defaultAge
	if r := s.Application.Spec.Retention.Backups; r != nil && (r.Count != nil || r.Age != nil) {
		count, age = 0, 0 // whoever asks for one limit alone has no other one
		if r.Count != nil {
			count = int(*r.Count)
		}
		if r.Age != nil {
			age = r.Age.Duration
		}
	}
	known, err := s.Store.Backups(ctx, s.Application)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range backup.Expired(whole, s.Clock.Now(), count, age, held) {
		if err := backup.Remove(dir, id); err != nil {
			errs = append(errs, err)
			continue
		}
		s.say("removed the old backup %s", id)
	}
	for i := range known {
		if known[i].Status.Path == "" || filepath.Dir(known[i].Status.Path) != dir {
			continue
		}
		if _, err := os.Lstat(known[i].Status.Path); errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, s.Store.Delete(ctx, &known[i]))
		}
	}
	return errors.Join(errs...)
}

func (s *run) cleanLogs(ctx context.Context, w *workspace) error {
	others, err := s.Store.LogsOfOthers(ctx, s.Application)
	if err != nil {
		return err
	}
	age := defaultAge
	if d := s.Application.Spec.Retention.Logs; d != nil {
		age = d.Duration
	}
	limits := updatelog.Limits{Age: age, Count: int(s.Application.Spec.Retention.LogCount), Except: others}
	removed, err := updatelog.Prune(updatelog.Dir(w.dir), limits, s.Clock.Now(), filepath.Base(s.Request.Status.LogFile))
	for _, path := range removed {
		s.say("removed the old log %s", filepath.Base(path))
	}
	return err
}

// cleanWork removes what steps keep between each other.
func (s *run) cleanWork(w *workspace) error {
	entries, err := os.ReadDir(w.path("work"))
	if err != nil {
		return err
	}
	own := s.ownWork(w)
	errs := []error{s.cleanStaleWork(w)}
	for _, e := range entries {
		if slices.Contains(own, e.Name()) {
			errs = append(errs, os.RemoveAll(w.path("work", e.Name())))
		}
	}
	return errors.Join(errs...)
}

// endRestore drops the journal of a restore that was never ended, now that the
// application was brought to another state: it must not be gone on with, and its
// safety backup is not what is there now.
func (s *run) endRestore(w *workspace) error {
	if s.Request.Spec.BackupOnly {
		return nil
	}
	if err := os.Remove(claim.JournalPath(w.dir, s.applicationName())); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// restoreBegun reports whether there may be such a journal.
func (s *run) restoreBegun() bool {
	_, err := os.Lstat(claim.JournalPath(s.Application.Spec.Compose.Directory, s.applicationName()))
	return !errors.Is(err, fs.ErrNotExist)
}

// ownWork are the entries of the work directory that belong to the request.
func (s *run) ownWork(w *workspace) []string {
	st := s.Request.Status
	return []string{
		filepath.Base(w.treeRoot(st.Commit)), filepath.Base(w.treeRoot(st.PreviousCommit)), filepath.Base(w.modelPath(st.ID)),
	}
}

// cleanStaleWork removes what requests left that failed or were cut off, so
// that failing over and over does not fill the disk. It goes by the time at
// which an entry got its name: exported files have the times of their commit.
func (s *run) cleanStaleWork(w *workspace) error {
	entries, err := os.ReadDir(w.path("work"))
	if err != nil {
		return err
	}
	own := s.ownWork(w)
	var errs []error
	for _, e := range entries {
		path := w.path("work", e.Name())
		var st unix.Stat_t
		if e.Name() == source.ExportsName || slices.Contains(own, e.Name()) || unix.Lstat(path, &st) != nil {
			continue
		}
		if s.Clock.Since(time.Unix(st.Ctim.Unix())) > workAge {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}
