// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"crypto/subtle"
	"net/http"
	"strings"
)

// contentSecurityPolicy allows what this server itself sends and nothing inline, so
// that a script which found its way into a page would not run.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; " +
	"manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func setSecurityHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
}

// csrfField is the field of forms with the session's token against forgery.
const csrfField = "csrf"

func sameSecret(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

func wantsHTML(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// secure says that the browser speaks HTTPS.
func (s *Server) secure(r *http.Request) bool { return r.TLS != nil || s.opts.Secure }

// cookieName is name with the prefix by which a browser takes a cookie of this host
// only, by HTTPS only; that works only with HTTPS.
func (s *Server) cookieName(r *http.Request, name string) string {
	if s.secure(r) {
		return "__Host-" + name
	}
	return name
}

// setCookie sets a cookie for the UI alone. Browsers do not tell ports apart: what
// is for all paths would go to every other service of the host too. With the prefix
// __Host- it has to be for all paths.
func (s *Server) setCookie(w http.ResponseWriter, r *http.Request, name, value string, seconds int) {
	s.setCookieFor(http.SameSiteStrictMode, w, r, name, value, seconds)
}

// setCookieFor is setCookie for one that may also be sent, if lax, when another site
// leads here.
func (s *Server) setCookieFor(site http.SameSite, w http.ResponseWriter, r *http.Request, name, value string, seconds int) {
	path := Prefix
	if s.secure(r) {
		path = "/"
	}
	http.SetCookie(w, &http.Cookie{Name: s.cookieName(r, name), Value: value, Path: path, MaxAge: seconds, HttpOnly: true,
		Secure: s.secure(r), SameSite: site})
}

func (s *Server) cookie(r *http.Request, name string) string {
	c, err := r.Cookie(s.cookieName(r, name))
	if err != nil {
		return ""
	}
	return c.Value
}

// localPath is a path of the UI to go to, made safe: the overview for anything
// that is not one.
func localPath(path string) string {
	if !strings.HasPrefix(path, Prefix) || strings.ContainsAny(path, "\\\r\n\t") || strings.HasPrefix(path, Prefix+"/") {
		return Prefix
	}
	return path
}
