// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"net/url"
	"strings"
)

// shownLines is how many of the last lines of a container a page begins with.
const shownLines = "500"

// logsPage is what a container of a service writes.
type logsPage struct {
	Namespace, App, Service string
	// Container by name, if one of several was chosen.
	Container string
	// Plain is the end of the log, for pages without scripts.
	Plain string
}

func (p *logsPage) Title(*call) string { return p.Name() + " · " + p.App }

func (p *logsPage) Crumbs(c *call) []crumb { return c.ofApp(p.Namespace, p.App) }

// Name of what writes.
func (p *logsPage) Name() string {
	if p.Container != "" {
		return p.Container
	}
	return p.Service
}

// URL of the page, with or without a part of it.
func (p *logsPage) URL(part string) string {
	u := appURL(p.Namespace, p.App) + "/logs/" + url.PathEscape(p.Service) + part
	if p.Container != "" {
		u += "?" + url.Values{"container": {p.Container}}.Encode()
	}
	return u
}

// Stream implements livePage.
func (p *logsPage) Stream() string { return p.URL("/events") }

// containerLog is the path of the API that has the log, with what else is asked for.
func (c *call) containerLog(part string, q url.Values) string {
	q.Set("service", c.r.PathValue("service"))
	if container := c.r.URL.Query().Get("container"); container != "" {
		q.Set("container", container)
	}
	return inNamespace(c.r.PathValue("namespace"), "applications", c.r.PathValue("name"), "log") + part + "?" + q.Encode()
}

// logs is GET …/applications/NAME/logs/SERVICE.
func (s *Server) logs(c *call) error {
	page := &logsPage{Namespace: c.r.PathValue("namespace"), App: c.r.PathValue("name"), Service: c.r.PathValue("service"), Container: c.r.URL.Query().Get("container")}
	var text []byte
	if err := c.Get(c.containerLog("", url.Values{"tail": {"200"}, "timestamps": {"true"}}), &text); err != nil {
		return err
	}
	if !c.live() {
		page.Plain = stripANSI(strings.TrimSuffix(string(text), "\n"))
	}
	return c.render("logs", page)
}

// logEvents is GET …/applications/NAME/logs/SERVICE/events. When a container has
// ended, the browser comes back for the one that takes its place.
func (s *Server) logEvents(c *call) error {
	return c.stream(source{path: c.containerLog("/events", url.Values{"tail": {shownLines}}), raw: true, again: true})
}

// downloadLogs is GET …/applications/NAME/logs/SERVICE/text.
func (s *Server) downloadLogs(c *call) error {
	return c.passOn(c.containerLog("", url.Values{"tail": {"-1"}, "timestamps": {"true"}}), "container.log")
}
