// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/forecast"
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
	// Notable are the checks that failed or warn.
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

// Refresh implements passingPage.
func (p *planPage) Refresh() int { return refreshWhile(p.Running) }

// refreshWhile is how often a page about what runs is loaded anew without scripts.
func refreshWhile(running bool) int {
	if running {
		return 5
	}
	return 0
}

// wish reads what a form asks for.
func wish(form url.Values, app string) (v1alpha1.UpdateRequestSpec, error) {
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
	var err error
	spec.Variables, err = variablesIn(form.Get("variables"))
	return spec, err
}

// variablesIn reads NAME=VALUE, one in a line.
func variablesIn(text string) (map[string]string, error) {
	var out map[string]string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, refused(http.StatusUnprocessableEntity, "error.variables")
		}
		if out == nil {
			out = map[string]string{}
		}
		out[name] = value
	}
	return out, nil
}

// Failures are the checks that failed, if they tell all that the request's message does.
func (p *planPage) Failures() []v1alpha1.CheckResult {
	failed, _ := p.parted()
	if slices.ContainsFunc(failed, func(c v1alpha1.CheckResult) bool {
		return c.Message != "" && strings.HasSuffix(p.Request.Status.Message, c.Message)
	}) {
		return failed
	}
	return nil
}

// Warnings are the notable checks that are not among the Failures.
func (p *planPage) Warnings() []v1alpha1.CheckResult {
	if len(p.Failures()) == 0 {
		return p.Notable
	}
	_, warn := p.parted()
	return warn
}

func (p *planPage) parted() (failed, warn []v1alpha1.CheckResult) {
	for _, c := range p.Notable {
		if c.Result == "Failed" {
			failed = append(failed, c)
		} else {
			warn = append(warn, c)
		}
	}
	return failed, warn
}

// Variables are those of the request, as variablesIn reads them.
func (p *planPage) Variables() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p.Request.Spec.Variables)) {
		b.WriteString(name + "=" + p.Request.Spec.Variables[name] + "\n")
	}
	return b.String()
}

// diskRow is what is expected of one file system.
type diskRow struct {
	v1alpha1.DiskForecast
	// Needed is the sum of what is known, and Left what stays free.
	Needed, Left int64
	Tone         string
}

// Disks are the forecasts of those file systems that something is written to.
func (p *planPage) Disks() []diskRow { return diskRows(p.Request.Status.Plan) }

func diskRows(plan *v1alpha1.UpdatePlan) []diskRow {
	if plan == nil {
		return nil
	}
	var rows []diskRow
	for _, d := range plan.Disk {
		if len(d.Needs) == 0 {
			continue
		}
		row := diskRow{DiskForecast: d, Needed: forecast.Needed(d.Needs), Tone: "good"}
		row.Left = max(0, d.Free-row.Needed)
		if row.Needed > d.Free {
			row.Tone = "bad"
		}
		rows = append(rows, row)
	}
	return rows
}

// requestBody is a request as the API takes it.
type requestBody struct {
	Spec v1alpha1.UpdateRequestSpec `json:"spec"`
}

// makePlan is POST …/applications/{name}/plan: a dry run, whose page says what it
// has found out.
func (s *Server) makePlan(c *call) error {
	namespace, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	spec, err := wish(c.r.PostForm, name)
	if err != nil {
		return err
	}
	var ur v1alpha1.UpdateRequest
	// It does not wait here: the page does.
	if err := c.Post(inNamespace(namespace, "plan")+"?wait=0s", requestBody{spec}, &ur); err != nil {
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
		if check.Result != "Passed" && check.Result != "Skipped" {
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
	spec, err := wish(c.r.PostForm, name)
	if err != nil {
		return err
	}
	var ur v1alpha1.UpdateRequest
	if err := c.Post(inNamespace(namespace, "requests"), requestBody{spec}, &ur); err != nil {
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
