// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/measure"
)

// Kinds of error; find them with errors.Is. Only ErrUnreachable and ErrLocked
// can go away by waiting, the others need a person.
var (
	// ErrGitMissing: there is no usable git program.
	ErrGitMissing = errors.New("git is missing or too old")
	// ErrNotRepository: the directory is not inside a Git working tree.
	ErrNotRepository = errors.New("not a git repository")
	// ErrNoRemote: there is no URL to fetch from.
	ErrNoRemote = errors.New("no remote")
	// ErrAuth: the server refused the credentials, or wants some.
	ErrAuth = errors.New("authentication failed")
	// ErrUnreachable: the server did not answer as it should.
	ErrUnreachable = errors.New("server unreachable")
	// ErrNotFound: there is no such repository, branch, tag or commit.
	ErrNotFound = errors.New("not found")
	// ErrInvalidRevision: the text cannot be the name of a revision.
	ErrInvalidRevision = errors.New("invalid revision")
	// ErrCredentials: the credentials are malformed or do not fit the URL.
	ErrCredentials = errors.New("unusable credentials")
	// ErrLocked: another git process works on the repository.
	ErrLocked = errors.New("repository is locked")
	// ErrLFS: files kept in Git LFS could not be had.
	ErrLFS = errors.New("git lfs content is missing")
)

// RemoteError is a failed exchange with a server. errors.Is finds its Kind.
type RemoteError struct {
	// Kind is ErrAuth, ErrUnreachable or ErrNotFound.
	Kind error
	// URL is the address without credentials.
	URL string
	// Detail is what git said, without credentials.
	Detail string
	// Advice says what to do.
	Advice string
}

func (e *RemoteError) Error() string {
	return fmt.Sprintf("%s: %v: %s (%s)", e.URL, e.Kind, e.Advice, e.Detail)
}

// Unwrap returns the kind.
func (e *RemoteError) Unwrap() error { return e.Kind }

// LocalEditsError says that local changes are in the way of a move.
type LocalEditsError struct {
	// Dir is the top of the working tree.
	Dir string
	// Paths are the files in the way, relative to Dir and sorted.
	Paths []string
}

func (e *LocalEditsError) Error() string {
	const most = 10
	shown, more := e.Paths, ""
	if len(shown) > most {
		shown, more = shown[:most], fmt.Sprintf(" and %d more", len(e.Paths)-most)
	}
	return fmt.Sprintf("local changes in %s would be overwritten: %s%s; commit, move or revert them first",
		e.Dir, strings.Join(shown, ", "), more)
}

// AmbiguousError says that a short SHA names several commits.
type AmbiguousError struct {
	Rev        string
	Candidates []Commit
}

func (e *AmbiguousError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "short SHA %s is ambiguous, give more digits; candidates:", e.Rev)
	for i, c := range e.Candidates {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %s (%s)", c.SHA, c.Subject)
	}
	return b.String()
}

// LockedError names a lock file that another git process holds or left behind.
type LockedError struct {
	Path string
	Age  time.Duration
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%v: %s is %s old; another git command is at work there, or was killed: wait, or remove the file when no git is running",
		ErrLocked, e.Path, measure.Time(e.Age))
}

// Unwrap returns ErrLocked.
func (e *LockedError) Unwrap() error { return ErrLocked }

// gitError is a git process that ended with a status other than 0.
type gitError struct {
	command string
	code    int
	stderr  string
	// full is the directory that it could not write to, as there is no room left.
	full string
}

func (e *gitError) Error() string {
	text := lastLines(e.stderr, 6)
	if text == "" {
		text = fmt.Sprintf("exit status %d", e.code)
	}
	if e.full != "" {
		text += fmt.Sprintf(": there is no room left for %s", e.full)
	}
	return fmt.Sprintf("git %s: %s", e.command, text)
}

// fullDisk are the ends of what git, which has no status for it, says when this
// machine's disk or a quota is full.
var fullDisk = []struct {
	text  string
	errno syscall.Errno
}{
	{"no space left on device", syscall.ENOSPC},
	{"disk quota exceeded", syscall.EDQUOT},
}

// Is reports whether git met target, which may be ENOSPC or EDQUOT, on this
// machine. What the server said of its own disk does not count.
func (e *gitError) Is(target error) bool {
	if e.full != "" && target == syscall.ENOSPC {
		return true
	}
	for line := range strings.Lines(strings.ToLower(e.stderr)) {
		if strings.HasPrefix(line, "remote:") {
			continue
		}
		for _, f := range fullDisk {
			if target == f.errno && strings.Contains(line, f.text) {
				return true
			}
		}
	}
	return false
}

// exitCode returns the status of a git process that ran, or -1.
func exitCode(err error) int {
	var g *gitError
	if errors.As(err, &g) {
		return g.code
	}
	return -1
}

func lastLines(s string, n int) string {
	lines := strings.FieldsFunc(strings.ReplaceAll(s, "\r", "\n"), func(r rune) bool { return r == '\n' })
	kept := lines[:0]
	for _, l := range lines {
		if l = strings.TrimSpace(l); l != "" {
			kept = append(kept, l)
		}
	}
	if len(kept) > n {
		kept = kept[len(kept)-n:]
	}
	return strings.Join(kept, "; ")
}

// verdicts are tried in order: a server's refusal is often followed by a
// general "could not read from remote repository".
var verdicts = []struct {
	kind   error
	advice string
	texts  []string
}{
	{ErrAuth, "the server's host key is not known: add known_hosts to the Secret or to the user's ~/.ssh",
		[]string{"host key verification failed", "remote host identification has changed"}},
	{ErrAuth, "give valid credentials with source.secretRef and see that they may read this repository", []string{
		"authentication failed", "could not read username", "could not read password", "terminal prompts disabled",
		"permission denied (", "permission denied, please try again", "returned error: 401", "returned error: 403",
		"access denied", "invalid username or", "too many authentication failures", "http basic: access denied",
	}},
	{ErrNotFound, "see that the URL is right, and that the credentials may see the repository if it is private", []string{
		"repository not found", "' not found", "does not appear to be a git repository", "returned error: 404", "could not be found or you don't have permission",
	}},
	{ErrNotFound, "push it first, or correct the name", []string{
		"couldn't find remote ref", "not our ref", "unadvertised object", "no such remote ref",
	}},
	{ErrUnreachable, "see that this machine's clock and certificate authorities are right", []string{
		"ssl certificate problem", "server certificate verification failed", "gnutls_handshake", "ssl_error", "certificate",
	}},
	{ErrUnreachable, "see that this machine can reach the server; it is tried again", []string{
		"could not resolve", "failed to connect", "couldn't connect", "connection refused", "connection timed out", "timed out", "network is unreachable",
		"no route to host", "connection reset", "connection closed", "remote end hung up", "early eof", "rpc failed", "returned error: 5", "returned error: 429",
		"temporary failure in name resolution", "unexpected disconnect", "broken pipe", "could not read from remote repository", "unable to access",
		"operation too slow", "proxy", "fetch-pack",
	}},
}

var lockText = regexp.MustCompile(`(?i)unable to create '([^']+\.lock)': File exists|cannot lock ref`)

// classify turns what git said during an exchange with url into a typed error.
// Errors that are no git failure, or say nothing of the network, stay as they are.
func classify(err error, url string) error {
	var g *gitError
	if !errors.As(err, &g) || lockText.MatchString(g.stderr) {
		return err
	}
	// Words in the URL are not git's.
	text := strings.ReplaceAll(strings.ToLower(g.stderr), strings.ToLower(Redact(url)), "")
	if !failure.IsNoSpace(err) {
		for _, v := range verdicts {
			for _, t := range v.texts {
				if strings.Contains(text, t) {
					return &RemoteError{Kind: v.kind, URL: Redact(url), Detail: lastLines(g.stderr, 4), Advice: v.advice}
				}
			}
		}
		// A local path or file URL that is not there.
		if strings.Contains(text, "no such file or directory") && isLocalURL(url) {
			return &RemoteError{Kind: ErrNotFound, URL: Redact(url), Detail: lastLines(g.stderr, 4), Advice: "see that the path is right"}
		}
	}
	return err
}

var userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^/@\s'"]+@`)

// Redact removes user names and passwords from the URLs in text.
func Redact(text string) string {
	return userinfo.ReplaceAllString(text, "${1}")
}
