// SPDX-License-Identifier: Apache-2.0

package apps

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Removed as the content of a file makes Commit delete it.
const Removed = "\x00removed"

// Commit writes files, by path and content, into the developer's clone and
// commits all that is there. It returns the full SHA. Nothing is pushed. A
// commit that changes nothing is made all the same.
func (r *Repo) Commit(ctx context.Context, message string, files map[string]string) (string, error) {
	for name, content := range files {
		path := filepath.Join(r.Work, filepath.FromSlash(name))
		if content == Removed {
			if err := os.Remove(path); err != nil {
				return "", err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return "", err
		}
	}
	if _, err := git(ctx, r.Work, "add", "--all"); err != nil {
		return "", err
	}
	if _, err := git(ctx, r.Work, "commit", "--quiet", "--allow-empty", "--message", message); err != nil {
		return "", err
	}
	return git(ctx, r.Work, "rev-parse", "HEAD")
}

// Push sends the developer's branch to the origin.
func (r *Repo) Push(ctx context.Context) error {
	_, err := git(ctx, r.Work, "push", "--quiet", "origin", "HEAD")
	return err
}

// Publish is Commit and Push.
func (r *Repo) Publish(ctx context.Context, message string, files map[string]string) (string, error) {
	sha, err := r.Commit(ctx, message, files)
	if err != nil {
		return "", err
	}
	return sha, r.Push(ctx)
}

// Deployed is the commit at which the deployment directory is.
func (r *Repo) Deployed(ctx context.Context) (string, error) {
	return git(ctx, r.Dir, "rev-parse", "HEAD")
}

// git runs one command in dir, apart from the settings of the person who runs
// it, and returns its output without the last line end.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Dev", "GIT_AUTHOR_EMAIL=dev@example.com",
		"GIT_COMMITTER_NAME=Dev", "GIT_COMMITTER_EMAIL=dev@example.com")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSuffix(stdout.String(), "\n"), nil
}

// Branch pushes what the developer's clone has as another branch too.
func (r *Repo) Branch(ctx context.Context, name string) error {
	_, err := git(ctx, r.Work, "push", "--quiet", "origin", "HEAD:refs/heads/"+name)
	return err
}

// Tag pushes what the developer's clone has as a tag.
func (r *Repo) Tag(ctx context.Context, name string) error {
	_, err := git(ctx, r.Work, "push", "--quiet", "origin", "HEAD:refs/tags/"+name)
	return err
}
