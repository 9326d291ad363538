// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Version is the version of the git program.
type Version struct {
	Major, Minor, Patch int
}

// minVersion is the oldest git that this package works with.
var minVersion = Version{2, 20, 0}

// AtLeast reports whether v is major.minor or newer.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

var versionText = regexp.MustCompile(`(\d+)\.(\d+)(?:\.(\d+))?`)

// parseVersion reads the output of `git version`, with the additions of
// distributions ("2.39.5 (Apple Git-154)", "2.20.1.windows.1").
func parseVersion(s string) (Version, error) {
	m := versionText.FindStringSubmatch(s)
	if m == nil {
		return Version{}, fmt.Errorf("%w: cannot read a version from %q", ErrGitMissing, strings.TrimSpace(s))
	}
	var v Version
	v.Major, _ = strconv.Atoi(m[1])
	v.Minor, _ = strconv.Atoi(m[2])
	v.Patch, _ = strconv.Atoi(m[3])
	return v, nil
}

// installed remembers the version of each git program, by the file that it is:
// one that is upgraded is another one.
var installed sync.Map

// program identifies a file by what changes when it is replaced.
type program struct {
	path     string
	size     int64
	modified time.Time
}

// InstalledVersion is the version of the git program on PATH, which is asked for
// it when it is first met. The error is ErrGitMissing when there is none.
func InstalledVersion(ctx context.Context) (Version, error) {
	g, err := newGit()
	if err != nil {
		return Version{}, err
	}
	info, err := os.Stat(g.bin)
	if err != nil {
		return Version{}, err
	}
	id := program{g.bin, info.Size(), info.ModTime()}
	if v, ok := installed.Load(id); ok {
		return v.(Version), nil
	}
	out, err := g.run(ctx, call{args: []string{"version"}})
	if err != nil {
		return Version{}, err
	}
	v, err := parseVersion(string(out))
	if err == nil {
		installed.Store(id, v)
	}
	return v, err
}

// killDelay is how long a cancelled git has to remove its lock files before it
// is killed.
const killDelay = 5 * time.Second

// git runs the git program for one repository.
type git struct {
	bin string
	// dir is the working directory; empty for the current one.
	dir string
	// gitDir and workTree are given explicitly, never discovered by git: so
	// git's check of the directory's owner (safe.directory) does not apply, in
	// whichever version, and no configuration needs to be changed.
	gitDir, workTree string
	// hasRemote: its configuration has the remote that it belongs to, in which
	// git-lfs finds the content.
	hasRemote bool
	// ssh remembers the configured ssh program; nil has it asked for each time.
	ssh *sshChoice
}

func newGit() (git, error) {
	bin, err := exec.LookPath("git")
	if err != nil {
		return git{}, fmt.Errorf("%w: install git %s or newer and see that it is on PATH of this process", ErrGitMissing, minVersion)
	}
	return git{bin: bin}, nil
}

// call is one git command.
type call struct {
	args []string
	// config holds key=value pairs for this call only. They are visible in the
	// process list: no secrets here.
	config []string
	// env holds further variables.
	env []string
	// stdin is given to the command.
	stdin []byte
	// hold is kept open by git and its children, so that a lock on it lives as
	// long as any of them, also when this process is killed.
	hold *os.File
	// secrets are removed from messages.
	secrets []string
	// dressed says that it speaks to a server, or may.
	dressed bool
}

// standing configuration: nothing that the repository or the user configured
// may ask, run hooks, reformat what is parsed here, or work on in the background.
var standing = []string{
	"safe.directory=*", // for the processes that git starts in submodules
	"core.hooksPath=/dev/null", "core.fsmonitor=", "core.askPass=", "core.quotePath=false",
	"gc.auto=0", "maintenance.auto=false",
	"fetch.recurseSubmodules=false", "submodule.recurse=false", "fetch.pruneTags=false", "fetch.writeCommitGraph=false",
	"log.showSignature=false", "i18n.logOutputEncoding=UTF-8", "color.ui=false",
	"http.lowSpeedLimit=1000", "http.lowSpeedTime=60",
}

func (g git) command(ctx context.Context, c call) *exec.Cmd {
	var args []string
	for _, kv := range standing {
		args = append(args, "-c", kv)
	}
	for _, kv := range lfsFilters() {
		args = append(args, "-c", kv)
	}
	for _, kv := range c.config {
		args = append(args, "-c", kv)
	}
	cmd := exec.CommandContext(ctx, g.bin, append(args, c.args...)...)
	cmd.Dir = g.dir
	cmd.Env = environment(os.Environ())
	if g.gitDir != "" {
		cmd.Env = append(cmd.Env, "GIT_DIR="+g.gitDir)
	}
	if g.workTree != "" {
		cmd.Env = append(cmd.Env, "GIT_WORK_TREE="+g.workTree)
	}
	cmd.Env = append(cmd.Env, c.env...)
	cmd.Stdin = bytes.NewReader(c.stdin)
	if c.hold != nil {
		cmd.ExtraFiles = []*os.File{c.hold}
	}
	// A group of its own: a cancelled git and its helpers end together, with
	// SIGTERM first, upon which git removes its lock files.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = killDelay
	return cmd
}

// environment keeps of env what does not change the meaning of our commands.
func environment(env []string) []string {
	kept := make([]string, 0, len(env)+8)
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case strings.HasPrefix(name, "GIT_SSL_"), strings.HasPrefix(name, "GIT_HTTP_"):
		case name == "GIT_SSH", name == "GIT_SSH_COMMAND", name == "GIT_SSH_VARIANT", name == "GIT_PROXY_COMMAND", name == "GIT_EXEC_PATH",
			name == "GIT_CONFIG_GLOBAL", name == "GIT_CONFIG_SYSTEM", name == "GIT_CONFIG_NOSYSTEM":
		case strings.HasPrefix(name, "GIT_"), strings.HasPrefix(name, "LC_"), name == "LANG", name == "LANGUAGE", name == "SSH_ASKPASS":
			continue
		}
		kept = append(kept, kv)
	}
	return append(kept, "LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=", "SSH_ASKPASS_REQUIRE=never",
		"GIT_OPTIONAL_LOCKS=0", "GIT_LITERAL_PATHSPECS=1", "GIT_NO_REPLACE_OBJECTS=1", "GIT_PAGER=cat", "GIT_EDITOR=false", "GCM_INTERACTIVE=never")
}

// run starts git and waits for its end. The error is a *gitError when it ended
// with another status than 0, and wraps ctx.Err() when it was cancelled.
func (g git) run(ctx context.Context, c call) ([]byte, error) {
	cmd := g.command(ctx, c)
	var stdout bytes.Buffer
	stderr := tail{max: 16 << 10}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	name := c.args[0]
	err := cmd.Run()
	if cmd.Process != nil && ctx.Err() != nil {
		// What did not heed SIGTERM in time goes with its group.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if err == nil {
		return stdout.Bytes(), nil
	}
	if c.dressed {
		g.ssh.forget()
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("git %s: %w", name, context.Cause(ctx))
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return nil, fmt.Errorf("git %s: %w", name, err)
	}
	text := stderr.String()
	for _, s := range c.secrets {
		// Git prints none outside of URLs; a short one would match innocent words.
		if len(s) >= 8 {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	return stdout.Bytes(), &gitError{command: name, code: exit.ExitCode(), stderr: Redact(text), full: g.filled(text, unix.Statfs)}
}

// leastRoom is what is free, in bytes, where a file of a checkout may still have found room.
const leastRoom = 1 << 20

// filled is the directory in which git, by what it said, could not write a file, if there is no room left:
// of files that it checks out it does not say why.
func (g git) filled(stderr string, statfs func(path string, fs *unix.Statfs_t) error) string {
	if !strings.Contains(stderr, "unable to write file") {
		return ""
	}
	for _, dir := range []string{g.workTree, g.gitDir} {
		var fs unix.Statfs_t
		if dir == "" || statfs(dir, &fs) != nil || fs.Blocks == 0 {
			continue
		}
		if fs.Bavail*uint64(fs.Bsize) < leastRoom || fs.Files > 0 && fs.Ffree == 0 { //nolint:gosec // a size of blocks is positive
			return dir
		}
	}
	return ""
}

// text is run for commands with a single line of output.
func (g git) text(ctx context.Context, args ...string) (string, error) {
	out, err := g.run(ctx, call{args: args})
	return strings.TrimSuffix(string(out), "\n"), err
}

// tail keeps the last max bytes that are written to it.
type tail struct {
	max int
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if extra := len(t.buf) - t.max; extra > 0 {
		t.buf = append(t.buf[:0], t.buf[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.buf) }

// records splits NUL-terminated output.
func records(out []byte) []string {
	s := strings.TrimSuffix(string(out), "\x00")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\x00")
}
