// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"fmt"
	"html/template"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/measure"
	"github.com/fairlead-dev/fairlead/internal/webui/i18n"
)

// formatFuncs are the functions of templates that turn values into text.
func formatFuncs(lang *i18n.Lang) template.FuncMap {
	return template.FuncMap{
		"short":      short,
		"person":     person,
		"isdaemon":   func(username string) bool { return username == user.APIServerUser },
		"bytes":      bytesText,
		"took":       func(s string) string { return tookText(lang, s) },
		"duration":   func(d time.Duration) string { return durationText(lang, d) },
		"instant":    func(at any) template.HTML { return timeElement(at, "instant") },
		"ago":        func(at any) template.HTML { return timeElement(at, "ago") },
		"phase":      func(p v1alpha1.Phase) string { return phaseText(lang, p) },
		"tone":       tone,
		"actiontone": actionTone,
		"stepicon":   stepIcon,
		"interruptiontone": func(s string) string {
			if strings.HasPrefix(s, "none") {
				return "quiet"
			}
			return "warn-text"
		},
		"progress":     func(p *v1alpha1.StepProgress) string { return progressText(lang, p) },
		"unmeasured":   func(u v1alpha1.UnmeasuredPorts) string { return unmeasuredText(lang, u) },
		"downtime":     func(d *v1alpha1.DowntimeStatus) string { return downtimeText(lang, d) },
		"short12":      func(id string) string { return id[:min(12, len(id))] },
		"rfc3339":      func(t *metav1.Time) string { return t.UTC().Format(time.RFC3339) },
		"check":        func(name string) string { return checkText(lang, name) },
		"health":       func(s string) string { return healthText(lang, s) },
		"host":         hostOf,
		"ref":          func(s string) string { return strings.TrimPrefix(strings.TrimPrefix(s, "refs/heads/"), "refs/tags/") },
		"int":          func(n int32) int { return int(n) },
		"servicetone":  serviceTone,
		"servicestate": func(s v1alpha1.ServiceStatus) string { return serviceText(lang, s) },
		"dict":         dict,
		"list":         func(items ...any) []any { return items },
		"join":         strings.Join,
		"names":        func(names []string) string { return strings.Join(names, lang.T("list.comma")) },
		"gap":          lang.Gap,
		"ofstep":       ofStep,
		"lower":        strings.ToLower,
	}
}

// bytesText is a number of bytes, as an int64 or a pointer to one.
func bytesText(n any) string {
	switch n := n.(type) {
	case int64:
		return measure.Bytes(n)
	case *int64:
		return measure.Bytes(*n)
	}
	return fmt.Sprint(n)
}

// roundText is a round number of bytes, such as those beside a chart.
func roundText(n float64) string { return strings.Replace(measure.Bytes(n), ".0 ", " ", 1) }

// tookText is a duration of a status, such as "1m3s", in words.
func tookText(lang *i18n.Lang, s string) string {
	d, err := time.ParseDuration(s)
	if err != nil {
		return s
	}
	return durationText(lang, d)
}

// short is a commit as people write it.
func short(commit string) string {
	if len(commit) == 40 || len(commit) == 64 {
		return commit[:7]
	}
	return commit
}

// asTime is a time of any of the types that objects have; false if there is none.
func asTime(at any) (time.Time, bool) {
	var t time.Time
	switch v := at.(type) {
	case time.Time:
		t = v
	case *time.Time:
		if v != nil {
			t = *v
		}
	case metav1.Time:
		t = v.Time
	case *metav1.Time:
		if v != nil {
			t = v.Time
		}
	}
	return t, !t.IsZero()
}

// timeElement is a time in UTC, which a script writes anew in the viewer's zone and
// language: "instant" as date and time, "ago" as how long since.
func timeElement(at any, style string) template.HTML {
	t, ok := asTime(at)
	if !ok {
		return "–"
	}
	t = t.UTC()
	//nolint:gosec // a formatted time has nothing to escape
	return template.HTML(fmt.Sprintf(`<time datetime="%s" data-time="%s">%s</time>`, t.Format(time.RFC3339), style, t.Format("2006-01-02 15:04 UTC")))
}

// durationText is a length of time, to the second below an hour: statuses have no
// finer times.
func durationText(lang *i18n.Lang, d time.Duration) string {
	switch {
	case d < 0:
		return ""
	case d < time.Second:
		return lang.T("duration.less")
	case d < time.Minute:
		return lang.T("duration.seconds", "s", int(d.Seconds()))
	case d < time.Hour:
		return lang.T("duration.minutes", "m", int(d.Minutes()), "s", int(d.Seconds())%60)
	case d < 48*time.Hour:
		return lang.T("duration.hours", "h", int(d.Hours()), "m", int(d.Minutes())%60)
	default:
		return lang.T("duration.days", "count", int(d.Hours())/24)
	}
}

// shortText is a length of time below a minute, to the millisecond.
func shortText(lang *i18n.Lang, seconds float64) string {
	if seconds < 1 {
		return lang.T("duration.ms", "ms", int(math.Round(seconds*1000)))
	}
	return lang.T("duration.seconds", "s", strconv.FormatFloat(seconds, 'f', 1, 64))
}

// progressText says how much of a step is done.
func progressText(lang *i18n.Lang, p *v1alpha1.StepProgress) string {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	key := "progress.steps"
	if p.Unit == v1alpha1.ProgressBytes {
		key, number = "progress.bytes", measure.Bytes[int64]
	}
	switch {
	case p.Total <= 0:
		key += ".sofar"
	case p.Estimated:
		key += ".about"
	}
	return lang.T(key, "done", number(p.Done), "total", number(p.Total))
}

// downtimeText says what was seen from outside.
func downtimeText(lang *i18n.Lang, d *v1alpha1.DowntimeStatus) string {
	if d.Failed == 0 {
		return lang.T("downtime.none", "probes", d.Probes, "slowest", lang.Length(d.Slowest))
	}
	return lang.T("downtime.some", "gap", lang.Length(d.LongestGap), "target", d.Target, "failed", d.Failed, "probes", d.Probes)
}

// unmeasuredText says of which ports no downtime is known, and why.
func unmeasuredText(lang *i18n.Lang, u v1alpha1.UnmeasuredPorts) string {
	if u.Service == "" && u.Ports == "" {
		return lang.T("downtime.also.all", "why", lang.Say(u.Reason))
	}
	return lang.T("downtime.also", "where", strings.TrimSpace(u.Service+" "+u.Ports), "why", lang.Say(u.Reason))
}

// ofStep reports whether a message says no more than which step runs.
func ofStep(message string) bool {
	step, ok := strings.CutPrefix(message, "step ")
	return ok && strings.HasSuffix(step, " runs") && strings.Count(step, " ") == 1
}

// phaseText is a phase in words.
func phaseText(lang *i18n.Lang, p v1alpha1.Phase) string {
	if p == "" {
		p = v1alpha1.PhasePending
	}
	return lang.Or("phase."+string(p), string(p))
}

// tone is the tone in which a word of a status is shown: good, bad, warn, busy or
// quiet.
func tone(word any) string {
	s := fmt.Sprint(word)
	if known, ok := tones[strings.ToLower(s)]; ok {
		return known
	}
	if strings.HasPrefix(strings.ToLower(s), "unhealthy") {
		return "bad"
	}
	return "quiet"
}

var tones = map[string]string{
	"succeeded": "good", "healthy": "good", "running": "good", "passed": "good", "current": "good", "completed": "good",
	"failed": "bad", "unhealthy": "bad", "missing": "bad", "dead": "bad",
	"rolledback": "warn", "cancelled": "warn", "interrupted": "warn", "warning": "warn", "restarting": "warn", "stopped": "warn",
	"exited": "warn", "changed": "warn", "unknown": "warn", "paused": "warn",
	"preflight": "busy", "backingup": "busy", "fetching": "busy", "building": "busy", "rollingout": "busy", "verifying": "busy",
	"cleaningup": "busy", "rollingback": "busy", "restoring": "busy", "starting": "busy", "created": "busy",
}

// dict makes a map of names and values, for templates that take several.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict: a name without a value")
	}
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: %v is no name", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// healthText translates the words of a service's health in an update, which may be
// followed by a reason.
func healthText(lang *i18n.Lang, s string) string {
	word, why, found := strings.Cut(s, ":")
	text := lang.Or("health."+word, lang.Say(word))
	if found {
		text += lang.T("parts.name") + lang.Say(strings.TrimSpace(why))
	}
	return text
}

// checkText is what a check of the preflight is called.
func checkText(lang *i18n.Lang, name string) string {
	if hook, ok := strings.CutPrefix(name, "Hook "); ok {
		return lang.T("check.Hook", "name", hook)
	}
	return lang.Or("check."+name, name)
}

// actionTone is the tone of what is done with a service.
func actionTone(a v1alpha1.ServiceAction) string {
	switch a {
	case v1alpha1.ActionKeep:
		return "quiet"
	case v1alpha1.ActionRemove:
		return "warn"
	default:
		return "accent"
	}
}

// stepIcon is the icon of a step's state.
func stepIcon(s v1alpha1.StepState) string {
	switch s {
	case v1alpha1.StepSucceeded:
		return "done"
	case v1alpha1.StepFailed:
		return "fail"
	case v1alpha1.StepInterrupted:
		return "warn"
	case v1alpha1.StepSkipped:
		return "skip"
	default:
		return "dot"
	}
}

// hostOf is the part of a URL that has no secrets in it: webhooks often have a
// token in their path.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host + "/…"
}

// serviceText is how a service is, in a word.
func serviceText(lang *i18n.Lang, s v1alpha1.ServiceStatus) string {
	word := s.State
	if s.Health != "" && tone(s.State) == "good" {
		word = s.Health
	}
	return lang.Or("state."+word, word)
}
