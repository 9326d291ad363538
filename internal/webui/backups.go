// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/httpapi"
)

// backupsPage is the backups of an application.
type backupsPage struct {
	Namespace, App string
	Backups        []v1alpha1.Backup
	Bytes          int64
	Chart          chart
	// Running is the request that makes one, or goes back to one.
	Running                      *v1alpha1.UpdateRequest
	RunningURL                   string
	MayMake, MayDownload, MayUse bool
}

func (p *backupsPage) Title(c *call) string { return c.T("backups.title") + " · " + p.App }

func (p *backupsPage) Crumbs(c *call) []crumb { return c.ofApp(p.Namespace, p.App) }

// Stream implements livePage.
func (p *backupsPage) Stream() string {
	return appURL(p.Namespace, p.App) + "/backups/events"
}

// backups is GET …/applications/NAME/backups.
func (s *Server) backups(c *call) error {
	ns, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	var app v1alpha1.Application
	if err := c.Get(inNamespace(ns, "applications", name), &app); err != nil {
		return err
	}
	var list v1alpha1.BackupList
	if err := c.Get(inNamespace(ns, "backups")+"?application="+url.QueryEscape(name), &list); err != nil {
		return err
	}
	may := c.May(ns, "create", "updaterequests")
	page := &backupsPage{Namespace: ns, App: name, Backups: list.Items, MayMake: may, MayUse: may, MayDownload: c.May(ns, "get", "backups/download")}
	slices.SortFunc(page.Backups, func(a, b v1alpha1.Backup) int { return cmp.Compare(b.Spec.ID, a.Spec.ID) })
	var f figures
	for _, b := range slices.Backward(page.Backups) {
		page.Bytes += b.Status.Bytes
		if b.Status.CompletedAt != nil {
			f.Backups = append(f.Backups, backupFigure{b.Name, b.Status.CompletedAt.Time, b.Status.Bytes})
		}
	}
	page.Chart = c.backupChart(&f)
	if active := app.Status.ActiveRequest; active != "" {
		var ur v1alpha1.UpdateRequest
		if err := c.Get(inNamespace(ns, "requests", active), &ur); err == nil && ur.Status.FinishedAt == nil {
			page.Running, page.RunningURL = &ur, updateURL(ns, active)
		}
	}
	return c.render("backups", page)
}

// backupEvents is GET …/applications/NAME/backups/events.
func (s *Server) backupEvents(c *call) error {
	return c.stream(source{path: inNamespace(c.r.PathValue("namespace"), "events") + "?application=" + url.QueryEscape(c.r.PathValue("name")), untilSynced: true})
}

// ask creates an UpdateRequest.
func (c *call) ask(namespace string, spec v1alpha1.UpdateRequestSpec) (string, error) {
	var made v1alpha1.UpdateRequest
	err := c.Post(inNamespace(namespace, "requests"), map[string]any{"spec": spec}, &made)
	return made.Name, err
}

// makeBackup is POST …/applications/NAME/backups.
func (s *Server) makeBackup(c *call) error {
	ns, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	request, err := c.ask(ns, v1alpha1.UpdateRequestSpec{ApplicationRef: v1alpha1.LocalReference{Name: name}, BackupOnly: true})
	if err != nil {
		return err
	}
	return c.redirect(updateURL(ns, request))
}

// restorePage asks before an application goes back to a backup.
type restorePage struct {
	Namespace, App string
	Backup         v1alpha1.Backup
	// Plan is the dry run that says what would be overwritten, if it was asked for.
	Plan *v1alpha1.UpdateRequest
	// Wrong says that another name was typed.
	Wrong bool
	Typed string
	May   bool
}

func (p *restorePage) Title(c *call) string { return c.T("restore.title") + " · " + p.App }

func (p *restorePage) Crumbs(c *call) []crumb {
	return append(c.ofApp(p.Namespace, p.App), crumb{Text: c.T("backups.title"), URL: appURL(p.Namespace, p.App) + "/backups"})
}

// Stream implements livePage: while the dry run goes on, and nothing is typed that
// another page would not have.
func (p *restorePage) Stream() string {
	if !p.Planning() || p.Wrong {
		return ""
	}
	return updateURL(p.Namespace, p.Plan.Name) + "/status"
}

// URL of the page.
func (p *restorePage) URL() string { return backupURL(p.Namespace, p.Backup.Name) + "/restore" }

// Planning says that the dry run has not come to its end.
func (p *restorePage) Planning() bool { return p.Plan != nil && p.Plan.Status.FinishedAt == nil }

// Possible says that the dry run found nothing in the way.
func (p *restorePage) Possible() bool {
	return p.Plan != nil && p.Plan.Status.Phase == v1alpha1.PhaseSucceeded && p.Plan.Status.Plan != nil
}

func backupURL(namespace, name string) string {
	return Prefix + inNamespace(namespace, "backups", name)
}

func (c *call) restoreOf() (*restorePage, error) {
	ns, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	page := &restorePage{Namespace: ns, May: c.May(ns, "create", "updaterequests")}
	if err := c.Get(inNamespace(ns, "backups", name), &page.Backup); err != nil {
		return nil, err
	}
	page.App = page.Backup.Spec.ApplicationRef.Name
	plan := c.r.URL.Query().Get("plan")
	if plan == "" {
		plan = c.r.PostForm.Get("plan")
	}
	if plan != "" {
		var ur v1alpha1.UpdateRequest
		if err := c.Get(inNamespace(ns, "requests", plan), &ur); err != nil && !isStatus(err, http.StatusNotFound) {
			return nil, err
		}
		if ur.Spec.DryRun && ur.Spec.RestoreFrom != nil && ur.Spec.RestoreFrom.Name == name {
			page.Plan = &ur
		}
	}
	return page, nil
}

// showRestore is GET …/backups/NAME/restore.
func (s *Server) showRestore(c *call) error {
	page, err := c.restoreOf()
	if err != nil {
		return err
	}
	return c.render("restore", page)
}

// planRestore is POST …/backups/NAME/restore/plan: a dry run.
func (s *Server) planRestore(c *call) error {
	page, err := c.restoreOf()
	if err != nil {
		return err
	}
	var made v1alpha1.UpdateRequest
	spec := v1alpha1.UpdateRequestSpec{ApplicationRef: v1alpha1.LocalReference{Name: page.App}, RestoreFrom: &v1alpha1.LocalReference{Name: page.Backup.Name}}
	if err := c.Post(inNamespace(page.Namespace, "plan")+"?wait=30s", map[string]any{"spec": spec}, &made); err != nil {
		return err
	}
	return c.redirect(page.URL() + "?plan=" + url.QueryEscape(made.Name))
}

// restore is POST …/backups/NAME/restore. The application's name must have been
// typed.
func (s *Server) restore(c *call) error {
	page, err := c.restoreOf()
	if err != nil {
		return err
	}
	page.Typed = strings.TrimSpace(c.r.PostForm.Get("confirm"))
	if page.Typed != page.App {
		page.Wrong = true
		c.renderStatus(http.StatusUnprocessableEntity, "restore", page)
		return nil
	}
	request, err := c.ask(page.Namespace, v1alpha1.UpdateRequestSpec{
		ApplicationRef: v1alpha1.LocalReference{Name: page.App}, RestoreFrom: &v1alpha1.LocalReference{Name: page.Backup.Name},
	})
	if err != nil {
		return err
	}
	return c.redirect(updateURL(page.Namespace, request))
}

// downloadBackup is GET …/backups/NAME/download.
func (s *Server) downloadBackup(c *call) error {
	return c.passOn(inNamespace(c.r.PathValue("namespace"), "backups", c.r.PathValue("name"), "download"), "")
}

// passOn answers with what the API answers, as it comes; as a file of that name, if
// there is one. path is below /api/v1/. An error becomes a page, and no file.
func (c *call) passOn(path, file string) error {
	r, err := http.NewRequestWithContext(c.Context(), http.MethodGet, httpapi.Prefix+path, http.NoBody)
	if err != nil {
		return err
	}
	r.RemoteAddr, r.RequestURI = c.r.RemoteAddr, r.URL.RequestURI()
	r.Header.Set("Authorization", "Bearer "+c.Session.Token)
	answer := &passing{w: c.w, kept: recorder{header: http.Header{}}}
	if file != "" {
		answer.kept.header.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", file))
	}
	c.s.opts.API.ServeHTTP(answer, r)
	if answer.kept.status >= http.StatusBadRequest {
		return problemOf(&answer.kept)
	}
	return nil
}

// passing passes an answer on, unless it is an error, which it keeps.
type passing struct {
	w    http.ResponseWriter
	kept recorder
}

// Header implements http.ResponseWriter.
func (p *passing) Header() http.Header { return p.kept.header }

// WriteHeader implements http.ResponseWriter.
func (p *passing) WriteHeader(status int) {
	if p.kept.status != 0 {
		return
	}
	p.kept.status = status
	if status < http.StatusBadRequest {
		for key, values := range p.kept.header {
			p.w.Header()[key] = values
		}
		p.w.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (p *passing) Write(data []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	if p.kept.status >= http.StatusBadRequest {
		return p.kept.Write(data)
	}
	return p.w.Write(data)
}

// Unwrap is for http.ResponseController.
func (p *passing) Unwrap() http.ResponseWriter { return p.w }
