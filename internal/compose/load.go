// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/compose-spec/compose-go/v2/utils"
)

// Load reads the model of a project as of an exported commit, as if it lay in
// the deployment directory. It changes nothing on disk. The error is a
// *ModelError when the model itself is at fault: all missing variables of all
// files are then named at once.
func Load(ctx context.Context, o Options) (_ *Project, err error) {
	src, err := o.source()
	if err != nil {
		return nil, err
	}
	st, err := newStage(src.layout)
	if err != nil {
		return nil, fmt.Errorf("loading the Compose model: %w", err)
	}
	defer func() { err = errors.Join(err, st.remove()) }()

	scan := &scanner{stage: st, visited: map[string]bool{}}
	if err := st.addDir(src.workingDir); err != nil {
		return nil, fmt.Errorf("loading the Compose model: %w", err)
	}
	for _, f := range src.files {
		if err := scan.file(f, src.workingDir, src.env, true, false); err != nil {
			return nil, err
		}
	}
	if len(scan.missing) > 0 {
		return nil, &ModelError{Problems: scan.missing}
	}
	model, err := src.model(ctx, o, st, scan.named)
	if err != nil {
		return nil, err
	}
	if problems := unsetContent(model); len(problems) > 0 {
		return nil, &ModelError{Problems: problems}
	}
	return newProject(model, projectInfo{
		DeployDir:    src.deployDir,
		EnvFileLabel: src.explicitEnvFiles(),
		EnvFiles:     src.serviceEnvFiles,
		Unset:        uniqueUnset(scan.unset),
	})
}

// model runs the loader on the stage and moves the result to where it belongs.
func (s *source) model(ctx context.Context, o Options, st *stage, named bool) (*types.Project, error) {
	nameOption, err := s.name(o, named)
	if err != nil {
		return nil, err
	}
	details := types.ConfigDetails{WorkingDir: st.path(s.workingDir), Environment: s.env.Clone()}
	for _, f := range s.files {
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: st.path(f)})
	}
	options := []func(*loader.Options){
		nameOption,
		loader.WithProfiles(s.profiles),
		func(opts *loader.Options) {
			// Unset variables are reported by us, and not to a global log.
			opts.Interpolate.Substitute = func(text string, lookup template.Mapping) (string, error) {
				return template.SubstituteWithOptions(text, lookup, template.WithoutLogging)
			}
			// Environment and label files are looked up in the deployment directory below.
			opts.SkipResolveEnvironment = true
			opts.SkipResolveLabels = true
		},
	}
	dict, err := loader.LoadModelWithContext(ctx, details, options...)
	if err != nil {
		return nil, s.loadError(ctx, st, err)
	}
	s.relocate(dict, st)

	details.WorkingDir = s.workingDir
	opts := loader.ToOptions(&details, options)
	name, _ := dict["name"].(string)
	opts.SetProjectName(name, true)
	project, err := loader.ModelToProject(dict, opts, details)
	if err != nil {
		return nil, s.loadError(ctx, st, err)
	}
	project.ComposeFiles = s.composeFiles()
	if project, err = s.resolveFiles(project); err != nil {
		return nil, err
	}
	return project.WithoutUnnecessaryResources(), nil
}

// relocate turns mirrored paths into deployment paths, and those of builds
// into paths of the exported tree.
func (s *source) relocate(dict map[string]any, st *stage) {
	for _, section := range []string{"services", "jobs"} {
		services, _ := dict[section].(map[string]any)
		for _, service := range services {
			definition, _ := service.(map[string]any)
			build, _ := definition["build"].(map[string]any)
			for _, key := range []string{"context", "additional_contexts"} {
				if v, ok := build[key]; ok {
					build[key] = mapStrings(v, func(text string) string { return s.buildPath(st, text) })
				}
			}
		}
	}
	mapStrings(dict, st.strip)
}

// buildPath returns where a build finds its context: in the exported tree, or
// in the deployment directory if only there (not in Git).
func (s *source) buildPath(st *stage, text string) string {
	if !strings.HasPrefix(text, st.root) {
		if !filepath.IsAbs(text) || !within(s.deployDir, text) {
			return text
		}
	}
	path := st.strip(text)
	if actual, ok := s.actual(path); ok {
		return actual
	}
	if t, ok := s.inTree(path); ok {
		return t
	}
	return path
}

// mapStrings replaces all strings in a tree of maps and lists, in place where
// it can, and returns the result.
func mapStrings(value any, f func(string) string) any {
	switch v := value.(type) {
	case string:
		return f(v)
	case map[string]any:
		for key, e := range v {
			v[key] = mapStrings(e, f)
		}
	case []any:
		for i, e := range v {
			v[i] = mapStrings(e, f)
		}
	}
	return value
}

// resolveFiles takes in environment and label files, from the tree or, if not
// in Git, from the deployment directory.
func (s *source) resolveFiles(project *types.Project) (*types.Project, error) {
	var problems []Problem
	labelFiles := map[string][]string{}
	for name, service := range project.Services {
		var envFiles []types.EnvFile
		for _, f := range service.EnvFiles {
			actual, ok := s.actual(f.Path)
			if ok {
				f.Path = actual
				envFiles = append(envFiles, f)
				if !slices.Contains(s.serviceEnvFiles, actual) {
					s.serviceEnvFiles = append(s.serviceEnvFiles, actual)
				}
			} else if f.Required {
				problems = append(problems, Problem{Message: fmt.Sprintf(
					"service %s: the env_file %s does not exist: create it in the deployment directory, or mark it `required: false`", name, f.Path)})
			}
		}
		service.EnvFiles = envFiles
		labelFiles[name] = slices.Clone(service.LabelFiles)
		for i, f := range service.LabelFiles {
			actual, ok := s.actual(f)
			if !ok {
				problems = append(problems, Problem{Message: fmt.Sprintf(
					"service %s: the label_file %s does not exist: create it in the deployment directory", name, f)})
			}
			service.LabelFiles[i] = actual
		}
		project.Services[name] = service
	}
	if len(problems) > 0 {
		sort.Slice(problems, func(i, j int) bool { return problems[i].Message < problems[j].Message })
		return nil, &ModelError{Problems: problems}
	}
	resolved, err := readServiceFiles(project)
	if err != nil {
		return nil, unreadableFile(project, err)
	}
	for name, service := range resolved.Services {
		// The hash covers these paths, so they must be those of the deployment.
		service.LabelFiles = labelFiles[name]
		if service.Develop != nil {
			for i, w := range service.Develop.Watch {
				if p, err := utils.ResolveSymbolicLink(w.Path); err == nil {
					service.Develop.Watch[i].Path = p
				}
			}
		}
		resolved.Services[name] = service
	}
	return resolved, nil
}

func readServiceFiles(project *types.Project) (*types.Project, error) {
	resolved, err := project.WithServicesEnvironmentResolved(true)
	if err != nil {
		return nil, err
	}
	return resolved.WithServicesLabelsResolved(false)
}

// unreadableFile finds the file at fault by reading them one by one, because
// the parser's message does not name it.
func unreadableFile(project *types.Project, err error) error {
	for name, service := range project.Services {
		alone := types.ServiceConfig{Name: name}
		alone.Environment = service.Environment
		try := func() error {
			_, err := readServiceFiles(&types.Project{Environment: project.Environment, Services: types.Services{name: alone}})
			return err
		}
		for _, f := range service.EnvFiles {
			alone.EnvFiles, alone.LabelFiles = []types.EnvFile{f}, nil
			if err := try(); err != nil {
				return envFileError(f.Path, err)
			}
		}
		for _, f := range service.LabelFiles {
			alone.EnvFiles, alone.LabelFiles = nil, []string{f}
			if err := try(); err != nil {
				return envFileError(f, err)
			}
		}
	}
	return envFileError("", err)
}

// loadError makes the loader's error one that a person can act on: with paths
// of the deployment directory and without values.
func (s *source) loadError(ctx context.Context, st *stage, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	text := redact(st.strip(err.Error()), s.env)
	var pathError *fs.PathError
	if errors.As(err, &pathError) && errors.Is(err, os.ErrNotExist) {
		return problemf("", "%s does not exist at this commit, nor untracked in the deployment directory", st.strip(pathError.Path))
	}
	var problems []Problem
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			problems = append(problems, s.locate(st, line))
		}
	}
	if len(problems) == 0 {
		problems = []Problem{{Message: "the Compose model cannot be loaded"}}
	}
	return &ModelError{Problems: problems}
}

func uniqueUnset(all []UnsetVariable) []UnsetVariable {
	var result []UnsetVariable
	seen := map[string]bool{}
	for _, u := range all {
		if !seen[u.Name] {
			seen[u.Name] = true
			result = append(result, u)
		}
	}
	sort.SliceStable(result, func(i, j int) bool { return result[i].Name < result[j].Name })
	return result
}
