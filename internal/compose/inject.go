// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"path"
	"strconv"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/client"
)

// inlineFile is a config or secret with its content in the model. Compose
// copies such into a container before each start, while those from files are
// mounted.
type inlineFile struct {
	target   string
	content  string
	mode     int64
	uid, gid int
	owned    bool // uid or gid is given
}

// inlineFiles lists what is to be copied into containers of a service.
func (p *Project) inlineFiles(c types.ServiceConfig) ([]inlineFile, error) {
	var files []inlineFile
	add := func(kind, dir string, ref types.FileReferenceConfig, content string) error {
		if content == "" {
			return nil
		}
		if c.ReadOnly {
			return fmt.Errorf("the %s %s cannot be written into a container with read_only: take it from a file", kind, ref.Source)
		}
		f := inlineFile{target: ref.Target, content: content, mode: 0o444, owned: ref.UID != "" || ref.GID != ""}
		if f.target == "" {
			f.target = ref.Source
		}
		if !path.IsAbs(f.target) {
			f.target = path.Join(dir, f.target)
		}
		if ref.Mode != nil {
			f.mode = int64(*ref.Mode)
		}
		for text, number := range map[string]*int{ref.UID: &f.uid, ref.GID: &f.gid} {
			if text == "" {
				continue
			}
			n, err := strconv.Atoi(text)
			if err != nil {
				return fmt.Errorf("the %s %s has the owner %q: uid and gid must be numbers", kind, ref.Source, text)
			}
			*number = n
		}
		files = append(files, f)
		return nil
	}
	for _, ref := range c.Secrets {
		if err := add("secret", "/run/secrets", types.FileReferenceConfig(ref), p.model.Secrets[ref.Source].Content); err != nil {
			return nil, err
		}
	}
	for _, ref := range c.Configs {
		if err := add("config", "/", types.FileReferenceConfig(ref), p.model.Configs[ref.Source].Content); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// inject copies files into a container that was not started yet.
func (g *guard) inject(ctx context.Context, id string, files []inlineFile) error {
	for _, f := range files {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		header := &tar.Header{Name: f.target, Size: int64(len(f.content)), Mode: f.mode, ModTime: time.Unix(0, 0), Uid: f.uid, Gid: f.gid}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write([]byte(f.content)); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		_, err := g.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/", Content: &archive, CopyUIDGID: f.owned})
		if err != nil {
			return fmt.Errorf("copying %s into it: %w", f.target, err)
		}
	}
	return nil
}

// unsetContent names configs and secrets of active services whose variable is
// not set.
func unsetContent(model *types.Project) []Problem {
	var problems []Problem
	check := func(kind, name string, f types.FileObjectConfig) {
		if f.Environment == "" || f.Content != "" {
			return
		}
		if _, ok := model.Environment[f.Environment]; !ok {
			problems = append(problems, Problem{Variable: f.Environment, Message: fmt.Sprintf(
				"required variable %s is not set: the %s %s takes its content from it; add it to the environment file of the application", f.Environment, kind, name)})
		}
	}
	for _, name := range model.ConfigNames() {
		check("config", name, types.FileObjectConfig(model.Configs[name]))
	}
	for _, name := range model.SecretNames() {
		check("secret", name, types.FileObjectConfig(model.Secrets[name]))
	}
	return problems
}
