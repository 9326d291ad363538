// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/hostaccess"
)

// OpenBackup implements hostaccess.Host. The path is made of the Application's
// directory and the backup's ID, and no symbolic link below the backup directory is
// followed.
func (Host) OpenBackup(_ context.Context, app *v1alpha1.Application, b *v1alpha1.Backup) (hostaccess.Archive, error) {
	dir := backup.Dir(app.Spec.Compose.Directory)
	id, err := backup.ParseID(b.Spec.ID)
	if err != nil {
		return nil, err
	}
	if app.Name != b.Spec.ApplicationRef.Name || app.Namespace != b.Namespace {
		return nil, errOutside
	}
	m, err := backup.Open(dir, id)
	if errors.Is(err, backup.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", hostaccess.ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(filepath.Join(dir, id))
	if err != nil {
		return nil, err
	}
	return &archive{id: id, manifest: m, root: root}, nil
}

// archive is a backup as a tar archive: its directory, the manifest first.
type archive struct {
	id       string
	manifest *backup.Manifest
	root     *os.Root
}

// Close implements io.Closer.
func (a *archive) Close() error { return a.root.Close() }

// WriteTo implements io.WriterTo.
func (a *archive) WriteTo(w io.Writer) (int64, error) {
	counted := &countingWriter{w: w}
	tw := tar.NewWriter(counted)
	at := a.manifest.CompletedAt
	err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: a.id + "/", Mode: 0o700, ModTime: at})
	names := []string{backup.ManifestName}
	for _, artifact := range a.manifest.Artifacts {
		names = append(names, artifact.File)
	}
	for _, name := range names {
		if err != nil {
			return counted.n, err
		}
		err = a.file(tw, name)
	}
	return counted.n, errors.Join(err, tw.Close())
}

func (a *archive) file(tw *tar.Writer, name string) (err error) {
	info, err := a.root.Lstat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errOutside
	}
	f, err := a.root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := tw.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: path.Join(a.id, name), Mode: 0o600, Size: info.Size(), ModTime: info.ModTime(),
	}); err != nil {
		return err
	}
	_, err = io.CopyN(tw, f, info.Size())
	return err
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
