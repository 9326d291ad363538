// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// overviewPage is every application.
type overviewPage struct {
	Apps []*appCard
	// Namespaces that are looked at.
	Namespaces []string
	// Several says that applications of more than one namespace are shown.
	Several bool
	// Updates, Running and Troubled count applications.
	Updates, Running, Troubled int
	Denied                     []string // namespaces that may not be looked at
	// MayCreate says that the person may make an application.
	MayCreate bool
}

// maxSources bounds how many namespaces one stream of the overview is about.
const maxSources = 50

// Stream implements livePage.
func (p *overviewPage) Stream() string {
	q := url.Values{"namespace": p.Namespaces[:min(len(p.Namespaces), maxSources)]}
	return Prefix + "events?" + q.Encode()
}

// appCard is an application in the overview.
type appCard struct {
	*v1alpha1.Application
	URL string
	// Last is the request that ended last, Active the one that runs.
	Active    *v1alpha1.UpdateRequest
	ActiveURL string
	LastURL   string
	Backup    *metav1.Time
	Progress  int // of the active request, in percent
	Health    healthSummary
	Troubles  []string
}

// healthSummary counts services.
type healthSummary struct {
	Good, All int
	Tone      string
}

// overview is GET /ui/.
func (s *Server) overview(c *call) error {
	namespaces, err := c.namespaces()
	if err != nil {
		return err
	}
	page := &overviewPage{MayCreate: c.May(c.home(), "create", "applications")}
	found := map[string]bool{}
	for _, ns := range namespaces {
		cards, err := c.cards(ns)
		if isStatus(err, http.StatusForbidden) {
			page.Denied = append(page.Denied, ns)
			continue
		}
		if err != nil {
			return err
		}
		if len(cards) > 0 {
			found[ns] = true
		}
		page.Namespaces = append(page.Namespaces, ns)
		page.Apps = append(page.Apps, cards...)
	}
	if len(page.Denied) == len(namespaces) && len(namespaces) > 0 {
		return refused(http.StatusForbidden, "error.noview")
	}
	page.Several = len(found) > 1
	slices.SortStableFunc(page.Apps, func(a, b *appCard) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, a := range page.Apps {
		if a.Status.Update != nil && a.Status.Update.Available {
			page.Updates++
		}
		if a.Active != nil {
			page.Running++
		}
		if len(a.Troubles) > 0 {
			page.Troubled++
		}
	}
	return c.render("overview", page)
}

// cards are the applications of a namespace.
func (c *call) cards(namespace string) ([]*appCard, error) {
	var apps v1alpha1.ApplicationList
	if err := c.Get(inNamespace(namespace, "applications"), &apps); err != nil || len(apps.Items) == 0 {
		return nil, err
	}
	var backups v1alpha1.BackupList
	if err := c.Get(inNamespace(namespace, "backups"), &backups); err != nil && !isStatus(err, http.StatusForbidden) {
		return nil, err
	}
	newest := map[string]*metav1.Time{}
	for i := range backups.Items {
		b := &backups.Items[i]
		if at, app := b.Status.CompletedAt, b.Spec.ApplicationRef.Name; at != nil && (newest[app] == nil || newest[app].Before(at)) {
			newest[app] = at
		}
	}
	var cards []*appCard
	for i := range apps.Items {
		app := &apps.Items[i]
		card := &appCard{Application: app, URL: appURL(namespace, app.Name), Backup: newest[app.Name], Health: health(app), Troubles: c.troubles(app)}
		if last := app.Status.LastRequest; last != nil {
			card.LastURL = updateURL(namespace, last.Name)
		}
		if name := app.Status.ActiveRequest; name != "" {
			var ur v1alpha1.UpdateRequest
			err := c.Get(inNamespace(namespace, "requests", name), &ur)
			if err != nil && !isStatus(err, http.StatusNotFound) && !isStatus(err, http.StatusForbidden) {
				return nil, err
			}
			if err == nil && ur.Status.FinishedAt == nil {
				card.Active, card.ActiveURL, card.Progress = &ur, updateURL(namespace, name), progressOf(&ur)
			}
		}
		cards = append(cards, card)
	}
	return cards, nil
}

func health(app *v1alpha1.Application) healthSummary {
	h := healthSummary{All: len(app.Status.Services), Tone: "quiet"}
	for i := range app.Status.Services {
		if serviceTone(app.Status.Services[i]) == "good" {
			h.Good++
		}
	}
	switch {
	case h.All == 0:
	case h.Good == h.All:
		h.Tone = "good"
	default:
		h.Tone = "warn"
		if meta.IsStatusConditionFalse(app.Status.Conditions, v1alpha1.ConditionHealthy) {
			h.Tone = "bad"
		}
	}
	return h
}

// serviceTone is the tone of a service that runs, or should.
func serviceTone(s v1alpha1.ServiceStatus) string {
	if s.Health != "" && tone(s.State) == "good" {
		return tone(s.Health)
	}
	return tone(s.State)
}

// troubles are what is wrong with an application, in one sentence each.
func (c *call) troubles(app *v1alpha1.Application) []string {
	var out []string
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionHealthy} {
		if cond := meta.FindStatusCondition(app.Status.Conditions, kind); cond != nil && cond.Status == metav1.ConditionFalse {
			out = append(out, cond.Message)
		}
	}
	return slices.Compact(out)
}

// steps of an update, in order.
var steps = []v1alpha1.StepName{v1alpha1.StepPreflight, v1alpha1.StepBackup, v1alpha1.StepFetch, v1alpha1.StepBuild, v1alpha1.StepRollout,
	v1alpha1.StepVerify, v1alpha1.StepCleanUp}

// progressOf is how many of the steps have ended, in percent.
func progressOf(ur *v1alpha1.UpdateRequest) int {
	done := 0
	for _, s := range ur.Status.Steps {
		if slices.Contains(steps, s.Name) && s.FinishedAt != nil {
			done++
		}
	}
	return 100 * done / len(steps)
}

// overviewEvents is GET /ui/events: something changed in the overview.
func (s *Server) overviewEvents(c *call) error {
	namespaces := c.r.URL.Query()["namespace"]
	if len(namespaces) > maxSources {
		return refused(http.StatusBadRequest, "error.form")
	}
	var sources []source
	for _, ns := range namespaces {
		sources = append(sources, source{path: inNamespace(ns, "events"), untilSynced: true})
	}
	return c.stream(sources...)
}

func appURL(namespace, name string) string {
	return Prefix + inNamespace(namespace, "applications", name)
}

func updateURL(namespace, name string) string {
	return Prefix + inNamespace(namespace, "updates", name)
}

// since is the time from at until now.
func (c *call) since(at *metav1.Time) time.Duration {
	if at == nil {
		return -1
	}
	return c.s.opts.Now().Sub(at.Time)
}

// firstLine of a text.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
