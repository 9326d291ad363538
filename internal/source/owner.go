// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// restoreOwner gives what this process, as root, made in a repository of
// somebody else to its owner, who could not use git there otherwise
// ("insufficient permission for adding an object").
func (r *Repo) restoreOwner() error {
	return giveAway(r.commonDir, nil)
}

// restoreLFSOwner does so for what git-lfs wrote there: content, and how the
// server is spoken to.
func (r *Repo) restoreLFSOwner() error {
	if os.Geteuid() != 0 {
		return nil
	}
	paths := []string{"config"}
	err := fs.WalkDir(os.DirFS(r.commonDir), "lfs", func(name string, _ fs.DirEntry, err error) error {
		paths = append(paths, name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return giveAway(r.commonDir, paths)
}

// restoreTreeOwner does the same for files of the working tree and the
// directories they are in.
func (r *Repo) restoreTreeOwner(paths []string) error {
	all := make([]string, 0, len(paths))
	seen := map[string]bool{}
	for _, p := range paths {
		for ; p != "." && !seen[p]; p = path.Dir(p) {
			seen[p] = true
			all = append(all, p)
		}
	}
	return giveAway(r.top, append(all, "."))
}

// giveAway changes the owner of the files below dir that belong to root to the
// owner of dir: the given ones, or all. It stays inside dir whatever links
// somebody puts there meanwhile.
func giveAway(dir string, paths []string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	give := func(name string) error {
		info, err := root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return nil
		}
		if err != nil {
			return err
		}
		// A file with a second name may be one of the system's.
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 || !info.IsDir() && st.Nlink > 1 {
			return nil
		}
		err = root.Lchown(name, int(owner.Uid), int(owner.Gid))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if paths != nil {
		for _, p := range paths {
			if err := give(p); err != nil {
				return err
			}
		}
		return nil
	}
	return fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return give(name)
	})
}
