// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"crypto/sha256"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/webui/i18n"
)

// overviewPage is every application.
type overviewPage struct {
	// Rows are the applications, of which there are Count.
	Rows  template.HTML
	Count int
	// Namespaces that are looked at, and the version of what each of them has.
	Namespaces, Versions []string
	// Updates, Running and Troubled count applications.
	Updates, Running, Troubled int
	Denied                     []string // namespaces that may not be looked at
	// MayCreate says that the person may make an application.
	MayCreate bool
	// Nothing says that Person, as roles are given to them, may look at nothing yet.
	Nothing bool
	Person  string
}

// maxSources bounds how many namespaces one stream of the overview is about.
const maxSources = 50

// Stream implements livePage.
func (p *overviewPage) Stream() string {
	if p.Nothing {
		return ""
	}
	n := min(len(p.Namespaces), maxSources)
	q := url.Values{"namespace": p.Namespaces[:n], "version": p.Versions[:n]}
	return Prefix + "events?" + q.Encode()
}

// appCard is an application in the overview: what the template shows, and nothing
// that it has to look for, as there may be hundreds.
type appCard struct {
	ID, Name, Namespace, URL string
	Several                  bool // namespaces are shown
	Suspended                bool
	Troubles                 []string
	Commit, Branch           string
	// Newer says how many newer commits there are, and NewerCommit which one is the
	// newest. Note is what is known otherwise, in words.
	Newer, NewerCommit, Note string
	Services                 []serviceCard
	// Active is the request that runs, else Last the one that ended last.
	Active, Last *requestCard
	// BackedUp is when there was the last backup; empty if never, as Backup says.
	BackedUp template.HTML
	Backup   string
}

type serviceCard struct{ Name, Tone, State string }

type requestCard struct {
	URL, Phase, Tone string
	Progress         int // in percent
	Finished         template.HTML
}

func (c *call) requestCard(namespace, name string, phase v1alpha1.Phase) *requestCard {
	return &requestCard{URL: updateURL(namespace, name), Phase: phaseText(c.Lang, phase), Tone: tone(phase)}
}

// overview is GET /ui/.
func (s *Server) overview(c *call) error {
	// What they may do and what there is do not depend on each other.
	var asking errgroup.Group
	asking.Go(func() error { c.May(c.home(), "create", "applications"); return nil })
	namespaces, err := c.namespaces()
	_ = asking.Wait() // it has no errors
	if err != nil {
		return err
	}
	page := &overviewPage{MayCreate: c.mayAnywhere("create", "applications")}
	all, err := c.summaries(namespaces)
	if err != nil {
		return err
	}
	found := 0 // namespaces with applications
	for i, ns := range namespaces {
		if all[i] == nil {
			page.Denied = append(page.Denied, ns)
			continue
		}
		if len(all[i].Applications) > 0 {
			found++
		}
		page.Namespaces, page.Versions = append(page.Namespaces, ns), append(page.Versions, all[i].Version)
	}
	if len(page.Denied) == len(namespaces) && len(namespaces) > 0 {
		page.Nothing, page.Denied, page.Person = true, nil, c.Session.Username
	}
	var rows strings.Builder
	for i, ns := range namespaces {
		if all[i] == nil {
			continue
		}
		for _, app := range all[i].Applications {
			r, err := c.row(ns, found > 1, app)
			if err != nil {
				return err
			}
			rows.WriteString(r.html)
			page.count(r)
		}
	}
	//nolint:gosec // templates have made it
	page.Rows = template.HTML(rows.String())
	return c.render("overview", page)
}

// atOnce is for how many namespaces the API is asked at the same time.
const atOnce = 4

// summaries are what the API tells of namespaces, in the same order; nil where the
// person may not look.
func (c *call) summaries(namespaces []string) ([]*summary[json.RawMessage], error) {
	all := make([]*summary[json.RawMessage], len(namespaces))
	var asking errgroup.Group
	asking.SetLimit(atOnce)
	for i, ns := range namespaces {
		asking.Go(func() error {
			one := &summary[json.RawMessage]{}
			err := c.Get(inNamespace(ns, "summary"), one)
			if isStatus(err, http.StatusForbidden) {
				return nil
			}
			all[i] = one
			return err
		})
	}
	return all, asking.Wait()
}

func (p *overviewPage) count(r *row) {
	p.Count++
	if r.newer {
		p.Updates++
	}
	if r.running {
		p.Running++
	}
	if r.troubled {
		p.Troubled++
	}
}

// maxRows bounds how many rows of the overview are kept, at some 2 kB each.
const maxRows = 2000

// row is an application of the overview as HTML, and what is counted of it.
type row struct {
	html                     string
	newer, running, troubled bool
}

// rowKey is all that a row is made of. It is the same for everybody whom the API
// tells the same: nothing of a row depends on who looks, or when.
type rowKey struct {
	lang      *i18n.Lang
	namespace string
	several   bool
	summary   [sha256.Size]byte
}

// row is an application of a namespace, as the API has summarised it. several says
// that those of other namespaces are shown too. After most changes nearly all rows
// are what they were, and making them is most of the work of this page.
func (c *call) row(namespace string, several bool, app json.RawMessage) (*row, error) {
	key := rowKey{c.Lang, namespace, several, sha256.Sum256(app)}
	if kept, ok := c.s.rows.Get(key); ok {
		return kept.(*row), nil
	}
	var told applicationSummary
	if err := json.Unmarshal(app, &told); err != nil {
		return nil, err
	}
	card := c.card(namespace, &told)
	card.Several = several
	var html strings.Builder
	if err := c.s.pages.byLang[c.Lang]["overview"].ExecuteTemplate(&html, "row", card); err != nil {
		return nil, err
	}
	made := &row{html: html.String(), newer: card.Newer != "", running: card.Active != nil, troubled: len(card.Troubles) > 0}
	c.s.rows.Add(key, made)
	return made, nil
}

// summary is what the API tells of all applications of a namespace, by name.
type summary[A any] struct {
	Version      string
	Applications []A
}

type applicationSummary struct {
	Name, Commit, Branch string
	Suspended            bool
	Update               *v1alpha1.UpdateStatus
	Services             []v1alpha1.ServiceStatus
	Problems             []string
	Last                 *v1alpha1.RequestSummary
	Running              *v1alpha1.UpdateRequest
	LastBackup           *metav1.Time
}

// card is an application as it is shown.
func (c *call) card(namespace string, app *applicationSummary) *appCard {
	card := &appCard{
		ID: "app-" + namespace + "-" + app.Name, Name: app.Name, Namespace: namespace, URL: appURL(namespace, app.Name),
		Suspended: app.Suspended, Troubles: app.Problems, Commit: short(app.Commit), Branch: app.Branch, Backup: c.T("overview.nobackup"),
	}
	if app.LastBackup != nil {
		card.BackedUp = timeElement(app.LastBackup, "ago")
	}
	if u := app.Update; u != nil {
		switch {
		case u.Available && u.Behind > 0:
			card.Newer, card.NewerCommit = c.T("overview.behind", "count", u.Behind), short(u.Commit)
		case u.Available:
			card.Newer, card.NewerCommit = c.T("overview.newer"), short(u.Commit)
		case u.Message != "":
			card.Note = c.T("overview.unknown")
		case u.Commit != "":
			card.Note = c.T("overview.uptodate")
		}
	}
	for _, s := range app.Services {
		card.Services = append(card.Services, serviceCard{Name: s.Name, Tone: serviceTone(s), State: serviceText(c.Lang, s)})
	}
	if last := app.Last; last != nil {
		card.Last = c.requestCard(namespace, last.Name, last.Phase)
		card.Last.Finished = timeElement(last.FinishedAt, "ago")
	}
	if ur := app.Running; ur != nil {
		card.Active = c.requestCard(namespace, ur.Name, ur.Status.Phase)
		card.Active.Progress = progressOf(ur)
	}
	return card
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

// progressOf is how many of its steps a request has taken, in percent; of the one
// that runs, as far as it is measured.
func progressOf(ur *v1alpha1.UpdateRequest) int {
	all, done := stepsOf(ur), 0
	for _, s := range ur.Status.Steps {
		switch {
		case !slices.Contains(all, s.Name):
		case s.FinishedAt != nil || s.State == v1alpha1.StepSkipped:
			done += 100
		default:
			done += measured(s.Progress)
		}
	}
	return done / len(all)
}

// measured is how far a step is, in percent; 0 where that is not known. It is never
// told to be done before it is.
func measured(p *v1alpha1.StepProgress) int {
	if p == nil || p.Total <= 0 {
		return 0
	}
	return int(max(0, min(99, 100*p.Done/p.Total)))
}

// overviewEvents is GET /ui/events: something changed in the overview.
func (s *Server) overviewEvents(c *call) error {
	q := c.r.URL.Query()
	namespaces, versions := q["namespace"], q["version"]
	if len(namespaces) > maxSources || len(namespaces) != len(versions) {
		return refused(http.StatusBadRequest, "error.form")
	}
	var sources []source
	for i, ns := range namespaces {
		sources = append(sources, source{path: inNamespace(ns, "summary", "events") + "?version=" + url.QueryEscape(versions[i])})
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
