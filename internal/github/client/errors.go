// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// Kinds of error; find them with errors.Is. ErrOffline, and RateLimitError, go
// away by waiting; the others need a person.
var (
	// ErrOffline: GitHub did not answer as it should.
	ErrOffline = errors.New("GitHub is out of reach")
	// ErrUnauthorized: the token is wrong, revoked or expired.
	ErrUnauthorized = errors.New("GitHub refuses the token")
	// ErrForbidden: the token lacks a permission.
	ErrForbidden = errors.New("GitHub does not permit it")
	// ErrNotFound: there is no such repository or ref, or the token may not see it.
	ErrNotFound = errors.New("GitHub has no such thing, or the token may not see it")
	// ErrUnknownCommit: the repository has no such commit.
	ErrUnknownCommit = errors.New("GitHub does not know the commit")
	// ErrRefused: GitHub takes the request for wrong.
	ErrRefused = errors.New("GitHub refuses the request")
)

// RateLimitError says that no call is made before Until.
type RateLimitError struct {
	Until time.Time
	// Secondary says that it was too much at once, not too much in an hour.
	Secondary bool
}

func (e *RateLimitError) Error() string {
	kind := "rate limit"
	if e.Secondary {
		kind = "secondary rate limit"
	}
	return fmt.Sprintf("GitHub's %s is used up until %s", kind, e.Until.UTC().Format(time.RFC3339))
}

// Limited returns the RateLimitError in err's chain, or nil.
func Limited(err error) *RateLimitError {
	var l *RateLimitError
	if errors.As(err, &l) {
		return l
	}
	return nil
}

// Temporary reports whether waiting alone can help.
func Temporary(err error) bool { return errors.Is(err, ErrOffline) || Limited(err) != nil }

// Error is a call that failed. errors.Is finds its Kind.
type Error struct {
	// Kind is one of the errors above.
	Kind error
	// Doing is what was tried, such as "compare the commits".
	Doing string
	// Detail is what GitHub or the network said. It has no token.
	Detail string
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("%s: %v", e.Doing, e.Kind)
	}
	return fmt.Sprintf("%s: %v (%s)", e.Doing, e.Kind, e.Detail)
}

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

// pause is how long is waited when GitHub says that it is too much and not for
// how long.
const pause = time.Minute

// sorted turns what the library returns into the errors of this package.
func sorted(doing string, err error, now time.Time) error {
	var (
		limit    *github.RateLimitError
		abuse    *github.AbuseRateLimitError
		response *github.ErrorResponse
	)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", doing, err)
	case errors.As(err, &limit):
		until := limit.Rate.Reset.Time
		if !until.After(now) {
			until = now.Add(pause)
		}
		return &RateLimitError{Until: until}
	case errors.As(err, &abuse):
		wait := pause
		if abuse.RetryAfter != nil && *abuse.RetryAfter > 0 {
			wait = *abuse.RetryAfter
		}
		return &RateLimitError{Until: now.Add(wait), Secondary: true}
	case errors.As(err, &response):
		return answered(doing, response, now)
	default:
		// A refused connection, a time-out, a proxy's page instead of JSON.
		return &Error{Kind: ErrOffline, Doing: doing, Detail: clip(err.Error())}
	}
}

// answered sorts an error that GitHub answered with.
func answered(doing string, e *github.ErrorResponse, now time.Time) error {
	code, header := e.Response.StatusCode, e.Response.Header
	if after := header.Get("Retry-After"); code == http.StatusTooManyRequests || code == http.StatusForbidden && after != "" {
		return &RateLimitError{Until: now.Add(retryAfter(header, now)), Secondary: header.Get("X-RateLimit-Remaining") != "0"}
	}
	out := &Error{Doing: doing, Detail: clip(strconv.Itoa(code) + " " + e.Message)}
	for _, one := range e.Errors {
		if one.Message != "" {
			out.Detail = clip(out.Detail + ": " + one.Message)
		}
	}
	switch {
	case code == http.StatusUnauthorized:
		out.Kind = ErrUnauthorized
	case code == http.StatusForbidden:
		out.Kind = ErrForbidden
		if need := header.Get("X-Accepted-GitHub-Permissions"); need != "" {
			out.Detail = clip(out.Detail + "; it needs " + need)
		}
	case code == http.StatusNotFound:
		out.Kind = ErrNotFound
	case code >= http.StatusInternalServerError:
		out.Kind = ErrOffline
	default:
		out.Kind = ErrRefused
	}
	return out
}

// retryAfter is how long GitHub asks to wait.
func retryAfter(header http.Header, now time.Time) time.Duration {
	if s, err := strconv.Atoi(header.Get("Retry-After")); err == nil && s > 0 {
		return time.Duration(s) * time.Second
	}
	if s, err := strconv.ParseInt(header.Get("X-RateLimit-Reset"), 10, 64); err == nil {
		if wait := time.Unix(s, 0).Sub(now); wait > 0 {
			return wait
		}
	}
	return pause
}

// clip makes foreign text fit into a message.
func clip(s string) string { return Line(s, 300) }

// Line makes foreign text one line of at most limit bytes, safe to print.
func Line(s string, limit int) string {
	s = updatelog.Clean(s, false)
	if len(s) <= limit {
		return s
	}
	limit -= len("…")
	for limit > 0 && s[limit]&0xC0 == 0x80 { // not in the middle of a rune
		limit--
	}
	return s[:limit] + "…"
}
