// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/consts"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// Options say which model is to be loaded.
type Options struct {
	// DeployDir is the deployment directory, where `docker compose` would be
	// run. Required.
	DeployDir string
	// TreeDir is where the deployment directory's part of the target commit
	// was exported to. Default: DeployDir, that is, what is checked out.
	TreeDir string
	// TreeRoot is the root of the export, for a deployment directory that is
	// not the top of its repository: TreeDir or a directory above it. Paths
	// outside of it are not taken from the export. Default: TreeDir.
	TreeRoot string
	// Tracked reports whether an absolute path in or beside the deployment
	// directory is tracked by Git at the commit that is checked out there. A
	// tracked file that is not in the tree is removed by the target commit, so
	// it is not read from the deployment directory. Default: nothing is known
	// to be tracked, and all files that the tree lacks are read from there.
	Tracked func(path string) bool
	// Overlay is a directory laid out as DeployDir whose files go before those of
	// the tree and of DeployDir: settings as they were saved in a backup.
	// Default: none.
	Overlay string
	// Files are the Compose files, absolute or relative to DeployDir. Default:
	// COMPOSE_FILE of the environment, else Compose's search order (with the
	// override file).
	Files []string
	// EnvFiles are the environment files, absolute or relative to DeployDir.
	// They must exist. Default: .env, if it exists.
	EnvFiles []string
	// Profiles are the active profiles. Default: COMPOSE_PROFILES of the environment.
	Profiles []string
	// AddProfiles are active besides Profiles, or their default.
	AddProfiles []string
	// ProjectName is the project's name. Default: Compose's own rule.
	ProjectName string
	// Env are further variables; they win over the environment files. The
	// environment of this process is never used.
	Env map[string]string
}

// source is where a model comes from, worked out from the Options.
type source struct {
	layout
	env        types.Mapping
	files      []string // deployment paths
	workingDir string   // the project directory as Compose understands it
	profiles   []string
	envLabel   string // explicit environment files, as Compose writes them in a label

	serviceEnvFiles []string // the env_files of services that were read
}

func (o Options) source() (*source, error) {
	if o.DeployDir == "" {
		return nil, problemf("", "no deployment directory is given")
	}
	l := layout{deployDir: filepath.Clean(o.DeployDir), tracked: o.Tracked, overlay: o.Overlay}
	l.treeDir, l.treeRoot = l.deployDir, l.deployDir
	if o.TreeDir != "" {
		l.treeDir = filepath.Clean(o.TreeDir)
		l.treeRoot = l.treeDir
	}
	if o.TreeRoot != "" {
		l.treeRoot = filepath.Clean(o.TreeRoot)
	}
	for _, dir := range []string{l.deployDir, l.treeDir, l.treeRoot} {
		if !filepath.IsAbs(dir) {
			return nil, problemf("", "the directory %q must be an absolute path", dir)
		}
	}
	if !within(l.treeRoot, l.treeDir) {
		return nil, problemf("", "the exported tree %s does not contain %s", l.treeRoot, l.treeDir)
	}
	s := &source{layout: l, env: types.Mapping{"PWD": l.deployDir}}
	for name, value := range o.Env {
		s.env[name] = value
	}
	if err := s.selectFiles(o); err != nil {
		return nil, err
	}
	s.profiles = slices.Clone(o.Profiles)
	if len(s.profiles) == 0 {
		for p := range strings.SplitSeq(s.env[consts.ComposeProfiles], ",") {
			if p = strings.TrimSpace(p); p != "" {
				s.profiles = append(s.profiles, p)
			}
		}
	}
	for _, p := range o.AddProfiles {
		if !slices.Contains(s.profiles, p) {
			s.profiles = append(s.profiles, p)
		}
	}
	return s, nil
}

// selectFiles follows the `docker compose` command run in the deployment
// directory: first the environment files, which may name the Compose files,
// then those, whose first one's directory is the project directory.
func (s *source) selectFiles(o Options) error {
	s.workingDir = s.deployDir
	for _, f := range o.Files {
		s.files = append(s.files, absIn(s.deployDir, f))
	}
	if len(s.files) > 0 {
		s.workingDir = filepath.Dir(s.files[0])
	}
	envFiles := make([]string, len(o.EnvFiles))
	for i, f := range o.EnvFiles {
		envFiles[i] = absIn(s.deployDir, f)
	}
	s.envLabel = strings.Join(envFiles, ",")
	if err := s.readEnv(envFiles); err != nil {
		return err
	}
	if len(s.files) == 0 {
		s.files = s.filesFromEnv()
	}
	if len(s.files) == 0 {
		s.files = s.search()
	}
	if _, err := os.Stat(s.deployDir); errors.Is(err, fs.ErrNotExist) && len(s.files) == 0 {
		return problemf("", "the deployment directory %s does not exist: clone the repository there, or correct spec.compose.directory", s.deployDir)
	}
	if len(s.files) == 0 {
		return problemf("", "no Compose file at this commit: none of %s exists in the deployment directory; name it in spec.compose.files",
			strings.Join(cli.DefaultFileNames, ", "))
	}
	if dir := filepath.Dir(s.files[0]); dir != s.workingDir {
		s.workingDir = dir
		return s.readEnv(envFiles) // Compose looks again, there
	}
	return nil
}

// readEnv adds the variables of the environment files, or of .env in the
// project directory, that are not set yet.
func (s *source) readEnv(envFiles []string) error {
	var actual []string
	for _, f := range envFiles {
		a, ok := s.actual(f)
		if !ok {
			return problemf(f, "the environment file does not exist: create it or take it out of spec.compose.envFiles")
		}
		actual = append(actual, a)
	}
	if len(envFiles) == 0 {
		if a, ok := s.actual(filepath.Join(s.workingDir, ".env")); ok {
			actual = append(actual, a)
		}
	}
	if len(actual) == 0 {
		return nil
	}
	values, err := readEnvFiles(s.env, actual)
	if err != nil {
		return err
	}
	s.env.Merge(values)
	return nil
}

func (s *source) filesFromEnv() []string {
	value := s.env[consts.ComposeFilePath]
	if value == "" {
		return nil
	}
	separator := s.env[consts.ComposePathSeparator]
	if separator == "" {
		separator = string(filepath.ListSeparator)
	}
	var files []string
	for f := range strings.SplitSeq(value, separator) {
		files = append(files, absIn(s.deployDir, f))
	}
	return files
}

func (s *source) search() []string {
	first := func(names []string) []string {
		for _, name := range names {
			path := filepath.Join(s.deployDir, name)
			if _, ok := s.actual(path); ok {
				return []string{path}
			}
		}
		return nil
	}
	files := first(cli.DefaultFileNames)
	if len(files) > 0 {
		files = append(files, first(cli.DefaultOverrideFileNames)...)
	}
	return files
}

// name sets the project's name in the order: given, environment, `name:` of
// a file (left to the loader), the project directory's base name.
func (s *source) name(o Options, namedInFile bool) (func(*loader.Options), error) {
	name, explicit := o.ProjectName, true
	if name == "" {
		name = s.env[consts.ComposeProjectName]
	}
	if name == "" {
		if namedInFile {
			return func(*loader.Options) {}, nil
		}
		name, explicit = loader.NormalizeProjectName(filepath.Base(s.workingDir)), false
		if name == "" {
			return nil, problemf("", "no project name can be made from the directory %s: set spec.compose.project", s.workingDir)
		}
	}
	if name != loader.NormalizeProjectName(name) {
		return nil, problemf("", "the project name %q is not valid: only lower-case letters, digits, - and _ are allowed, and the first must be a letter or a digit", name)
	}
	return func(opts *loader.Options) { opts.SetProjectName(name, explicit) }, nil
}

// explicitEnvFiles is how Compose labels containers; "" for the default .env.
func (s *source) explicitEnvFiles() string { return s.envLabel }

// composeFiles are the main files, as Compose labels containers with them.
func (s *source) composeFiles() []string { return slices.Clone(s.files) }
