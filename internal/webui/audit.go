// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"net/http"
	"net/url"
	"time"
)

// auditPage is who did what.
type auditPage struct {
	Entries []struct {
		Time                               time.Time
		ID, Via, Who, From, Verb, Resource string
		Namespace, Name, Reason            string
		Status                             int
	}
	Next string
	// All says that it is about all namespaces; otherwise about Namespace.
	All       bool
	Namespace string
	// The filters.
	Who, Verb, Resource, Name string
	Refused                   bool
	// Daemon says that what the daemon did in the course of its work is shown too.
	Daemon bool
	Query  url.Values `json:"-"`
}

// Verbs and Resources are offered as filters.
func (*auditPage) Verbs() []string {
	return []string{"create", "update", "patch", "delete", "get", "authenticate"}
}

// Resources that lines are about.
func (*auditPage) Resources() []string {
	return []string{"updaterequests", "applications", "tokens", "serviceaccounts", "rolebindings", "secrets", "backups/download"}
}

// Older is the path of the next page.
func (p *auditPage) Older() string {
	q := url.Values{}
	for key, values := range p.Query {
		q[key] = values
	}
	q.Set("before", p.Next)
	return Prefix + "audit?" + q.Encode()
}

// audit is GET /ui/audit.
func (s *Server) audit(c *call) error {
	given := c.r.URL.Query()
	q := url.Values{"limit": {"50"}}
	page := &auditPage{Namespace: c.home(), Query: url.Values{}}
	for key, into := range map[string]*string{"who": &page.Who, "verb": &page.Verb, "resource": &page.Resource, "name": &page.Name} {
		if *into = given.Get(key); *into != "" {
			q.Set(key, *into)
			page.Query.Set(key, *into)
		}
	}
	if page.Refused = given.Get("refused") != ""; page.Refused {
		q.Set("refused", "true")
		page.Query.Set("refused", "true")
	}
	// Who asks for somebody by name finds the daemon, too.
	if page.Daemon = given.Get("daemon") != ""; page.Daemon {
		page.Query.Set("daemon", "true")
	} else if page.Who == "" {
		q.Set("people", "true")
	}
	if before := given.Get("before"); before != "" {
		q.Set("before", before)
	}
	// Of everything, if the person may; otherwise of their own namespace.
	err := c.Get("audit?"+q.Encode(), page)
	page.All = err == nil
	if isStatus(err, http.StatusForbidden) {
		err = c.Get(inNamespace(page.Namespace, "audit")+"?"+q.Encode(), page)
	}
	if err != nil {
		return err
	}
	return c.render("audit", page)
}
