// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// maxRefs is how many branches, and how many tags, a page lists.
const maxRefs = 100

// choosePage offers what an application can be brought to.
type choosePage struct {
	App  *v1alpha1.Application
	Base string // path of the application's page
	// Groups are commits, branches and tags.
	Groups []choiceGroup
	// Trouble says why branches and tags are not known.
	Trouble string
}

type choiceGroup struct {
	Key     string // of the heading
	Choices []choice
	// More is how many there are besides.
	More int
}

// choice is a commit, a branch or a tag. Value is what is asked for.
type choice struct {
	Value, Name, Commit, Subject string
	Runs                         bool
}

// Title implements titled.
func (p *choosePage) Title(c *call) string { return c.T("choose.title") + " · " + p.App.Name }

// Crumbs implements crumbed.
func (p *choosePage) Crumbs(c *call) []crumb { return c.ofApp(p.App.Namespace, p.App.Name) }

// choose is GET …/applications/{name}/choose.
func (s *Server) choose(c *call) error {
	ns, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	app := &v1alpha1.Application{}
	if err := c.Get(inNamespace(ns, "applications", name), app); err != nil {
		return err
	}
	page := &choosePage{App: app, Base: appURL(ns, name)}
	if st := app.Status.Update; st != nil {
		group := choiceGroup{Key: "choose.commits"}
		for _, change := range st.Changes {
			group.Choices = append(group.Choices, choice{Value: change.Commit, Commit: change.Commit, Subject: change.Subject})
		}
		page.add(group)
	}
	var refs struct {
		Items []struct{ Name, Kind, Commit string }
	}
	if err := c.Get(inNamespace(ns, "applications", name, "refs"), &refs); err != nil {
		if len(page.Groups) == 0 || !isProblem(err) {
			return err
		}
		page.Trouble = problemText(err)
	}
	for _, kind := range []string{"Tag", "Branch"} {
		group := choiceGroup{Key: "choose." + strings.ToLower(kind)}
		for _, ref := range refs.Items {
			if ref.Kind == kind {
				group.Choices = append(group.Choices, choice{Value: wanted(ref.Name, ref.Commit), Name: ref.Name, Commit: ref.Commit, Runs: ref.Commit == app.Status.Commit})
			}
		}
		page.add(group)
	}
	return c.render("choose", page)
}

// askable is what a request can name a branch or a tag by, as the definition of its
// commit says.
var askable = regexp.MustCompile(`^[A-Za-z0-9_./@+][A-Za-z0-9_./@+-]*$`)

// wanted is what is asked for to get a branch or a tag: its commit, if a request cannot
// have its name.
func wanted(name, commit string) string {
	if !askable.MatchString(name) {
		return commit
	}
	return name
}

// add adds a group, unless it is empty, as far as it can be looked through.
func (p *choosePage) add(g choiceGroup) {
	if len(g.Choices) == 0 {
		return
	}
	if g.More = len(g.Choices) - maxRefs; g.More > 0 {
		g.Choices = slices.Clip(g.Choices[:maxRefs])
	}
	p.Groups = append(p.Groups, g)
}
