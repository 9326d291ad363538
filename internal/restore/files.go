// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
)

// outsidePrefix is where files from outside of the deployment directory are in
// the archive of settings.
const outsidePrefix = ".outside/"

// writeFiles writes the entries of an archive of settings to where place says:
// each file whole or not at all, with its mode and owner. Others stay. It returns
// what was written. place answers "" for what is left out.
func writeFiles(ctx context.Context, archive io.Reader, place func(entry string) string) (written []string, err error) {
	tr := tar.NewReader(archive)
	for {
		if err := ctx.Err(); err != nil {
			return written, err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, archive)
			return written, err
		}
		if err != nil {
			return written, fmt.Errorf("the archive cannot be read: %w", err)
		}
		target := place(path.Clean(h.Name))
		if target == "" {
			continue
		}
		if err := writeEntry(target, h, tr, place); err != nil {
			return written, fmt.Errorf("write %s: %w", target, err)
		}
		if h.Typeflag != tar.TypeDir {
			written = append(written, target)
		}
	}
}

func writeEntry(target string, h *tar.Header, content io.Reader, place func(string) string) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil { //nolint:gosec // as git and the operator make them
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := os.Mkdir(target, modeOf(h)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return own(target, h)
	case tar.TypeSymlink:
		return swapIn(target, func(temp string) error {
			return errors.Join(os.Symlink(h.Linkname, temp), own(temp, h))
		})
	case tar.TypeLink:
		return swapIn(target, func(temp string) error { return os.Link(place(path.Clean(h.Linkname)), temp) })
	case tar.TypeReg:
		if err := atomicfile.Write(target, modeOf(h).Perm(), func(w io.Writer) error {
			_, err := io.Copy(w, content)
			return err
		}); err != nil {
			return err
		}
		return own(target, h)
	}
	return fmt.Errorf("an entry of the type %q is no setting", h.Typeflag)
}

// swapIn makes something beside target and gives it its name.
func swapIn(target string, create func(temp string) error) error {
	temp := target + ".fairlead-new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := create(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, target); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(target))
}

// own gives what was written the owner that it had, where this process may.
func own(target string, h *tar.Header) error {
	err := os.Lchown(target, h.Uid, h.Gid)
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return nil
	}
	return err
}

// placeIn says where the entries of an archive of settings belong: in the
// deployment directory, or where they were outside of it.
func placeIn(dir string) func(entry string) string {
	return func(entry string) string {
		if outside, ok := strings.CutPrefix(entry, outsidePrefix); ok {
			return "/" + outside
		}
		if !filepath.IsLocal(entry) || entry == ".update" || strings.HasPrefix(entry, ".update/") {
			return ""
		}
		return filepath.Join(dir, entry)
	}
}

// placeOverlay lays the settings of the deployment directory out below dir, to
// load the Compose model with them before anything is overwritten.
func placeOverlay(dir string) func(entry string) string {
	return func(entry string) string {
		if !filepath.IsLocal(entry) || strings.HasPrefix(entry, outsidePrefix) {
			return ""
		}
		return filepath.Join(dir, entry)
	}
}
