// SPDX-License-Identifier: Apache-2.0

package updaterapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/atomicfile"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// placeholderStart begins the file of a job whose request has no log yet.
const placeholderStart = "# Update job "

// Cache is what a Keeper needs of the daemon's memory.
type Cache interface {
	client.Reader
	GetInformer(ctx context.Context, o client.Object, opts ...cache.InformerGetOption) (cache.Informer, error)
}

// Keeper makes the file of each job, <ID>.log, so that who reads the directory finds
// it. It lets the file lead to the log of the request once that has one, and say how a
// request ended that never had one. It is the request that counts: the answer to a
// client does not wait for the file, which the disk may hold up.
type Keeper struct {
	// Cache has the UpdateRequests.
	Cache Cache
	// Namespace of the jobs.
	Namespace string
	// Directory and LogDir as in Options.
	Directory, LogDir string
}

// Start keeps the files until ctx ends.
func (k *Keeper) Start(ctx context.Context) error {
	log := logr.FromContextOrDiscard(ctx)
	informer, err := k.Cache.GetInformer(ctx, &v1alpha1.UpdateRequest{})
	if err != nil {
		return err
	}
	handle := func(o any) {
		ur, ok := o.(*v1alpha1.UpdateRequest)
		if !ok || ur.Namespace != k.Namespace || !idPattern.MatchString(ur.Labels[v1alpha1.LabelJob]) {
			return
		}
		if err := k.keep(ur); err != nil {
			log.Error(err, "the file of a job cannot be kept", "request", ur.Name)
		}
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    handle,
		UpdateFunc: func(_, o any) { handle(o) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if ur, ok := o.(*v1alpha1.UpdateRequest); ok && ur.Namespace == k.Namespace {
				k.forget(ur)
			}
		},
	})
	if err != nil {
		return err
	}
	if toolscache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		if err := k.endLost(ctx, time.Now().Add(-lostAfter)); err != nil {
			log.Error(err, "the files of jobs whose request is gone cannot be ended", "directory", k.LogDir)
		}
	}
	<-ctx.Done()
	return informer.RemoveEventHandler(registration)
}

// lostAfter is how old the file of a job must be to be one that nobody knows the
// request of: that of a new job may be in the directory before the cache knows it.
const lostAfter = time.Minute

// endLost ends the files of jobs whose request was gone before it had a log, as after
// the data directory was made anew: who polls them would wait for ever. Files that
// were written after the time are left.
func (k *Keeper) endLost(ctx context.Context, before time.Time) error {
	entries, err := os.ReadDir(k.LogDir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	var list v1alpha1.UpdateRequestList
	if err := k.Cache.List(ctx, &list, client.InNamespace(k.Namespace)); err != nil {
		return err
	}
	known := map[string]bool{}
	for i := range list.Items {
		known[list.Items[i].Labels[v1alpha1.LabelJob]] = true
	}
	var errs []error
	for _, e := range entries {
		id, isLog := strings.CutSuffix(e.Name(), ".log")
		path := filepath.Join(k.LogDir, e.Name())
		info, err := e.Info()
		if err != nil || !isLog || !idPattern.MatchString(id) || known[id] || !info.Mode().IsRegular() || info.ModTime().After(before) || !isPlaceholder(path) {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !strings.Contains(string(text), finishedStart) {
			errs = append(errs, atomicfile.WriteFile(path, append(text, "# the request of this job is gone\n"+finished(codeOf(v1alpha1.PhaseCancelled))...), 0o600))
		}
	}
	return errors.Join(errs...)
}

func (k *Keeper) path(ur *v1alpha1.UpdateRequest) string {
	return filepath.Join(k.LogDir, ur.Labels[v1alpha1.LabelJob]+".log")
}

func (k *Keeper) keep(ur *v1alpha1.UpdateRequest) error {
	path := k.path(ur)
	if ur.Status.LogFile == "" {
		a := api{Options: Options{LogDir: k.LogDir}}
		if !requestwatch.Ended(ur) {
			return beginFile(path, a.head(ur))
		}
		text := a.opening(ur) + closing(ur)
		old, err := os.ReadFile(path)
		// After a loss of power a file may be there without what was in it.
		if err == nil && (string(old) == text || len(old) > 0 && !strings.HasPrefix(string(old), placeholderStart)) {
			return nil
		}
		return endFile(path, string(old), text)
	}
	target := k.target(ur)
	info, err := os.Lstat(path)
	switch {
	case err == nil && info.Mode()&fs.ModeSymlink != 0:
		return k.prune(path, ur)
	case err == nil && info.Mode().IsRegular():
		if info.Size() > 0 && !isPlaceholder(path) {
			return nil // of somebody else: a log of the former updater
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if requestwatch.Concluded(ur) {
		if _, err := os.Stat(ur.Status.LogFile); errors.Is(err, fs.ErrNotExist) {
			return nil // removed after the retention time
		}
	}
	return replaceByLink(target, path)
}

// target is what the link of a job says: the name alone where both lie together,
// as the directory may have another path elsewhere.
func (k *Keeper) target(ur *v1alpha1.UpdateRequest) string {
	ours, err1 := os.Stat(k.LogDir)
	theirs, err2 := os.Stat(updatelog.Dir(k.Directory))
	if err1 == nil && err2 == nil && os.SameFile(ours, theirs) {
		return filepath.Base(ur.Status.LogFile)
	}
	return ur.Status.LogFile
}

// prune removes the link of a job whose log was removed after the retention time.
func (k *Keeper) prune(path string, ur *v1alpha1.UpdateRequest) error {
	if !requestwatch.Concluded(ur) {
		return nil
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Remove(path)
}

// forget removes what is left of a job without a log. One that has a log stays
// readable as long as that.
func (k *Keeper) forget(ur *v1alpha1.UpdateRequest) {
	if !idPattern.MatchString(ur.Labels[v1alpha1.LabelJob]) {
		return
	}
	path := k.path(ur)
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && isPlaceholder(path) {
		_ = os.Remove(path) // it says nothing any more; the next start may try again
	}
}

func isPlaceholder(path string) bool {
	f, err := openPlain(path)
	if err != nil {
		return false
	}
	defer f.Close()
	start := make([]byte, len(placeholderStart))
	n, _ := f.Read(start)
	return string(start[:n]) == placeholderStart
}

// beginFile makes the file of a job, if nobody has. What the job waits for is not in
// it: that changes, and the end is to be added.
func beginFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// endFile brings the file of a job that had no log from old to text. What comes to its
// end is added, and left to the system when it comes to the disk: each start writes it
// again where it is not as it should be. A request that waited may be superseded several
// times a second, and to wait for the disk each time holds up all else that is written.
func endFile(path, old, text string) error {
	added, ok := strings.CutPrefix(text, old)
	if !ok || old == "" {
		return atomicfile.WriteFile(path, []byte(text), 0o600)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(added)
	return errors.Join(err, f.Close())
}

// replaceByLink puts a symbolic link in the place of path in one step.
func replaceByLink(target, path string) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".link")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, temp); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// openPlain opens a regular file, and nothing that a link leads to.
func openPlain(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
