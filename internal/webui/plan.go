// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
)

// planPage shows what an update would do, before it is asked for.
type planPage struct {
	Request *v1alpha1.UpdateRequest
	AppURL  string
	Action  string // where the update is asked for
	Running bool
	Failed  bool
	Reason  string
	// Release that is gone back to, if one is.
	Release *v1alpha1.Release
	// Notable are the checks that did not pass.
	Notable   []v1alpha1.CheckResult
	Unchanged bool
	MayUpdate bool
}

// Title implements titled.
func (p *planPage) Title(c *call) string {
	return c.T("plan.title", "name", p.Request.Spec.ApplicationRef.Name)
}

// Crumbs implements crumbed.
func (p *planPage) Crumbs(c *call) []crumb {
	return []crumb{{Text: c.T("nav.overview"), URL: Prefix}, {Text: p.Request.Spec.ApplicationRef.Name, URL: p.AppURL}}
}

// Stream implements livePage.
func (p *planPage) Stream() string {
	if !p.Running {
		return ""
	}
	return updateURL(p.Request.Namespace, p.Request.Name) + "/status"
}

// wish reads what a form asks for.
func wish(form url.Values, app string) v1alpha1.UpdateRequestSpec {
	spec := v1alpha1.UpdateRequestSpec{ApplicationRef: v1alpha1.LocalReference{Name: app}, Commit: strings.TrimSpace(form.Get("commit")),
		Force: form.Get("force") != "", Retry: form.Get("retry") != ""}
	if to := form.Get("rollbackTo"); to != "" {
		spec.RollbackTo = &v1alpha1.LocalReference{Name: to}
	}
	for _, p := range strings.FieldsFunc(form.Get("profiles"), func(r rune) bool { return r == ',' || r == ' ' }) {
		if !slices.Contains(spec.Profiles, p) {
			spec.Profiles = append(spec.Profiles, p)
		}
	}
	return spec
}

// requestBody is a request as the API takes it.
type requestBody struct {
	Spec v1alpha1.UpdateRequestSpec `json:"spec"`
}

// makePlan is POST …/applications/{name}/plan: a dry run, whose page says what it
// has found out.
func (s *Server) makePlan(c *call) error {
	namespace, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	var ur v1alpha1.UpdateRequest
	// It does not wait here: the page does.
	if err := c.Post(inNamespace(namespace, "plan")+"?wait=0s", requestBody{wish(c.r.PostForm, name)}, &ur); err != nil {
		return err
	}
	return c.redirect(Prefix + inNamespace(namespace, "plans", ur.Name))
}

// plan is GET /ui/namespaces/{namespace}/plans/{name}.
func (s *Server) plan(c *call) error {
	namespace, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	ur := &v1alpha1.UpdateRequest{}
	if err := c.Get(inNamespace(namespace, "requests", name), ur); err != nil {
		return err
	}
	if !ur.Spec.DryRun {
		return c.redirect(updateURL(namespace, name))
	}
	app := ur.Spec.ApplicationRef.Name
	page := &planPage{Request: ur, AppURL: appURL(namespace, app), Action: appURL(namespace, app) + "/update",
		Running: !requestwatch.Ended(ur), Failed: requestwatch.Ended(ur) && ur.Status.Phase != v1alpha1.PhaseSucceeded, Reason: reasonOf(ur),
		MayUpdate: c.May(namespace, "create", "updaterequests")}
	if to := ur.Spec.RollbackTo; to != nil {
		page.Release = &v1alpha1.Release{}
		err := c.Get(inNamespace(namespace, "releases", to.Name), page.Release)
		if isStatus(err, http.StatusNotFound) || isStatus(err, http.StatusForbidden) {
			page.Release = nil
		} else if err != nil {
			return err
		}
	}
	for _, check := range ur.Status.Checks {
		if check.Result != "Passed" {
			page.Notable = append(page.Notable, check)
		}
	}
	if p := ur.Status.Plan; p != nil {
		page.Unchanged = !slices.ContainsFunc(p.Services, func(s v1alpha1.ServicePlan) bool { return s.Action != v1alpha1.ActionKeep })
	}
	return c.render("plan", page)
}

// Pinned is the commit that the plan is about, even if the branch moves on.
func (p *planPage) Pinned() string {
	if p.Request.Spec.RollbackTo != nil {
		return ""
	}
	if p.Request.Status.Commit != "" {
		return p.Request.Status.Commit
	}
	return p.Request.Spec.Commit
}

// update is POST …/applications/{name}/update: asks for the update.
func (s *Server) update(c *call) error {
	namespace, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	var ur v1alpha1.UpdateRequest
	if err := c.Post(inNamespace(namespace, "requests"), requestBody{wish(c.r.PostForm, name)}, &ur); err != nil {
		return err
	}
	return c.redirect(updateURL(namespace, ur.Name))
}

// reasonOf is the word for how a request ended.
func reasonOf(ur *v1alpha1.UpdateRequest) string {
	if ur.Status.Failure != nil {
		return ur.Status.Failure.Reason
	}
	if c := meta.FindStatusCondition(ur.Status.Conditions, v1alpha1.ConditionSucceeded); c != nil {
		return c.Reason
	}
	return ""
}
