// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/source"
)

// Limits of what is read of a directory.
const (
	MaxFiles    = 1000
	MaxFileSize = 256 << 10
	// MaxSize is that of all files together.
	MaxSize = 8 << 20
)

// Secrets reads the Secrets that ManifestSources name.
type Secrets interface {
	// Secret returns the data of a Secret. The error says what to do.
	Secret(ctx context.Context, namespace, name string) (map[string][]byte, error)
}

// Snapshot is a directory as of a commit.
type Snapshot struct {
	// Ref and Commit that it is of.
	Ref, Commit string
	// Files with manifests, by path.
	Files []File
}

// Git reads directories from Git, through mirrors of its own.
type Git struct {
	// Dir is where the mirrors lie. They can be removed at any time.
	Dir     string
	Secrets Secrets
}

// Read fetches what a ManifestSource names. Errors are those of package source,
// and *InvalidError.
func (g *Git) Read(ctx context.Context, ms *v1alpha1.ManifestSource) (Snapshot, error) {
	opts := source.Options{URL: ms.Spec.URL}
	if ref := ms.Spec.SecretRef; ref != nil {
		data, err := g.Secrets.Secret(ctx, ms.Namespace, ref.Name)
		if err != nil {
			return Snapshot{}, err
		}
		if opts.Credentials, err = source.CredentialsFromSecret(data); err != nil {
			return Snapshot{}, fmt.Errorf("the Secret %s of secretRef: %w", ref.Name, err)
		}
	}
	repo, err := source.OpenMirror(ctx, g.mirror(types.NamespacedName{Namespace: ms.Namespace, Name: ms.Name}), opts)
	if err != nil {
		return Snapshot{}, err
	}
	remote, err := repo.LsRemote(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	name := ms.Spec.Ref
	if name == "" {
		name = remote.Head
	}
	ref, ok := remote.Find(name)
	if !ok {
		return Snapshot{}, fmt.Errorf("%w: %s has no branch or tag %q; push it first, or correct spec.ref", source.ErrNotFound, repo.URL(), name)
	}
	out := Snapshot{Ref: ref.Name, Commit: ref.SHA}
	here, err := repo.Has(ctx, ref.SHA)
	if err == nil && !here {
		out.Commit, err = repo.FetchTip(ctx, ref.Name)
	}
	if err != nil {
		return Snapshot{}, err
	}
	out.Files, err = read(ctx, repo, out.Commit, ms.Spec.Path)
	return out, err
}

// read returns the manifests below dir.
func read(ctx context.Context, repo *source.Repo, commit, dir string) ([]File, error) {
	listed, err := repo.Files(ctx, commit, dir)
	if err != nil {
		return nil, err
	}
	listed = slices.DeleteFunc(listed, func(f source.TreeFile) bool {
		ext := path.Ext(f.Path)
		return ext != ".yaml" && ext != ".yml" || strings.HasPrefix(path.Base(f.Path), ".")
	})
	if len(listed) > MaxFiles {
		return nil, fmt.Errorf("there are %d files with manifests at %q, more than %d: name a smaller directory in spec.path", len(listed), dir, MaxFiles)
	}
	size := int64(0)
	for _, f := range listed {
		switch {
		case !f.Regular():
			return nil, &InvalidError{File: f.Path, Line: 1, Err: fmt.Errorf("this is no plain file (mode %s); links are not followed", f.Mode)}
		case f.Size > MaxFileSize:
			return nil, &InvalidError{File: f.Path, Line: 1, Err: fmt.Errorf("the file has %d bytes, more than %d: keep other files out of this directory", f.Size, MaxFileSize)}
		}
		size += f.Size
	}
	if size > MaxSize {
		return nil, fmt.Errorf("the files with manifests at %q have %d bytes, more than %d: name a smaller directory in spec.path", dir, size, MaxSize)
	}
	var out []File
	for _, f := range listed {
		data, err := repo.ReadFile(ctx, f)
		if err != nil {
			return nil, err
		}
		out = append(out, File{Path: f.Path, Data: data})
	}
	return out, nil
}

// Forget removes the mirror of a ManifestSource that is gone.
func (g *Git) Forget(key types.NamespacedName) error { return os.RemoveAll(g.mirror(key)) }

// mirror is where the mirror lies; a namespace has no dots.
func (g *Git) mirror(key types.NamespacedName) string {
	return filepath.Join(g.Dir, key.Namespace+"."+key.Name+".git")
}
