// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// historyLength is how many of an application's updates its page lists.
const historyLength = 10

// applicationPage is one application.
type applicationPage struct {
	App      *v1alpha1.Application
	Base     string // path of this page
	Troubles []string
	Active   *updateRow
	Progress int
	Releases []*releaseRow
	Updates  []*updateRow
	// Repository is the page of the source, if it has one.
	Repository string
	// Checked says that somebody has just asked for a look at the source.
	Checking bool

	MayUpdate, MayCheck, MayTokens bool
}

// Title implements titled.
func (p *applicationPage) Title(*call) string { return p.App.Name }

// Crumbs implements crumbed.
func (p *applicationPage) Crumbs(c *call) []crumb {
	return []crumb{{Text: c.T("nav.overview"), URL: Prefix}}
}

// Stream implements livePage.
func (p *applicationPage) Stream() string { return p.Base + "/events" }

// releaseRow is a release in the history.
type releaseRow struct {
	*v1alpha1.Release
	Current, Usable bool
}

// updateRow is an update in a list.
type updateRow struct {
	*v1alpha1.UpdateRequest
	URL string
}

// By is who asked for the update, or what.
func (r *updateRow) By() string { return requestedBy(r.UpdateRequest) }

func requestedBy(ur *v1alpha1.UpdateRequest) string {
	return person(cmp.Or(ur.Annotations[v1alpha1.AnnotationRequestedBy], ur.Annotations[v1alpha1.AnnotationTrigger]))
}

// application is GET /ui/namespaces/{namespace}/applications/{name}.
func (s *Server) application(c *call) error {
	namespace, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	app := &v1alpha1.Application{}
	if err := c.Get(inNamespace(namespace, "applications", name), app); err != nil {
		return err
	}
	page := &applicationPage{
		App: app, Base: appURL(namespace, name), Troubles: c.troubles(app), Repository: repositoryPage(app.Spec.Source.URL),
		MayUpdate: c.May(namespace, "create", "updaterequests"), MayCheck: c.May(namespace, "patch", "applications"),
		MayTokens: c.May(namespace, "list", "serviceaccounts"),
	}
	if asked := app.Annotations[v1alpha1.AnnotationCheck]; asked != "" {
		page.Checking = app.Status.Update == nil || app.Status.Update.HandledCheck != asked
	}
	of := "?application=" + url.QueryEscape(name)
	var releases v1alpha1.ReleaseList
	if err := c.Get(inNamespace(namespace, "releases")+of, &releases); err != nil && !isStatus(err, http.StatusForbidden) {
		return err
	}
	page.Releases = releaseRows(app, releases.Items)
	requests, err := c.requestsOf(namespace, name)
	if err != nil {
		return err
	}
	for i := range requests {
		ur := &requests[i]
		row := &updateRow{UpdateRequest: ur, URL: updateURL(namespace, ur.Name)}
		if ur.Name == app.Status.ActiveRequest && !ur.Spec.DryRun {
			page.Active, page.Progress = row, progressOf(ur)
		}
		if !ur.Spec.DryRun && len(page.Updates) < historyLength {
			page.Updates = append(page.Updates, row)
		}
	}
	return c.render("application", page)
}

// requestsOf are the requests of an application, newest first; none if the person
// may not look at them.
func (c *call) requestsOf(namespace, app string) ([]v1alpha1.UpdateRequest, error) {
	var list v1alpha1.UpdateRequestList
	err := c.Get(inNamespace(namespace, "requests")+"?application="+url.QueryEscape(app), &list)
	if isStatus(err, http.StatusForbidden) {
		return nil, nil
	}
	slices.SortStableFunc(list.Items, func(a, b v1alpha1.UpdateRequest) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), strings.Compare(b.Status.ID, a.Status.ID))
	})
	return list.Items, err
}

func releaseRows(app *v1alpha1.Application, releases []v1alpha1.Release) []*releaseRow {
	slices.SortFunc(releases, func(a, b v1alpha1.Release) int { return cmp.Compare(b.Spec.Number, a.Spec.Number) })
	var rows []*releaseRow
	for i := range releases {
		r := &releases[i]
		current := r.Name == app.Status.Release
		rows = append(rows, &releaseRow{Release: r, Current: current, Usable: !current && r.Status.State != v1alpha1.ReleaseExpired})
	}
	return rows
}

// repositoryPage is the web page of a repository: its own address, if that is one
// of a web page.
func repositoryPage(source string) string {
	u, err := url.Parse(source)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return ""
	}
	u.User = nil
	u.Path = strings.TrimSuffix(u.Path, ".git")
	return u.String()
}

// applicationEvents is GET …/applications/{name}/events.
func (s *Server) applicationEvents(c *call) error {
	namespace, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	return c.stream(source{path: inNamespace(namespace, "events") + "?application=" + url.QueryEscape(name), untilSynced: true})
}

// checkNow is POST …/applications/{name}/check.
func (s *Server) checkNow(c *call) error {
	namespace, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	if err := c.Post(inNamespace(namespace, "applications", name, "check"), nil, nil); err != nil {
		return err
	}
	return c.redirect(appURL(namespace, name))
}
