// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// source produces the data of one artifact.
type source interface {
	// size estimates the data, in bytes; known is false where it cannot be
	// told cheaply.
	size(ctx context.Context) (n int64, known bool, err error)
	// write writes the data. It may be called again after a TornError.
	write(ctx context.Context, w io.Writer) (content, error)
}

// content is what a source says about the data that it wrote.
type content struct {
	entries   int64
	tool      string
	databases []string
	files     []SavedFile
	notes     []string
}

const tarTool = "Fairlead tar (PAX)"

// filesSource archives settings.
type filesSource struct {
	// dirs are names of the deployment directory.
	dirs  []string
	paths []string
}

func (s filesSource) size(ctx context.Context) (int64, bool, error) {
	var total int64
	for _, p := range s.paths {
		n, err := treeSize(ctx, p, map[string]bool{".update": slices.Contains(s.dirs, p)})
		if err != nil {
			return 0, false, err
		}
		total += n
	}
	return total, true, nil
}

func (s filesSource) write(ctx context.Context, w io.Writer) (content, error) {
	t := newTreeWriter(ctx, w)
	for _, dir := range s.dirs {
		update := filepath.Join(dir, ".update")
		t.exclude[s.entry(update)], t.exclude[outside(update)] = true, true
	}
	c := content{tool: tarTool}
	for _, p := range s.paths {
		if err := s.add(t, p, &c); err != nil {
			return content{}, err
		}
	}
	if err := t.close(); err != nil {
		return content{}, err
	}
	c.entries, c.notes = t.entries, t.notes()
	return c, nil
}

// add archives a path and, if it is a symbolic link, what it points to.
func (s filesSource) add(t *treeWriter, p string, c *content) error {
	for _, f := range c.files {
		if f.Path == p {
			return nil
		}
	}
	entry := s.entry(p)
	if err := t.addFile(p, entry); err != nil {
		return fileError(p, err)
	}
	c.files = append(c.files, SavedFile{Path: p, Entry: entry})
	info, err := os.Lstat(p)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return err
	}
	target, err := filepath.EvalSymlinks(p)
	if err != nil {
		return fileError(p, err)
	}
	return s.add(t, target, c)
}

func (s filesSource) entry(p string) string {
	for _, dir := range s.dirs {
		if !within(dir, p) {
			continue
		}
		if rel, err := filepath.Rel(dir, p); err == nil {
			return rel
		}
	}
	return outside(p)
}

func outside(p string) string { return ".outside/" + strings.TrimPrefix(p, "/") }

func fileError(p string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return inputErrorf("%s does not exist; create it, or take it out of the Application's compose.files, compose.envFiles or backup.paths", p)
	}
	return err
}

// bindSource archives a bind mount.
type bindSource struct {
	path    string
	exclude []string
}

func (s bindSource) excluded() map[string]bool {
	m := map[string]bool{}
	for _, e := range s.exclude {
		m[e] = true
	}
	return m
}

// resolve follows symbolic links to the place that the engine mounts.
func (s bindSource) resolve() (string, error) {
	resolved, err := filepath.EvalSymlinks(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", inputErrorf("the bind mount %s cannot be found here; if Fairlead runs in a container, mount the deployment directory there at the "+
			"same path, or name the volumes to save in backup.volumes", s.path)
	}
	return resolved, err
}

func (s bindSource) size(ctx context.Context) (int64, bool, error) {
	resolved, err := s.resolve()
	if err != nil {
		return 0, false, err
	}
	n, err := treeSize(ctx, resolved, s.excluded())
	return n, true, err
}

func (s bindSource) write(ctx context.Context, w io.Writer) (content, error) {
	resolved, err := s.resolve()
	if err != nil {
		return content{}, err
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return content{}, err
	}
	t := newTreeWriter(ctx, w)
	if info.IsDir() {
		t.exclude = s.excluded()
		err = t.addDir(resolved)
	} else {
		err = t.addFile(resolved, "./"+filepath.Base(s.path))
	}
	if err != nil {
		return content{}, err
	}
	if err := t.close(); err != nil {
		return content{}, err
	}
	if t.entries == 0 {
		return content{}, fmt.Errorf("%s is neither a file nor a directory", s.path)
	}
	return content{entries: t.entries, tool: tarTool, notes: t.notes()}, nil
}
