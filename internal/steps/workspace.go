// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/atomicfile"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/source"
)

// updateDir is Fairlead's own directory in a deployment directory.
const updateDir = ".update"

// workspace is the deployment directory and its Git clone.
type workspace struct {
	dir  string
	app  *v1alpha1.Application
	wish v1alpha1.UpdateRequestSpec
	repo *source.Repo
	head source.Head
}

// workspace is that of the request's application, with what is checked out now.
func (s *run) workspace(ctx context.Context) (*workspace, error) {
	opts, err := s.cloneOptions(ctx)
	if err != nil {
		return nil, err
	}
	w := s.directory()
	if w.repo, w.head, err = s.clones.atHead(ctx, s.Request.UID, w.dir, opts); err != nil {
		return nil, err
	}
	return w, nil
}

// opened is the workspace for those who do not need to know what is checked out.
func (s *run) opened(ctx context.Context) (*workspace, error) {
	opts, err := s.cloneOptions(ctx)
	if err != nil {
		return nil, err
	}
	w := s.directory()
	if w.repo, err = s.clones.get(ctx, s.Request.UID, w.dir, opts); err != nil {
		return nil, err
	}
	return w, nil
}

// directory is the workspace without its clone.
func (s *run) directory() *workspace {
	return &workspace{dir: s.Application.Spec.Compose.Directory, app: s.Application, wish: s.Request.Spec}
}

// cloneOptions are those that the clone is opened with.
func (s *run) cloneOptions(ctx context.Context) (source.Options, error) {
	app := s.Application
	opts := source.Options{URL: app.Spec.Source.URL, DefaultRef: app.Spec.Source.Ref}
	ref := app.Spec.Source.SecretRef
	if ref == nil {
		return opts, nil
	}
	data, err := s.Secrets.Secret(ctx, app.Namespace, ref.Name)
	if err != nil && failure.AsTerminal(err) == nil {
		err = trouble{err} // the API does not answer
	}
	if err != nil {
		return opts, err
	}
	if opts.Credentials, err = source.CredentialsFromSecret(data); err != nil {
		return opts, fmt.Errorf("the Secret %s of source.secretRef: %w", ref.Name, err)
	}
	return opts, nil
}

func (w *workspace) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir, updateDir}, elem...)...)
}

// prepare makes Fairlead's own directory, readable by nobody else, and has Git
// ignore it.
func (w *workspace) prepare(ctx context.Context) error {
	for _, d := range []string{w.path(), backup.Dir(w.dir), w.path("releases"), w.path("work")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	if err := os.Chmod(w.path(), 0o700); err != nil {
		return err
	}
	pattern := "/" + updateDir + "/"
	if p := w.repo.Prefix(); p != "" {
		pattern = "/" + p + pattern
	}
	return w.repo.Exclude(ctx, pattern)
}

// treeRoot is where the tree of a commit is exported to.
func (w *workspace) treeRoot(commit string) string { return w.path("work", "tree-"+commit) }

// export puts the tree of a commit there, once.
func (w *workspace) export(ctx context.Context, commit string) error {
	root := w.treeRoot(commit)
	if source.Exported(root) {
		return nil
	}
	err := w.repo.Export(ctx, commit, root)
	if errors.Is(err, fs.ErrExist) && source.Exported(root) {
		return nil // another request, such as a dry run, was first
	}
	return err
}

// load loads the Compose model as of an exported commit, with the profiles and
// variables that the request adds to those of the Application.
func (w *workspace) load(ctx context.Context, commit string) (*compose.Project, error) {
	return compose.Load(ctx, w.options(ctx, commit))
}

// options say where the model of an exported commit is.
func (w *workspace) options(ctx context.Context, commit string) compose.Options {
	root := w.treeRoot(commit)
	c := w.app.Spec.Compose
	return compose.Options{
		DeployDir: w.dir, TreeRoot: root, TreeDir: filepath.Join(root, filepath.FromSlash(w.repo.Prefix())),
		Files: c.Files, EnvFiles: c.EnvFiles, Profiles: c.Profiles, AddProfiles: w.wish.Profiles,
		ProjectName: c.Project, Env: variables(c.Variables, w.wish.Variables),
		Tracked: func(path string) bool { return w.tracked(ctx, path) },
	}
}

// variables are those that go before the environment files, later ones first.
func variables(layers ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, l := range layers {
		maps.Copy(all, l)
	}
	return all
}

// removeTree removes the exported tree of a commit.
func (w *workspace) removeTree(commit string) error { return os.RemoveAll(w.treeRoot(commit)) }

// tracked reports whether Git has an absolute path at the checked-out commit.
func (w *workspace) tracked(ctx context.Context, path string) bool {
	rel, ok := w.inRepo(path)
	if !ok {
		return false
	}
	there, err := w.repo.Tracked(ctx, w.head.Commit, rel)
	return err == nil && there
}

// inRepo turns an absolute path in the working tree into one that Git knows.
func (w *workspace) inRepo(path string) (string, bool) {
	rel, err := filepath.Rel(w.repo.Top(), path)
	if err != nil || !filepath.IsLocal(rel) {
		return "", false
	}
	return filepath.ToSlash(rel), true
}

// handEdits warns of those of the given files, by absolute paths, that somebody changed
// in the working tree, as it is the commit's that are rolled out.
func (w *workspace) handEdits(ctx context.Context, paths []string) (warnings []string, err error) {
	var inGit []string
	for _, path := range paths {
		if rel, ok := w.inRepo(path); ok {
			inGit = append(inGit, rel)
		}
	}
	edited, err := w.repo.Edited(ctx, inGit...)
	for _, file := range edited {
		warnings = append(warnings, fmt.Sprintf("%s was changed by hand, and the update takes the commit's: commit the change, "+
			"or put it into a Compose file of its own that is not in Git, such as docker-compose.override.yml", filepath.Join(w.repo.Top(), filepath.FromSlash(file))))
	}
	return warnings, err
}

// environmentDigest identifies the content of the environment files, without
// telling it.
func (w *workspace) environmentDigest() (string, error) {
	files := w.app.Spec.Compose.EnvFiles
	if len(files) == 0 {
		files = []string{".env"}
	}
	h := sha256.New()
	for _, f := range files {
		if !filepath.IsAbs(f) {
			f = filepath.Join(w.dir, f)
		}
		data, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%d:", len(data))
		h.Write(data)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// modelPath is where the model that a request rolls out is kept. It holds
// secrets, as the environment does.
func (w *workspace) modelPath(requestID string) string {
	return w.path("work", "model-"+requestID+".yaml")
}

// releaseModelPath is where the model of a release is kept. Applications of one
// name in several namespaces may have the directory together.
func (w *workspace) releaseModelPath(name string) string {
	return w.path("releases", w.app.Namespace+"_"+name+".yaml")
}

// writeModel keeps a model, and returns the digest of what is in the file.
func writeModel(path string, p *compose.Project) (digest string, err error) {
	data, err := compose.Render(p)
	if err != nil {
		return "", failure.Terminalf(v1alpha1.ReasonPreflightFailed, "%w", err)
	}
	return digestOf(data), atomicfile.WriteFile(path, data, 0o600)
}

// releaseModel reads the model of a release, and refuses what is not the one that
// was recorded.
func releaseModel(r *v1alpha1.Release) (*compose.Project, error) {
	project, data, err := readModel(r.Spec.ComposePath)
	if err != nil {
		return nil, err
	}
	if d := digestOf(data); r.Spec.ComposeDigest != "" && d != r.Spec.ComposeDigest {
		return nil, fmt.Errorf("the stored Compose model %s was changed", r.Spec.ComposePath)
	}
	if name := project.Name(); r.Spec.Project != "" && name != r.Spec.Project {
		return nil, fmt.Errorf("the stored Compose model %s is of the project %s, the release of %s", r.Spec.ComposePath, name, r.Spec.Project)
	}
	return project, nil
}

func readModel(path string) (*compose.Project, []byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("the stored Compose model %s is gone", path)
	}
	if err != nil {
		return nil, nil, err
	}
	p, err := compose.Parse(data)
	if err != nil {
		return nil, nil, fmt.Errorf("the stored Compose model %s: %w", path, err)
	}
	return p, data, nil
}
