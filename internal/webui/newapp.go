// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"errors"
	"net/http"
	"path"
	"regexp"
	"strings"
)

// newAppPage helps to make an Application of a directory on the host.
type newAppPage struct {
	Namespace string
	// Namespaces that can be chosen.
	Namespaces []string
	Candidates []candidate
	// Directory, Name and Ref as they were typed.
	Directory, Name, Ref string
	// Checked is what is known of the directory that was typed.
	Checked *candidate
	Error   string
}

// candidate is a directory that could become an Application.
type candidate struct {
	Project     string
	Directory   string
	Running     int
	Fit         bool
	Message     string
	Application string
}

// Name is one that an Application of it could have.
func (c candidate) Name() string {
	name := c.Project
	if name == "" {
		name = path.Base(c.Directory)
	}
	return nameOf(name)
}

// maxName is how long the name of an Application may be.
const maxName = 52

var noName = regexp.MustCompile(`[^a-z0-9]+`)

// nameOf makes a name that the API takes of any.
func nameOf(s string) string {
	name := strings.Trim(noName.ReplaceAllString(strings.ToLower(s), "-"), "-")
	return strings.TrimRight(name[:min(maxName, len(name))], "-")
}

func (c *call) newAppPage() (*newAppPage, error) {
	page := &newAppPage{}
	var err error
	if page.Namespace, page.Namespaces, err = c.chosen("create", "applications"); err != nil {
		return nil, err
	}
	var list struct{ Items []candidate }
	err = c.Get(inNamespace(page.Namespace, "candidates"), &list)
	if isStatus(err, http.StatusForbidden) {
		err = nil // the hosts are not for this person; a path can be typed
	}
	page.Candidates = list.Items
	return page, err
}

// newApp is GET /ui/new.
func (s *Server) newApp(c *call) error {
	page, err := c.newAppPage()
	if err != nil {
		return err
	}
	q := c.r.URL.Query()
	if page.Directory = q.Get("directory"); page.Directory != "" {
		page.Name = nameOf(path.Base(page.Directory))
		if name := q.Get("name"); name != "" {
			page.Name = nameOf(name)
		}
	}
	return c.render("new", page)
}

// makeApp is POST /ui/new: with "check", only the directory is looked at.
func (s *Server) makeApp(c *call) error {
	page, err := c.newAppPage()
	if err != nil {
		return err
	}
	f := c.r.PostForm
	page.Directory, page.Name, page.Ref = strings.TrimSpace(f.Get("directory")), strings.TrimSpace(f.Get("name")), strings.TrimSpace(f.Get("ref"))
	again := func(err error) error {
		var problem *Problem
		if errors.As(err, &problem) && (problem.Status == http.StatusUnprocessableEntity || problem.Status == http.StatusBadRequest || problem.Status == http.StatusConflict) {
			page.Error = problem.Text()
			c.renderStatus(problem.Status, "new", page)
			return nil
		}
		return err
	}
	checked := &candidate{}
	if err := c.Post(inNamespace(page.Namespace, "candidates"), map[string]any{"directory": page.Directory}, checked); err != nil {
		return again(err)
	}
	page.Checked = checked
	if page.Name == "" {
		page.Name = checked.Name()
	}
	if f.Get("do") == "check" || !checked.Fit {
		status := http.StatusOK
		if !checked.Fit {
			status = http.StatusUnprocessableEntity
		}
		c.renderStatus(status, "new", page)
		return nil
	}
	spec := map[string]any{"compose": map[string]any{"directory": checked.Directory}}
	if page.Ref != "" {
		spec["source"] = map[string]any{"ref": page.Ref}
	}
	body := map[string]any{"metadata": map[string]any{"name": page.Name}, "spec": spec}
	if err := c.Post(inNamespace(page.Namespace, "applications"), body, nil); err != nil {
		return again(err)
	}
	return c.redirect(appURL(page.Namespace, page.Name))
}
