// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// settingsPage is the spec of an Application, as a form or as YAML.
type settingsPage struct {
	Namespace, App string
	May            bool
	YAML           bool
	Groups         []settingsGroup
	Text           string // the YAML
	// services that are shown on their own in the form.
	services []string
	// written are the items of each list, in the order in which they are sent.
	written map[string]sentList
	// Generation is that of the spec that was shown: it changes with the spec only,
	// while the object's version also changes with every look at what runs.
	Generation int64
	// Error is what is wrong in all, Errors what is in no field of the form.
	Error  string
	Errors []string
	// Conflict says that somebody else changed the settings meanwhile, Checked that
	// they would be accepted, Saved that they were.
	Conflict, Checked, Saved bool
	// Edited says that rows were added or removed, and nothing was saved yet.
	Edited bool
}

func (p *settingsPage) Title(c *call) string { return c.T("settings.title") + " · " + p.App }

func (p *settingsPage) Crumbs(c *call) []crumb { return c.ofApp(p.Namespace, p.App) }

// URL of the page.
func (p *settingsPage) URL() string { return appURL(p.Namespace, p.App) + "/settings" }

// object is an Application as the API has it.
type object map[string]any

func (o object) spec() map[string]any {
	spec, _ := o["spec"].(map[string]any)
	return spec
}

func (o object) generation() int64 {
	meta, _ := o["metadata"].(map[string]any)
	n, _ := meta["generation"].(float64)
	return int64(n)
}

// Services are those that the application has, as it runs.
func (p *settingsPage) Services() []string { return p.services }

// services are those that the application has, as it runs.
func (o object) services() []string {
	list, _, _ := unstructured.NestedSlice(o, "status", "services")
	var names []string
	for _, item := range list {
		if s, ok := item.(map[string]any); ok {
			names = append(names, nameIn(s))
		}
	}
	return names
}

func (c *call) settingsOf() (*settingsPage, object, error) {
	ns, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	page := &settingsPage{Namespace: ns, App: name, May: c.May(ns, "update", "applications")}
	var o object
	if err := c.Get(inNamespace(ns, "applications", name), &o); err != nil {
		return nil, nil, err
	}
	page.Generation, page.services = o.generation(), o.services()
	return page, o, nil
}

// settings is GET …/applications/NAME/settings.
func (s *Server) settings(c *call) error {
	page, o, err := c.settingsOf()
	if err != nil {
		return err
	}
	page.Saved = c.r.URL.Query().Get("saved") != ""
	if page.YAML = c.r.URL.Query().Get("as") == "yaml"; page.YAML {
		page.Text, err = textOf(o)
	} else {
		page.fill(o.spec())
	}
	if err != nil {
		return err
	}
	return c.render("settings", page)
}

// textOf is the part of an object that people write, as YAML.
func textOf(o object) (string, error) {
	text, err := yaml.Marshal(map[string]any{"spec": o.spec()})
	return string(text), err
}

// saveSettings is POST …/applications/NAME/settings: with "check", a trial.
func (s *Server) saveSettings(c *call) error {
	page, o, err := c.settingsOf()
	if err != nil {
		return err
	}
	f := c.r.PostForm
	shown, _ := strconv.ParseInt(f.Get("generation"), 10, 64)
	page.YAML = f.Get("as") == "yaml"
	fits := true
	if page.YAML {
		page.Text = strings.ReplaceAll(f.Get("text"), "\r\n", "\n")
		var typed struct {
			Spec map[string]any `json:"spec"`
		}
		if err := yaml.UnmarshalStrict([]byte(page.Text), &typed); err != nil {
			page.Error, fits = err.Error(), false
		} else if typed.Spec == nil {
			page.Error, fits = c.T("settings.nospec"), false
		}
		o["spec"] = typed.Spec
	} else {
		fits = page.read(f.Get, o.spec())
		if page.edit(f.Get("do")) {
			return c.render("settings", page)
		}
	}
	status := http.StatusOK
	switch {
	case !fits:
		status = http.StatusUnprocessableEntity
	case shown != page.Generation:
		// What was typed is shown again; the version stays that which it was typed for.
		page.Conflict, page.Generation, status = true, shown, http.StatusConflict
	default:
		delete(o, "status")
		trial := f.Get("do") == "check"
		path := inNamespace(page.Namespace, "applications", page.App)
		if trial {
			path += "?dryRun=true"
		}
		err := c.replace(path, o)
		var problem *Problem
		switch {
		case errors.As(err, &problem) && (problem.Status == http.StatusUnprocessableEntity || problem.Status == http.StatusBadRequest):
			page.place(problem)
			status = http.StatusUnprocessableEntity
		case isStatus(err, http.StatusConflict):
			page.Conflict, status = true, http.StatusConflict
		case err != nil:
			return err
		case trial:
			page.Checked = true
		default:
			to := page.URL() + "?saved=1"
			if page.YAML {
				to += "&as=yaml"
			}
			return c.redirect(to)
		}
	}
	c.renderStatus(status, "settings", page)
	return nil
}

// replace puts an object in the place of one with the same settings. The object's
// version also changes with every look at what runs, which is no conflict: then it
// is tried again.
func (c *call) replace(path string, o object) error {
	const tries = 5
	for i := 1; ; i++ {
		err := c.Do(http.MethodPut, path, o, nil)
		if i == tries || !isStatus(err, http.StatusConflict) {
			return err
		}
		var now object
		if err := c.Get(strings.TrimSuffix(path, "?dryRun=true"), &now); err != nil {
			return err
		}
		if now.generation() != o.generation() {
			return err
		}
		o["metadata"] = now["metadata"]
	}
}
