// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"crypto/rand"
	"net/http"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/webui/i18n"
	"github.com/fairlead-dev/fairlead/internal/webui/session"
)

const year = 365 * 24 * 60 * 60 // seconds

// signInPage is the sign-in page.
type signInPage struct {
	Next   string
	Mark   string // against forgery, before there is a session
	Error  string
	Ended  bool
	SignIn []signInWay
}

// signInWay is another way to sign in than by a token.
type signInWay struct{ URL, Name string }

// showSignIn is GET /ui/sign-in.
func (s *Server) showSignIn(c *call) error {
	if c.Session != nil {
		return c.redirect(localPath(c.r.URL.Query().Get("next")))
	}
	c.showSignIn(http.StatusOK, c.r.URL.Query().Get("next"), "")
	return nil
}

func (c *call) showSignIn(status int, next, problem string) {
	nonce := c.s.cookie(c.r, signInCookie)
	if nonce == "" {
		nonce = rand.Text()
		c.s.setCookie(c.w, c.r, signInCookie, nonce, 60*60)
	}
	c.renderStatus(status, "sign-in", signInPage{Next: localPath(next), Mark: c.s.sessions.Load().Mark(nonce), Error: problem,
		Ended: next != "" && problem == "", SignIn: c.ways(localPath(next))})
}

// doSignIn is POST /ui/sign-in: a token becomes a session, if the API takes it.
func (s *Server) doSignIn(c *call) error {
	form := c.r.PostForm
	next := form.Get("next")
	if nonce := s.cookie(c.r, signInCookie); nonce == "" || !sameSecret(s.sessions.Load().Mark(nonce), form.Get(csrfField)) {
		c.showSignIn(http.StatusForbidden, next, c.T("signin.again"))
		return nil
	}
	token := strings.Join(strings.Fields(form.Get("token")), "")
	if token == "" {
		c.showSignIn(http.StatusBadRequest, next, c.T("signin.empty"))
		return nil
	}
	var who rights
	err := c.do(token, http.MethodGet, "whoami", nil, &who)
	switch {
	case isStatus(err, http.StatusUnauthorized):
		c.showSignIn(http.StatusUnauthorized, next, c.T("signin.wrong"))
		return nil
	case isStatus(err, http.StatusTooManyRequests):
		c.showSignIn(http.StatusTooManyRequests, next, c.T("signin.wait"))
		return nil
	case err != nil:
		return err
	}
	if err := c.begin(who.Username, session.Credentials{Token: token}); err != nil {
		return err
	}
	return c.redirect(localPath(next))
}

// begin signs a person in.
func (c *call) begin(username string, with session.Credentials) error {
	store := c.s.sessions.Load()
	if old := c.s.cookie(c.r, sessionCookie); old != "" {
		store.End(old)
	}
	id, begun, err := store.Begin(username, with)
	if err != nil {
		return err
	}
	c.s.setCookie(c.w, c.r, sessionCookie, id, max(1, int(begun.Expires.Sub(c.s.opts.Now()).Seconds())))
	c.s.setCookie(c.w, c.r, signInCookie, "", -1)
	c.s.log.Info("signed in to the web UI", "user", username, "from", c.r.RemoteAddr, "until", begun.Expires)
	return nil
}

// doSignOut is POST /ui/sign-out, here or, with everywhere, in all browsers.
func (s *Server) doSignOut(c *call) error {
	store := s.sessions.Load()
	if c.r.PostForm.Get("everywhere") != "" {
		store.EndAll(c.Session.Username)
	} else {
		store.End(s.cookie(c.r, sessionCookie))
	}
	s.setCookie(c.w, c.r, sessionCookie, "", -1)
	s.log.Info("signed out of the web UI", "user", c.Session.Username, "everywhere", strconv.FormatBool(c.r.PostForm.Get("everywhere") != ""))
	if s.opts.Provider != nil && c.Session.Subject != "" {
		return c.redirect(signedOutPath)
	}
	return c.redirect(Prefix + "sign-in")
}

// setPreferences is POST /ui/preferences: language and theme, kept in cookies. It
// changes nothing but how things look, which is why it needs no CSRF token; the
// origin is checked as for every POST.
func (s *Server) setPreferences(c *call) error {
	form := c.r.PostForm
	if form.Has("language") {
		for _, l := range i18n.Languages() {
			if l.Tag == form.Get("language") {
				s.setCookie(c.w, c.r, languageCookie, l.Tag, year)
			}
		}
	}
	if form.Has("theme") {
		if t := theme(form.Get("theme")); t != "" {
			s.setCookie(c.w, c.r, themeCookie, t, year)
		} else {
			s.setCookie(c.w, c.r, themeCookie, "", -1)
		}
	}
	return c.redirect(localPath(form.Get("next")))
}
