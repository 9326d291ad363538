// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// layout knows where the content of a path in the deployment directory is to
// be found at the target commit. "Deployment path" means: an absolute path as
// it is, or will be, on the host once the commit is checked out.
type layout struct {
	deployDir string
	treeDir   string
	treeRoot  string
	tracked   func(path string) bool
	overlay   string
}

// inTree returns the place of a deployment path in the exported tree; false
// when the path lies outside what was exported.
func (l layout) inTree(path string) (string, bool) {
	rel, err := filepath.Rel(l.deployDir, path)
	if err != nil {
		return "", false
	}
	t := filepath.Join(l.treeDir, rel)
	return t, within(l.treeRoot, t)
}

// actual returns the file or directory that has the content which the
// deployment path has at the target commit: the exported one, or, for what is
// not in Git (secrets, local overrides), the one in the deployment directory.
func (l layout) actual(path string) (string, bool) {
	if file, ok := l.overlaid(path); ok {
		return file, true
	}
	if t, ok := l.inTree(path); ok && l.treeDir != l.deployDir {
		if exists(t) {
			return t, true
		}
		if l.tracked != nil && l.tracked(path) {
			return "", false // the target commit removes it
		}
	}
	return path, exists(path)
}

// overlaid returns the file of the overlay that stands for a deployment path. A
// directory is no content: contexts of builds are those of the commit.
func (l layout) overlaid(path string) (string, bool) {
	rel, err := filepath.Rel(l.deployDir, path)
	if l.overlay == "" || err != nil || !filepath.IsLocal(rel) {
		return "", false
	}
	file := filepath.Join(l.overlay, rel)
	info, err := os.Stat(file)
	return file, err == nil && info.Mode().IsRegular()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR)
}

// within reports whether path is root or lies below it.
func within(root, path string) bool {
	rel, err := filepath.Rel(root, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// absIn resolves a path as Compose does: relative to a directory.
func absIn(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// stage mirrors deployment paths below a private directory, as symbolic links
// to their actual files, because the loader reads the file system directly and
// knows no overlay. Nothing is copied, so secrets stay where they are.
type stage struct {
	root string
	layout
}

func newStage(l layout) (*stage, error) {
	root, err := os.MkdirTemp("", "fairlead-compose-")
	if err != nil {
		return nil, err
	}
	// Without symbolic links in it, or the loader would resolve them in results.
	resolved, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(root))
	}
	return &stage{root: resolved, layout: l}, nil
}

func (s *stage) remove() error { return os.RemoveAll(s.root) }

// path returns the mirrored path of a deployment path.
func (s *stage) path(deploy string) string { return filepath.Join(s.root, deploy) }

// strip turns mirrored paths in a text back into deployment paths.
func (s *stage) strip(text string) string { return strings.ReplaceAll(text, s.root, "") }

// addDir makes a directory exist in the mirror.
func (s *stage) addDir(deploy string) error { return os.MkdirAll(s.path(deploy), 0o700) }

// add mirrors a file and returns its actual path; false when there is none.
func (s *stage) add(deploy string) (string, bool, error) {
	actual, ok := s.actual(deploy)
	if !ok {
		return "", false, nil
	}
	if err := s.addDir(filepath.Dir(deploy)); err != nil {
		return "", false, err
	}
	if err := os.Symlink(actual, s.path(deploy)); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", false, err
	}
	return actual, true, nil
}
