// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// Patience is how long after an event its delivery is tried, and at least once.
const Patience = time.Hour

// gaveUp marks an event in a Ledger whose delivery was given up.
const gaveUp = "!"

// Ledger is what one receiver was told of one request, as an annotation on the
// request keeps it over restarts. Nothing is told before it is opened.
type Ledger struct {
	// Opened says that there is one.
	Opened bool
	told   []string
}

// AnnotationOf is the annotation with the ledger of a receiver.
func AnnotationOf(receiver string) string { return v1alpha1.AnnotationNotifiedPrefix + receiver }

// ReadLedger reads the ledger of a receiver.
func ReadLedger(ur *v1alpha1.UpdateRequest, receiver string) Ledger {
	text, ok := ur.Annotations[AnnotationOf(receiver)]
	l := Ledger{Opened: ok}
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			l.told = append(l.told, word)
		}
	}
	return l
}

// Has reports whether an event was told, or given up.
func (l Ledger) Has(e v1alpha1.NotificationEvent) bool {
	return slices.Contains(l.told, string(e)) || slices.Contains(l.told, gaveUp+string(e))
}

// With is the ledger's text with one more event told.
func (l Ledger) With(e v1alpha1.NotificationEvent) string {
	return strings.Join(append(slices.Clone(l.told), string(e)), ",")
}

// WithGivenUp is the ledger's text with one more event given up.
func (l Ledger) WithGivenUp(e v1alpha1.NotificationEvent) string {
	return strings.Join(append(slices.Clone(l.told), gaveUp+string(e)), ",")
}

// Due lists, in order, what a receiver whose ledger is open is still to be told of
// a request.
func Due(n *v1alpha1.Notification, ur *v1alpha1.UpdateRequest) []Occurrence {
	ledger := ReadLedger(ur, n.Name)
	if !ledger.Opened {
		return nil
	}
	var out []Occurrence
	for _, o := range Occurred(ur) {
		if (len(n.Events) == 0 || slices.Contains(n.Events, o.Event)) && !ledger.Has(o.Event) {
			out = append(out, o)
		}
	}
	return out
}

// ToOpen names the receivers whose ledgers are to be opened, all of them before any
// of them is told: those that do not have one yet while the request goes on. A
// request that ended and has no ledger at all ended unseen, or before there were
// receivers: it counts if that is not long ago at the time now, so that history is
// not told to the first receiver of an application.
func ToOpen(app *v1alpha1.Application, ur *v1alpha1.UpdateRequest, now time.Time) []string {
	if len(Occurred(ur)) == 0 {
		return nil
	}
	if end := ur.Status.FinishedAt; end != nil && (anyLedger(ur) || now.Sub(end.Time) > Patience) {
		return nil
	}
	var out []string
	for i := range app.Spec.Notifications {
		if name := app.Spec.Notifications[i].Name; !ReadLedger(ur, name).Opened {
			out = append(out, name)
		}
	}
	return out
}

func anyLedger(ur *v1alpha1.UpdateRequest) bool {
	for key := range ur.Annotations {
		if strings.HasPrefix(key, v1alpha1.AnnotationNotifiedPrefix) {
			return true
		}
	}
	return false
}
