// SPDX-License-Identifier: Apache-2.0

package build

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
)

// keyVersion changes whenever the meaning of a key's fields changes, so that
// images built under the old meaning are not taken for new ones.
const keyVersion = "v1"

// keyFields is what determines the content of an image, in a fixed order.
// Maps are encoded with sorted keys.
type keyFields struct {
	Context          string
	Dockerfile       string
	DockerfileDigest string
	DockerfileInline string
	Args             map[string]string
	Target           string
	Labels           map[string]string
	Secrets          []string
	SSH              []string
	Platform         string
	Contexts         map[string]string
	Network          string
	ExtraHosts       []string
	Entitlements     []string
}

// Key returns a digest over all that determines the content of the image:
// contextDigest (the Git tree ID of the context directory, or the commit of a
// remote context), the Dockerfile's place or text, arguments, target, labels
// other than Fairlead's own, secret and SSH IDs (never their values), platform,
// additional contexts, network, extra hosts and entitlements. Names, tags,
// caches, resource limits and the directory where the context lies are not
// part of it.
//
// It returns "" when equal inputs would not promise equal content: no
// contextDigest, NoCache, NoCacheFilter or Pull is set, or the Dockerfile or a named
// context lies outside of what the digests cover. Such a Spec is always built.
func Key(s Spec, contextDigest string) string {
	if contextDigest == "" || s.NoCache || len(s.NoCacheFilter) > 0 || s.Pull {
		return ""
	}
	dockerfile, inside := s.keyDockerfile()
	if !inside && s.DockerfileDigest == "" {
		return ""
	}
	contexts := make(map[string]string, len(s.AdditionalContexts))
	for name, c := range s.AdditionalContexts {
		switch {
		case c.Digest != "":
			contexts[name] = "digest:" + c.Digest
		case strings.HasPrefix(c.Source, dockerImageScheme) && strings.Contains(c.Source, "@sha256:"):
			contexts[name] = c.Source
		default:
			return ""
		}
	}
	f := keyFields{
		Context:          contextDigest,
		Dockerfile:       dockerfile,
		DockerfileDigest: s.DockerfileDigest,
		DockerfileInline: s.DockerfileInline,
		Args:             s.Args,
		Target:           s.Target,
		Labels:           foreignLabels(s.Labels),
		Platform:         s.platform(),
		Contexts:         contexts,
		Network:          s.Network,
		ExtraHosts:       sorted(s.ExtraHosts),
		Entitlements:     sorted(s.Entitlements),
	}
	if f.Network == "default" {
		f.Network = ""
	}
	if len(f.Args) == 0 {
		f.Args = nil
	}
	for _, secret := range s.Secrets {
		f.Secrets = append(f.Secrets, secret.ID)
	}
	for _, agent := range s.SSH {
		f.SSH = append(f.SSH, agent.id())
	}
	slices.Sort(f.Secrets)
	slices.Sort(f.SSH)
	data, err := json.Marshal(f)
	if err != nil {
		return "" // cannot happen: only strings
	}
	sum := sha256.Sum256(data)
	return keyVersion + "-" + hex.EncodeToString(sum[:])
}

// keyDockerfile returns the Dockerfile's path as the key knows it, and whether
// the digest of the context covers its content.
func (s *Spec) keyDockerfile() (path string, inside bool) {
	if s.DockerfileInline != "" {
		return "", true
	}
	path = s.Dockerfile
	if path == "" {
		path = DefaultDockerfile
	}
	if isRemote(s.Context) {
		return filepath.ToSlash(filepath.Clean(path)), true
	}
	if filepath.IsAbs(path) {
		rel, err := filepath.Rel(s.Context, path)
		if err != nil {
			return "", false
		}
		path = rel
	}
	path = filepath.ToSlash(filepath.Clean(path))
	if !filepath.IsLocal(path) {
		// The digest stands for the content; where it lies does not matter,
		// apart from the name, which selects a .dockerignore.
		return filepath.Base(path), false
	}
	return path, true
}

func foreignLabels(labels map[string]string) map[string]string {
	var out map[string]string
	for k, v := range labels {
		if strings.HasPrefix(k, labelPrefix) {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[k] = v
	}
	return out
}

func sorted(in []string) []string {
	out := slices.Clone(in)
	slices.Sort(out)
	return out
}

func (a SSH) id() string {
	if a.ID == "" {
		return "default"
	}
	return a.ID
}
