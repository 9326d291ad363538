// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	gofs "io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/fairlead-dev/fairlead/internal/redact"
)

const (
	dockerImageScheme = "docker-image://"
	ignoreFile        = ".dockerignore"
)

// sources is where the context and the Dockerfile of a build come from.
type sources struct {
	// remote is the URL of a remote context, else empty.
	remote string
	// context is the directory of a local context, else empty.
	context string
	// dockerfile is the Dockerfile's name in dockerfileDir, or its path within
	// a remote context.
	dockerfile string
	// dockerfileDir is the directory of a local Dockerfile; empty when the
	// Dockerfile is inline or part of a remote context.
	dockerfileDir string
	// inline is the text of the Dockerfile, may be empty.
	inline string
}

// resolve finds the context and the Dockerfile of a checked Spec.
func (s *Spec) resolve() (*sources, error) {
	invalid := func(hint, format string, args ...any) error {
		return &Error{Service: s.Name, Kind: KindInvalid, Hint: hint, Message: fmt.Sprintf(format, args...)}
	}
	src := &sources{inline: s.DockerfileInline, dockerfile: orElse(s.Dockerfile, DefaultDockerfile)}
	if isRemote(s.Context) {
		src.remote = s.Context
		if filepath.IsAbs(src.dockerfile) {
			return nil, invalid("give its path within the context", "the Dockerfile %s is absolute, but the context is remote", src.dockerfile)
		}
		return src, nil
	}
	src.context = s.Context
	if fi, err := os.Stat(s.Context); err != nil || !fi.IsDir() {
		return nil, invalid("check build.context in the Compose file", "the build context %s is not a directory that can be read", s.Context)
	}
	if src.inline != "" {
		src.dockerfile = DefaultDockerfile
		return src, nil
	}
	path := src.dockerfile
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.Context, path)
	}
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, invalid("check build.dockerfile in the Compose file, and that the file is in this commit",
			"there is no Dockerfile %s in the build context %s", orElse(s.Dockerfile, DefaultDockerfile), s.Context)
	case err != nil:
		return nil, invalid("", "the Dockerfile cannot be read: %v", err)
	case !fi.Mode().IsRegular():
		return nil, invalid("check build.dockerfile in the Compose file", "the Dockerfile %s is not a file", path)
	}
	src.dockerfileDir, src.dockerfile = filepath.Split(path)
	return src, nil
}

// readSecrets reads every build secret into memory, so that their values can
// be masked from the first line of the log on.
func (s *Spec) readSecrets() (map[string][]byte, error) {
	values := make(map[string][]byte, len(s.Secrets))
	for _, secret := range s.Secrets {
		value := secret.Value
		if secret.File != "" {
			data, err := os.ReadFile(secret.File)
			if err != nil {
				return nil, &Error{
					Service: s.Name, Kind: KindInvalid, Message: fmt.Sprintf("build secret %s cannot be read: %v", secret.ID, err),
					Hint: "create the file or correct secrets in the Compose file", Err: err,
				}
			}
			value = data
		}
		if len(value) > secretsprovider.MaxSecretSize {
			return nil, &Error{
				Service: s.Name, Kind: KindInvalid,
				Message: fmt.Sprintf("build secret %s is larger than %d KiB", secret.ID, secretsprovider.MaxSecretSize/1024),
			}
		}
		values[secret.ID] = value
	}
	return values, nil
}

// redactor masks the secrets' values and the passwords in URLs.
func (s *Spec) redactor(secrets map[string][]byte, proxies map[string]string) *redact.Redactor {
	hidden := append(proxyPasswords(s.Args), proxyPasswords(proxies)...)
	hidden = append(hidden, redact.URLPassword(s.Context))
	for _, c := range s.AdditionalContexts {
		hidden = append(hidden, redact.URLPassword(c.Source))
	}
	for _, v := range secrets {
		hidden = append(hidden, string(v))
	}
	return redact.New(hidden...)
}

// memFS is a directory of one file in memory.
type memFS struct {
	name string
	data []byte
}

// Walk visits the file.
func (m memFS) Walk(ctx context.Context, target string, fn gofs.WalkDirFunc) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	target = strings.Trim(filepath.ToSlash(target), "/.")
	if target != "" && target != m.name {
		return nil
	}
	return fn(m.name, &fsutil.DirEntryInfo{Stat: &fstypes.Stat{Path: m.name, Mode: 0o644, Size: int64(len(m.data))}}, nil)
}

// Open reads the file.
func (m memFS) Open(p string) (io.ReadCloser, error) {
	if strings.TrimPrefix(filepath.ToSlash(p), "/") != m.name {
		return nil, &os.PathError{Op: "open", Path: p, Err: os.ErrNotExist}
	}
	return io.NopCloser(bytes.NewReader(m.data)), nil
}
