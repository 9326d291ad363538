// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// Update is what is known of newer commits of an application: a line, and the list.
func (s Style) Update(app *v1alpha1.Application) string {
	var b strings.Builder
	b.WriteString(clean(app.Name) + ": " + orElse(s.available(app), "the source was not looked at yet") + "\n")
	s.newer(&b, app.Status.Update)
	return b.String()
}

// available tells in a line whether there is something newer.
func (s Style) available(app *v1alpha1.Application) string {
	u := app.Status.Update
	if u == nil {
		return ""
	}
	text := "none: what runs is the newest"
	switch c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionUpdateAvailable); {
	case c != nil && c.Status == metav1.ConditionUnknown:
		return s.paint(yellow, "unknown: "+clean(c.Message))
	case u.Available:
		text = Commit(u.Commit) + " of " + clean(u.Ref)
		if u.Behind > 0 {
			text += ", " + plural(int(u.Behind), "commit", "commits") + " ahead"
		}
		text = s.paint(green, text)
	case u.Commit == "":
		return ""
	case u.Commit != app.Status.Commit:
		text = "none: " + Commit(u.Commit) + " of " + clean(u.Ref) + " is not newer than what runs"
	}
	if app.Spec.Update.Policy == v1alpha1.UpdateAutomatic {
		text += " (automatic)"
	}
	return text
}

// newer lists the commits that do not run yet, and says why.
func (s Style) newer(b *strings.Builder, u *v1alpha1.UpdateStatus) {
	if u == nil || !u.Available {
		return
	}
	b.WriteString("\n" + s.paint(bold, "Newer commits") + "\n")
	if u.Message != "" {
		for _, line := range cleanLines(u.Message) {
			b.WriteString("  " + line + "\n")
		}
	}
	for i, c := range u.Changes {
		if i == maxChanges {
			break
		}
		line := "  " + Commit(c.Commit) + " " + clean(c.Subject)
		if c.Author != "" {
			line += s.paint(dim, " ("+clean(c.Author)+")")
		}
		b.WriteString(line + "\n")
	}
	if more := int(u.Behind) - maxChanges; more > 0 && len(u.Changes) >= maxChanges {
		fmt.Fprintf(b, "  and %d more\n", more)
	}
}

// drift lists in what way containers are not as the release has them.
func (s Style) drift(b *strings.Builder, drift []v1alpha1.Drift) {
	if len(drift) == 0 {
		return
	}
	b.WriteString("\n" + s.paint(yellow, "Containers that are not as the release has them") + "\n")
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, d := range drift {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", clean(d.Service), d.Kind, orElse(clean(d.Container), "-"), clean(d.Message))
	}
	_ = w.Flush() // into memory
}
