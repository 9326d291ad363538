// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"
)

// renderFormat is the version of the stored form.
const renderFormat = 1

// stored is the stored form of a project: Compose's own form of the model
// with everything resolved, and beside it what that has no place for.
type stored struct {
	Format       int               `yaml:"format"`
	Name         string            `yaml:"name"`
	WorkingDir   string            `yaml:"workingDir"`
	DeployDir    string            `yaml:"deployDir"`
	ComposeFiles []string          `yaml:"composeFiles"`
	EnvFileLabel string            `yaml:"environmentFileLabel,omitempty"`
	Platform     string            `yaml:"defaultPlatform,omitempty"`
	Unset        []UnsetVariable   `yaml:"unsetVariables,omitempty"`
	Hashes       map[string]string `yaml:"hashes"`
	Model        yaml.Node         `yaml:"model"`
}

const defaultPlatformVariable = "DOCKER_DEFAULT_PLATFORM"

// Render returns the project in a form to be stored and read back with
// [Parse], with all variables resolved. It holds the services' environment
// and so secrets: the caller must keep it readable only by itself (0600). Of
// builds only context, Dockerfile and target are kept, for the record. Render
// fails rather than return something that does not read back the same.
func Render(p *Project) ([]byte, error) {
	hashes, err := p.hashes()
	if err != nil {
		return nil, fmt.Errorf("rendering the Compose model: %w", err)
	}
	model := *p.model
	model.Services = maps.Clone(p.model.Services)
	for name, c := range model.Services {
		if c.Build != nil {
			c.Build = &types.BuildConfig{Context: c.Build.Context, Dockerfile: c.Build.Dockerfile,
				DockerfileInline: c.Build.DockerfileInline, Target: c.Build.Target}
			model.Services[name] = c
		}
	}
	content, err := model.MarshalYAML(types.WithSecretContent)
	if err != nil {
		return nil, fmt.Errorf("rendering the Compose model: %w", err)
	}
	s := stored{
		Format:       renderFormat,
		Name:         model.Name,
		WorkingDir:   model.WorkingDir,
		DeployDir:    p.info.DeployDir,
		ComposeFiles: model.ComposeFiles,
		EnvFileLabel: p.info.EnvFileLabel,
		Platform:     model.Environment[defaultPlatformVariable],
		Unset:        p.info.Unset,
		Hashes:       hashes,
	}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil || len(document.Content) == 0 {
		return nil, fmt.Errorf("rendering the Compose model: %w", err)
	}
	s.Model = *document.Content[0]
	data, err := yaml.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("rendering the Compose model: %w", err)
	}
	if _, err := Parse(data); err != nil {
		return nil, fmt.Errorf("rendering the Compose model: %w", err)
	}
	return data, nil
}

// Parse reads what [Render] returned. Nothing is interpolated and no file is
// read. It fails when a service's hash is not what it was.
func Parse(data []byte) (*Project, error) {
	var s stored
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&s); err != nil {
		return nil, fmt.Errorf("reading a stored Compose model: %w", err)
	}
	if s.Format != renderFormat {
		return nil, fmt.Errorf("reading a stored Compose model: its format is %d, this version reads %d", s.Format, renderFormat)
	}
	content, err := yaml.Marshal(&s.Model)
	if err != nil {
		return nil, fmt.Errorf("reading a stored Compose model: %w", err)
	}
	details := types.ConfigDetails{
		WorkingDir:  s.WorkingDir,
		ConfigFiles: []types.ConfigFile{{Filename: "stored model", Content: content}},
		Environment: types.Mapping{},
	}
	if s.Platform != "" {
		details.Environment[defaultPlatformVariable] = s.Platform
	}
	model, err := loader.LoadWithContext(context.Background(), details,
		loader.WithSkipValidation, loader.WithProfiles([]string{"*"}), func(o *loader.Options) {
			o.SetProjectName(s.Name, true)
			o.SkipInterpolation = true
			o.SkipNormalization = true
			o.SkipInclude = true
			o.SkipExtends = true
			o.SkipConsistencyCheck = true
			o.SkipResolveEnvironment = true
			o.SkipResolveLabels = true
			o.ResolvePaths = false
		})
	if err != nil {
		return nil, fmt.Errorf("reading a stored Compose model: %w", err)
	}
	model.ComposeFiles = slices.Clone(s.ComposeFiles)
	p, err := newProject(model, projectInfo{DeployDir: s.DeployDir, EnvFileLabel: s.EnvFileLabel, Unset: s.Unset})
	if err != nil {
		return nil, fmt.Errorf("reading a stored Compose model: %w", err)
	}
	hashes, err := p.hashes()
	if err != nil {
		return nil, fmt.Errorf("reading a stored Compose model: %w", err)
	}
	for name, hash := range s.Hashes {
		if hashes[name] != hash {
			return nil, fmt.Errorf("reading a stored Compose model: %s does not read back as it was", name)
		}
	}
	if len(hashes) != len(s.Hashes) {
		return nil, fmt.Errorf("reading a stored Compose model: it has %d parts instead of %d", len(hashes), len(s.Hashes))
	}
	return p, nil
}

// hashes covers all that containers, networks and volumes are made from, by
// a name such as "service web".
func (p *Project) hashes() (map[string]string, error) {
	result := map[string]string{}
	for name := range p.model.Services {
		hash, err := p.Hash(name)
		if err != nil {
			return nil, err
		}
		result["service "+name] = hash
	}
	for key := range p.model.Networks {
		hash, err := p.networkHash(key)
		if err != nil {
			return nil, err
		}
		result["network "+key] = hash
	}
	for key := range p.model.Volumes {
		hash, err := p.volumeHash(key)
		if err != nil {
			return nil, err
		}
		result["volume "+key] = hash
	}
	for key, c := range p.model.Configs {
		if err := addFileHash(result, "config "+key, types.FileObjectConfig(c)); err != nil {
			return nil, err
		}
	}
	for key, c := range p.model.Secrets {
		if err := addFileHash(result, "secret "+key, types.FileObjectConfig(c)); err != nil {
			return nil, err
		}
	}
	return result, nil
}

func addFileHash(result map[string]string, name string, c types.FileObjectConfig) error {
	raw, err := json.Marshal([]any{c.Name, c.File, c.Environment, c.Content, c.External, c.Labels, c.Driver, c.DriverOpts, c.TemplateDriver})
	if err != nil {
		return err
	}
	result[name] = digestOf(raw)
	return nil
}
