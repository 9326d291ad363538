// SPDX-License-Identifier: Apache-2.0

package apps

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const module = "github.com/fairlead-dev/fairlead"

// moduleRoot is the directory of this module's go.mod, at or above the current directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(data), "module "+module+"\n") {
			return dir, nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod of %s at or above the current directory: run this from the source tree", module)
		}
		dir = parent
	}
}

// buildProgram returns a static program of applications.
func buildProgram(ctx context.Context, root, name string) (string, error) {
	return build(ctx, root, name, "test/apps/"+name+"/*.go", "./test/apps/"+name)
}

// buildCompose returns Docker's own docker-compose, at the version that
// test/tools/go.mod names: what users have, on a machine that may not have it.
func buildCompose(ctx context.Context, root string) (string, error) {
	return build(ctx, filepath.Join(root, "test", "tools"), "docker-compose", "go.*", "github.com/docker/compose/v5/cmd")
}

// BuildGitLFS returns git-lfs, at the version that test/tools/go.mod names. Link
// it into a directory as git-lfs: git knows it by that name.
func BuildGitLFS(ctx context.Context) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	return build(ctx, filepath.Join(root, "test", "tools"), "git-lfs", "go.*", "github.com/git-lfs/git-lfs/v3")
}

// build compiles pkg in dir to a static binary and keeps it in the user's
// cache, under a hash of the files that match sources, so that it is made once
// and not once in every test process. Two at the same time do no harm.
func build(ctx context.Context, dir, name, sources, pkg string) (string, error) {
	hash, err := hashFiles(filepath.Join(dir, filepath.FromSlash(sources)))
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "fairlead-test")
	path := filepath.Join(cache, name+"-"+hash)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(cache, "."+name+"-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=",
		"-o", filepath.Join(tmp, name), pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go build %s: %w:\n%s", pkg, err, output.String())
	}
	return path, os.Rename(filepath.Join(tmp, name), path)
}

// hashFiles is a short hash of the files that match pattern and of the toolchain.
func hashFiles(pattern string) (string, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", fmt.Errorf("no file matches %s", pattern)
	}
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOARCH)
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, filepath.Base(file))
		_, err = io.Copy(h, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// ensureImages makes the images of test/images that are not there.
func ensureImages(ctx context.Context, root string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	script := filepath.Join(root, "test", "images", "build.sh")
	output, err := exec.CommandContext(ctx, script, names...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("make test images: %w:\n%s", err, output)
	}
	return nil
}
