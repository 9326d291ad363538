// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// inNS begins the paths of pages about something in a namespace.
const inNS = Prefix + "namespaces/{namespace}/"

// routes are all pages of the UI.
func (s *Server) routes() []route {
	return append(s.providerRoutes(), []route{
		{pattern: "GET " + Prefix + "sign-in", handler: s.page(anybody, s.showSignIn)},
		{pattern: "POST " + Prefix + "sign-in", handler: s.page(anybody, s.doSignIn)},
		{pattern: "POST " + Prefix + "sign-out", handler: s.page(signedIn, s.doSignOut)},
		{pattern: "POST " + Prefix + "preferences", handler: s.page(anybody, s.setPreferences)},

		{pattern: "GET " + Prefix + "{$}", handler: s.page(signedIn, s.overview)},
		{pattern: "GET " + Prefix + "events", handler: s.page(signedIn, s.overviewEvents), stream: true},

		{pattern: "GET " + inNS + "applications/{name}", handler: s.page(signedIn, s.application)},
		{pattern: "GET " + inNS + "applications/{name}/events", handler: s.page(signedIn, s.applicationEvents), stream: true},
		{pattern: "POST " + inNS + "applications/{name}/check", handler: s.page(signedIn, s.checkNow)},
		{pattern: "GET " + inNS + "applications/{name}/choose", handler: s.page(signedIn, s.choose)},
		{pattern: "POST " + inNS + "applications/{name}/plan", handler: s.page(signedIn, s.makePlan)},
		{pattern: "POST " + inNS + "applications/{name}/update", handler: s.page(signedIn, s.update)},

		{pattern: "GET " + inNS + "plans/{name}", handler: s.page(signedIn, s.plan)},

		{pattern: "GET " + inNS + "updates/{name}", handler: s.page(signedIn, s.showUpdate)},
		{pattern: "GET " + inNS + "updates/{name}/events", handler: s.page(signedIn, s.updateEvents), stream: true},
		{pattern: "GET " + inNS + "updates/{name}/status", handler: s.page(signedIn, s.updateStatus), stream: true},
		{pattern: "GET " + inNS + "updates/{name}/log", handler: s.page(signedIn, s.updateLog)},
		{pattern: "GET " + inNS + "updates/{name}/cancel", handler: s.page(signedIn, s.confirmCancel)},
		{pattern: "POST " + inNS + "updates/{name}/cancel", handler: s.page(signedIn, s.cancelUpdate)},
		{pattern: "POST " + inNS + "updates/{name}/retry", handler: s.page(signedIn, s.retryUpdate)},
	}...)
}

// providerRoutes are for signing in with an identity provider, if there is one.
func (s *Server) providerRoutes() []route {
	if s.opts.Provider == nil {
		return nil
	}
	return []route{
		{pattern: "GET " + providerPath, handler: s.page(anybody, s.beginSignIn)},
		{pattern: "GET " + callbackPath, handler: s.page(anybody, s.finishSignIn)},
		{pattern: "GET " + signedOutPath, handler: s.page(anybody, s.signedOut)},
	}
}

// section is an entry of the navigation.
type section struct {
	path, key, icon string
	// need is what one must be able to do somewhere, as verb and resource; nil for
	// nothing.
	need []string
}

// sections are the navigation, in order.
var sections = []section{
	{path: Prefix, key: "nav.overview", icon: "apps"},
	{path: Prefix + "hosts", key: "nav.hosts", icon: "host", need: []string{"list", "dockerhosts"}},
	{path: Prefix + "tokens", key: "nav.tokens", icon: "key", need: []string{"list", "serviceaccounts"}},
	{path: Prefix + "audit", key: "nav.audit", icon: "list", need: []string{"list", "auditlogs"}},
}

func (c *call) navigation() []navLink {
	var links []navLink
	for i, offered := range c.offered() {
		if !offered {
			continue
		}
		e, here := sections[i], c.r.URL.Path
		links = append(links, navLink{URL: e.path, Text: c.T(e.key), Icon: e.icon,
			Current: here == e.path || e.path != Prefix && strings.HasPrefix(here, e.path+"/")})
	}
	return links
}

const (
	// offersFor is how long it is taken for granted what the navigation leads a person
	// to, as every page asks for it. What they may do is decided when they do it.
	offersFor = 10 * time.Second
	// maxOffers bounds for how many sessions it is.
	maxOffers = 1000
)

// offers are the sections that a person is led to.
type offers struct {
	until    time.Time
	sections []bool
}

// offered says of each section whether the person may use it in some namespace.
func (c *call) offered() []bool {
	now := c.s.opts.Now()
	if kept, ok := c.s.offers.Get(c.Session.CSRF); ok {
		if o, ok := kept.(*offers); ok && now.Before(o.until) {
			return o.sections
		}
	}
	o := &offers{until: now.Add(offersFor)}
	for _, e := range sections {
		o.sections = append(o.sections, len(e.need) != 2 || c.mayAnywhere(e.need[0], e.need[1]))
	}
	if c.rights[c.home()].May != nil { // else the API was of no help
		c.s.offers.Add(c.Session.CSRF, o)
	}
	return o.sections
}

// home is the namespace that a person's account is in; "default" for people who are
// no service account.
func (c *call) home() string {
	if rest, ok := strings.CutPrefix(c.Session.Username, "system:serviceaccount:"); ok {
		if namespace, _, ok := strings.Cut(rest, ":"); ok {
			return namespace
		}
	}
	return "default"
}

// maxAsked bounds in how many namespaces a person's rights are asked for.
const maxAsked = 50

// allowed are those of some namespaces in which the person may use verb on resource.
func (c *call) allowed(namespaces []string, verb, resource string) []string {
	var out []string
	for _, ns := range namespaces[:min(len(namespaces), maxAsked)] {
		if c.May(ns, verb, resource) {
			out = append(out, ns)
		}
	}
	return out
}

// fewAsked is in how many namespaces besides their own a person's rights are asked for
// where that is done for a link alone.
const fewAsked = 5

// mayAnywhere reports whether the person may use verb on resource in their own
// namespace, or in one of the first others.
func (c *call) mayAnywhere(verb, resource string) bool {
	if c.May(c.home(), verb, resource) {
		return true
	}
	namespaces, err := c.namespaces()
	return err == nil && len(c.allowed(namespaces[:min(len(namespaces), fewAsked)], verb, resource)) > 0
}

// chosen is the namespace that a page is about: the one that was asked for, else the
// person's own; and those that can be chosen instead, in which they may use verb on
// resource.
func (c *call) chosen(verb, resource string) (namespace string, others []string, err error) {
	namespaces, err := c.namespaces()
	if err != nil {
		return "", nil, err
	}
	others = c.allowed(namespaces, verb, resource)
	asked := c.r.URL.Query().Get("namespace")
	if c.r.Method == http.MethodPost {
		asked = c.r.PostForm.Get("namespace")
	}
	switch {
	case asked != "":
		namespace = asked // the API decides
	case len(others) == 0 || slices.Contains(others, c.home()):
		namespace = c.home()
	default:
		namespace = others[0]
	}
	return namespace, others, nil
}

// namespaces that the person may look at.
func (c *call) namespaces() ([]string, error) {
	if c.spaces != nil {
		return c.spaces, nil
	}
	var answer struct {
		Namespaces []string `json:"namespaces"`
	}
	err := c.Get("namespaces", &answer)
	if isStatus(err, http.StatusForbidden) {
		answer.Namespaces, err = []string{c.home()}, nil
	}
	if err == nil {
		c.spaces = answer.Namespaces
	}
	return answer.Namespaces, err
}
