// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"net/url"
	"strings"
)

// shownLines is how many of the last lines of a container are shown.
const shownLines = "500"

// logsPage is what a container of a service wrote last.
type logsPage struct {
	Namespace, App, Service string
	Lines                   []string
}

func (p *logsPage) Title(*call) string { return p.Service + " · " + p.App }

func (p *logsPage) Crumbs(c *call) []crumb { return c.ofApp(p.Namespace, p.App) }

// URL of the page.
func (p *logsPage) URL() string {
	return appURL(p.Namespace, p.App) + "/logs/" + url.PathEscape(p.Service)
}

func (c *call) containerLog(tail string) string {
	q := url.Values{"service": {c.r.PathValue("service")}, "tail": {tail}, "timestamps": {"true"}}
	return inNamespace(c.r.PathValue("namespace"), "applications", c.r.PathValue("name"), "log") + "?" + q.Encode()
}

// logs is GET …/applications/NAME/logs/SERVICE.
func (s *Server) logs(c *call) error {
	page := &logsPage{Namespace: c.r.PathValue("namespace"), App: c.r.PathValue("name"), Service: c.r.PathValue("service")}
	var text []byte
	if err := c.Get(c.containerLog(shownLines), &text); err != nil {
		return err
	}
	if t := strings.TrimSuffix(string(text), "\n"); t != "" {
		page.Lines = strings.Split(t, "\n")
	}
	return c.render("logs", page)
}

// downloadLogs is GET …/applications/NAME/logs/SERVICE/text.
func (s *Server) downloadLogs(c *call) error {
	return c.passOn(c.containerLog("-1"), "container.log")
}
