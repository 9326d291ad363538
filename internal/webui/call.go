// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/tokens"
	"github.com/fairlead-dev/fairlead/internal/webui/i18n"
	"github.com/fairlead-dev/fairlead/internal/webui/session"
)

// Cookies.
const (
	sessionCookie  = "fairlead-session"
	languageCookie = "fairlead-language"
	themeCookie    = "fairlead-theme"
	signInCookie   = "fairlead-sign-in"
)

// liveHeader marks requests that a page makes by itself, which do not prolong the
// session and are answered with 401 instead of the sign-in page.
const liveHeader = "Fairlead-Live"

// maxForm is the largest form, in bytes, and maxOpenForm of those that anybody may
// send.
const (
	maxForm     = 1 << 20
	maxOpenForm = 64 << 10
)

// who may call a route.
type who int

const (
	signedIn who = iota
	anybody
)

// route is a pattern of http.ServeMux and its handler.
type route struct {
	pattern string
	handler http.HandlerFunc
	// stream says that the answer is sent as it comes.
	stream bool
}

// call is one request of a person.
type call struct {
	s    *Server
	w    http.ResponseWriter
	r    *http.Request
	Lang *i18n.Lang
	// Session of the person, nil if nobody is signed in.
	Session *session.Session
	// rights by namespace, as far as somebody asked.
	rights map[string]*rights
	// spaces are the namespaces that the person may look at; nil if nobody asked.
	spaces []string
}

// Context of the request.
func (c *call) Context() context.Context { return c.r.Context() }

// T is a text in the person's language.
func (c *call) T(key string, params ...any) string { return c.Lang.T(key, params...) }

// live says that the page asks by itself: it cannot set a header for its stream.
func (c *call) live() bool {
	return c.r.Header.Get(liveHeader) != "" || c.r.Header.Get("Accept") == "text/event-stream"
}

// page makes a handler of f. Errors that f returns become an error page; so f
// writes an answer or returns an error, not both. POSTs must carry the CSRF
// token.
func (s *Server) page(allowed who, f func(*call) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		c := &call{s: s, w: w, r: r, Lang: i18n.Choose(s.cookie(r, languageCookie), r.Header.Get("Accept-Language"))}
		if slices.ContainsFunc(strings.Split(r.URL.Path, "/"), func(part string) bool { return part == "." || part == ".." }) {
			// Escaped, as nothing else comes here. The API would be asked for another path.
			c.fail(refused(http.StatusNotFound, "error.nopage"))
			return
		}
		if err := s.origin.Check(r); err != nil {
			c.fail(refused(http.StatusForbidden, "error.origin"))
			return
		}
		if err := c.identify(); err != nil {
			c.fail(err)
			return
		}
		if allowed == signedIn && c.Session == nil {
			c.signIn()
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			limit := int64(maxForm)
			if allowed == anybody {
				limit = maxOpenForm
			}
			r.Body = http.MaxBytesReader(w, r.Body, limit)
			if err := r.ParseForm(); err != nil {
				c.fail(refused(http.StatusBadRequest, "error.form"))
				return
			}
			if allowed == signedIn && !sameSecret(c.Session.CSRF, r.PostForm.Get(csrfField)) {
				c.fail(refused(http.StatusForbidden, "error.csrf"))
				return
			}
		}
		if err := f(c); err != nil {
			c.fail(err)
		}
	}
}

// identify finds the person's session.
func (c *call) identify() error {
	id := c.s.cookie(c.r, sessionCookie)
	if id == "" {
		return nil
	}
	found, err := c.s.sessions.Load().Get(id, !c.live())
	if errors.Is(err, session.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	c.Session, err = c.renewed(id, found)
	return err
}

// signIn leads to the sign-in page, and back here afterwards.
func (c *call) signIn() {
	if c.live() || !wantsHTML(c.r) && c.r.Header.Get("Accept") != "" {
		http.Error(c.w, c.T("signin.ended"), http.StatusUnauthorized)
		return
	}
	to := Prefix + "sign-in"
	if c.r.Method == http.MethodGet && c.r.URL.Path != Prefix {
		to += "?next=" + url.QueryEscape(c.r.URL.RequestURI())
	}
	http.Redirect(c.w, c.r, to, http.StatusSeeOther)
}

// redirect leads to another page of the UI after a POST.
func (c *call) redirect(path string) error {
	http.Redirect(c.w, c.r, path, http.StatusSeeOther)
	return nil
}

// refusal is an error of the UI itself, with a text of the catalog.
type refusal struct {
	status int
	key    string
}

func (e *refusal) Error() string { return e.key }

func refused(status int, key string) error { return &refusal{status: status, key: key} }

// fail answers with the error page.
func (c *call) fail(err error) {
	status, title, detail := http.StatusInternalServerError, "error.title", ""
	var own *refusal
	var problem *Problem
	switch {
	case errors.As(err, &own):
		status, detail = own.status, c.T(own.key)
	case errors.As(err, &problem):
		status, detail = problem.Status, problem.Text()
		if retry := problem.Header.Get("Retry-After"); retry != "" {
			c.w.Header().Set("Retry-After", retry)
		}
	default:
		c.s.log.Error(err, "a page of the web UI failed", "path", c.r.URL.Path)
	}
	if status == http.StatusUnauthorized && c.Session != nil && c.Session.Subject != "" && c.Session.TokenExpires.After(c.s.opts.Now()) {
		// The API server has to reach the provider after its start before it knows
		// the provider's tokens: nobody needs to sign in again for that.
		status, detail = http.StatusServiceUnavailable, c.T("error.unverified")
		c.w.Header().Set("Retry-After", "2")
	}
	if status == http.StatusUnauthorized && c.Session != nil {
		// The token is not valid any more; neither is the session then.
		c.s.sessions.Load().End(c.s.cookie(c.r, sessionCookie))
		c.Session = nil
		c.signIn()
		return
	}
	if key := "error.title." + http.StatusText(status); c.Lang.Has(key) {
		title = key
	}
	c.w.Header().Set("Cache-Control", "no-store")
	c.renderStatus(status, "error", errorPage{Heading: c.T(title), Detail: detail, Status: status, Back: c.cameFrom()})
}

type errorPage struct {
	Heading, Detail string
	Status          int
	// Back is the path of the page that was left for this one; empty if that is not
	// known.
	Back string
}

// cameFrom is the path of the page of this UI that a form was sent from; empty for
// anything else.
func (c *call) cameFrom() string {
	from, err := url.Parse(c.r.Referer())
	if c.r.Method == http.MethodGet || err != nil || from.Host != c.r.Host || !strings.HasPrefix(from.Path, Prefix) {
		return ""
	}
	return from.RequestURI()
}

func (e errorPage) Title(*call) string { return e.Heading }

func (s *Server) notFound(c *call) error {
	if c.Session == nil {
		c.signIn()
		return nil
	}
	return refused(http.StatusNotFound, "error.nopage")
}

// rights are verbs by resource, as the API's whoami tells them.
type rights struct {
	Username string              `json:"username"`
	Groups   []string            `json:"groups"`
	May      map[string][]string `json:"may"`
	// Incomplete says that there may be more.
	Incomplete bool `json:"incomplete"`
}

// May reports whether the person may use verb on resource in namespace, to offer
// only what is possible. The API decides when it is done.
func (c *call) May(namespace, verb, resource string) bool {
	if c.Session == nil {
		return false
	}
	r := c.rights[namespace]
	if r == nil {
		r = &rights{}
		if err := c.Get("whoami?namespace="+url.QueryEscape(namespace), r); err != nil {
			c.s.log.V(1).Info("the rights of a person could not be found out", "reason", err.Error())
		}
		if c.rights == nil {
			c.rights = map[string]*rights{}
		}
		c.rights[namespace] = r
	}
	return r.Incomplete || slices.Contains(r.May[resource], verb)
}

// person is a user's name without what Kubernetes puts before it.
func person(username string) string {
	if rest, ok := strings.CutPrefix(username, "system:serviceaccount:"); ok {
		_, name, _ := strings.Cut(rest, ":")
		return strings.TrimPrefix(name, tokens.AccountPrefix)
	}
	return username
}
