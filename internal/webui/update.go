// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
	"github.com/fairlead-dev/fairlead/internal/webui/i18n"
)

// plainTail is how many lines of the log are shown without scripts.
const plainTail = 200

// updatePage is one update, while it runs and after.
type updatePage struct {
	Request *v1alpha1.UpdateRequest
	URL     string
	AppURL  string
	Running bool
	Outcome string // tone
	Reason  string
	Cause   string
	// Why is the cause in a few words, where Cause is not all in the person's language.
	Why string
	// FailedStep is the step that failed, empty if none did.
	FailedStep v1alpha1.StepName
	Steps      []stepRow
	Took       time.Duration
	// Usual is how long such an update took before; 0 if that is not known.
	Usual time.Duration
	// Back is the release that ran before, if it can be gone back to.
	Back   string
	Advice []string
	// Replaced says that it came to replacing containers, so that there may have been
	// a downtime.
	Replaced  bool
	PlainLog  string
	LogDenied bool

	MayCancel, MayCreate bool
}

// Planned reports whether what is told of services was never begun, as it ended before.
func (p *updatePage) Planned() bool {
	return !p.Running && !slices.ContainsFunc(p.Request.Status.Steps, func(s v1alpha1.StepStatus) bool {
		return s.Name == v1alpha1.StepRollout || s.Name == v1alpha1.StepRestore
	})
}

// TakenBack reports whether what is told of services was undone since.
func (p *updatePage) TakenBack() bool {
	return !p.Running && slices.ContainsFunc(p.Request.Status.Steps, func(s v1alpha1.StepStatus) bool {
		return s.Name == v1alpha1.StepRollback && s.State == v1alpha1.StepSucceeded
	})
}

// stepRow is a step of the timeline.
type stepRow struct {
	v1alpha1.StepStatus
	Took time.Duration // -1 if it has not begun
	// Usual is how long the step took before.
	Usual time.Duration
	// Percent is how far it is, as measured, or else by how long it took before.
	Percent int
	// Left is how long it should still take; 0 if that is not known.
	Left time.Duration
}

// Title implements titled.
func (p *updatePage) Title(c *call) string {
	name := p.Request.Spec.ApplicationRef.Name
	switch spec := p.Request.Spec; {
	case spec.BackupOnly:
		return c.T("update.title.backup", "name", name)
	case spec.RestoreFrom != nil:
		return c.T("update.title.restore", "name", name, "backup", spec.RestoreFrom.Name)
	case spec.RollbackTo != nil:
		return c.T("update.title.back", "name", name, "release", spec.RollbackTo.Name)
	}
	return c.T("update.title", "name", name, "commit", cmp.Or(short(cmp.Or(p.Request.Status.Commit, p.Request.Spec.Commit)), c.T("update.newest")))
}

// Crumbs implements crumbed.
func (p *updatePage) Crumbs(c *call) []crumb {
	return []crumb{{Text: c.T("nav.overview"), URL: Prefix}, {Text: p.Request.Spec.ApplicationRef.Name, URL: p.AppURL}}
}

// Stream implements livePage.
func (p *updatePage) Stream() string { return p.URL + "/events" }

// Refresh implements passingPage.
func (p *updatePage) Refresh() int { return refreshWhile(p.Running) }

// RestoreURL is where a return to a backup is asked for again: as the first time, with
// what would be overwritten, and with the name typed. Empty for what is none.
func (p *updatePage) RestoreURL() string {
	if p.Request.Spec.RestoreFrom == nil {
		return ""
	}
	return Prefix + inNamespace(p.Request.Namespace, "backups", p.Request.Spec.RestoreFrom.Name, "restore")
}

// By is who asked for it.
func (p *updatePage) By() string { return requestedBy(p.Request) }

// update is GET /ui/namespaces/{namespace}/updates/{name}.
func (s *Server) showUpdate(c *call) error {
	namespace, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	ur := &v1alpha1.UpdateRequest{}
	if err := c.Get(inNamespace(namespace, "requests", name), ur); err != nil {
		return err
	}
	if ur.Spec.DryRun {
		return c.redirect(Prefix + inNamespace(namespace, "plans", name))
	}
	app := ur.Spec.ApplicationRef.Name
	page := &updatePage{Request: ur, URL: updateURL(namespace, name), AppURL: appURL(namespace, app), Running: !requestwatch.Ended(ur),
		Reason: reasonOf(ur), MayCancel: !overwriting(ur) && c.May(namespace, "patch", "updaterequests"), MayCreate: c.May(namespace, "create", "updaterequests")}
	others, err := c.requestsOf(namespace, app)
	if err != nil {
		return err
	}
	now := s.opts.Now()
	usual := usualTimes(ur, others)
	page.Steps = timeline(ur, usual, now)
	page.Took, page.Usual = elapsed(ur.Status.StartedAt, ur.Status.FinishedAt, now), usual[wholeUpdate]
	page.outcome(c)
	if !c.live() {
		if page.PlainLog, err = c.plainLog(namespace, name); err != nil {
			return err
		}
	}
	page.LogDenied = !c.May(namespace, "get", "updaterequests/log")
	return c.render("update", page)
}

// overwriting reports whether a return to a backup is in its midst, where it cannot be
// cancelled.
func overwriting(ur *v1alpha1.UpdateRequest) bool {
	return slices.ContainsFunc(ur.Status.Steps, func(s v1alpha1.StepStatus) bool {
		return s.Name == v1alpha1.StepRestore && (s.State == v1alpha1.StepRunning || s.State == v1alpha1.StepSucceeded)
	})
}

// Kind ends the keys of texts about what is no update: a backup, or going back to one.
func (p *updatePage) Kind() string {
	switch {
	case p.Request.Spec.BackupOnly:
		return ".backup"
	case p.Request.Spec.RestoreFrom != nil:
		return ".restore"
	}
	return ""
}

// outcome says how an update ended, and what can be done.
func (p *updatePage) outcome(c *call) {
	ur := p.Request
	st := &ur.Status
	if p.Running {
		p.Outcome = "busy"
		return
	}
	p.Outcome = tone(st.Phase)
	p.Replaced = !ur.Spec.BackupOnly && p.Reason != v1alpha1.ReasonUnchanged &&
		slices.ContainsFunc(st.Steps, func(s v1alpha1.StepStatus) bool { return s.Name == v1alpha1.StepRollout })
	if st.Phase == v1alpha1.PhaseSucceeded {
		if st.PreviousRelease != st.Release && !ur.Spec.BackupOnly {
			p.Back = st.PreviousRelease
		}
		return
	}
	p.Cause = st.Message
	switch i := slices.IndexFunc(st.Steps, func(s v1alpha1.StepStatus) bool { return s.State == v1alpha1.StepFailed }); {
	case st.Failure != nil:
		p.FailedStep, p.Cause = st.Failure.Step, cmp.Or(st.Failure.Message, st.Message)
	case i >= 0:
		p.FailedStep = st.Steps[i].Name
	}
	if st.Phase == v1alpha1.PhaseCancelled {
		p.FailedStep = "" // what was cancelled in it did not fail
	}
	if slices.ContainsFunc(c.Lang.Parts(p.Cause), func(part i18n.Part) bool { return part.Said }) {
		p.Why = c.Lang.Or("reason."+p.Reason, "")
	}
	// What was restored and does not run is no matter of another commit.
	restored := ur.Spec.RestoreFrom != nil && st.Backup != "" &&
		slices.Contains([]string{v1alpha1.ReasonVerifyFailed, v1alpha1.ReasonHealthCheckFailed, v1alpha1.ReasonOneShotFailed, v1alpha1.ReasonRolloutFailed}, p.Reason)
	if key := "advice." + p.Reason; restored {
		p.Advice = append(p.Advice, c.T("advice.restored", "backup", st.Backup))
	} else if c.Lang.Has(key) {
		p.Advice = append(p.Advice, c.T(key))
	}
	switch st.Phase {
	case v1alpha1.PhaseRolledBack:
		p.Advice = append(p.Advice, c.T("advice.undone"))
	case v1alpha1.PhaseFailed:
		if p.FailedStep == "" || slices.Contains([]v1alpha1.StepName{v1alpha1.StepPreflight, v1alpha1.StepBackup, v1alpha1.StepFetch, v1alpha1.StepBuild}, p.FailedStep) {
			p.Advice = append(p.Advice, c.T("advice.untouched"))
		}
	}
}

// Ended steps and the whole, of earlier updates.
const wholeUpdate v1alpha1.StepName = ""

// usualTimes are the medians of what earlier updates of the same kind took.
func usualTimes(ur *v1alpha1.UpdateRequest, others []v1alpha1.UpdateRequest) map[v1alpha1.StepName]time.Duration {
	samples := map[v1alpha1.StepName][]time.Duration{}
	seen := 0
	for i := range others {
		o := &others[i]
		if o.Name == ur.Name || o.Spec.DryRun || o.Status.Phase != v1alpha1.PhaseSucceeded || seen == 10 ||
			(o.Spec.RollbackTo == nil) != (ur.Spec.RollbackTo == nil) || o.Spec.BackupOnly != ur.Spec.BackupOnly ||
			(o.Spec.RestoreFrom == nil) != (ur.Spec.RestoreFrom == nil) || reasonOf(o) == v1alpha1.ReasonUnchanged {
			continue
		}
		seen++
		for _, s := range o.Status.Steps {
			if s.State == v1alpha1.StepSucceeded && s.StartedAt != nil && s.FinishedAt != nil {
				samples[s.Name] = append(samples[s.Name], s.FinishedAt.Sub(s.StartedAt.Time))
			}
		}
		if o.Status.StartedAt != nil && o.Status.FinishedAt != nil {
			samples[wholeUpdate] = append(samples[wholeUpdate], o.Status.FinishedAt.Sub(o.Status.StartedAt.Time))
		}
	}
	usual := map[v1alpha1.StepName]time.Duration{}
	for name, all := range samples {
		slices.Sort(all)
		usual[name] = all[len(all)/2]
	}
	return usual
}

// timeline is all steps of an update, those that are still to come too.
func timeline(ur *v1alpha1.UpdateRequest, usual map[v1alpha1.StepName]time.Duration, now time.Time) []stepRow {
	var rows []stepRow
	known := map[v1alpha1.StepName]bool{}
	for _, s := range ur.Status.Steps {
		known[s.Name] = true
		row := stepRow{StepStatus: s, Took: elapsed(s.StartedAt, s.FinishedAt, now), Usual: usual[s.Name]}
		if s.State == v1alpha1.StepRunning {
			row.estimate()
		}
		rows = append(rows, row)
	}
	if !requestwatch.Ended(ur) && !known[v1alpha1.StepRollback] {
		for _, name := range stepsOf(ur) {
			if !known[name] {
				rows = append(rows, stepRow{StepStatus: v1alpha1.StepStatus{Name: name}, Took: -1, Usual: usual[name]})
			}
		}
	}
	return rows
}

// enough is how far a step must be, in percent, until its own pace tells more than
// that of earlier ones.
const enough = 20

// estimate says how far a step that runs is, and how long it should still take.
func (r *stepRow) estimate() {
	r.Percent = measured(r.Progress)
	switch {
	case r.Percent >= enough && r.Took >= time.Second:
		r.Left = r.Took * time.Duration(100-r.Percent) / time.Duration(r.Percent)
	case r.Usual > r.Took:
		r.Left = r.Usual - r.Took
	}
	if r.Left > 0 {
		r.Left = max(r.Left, time.Second) // less is no estimate
	}
	if r.Percent == 0 && r.Usual > 0 {
		// It is never told to be done before it is.
		r.Percent = min(95, int(100*r.Took/r.Usual))
	}
}

// stepsOf are the steps that a request takes if nothing goes wrong.
func stepsOf(ur *v1alpha1.UpdateRequest) []v1alpha1.StepName {
	switch {
	case ur.Spec.BackupOnly:
		return []v1alpha1.StepName{v1alpha1.StepPreflight, v1alpha1.StepBackup, v1alpha1.StepCleanUp}
	case ur.Spec.RestoreFrom != nil:
		return []v1alpha1.StepName{v1alpha1.StepPreflight, v1alpha1.StepRestore, v1alpha1.StepVerify, v1alpha1.StepCleanUp}
	case ur.Spec.RollbackTo != nil:
		return slices.DeleteFunc(slices.Clone(steps), func(s v1alpha1.StepName) bool { return s == v1alpha1.StepFetch || s == v1alpha1.StepBuild })
	}
	return steps
}

// elapsed is the time from one moment to another, or to now; -1 if it has not begun.
func elapsed(from, to *metav1.Time, now time.Time) time.Duration {
	switch {
	case from == nil:
		return -1
	case to == nil:
		return max(0, now.Sub(from.Time))
	}
	return max(0, to.Sub(from.Time))
}

// plainLog is the end of the log, for pages without scripts; empty if there is none
// or the person may not read it.
func (c *call) plainLog(namespace, name string) (string, error) {
	var text []byte
	err := c.Get(inNamespace(namespace, "requests", name, "log")+fmt.Sprintf("?tail=%d", plainTail), &text)
	if isStatus(err, http.StatusNotFound) || isStatus(err, http.StatusForbidden) || isStatus(err, http.StatusGone) {
		return "", nil
	}
	return stripANSI(string(text)), err
}

// updateEvents is GET …/updates/{name}/events: the status as ticks, the log line by
// line.
func (s *Server) updateEvents(c *call) error {
	path := inNamespace(c.r.PathValue("namespace"), "requests", c.r.PathValue("name"))
	return c.stream(source{path: path + "/events"}, source{path: path + "/log/events", raw: true})
}

// updateStatus is GET …/updates/{name}/status: the status as ticks.
func (s *Server) updateStatus(c *call) error {
	return c.stream(source{path: inNamespace(c.r.PathValue("namespace"), "requests", c.r.PathValue("name")) + "/events"})
}

// updateLog is GET …/updates/{name}/log: the log as text; with download, as a file.
func (s *Server) updateLog(c *call) error {
	name, file := c.r.PathValue("name"), ""
	if c.r.URL.Query().Has("download") {
		file = name + ".log"
	}
	return c.passOn(inNamespace(c.r.PathValue("namespace"), "requests", name, "log"), file)
}

// cancelUpdate is POST …/updates/{name}/cancel.
func (s *Server) cancelUpdate(c *call) error {
	namespace, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	if err := c.Post(inNamespace(namespace, "requests", name, "cancel"), nil, nil); err != nil {
		return err
	}
	return c.redirect(updateURL(namespace, name))
}

// confirmCancel is GET …/updates/{name}/cancel.
func (s *Server) confirmCancel(c *call) error {
	namespace, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	ur := &v1alpha1.UpdateRequest{}
	if err := c.Get(inNamespace(namespace, "requests", name), ur); err != nil {
		return err
	}
	return c.render("cancel", &updatePage{Request: ur, URL: updateURL(namespace, name), AppURL: appURL(namespace, ur.Spec.ApplicationRef.Name)})
}

// retryUpdate is POST …/updates/{name}/retry.
func (s *Server) retryUpdate(c *call) error {
	namespace, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	var ur v1alpha1.UpdateRequest
	if err := c.Post(inNamespace(namespace, "requests", name, "retry"), nil, &ur); err != nil {
		return err
	}
	return c.redirect(updateURL(namespace, ur.Name))
}

// stripANSI leaves out what would colour a terminal.
func stripANSI(s string) string {
	if !strings.Contains(s, "\x1b") {
		return s
	}
	var b strings.Builder
	for {
		i := strings.Index(s, "\x1b[")
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i+2:]
		end := strings.IndexFunc(s, func(r rune) bool { return r >= '@' && r <= '~' })
		if end < 0 {
			return b.String()
		}
		s = s[end+1:]
	}
}
