// SPDX-License-Identifier: Apache-2.0

package build

import (
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/client"
)

// Kind says what sort of trouble an Error is. The text is a CamelCase word
// that can stand as a condition's reason.
type Kind string

const (
	// KindBuild says that the Dockerfile or a command in it failed. The same commit
	// would fail again.
	KindBuild Kind = "BuildFailed"
	// KindInvalid says that the build section, the context or the host's configuration
	// is wrong.
	KindInvalid Kind = "InvalidBuild"
	// KindUnsupported says that this engine cannot do what the build asks for.
	KindUnsupported Kind = "BuildUnsupported"
	// KindNotFound says that the registry has no such image.
	KindNotFound Kind = "ImageNotFound"
	// KindUnauthorized says that the registry wants other credentials.
	KindUnauthorized Kind = "RegistryUnauthorized"
	// KindNoSpace says that the engine's disk is full.
	KindNoSpace Kind = "NoSpace"
	// KindUnreachable says that the network or a remote server failed.
	KindUnreachable Kind = "RegistryUnreachable"
	// KindEngine says that the engine cannot be reached or gave up by itself.
	KindEngine Kind = "EngineUnavailable"
)

// Error is a failed build or pull.
type Error struct {
	// Service is the Spec's name; empty for a pull.
	Service string
	Kind    Kind
	// Instruction is the failed step as the log shows it, such as
	// `[2/3] RUN npm ci`; empty when no step of the Dockerfile failed.
	Instruction string
	// ExitCode is that of the failed command; 0 when there was none.
	ExitCode int
	// Message says what is wrong.
	Message string
	// Hint says what to do; may be empty.
	Hint string
	// Tail holds the last lines (at most 20) that the failed step wrote.
	Tail []string
	// Err is the cause where programs may want it; may be nil.
	Err error
}

// Summary is the error in one line, without the log's tail.
func (e *Error) Summary() string {
	var b strings.Builder
	if e.Service != "" {
		fmt.Fprintf(&b, "build of %s: ", e.Service)
	}
	switch {
	case e.ExitCode != 0:
		fmt.Fprintf(&b, "%s failed with exit code %d", orElse(e.Instruction, "a command"), e.ExitCode)
	case e.Instruction != "":
		fmt.Fprintf(&b, "%s failed: %s", e.Instruction, e.Message)
	default:
		b.WriteString(e.Message)
	}
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Error is the Summary and, below it, the last lines of the failed step.
func (e *Error) Error() string {
	if len(e.Tail) == 0 {
		return e.Summary()
	}
	return e.Summary() + "; its last lines:\n  " + strings.Join(e.Tail, "\n  ")
}

// Unwrap returns the cause, may be nil.
func (e *Error) Unwrap() error { return e.Err }

// Retryable reports whether the same build or pull may succeed later without
// anybody changing anything: the engine or a registry could not be reached.
// A cancelled build is not retryable in this sense.
func Retryable(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind == KindEngine || e.Kind == KindUnreachable
	}
	return isConnection(err)
}

func isConnection(err error) bool {
	var ne net.Error
	return client.IsErrConnectionFailed(err) || errors.As(err, &ne) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || cerrdefs.IsUnavailable(err)
}

var (
	exitCode = regexp.MustCompile(`(?:exit code:|non-zero code:|exit status:?) (\d+)`)

	// rpcNoise is what layers of gRPC put in front of the message.
	rpcNoise = regexp.MustCompile(`(?:rpc error: code = \w+ desc = |failed to solve(?: with frontend \S+)?: |failed to run Build function: |listing workers for Build: |forwarding \w+: |Error response from daemon: |failed to (?:build LLB|compute cache key|create LLB definition|read dockerfile)?: )`)

	noSpace = []string{"no space left on device", "disk quota exceeded"}

	// engineTrouble is what the engine says when it could not even start a step, or lost
	// the connection to us, or to a part of its own, in the middle of one.
	engineTrouble = []string{"failed to create endpoint", "could not find bridge", "failed to set up container networking",
		"no active session", "no such job", "transport is closing", "client connection is closing", "error reading from server", "containerd.sock"}

	// cacheImageVanished is how the classic builder's cache lookup fails when an
	// image is removed after it has been listed and before it is read: it looks at
	// the children of the step's parent, and of FROM scratch at every image.
	cacheImageVanished = regexp.MustCompile(`unable to find image "sha256:[0-9a-f]+"`)

	unauthorized = []string{"401 unauthorized", "unauthorized:", "no basic auth credentials", "authorization failed",
		"authentication required", "insufficient_scope", "403 forbidden", "denied:", "pull access denied", "incorrect username or password",
		"could not read username", "authentication failed", "permission denied (publickey"}

	unreachable = []string{"no such host", "connection refused", "connection reset", "network is unreachable", "no route to host",
		"i/o timeout", "tls handshake timeout", "client.timeout exceeded", "request canceled while waiting for connection",
		"temporary failure in name resolution", "server misbehaving", "could not resolve host", "connection timed out", "net/http: timeout",
		"toomanyrequests", "429 too many requests", "500 internal server error", "502 bad gateway", "503 service unavailable",
		"504 gateway timeout", "unexpected eof", "http: server gave http response to https client", "dial tcp",
		"failed to connect to", "the remote end hung up unexpectedly"}

	missing = []string{"manifest unknown", "not found", "name unknown", "no matching manifest", "does not exist", "404 not found",
		"find remote ref"}
)

// exitCodeOf finds a command's exit code in a builder's message; 0 means none.
func exitCodeOf(text string) int {
	m := exitCode.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0
	}
	return n
}

// clean shortens a builder's message to what a person needs.
func clean(text string) string {
	return strings.TrimSpace(rpcNoise.ReplaceAllString(text, ""))
}

func containsAny(text string, words []string) bool {
	text = strings.ToLower(text)
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}

// classifyRegistry sorts the message of a registry operation; the empty Kind
// means that it is none of the known ones.
func classifyRegistry(text string) Kind {
	switch {
	case containsAny(text, noSpace):
		return KindNoSpace
	case containsAny(text, unreachable):
		return KindUnreachable
	case containsAny(text, unauthorized):
		return KindUnauthorized
	case containsAny(text, missing):
		return KindNotFound
	}
	return ""
}

// classifyBuild sorts the message of a failed build step. remote says that the
// step talked to a registry or another server by itself; a network failure
// inside of a command is the command's failure.
func classifyBuild(text string, exit int, remote bool, tail []string) Kind {
	if containsAny(text, noSpace) || exit != 0 && slices.ContainsFunc(tail, func(l string) bool { return containsAny(l, noSpace) }) {
		return KindNoSpace
	}
	if exit != 0 {
		return KindBuild
	}
	if containsAny(text, engineTrouble) || cacheImageVanished.MatchString(text) {
		return KindEngine
	}
	if remote {
		if kind := classifyRegistry(text); kind != "" {
			return kind
		}
	}
	return KindBuild
}

// hint says what a person can do about a kind of trouble. host is the
// registry's, may be empty.
func hint(kind Kind, host string) string {
	switch kind {
	case KindNoSpace:
		return "free disk space on the host (`docker system df` shows what takes it) and try again"
	case KindUnauthorized:
		return "if the image exists, run `docker login" + withSpace(host) + "` on the host as the user that runs Fairlead"
	case KindNotFound:
		return "check the image's name and tag"
	case KindUnreachable:
		return "check the host's network, DNS and proxy"
	case KindEngine:
		return "check that the Docker engine runs (`docker info`)"
	}
	return ""
}

func withSpace(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// engineError wraps a failure of the engine itself.
func engineError(service, doing string, err error) error {
	return &Error{
		Service: service, Kind: KindEngine, Err: err,
		Message: fmt.Sprintf("the Docker engine failed while %s: %s", doing, clean(err.Error())),
		Hint:    hint(KindEngine, ""),
	}
}
