// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"
)

// UnsetVariable is a variable without a default that the model uses and that
// is not set: Compose replaces it by nothing and warns.
type UnsetVariable struct {
	Name string
	// File is the path in the deployment directory.
	File string
	// Line counts from 1.
	Line int
}

// scanner goes through all files that make up a model before the loader does:
// it mirrors them on the stage, and finds all variables that are missing,
// where the loader stops at the first file.
type scanner struct {
	stage   *stage
	missing []Problem
	unset   []UnsetVariable
	named   bool // a top-level `name:` was seen in one of the main files
	visited map[string]bool
}

// maxModelFiles bounds the files of one model, against include bombs.
const maxModelFiles = 1000

// file goes through one file. Relative paths in it are relative to base.
// Main files and included ones may include others, extended ones do not.
func (s *scanner) file(path, base string, env types.Mapping, main, extended bool) error {
	key := path + "\x00" + base
	if s.visited[key] {
		return nil
	}
	if len(s.visited) >= maxModelFiles {
		return problemf(path, "the model has more than %d files: reduce the includes", maxModelFiles)
	}
	s.visited[key] = true

	actual, ok, err := s.stage.add(path)
	if err != nil {
		return err
	}
	if !ok {
		return problemf(path, "the Compose file does not exist at this commit, nor untracked in the deployment directory")
	}
	content, err := os.ReadFile(actual)
	if err != nil {
		return err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	for {
		var document yaml.Node
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return problemf(path, "not valid YAML: %s", redact(err.Error(), env))
		}
		if len(document.Content) == 0 {
			continue
		}
		root := document.Content[0]
		s.scalars(path, root, env)
		if err := s.references(path, base, root, env, main, extended); err != nil {
			return err
		}
	}
}

// scalars collects the variables of all values. Aliases are not followed:
// their anchors are visited where they are.
func (s *scanner) scalars(path string, node *yaml.Node, env types.Mapping) {
	switch node.Kind {
	case yaml.MappingNode:
		for i := 1; i < len(node.Content); i += 2 {
			s.scalars(path, node.Content[i], env)
		}
	case yaml.SequenceNode:
		for _, n := range node.Content {
			s.scalars(path, n, env)
		}
	case yaml.ScalarNode:
		if node.ShortTag() != "!!str" {
			return
		}
		variables{
			lookup: lookupIn(env),
			missing: func(name, message string) {
				text := fmt.Sprintf("required variable %s is not set: add it to the environment file of the application", name)
				if message != "" {
					text += " (" + redact(message, env) + ")"
				}
				s.missing = append(s.missing, Problem{File: path, Line: node.Line, Variable: name, Message: text})
			},
			unset: func(name string) {
				s.unset = append(s.unset, UnsetVariable{Name: name, File: path, Line: node.Line})
			},
		}.scan(node.Value)
	}
}

// references follows include and extends.
func (s *scanner) references(path, base string, root *yaml.Node, env types.Mapping, main, extended bool) error {
	if main && child(root, "name") != nil {
		s.named = true
	}
	for _, section := range []string{"services", "jobs"} {
		services := resolveAlias(child(root, section))
		if services == nil || services.Kind != yaml.MappingNode {
			continue
		}
		for i := 1; i < len(services.Content); i += 2 {
			file := child(child(services.Content[i], "extends"), "file")
			if file == nil {
				continue
			}
			p, err := s.reference(path, base, file, env)
			if err != nil {
				return err
			}
			if err := s.file(p, filepath.Dir(p), env, false, true); err != nil {
				return err
			}
		}
	}
	includes := resolveAlias(child(root, "include"))
	if extended || includes == nil || includes.Kind != yaml.SequenceNode {
		return nil
	}
	for _, include := range includes.Content {
		if err := s.include(path, base, resolveAlias(include), env, main); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) include(path, base string, node *yaml.Node, env types.Mapping, main bool) error {
	paths := []*yaml.Node{node}
	var envFiles []*yaml.Node
	var directory *yaml.Node
	if node.Kind == yaml.MappingNode {
		paths = oneOrMore(child(node, "path"))
		envFiles = oneOrMore(child(node, "env_file"))
		directory = child(node, "project_directory")
	}
	if !main && (len(envFiles) > 0 || directory != nil) {
		// The loader takes these as relative to where this process runs.
		return &ModelError{Problems: []Problem{{File: path, Line: node.Line,
			Message: "env_file and project_directory are not supported for an include in a file that is itself included: include it from a main Compose file"}}}
	}
	var files []string
	for _, n := range paths {
		p, err := s.reference(path, base, n, env)
		if err != nil {
			return err
		}
		files = append(files, p)
	}
	if len(files) == 0 {
		return nil // the loader says what is wrong
	}
	projectDir := filepath.Dir(files[0])
	if directory != nil {
		dir, err := s.reference(path, base, directory, env)
		if err != nil {
			return err
		}
		projectDir = dir
	}
	if err := s.stage.addDir(projectDir); err != nil {
		return err
	}
	var dotEnv []string
	if len(envFiles) == 0 {
		if actual, ok, err := s.stage.add(filepath.Join(projectDir, ".env")); err != nil {
			return err
		} else if ok {
			dotEnv = append(dotEnv, actual)
		}
	}
	for _, n := range envFiles {
		if n.Value == "/dev/null" {
			continue
		}
		p, err := s.reference(path, base, n, env)
		if err != nil {
			return err
		}
		actual, ok, err := s.stage.add(p)
		if err != nil {
			return err
		}
		if !ok {
			return &ModelError{Problems: []Problem{{File: path, Line: n.Line,
				Message: fmt.Sprintf("the env_file %s of an include does not exist: create it or remove the reference", p)}}}
		}
		dotEnv = append(dotEnv, actual)
	}
	own, err := readEnvFiles(env, dotEnv)
	if err != nil {
		return err
	}
	env = env.Clone().Merge(own)
	for _, f := range files {
		if err := s.file(f, projectDir, env, false, false); err != nil {
			return err
		}
	}
	return nil
}

// remote matches references that Compose would fetch over the network.
var remote = regexp.MustCompile(`^(oci://|docker\.io/|git@|git://|ssh://|https?://|github\.com/)`)

// reference returns the deployment path that a node names.
func (s *scanner) reference(file, base string, node *yaml.Node, env types.Mapping) (string, error) {
	node = resolveAlias(node)
	// Missing variables are collected elsewhere, with better words.
	value, _ := template.SubstituteWithOptions(node.Value, lookupIn(env), template.WithoutLogging)
	fail := func(format string, args ...any) error {
		return &ModelError{Problems: []Problem{{File: file, Line: node.Line, Message: fmt.Sprintf(format, args...)}}}
	}
	if remote.MatchString(value) {
		return "", fail("files from the network are not supported in include and extends: put %s into the repository", node.Value)
	}
	if filepath.IsAbs(value) && within(s.stage.deployDir, value) {
		return "", fail("%s must be written relative to the Compose file, not as an absolute path", node.Value)
	}
	return absIn(base, value), nil
}

func child(node *yaml.Node, key string) *yaml.Node {
	node = resolveAlias(node)
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

func oneOrMore(node *yaml.Node) []*yaml.Node {
	node = resolveAlias(node)
	switch {
	case node == nil:
		return nil
	case node.Kind == yaml.SequenceNode:
		return node.Content
	default:
		return []*yaml.Node{node}
	}
}

func resolveAlias(node *yaml.Node) *yaml.Node {
	for node != nil && node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

func lookupIn(env types.Mapping) template.Mapping {
	return func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
}

// dotenvLine finds the line number in the parser's message, which otherwise
// quotes the file's content and so cannot be passed on.
var dotenvLine = regexp.MustCompile(`\bline (\d+)\b`)

// readEnvFiles reads variables from actual files, later ones win; env is for
// interpolation and is not part of the result.
func readEnvFiles(env types.Mapping, files []string) (types.Mapping, error) {
	values, err := dotenv.GetEnvFromFile(env, files)
	if err == nil {
		return values, nil
	}
	for _, file := range files {
		if strings.Contains(err.Error(), file) {
			return nil, envFileError(file, err)
		}
	}
	return nil, envFileError("", err)
}

// envFileError says what is wrong with an environment file without quoting it.
func envFileError(file string, err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return &ModelError{Problems: []Problem{{File: file, Message: fmt.Sprintf("cannot read the environment file: %v", pathError.Err)}}, err: pathError}
	}
	p := Problem{File: file, Message: "the environment file cannot be parsed: each line must read NAME=value, with quotes closed"}
	if m := dotenvLine.FindStringSubmatch(err.Error()); m != nil {
		p.Message = fmt.Sprintf("line %s of the environment file cannot be parsed: it must read NAME=value, with quotes closed", m[1])
	}
	return &ModelError{Problems: []Problem{p}}
}
