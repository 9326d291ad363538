// SPDX-License-Identifier: Apache-2.0

package logserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

var errOutside = errors.New("its log file is not a plain file in .update/logs of the application's directory")

// OpenFile opens file, which must be a log in the log directory of deployment.
// Status is written by the controller alone, but a file server does not rely on
// that: the path is rebuilt below a root that the system does not let it leave,
// and symbolic links below the root are refused.
func OpenFile(deployment, file string) (*os.File, error) {
	base := filepath.Base(file)
	if !updatelog.IsName(base) || !isIn(filepath.Dir(file), deployment) {
		return nil, errOutside
	}
	root, err := os.OpenRoot(deployment)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // opened for reading only
	relative, err := filepath.Rel(deployment, filepath.Join(updatelog.Dir(deployment), base))
	if err != nil {
		return nil, err
	}
	// From the top down: what lies below a link is never looked at.
	var info os.FileInfo
	parts := strings.Split(relative, string(filepath.Separator))
	for i := range parts {
		if info, err = root.Lstat(filepath.Join(parts[:i+1]...)); err != nil {
			return nil, err
		}
		if i < len(parts)-1 && !info.IsDir() {
			return nil, errOutside
		}
	}
	if !info.Mode().IsRegular() {
		return nil, errOutside
	}
	f, err := root.OpenFile(relative, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	opened, err := f.Stat()
	if err == nil && !os.SameFile(info, opened) {
		err = fmt.Errorf("%w: it was exchanged", errOutside)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// isIn reports whether dir is the log directory of deployment, whose path may
// itself go through symbolic links.
func isIn(dir, deployment string) bool {
	if dir == updatelog.Dir(deployment) {
		return true
	}
	resolved, err := filepath.EvalSymlinks(deployment)
	return err == nil && dir == updatelog.Dir(resolved)
}

// Open opens the log of ur for reading. reader finds its Application. The error is
// one of the API's, and os.ErrNotExist besides if the file is not there.
func Open(ctx context.Context, reader client.Reader, ur *v1alpha1.UpdateRequest) (*os.File, error) {
	dir, err := root(ctx, reader, ur)
	if err != nil {
		return nil, err
	}
	return openBelow(dir, ur)
}

// root is where the log of ur must lie: a directory that nothing leads out of.
func root(ctx context.Context, reader client.Reader, ur *v1alpha1.UpdateRequest) (string, error) {
	if ur.Status.LogFile == "" {
		return "", notFound(ur, "it has no log yet")
	}
	var app v1alpha1.Application
	if err := reader.Get(ctx, types.NamespacedName{Namespace: ur.Namespace, Name: ur.Spec.ApplicationRef.Name}, &app); err != nil {
		return "", err
	}
	return filepath.Clean(app.Spec.Compose.Directory), nil
}

func openBelow(dir string, ur *v1alpha1.UpdateRequest) (*os.File, error) {
	f, err := OpenFile(dir, ur.Status.LogFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(os.ErrNotExist, notFound(ur, "its log file "+ur.Status.LogFile+
			" does not exist on the host: old logs are removed after the retention time"))
	}
	if errors.Is(err, errOutside) {
		return nil, apierrors.NewForbidden(resource, ur.Name, err)
	}
	return f, err
}

// Await is Open for a request that runs: it names its log, perhaps, a moment
// before the file exists. It gives up when ended is closed.
func Await(ctx context.Context, reader client.Reader, ur *v1alpha1.UpdateRequest, ended <-chan struct{}) (*os.File, error) {
	dir, err := root(ctx, reader, ur)
	if err != nil {
		return nil, err
	}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for last := false; ; {
		f, err := openBelow(dir, ur)
		if err == nil || last || !errors.Is(err, os.ErrNotExist) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ended:
			last = true
		case <-ticker.C:
		}
	}
}
