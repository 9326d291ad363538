// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// FollowFacts is what Follow decides from.
type FollowFacts struct {
	Spec v1alpha1.UpdateSpec
	// Suspended is the Application's spec.suspend.
	Suspended bool
	// Looked says that Ref and Newest were looked up for the spec as it is now;
	// Unreachable that looking failed last.
	Looked, Unreachable bool
	// Ref is what is followed, Newest the full SHA that it points to, Attempted
	// the commit that needs no request any more (see UpdateStatus.attempted).
	Ref, Newest, Attempted string
	// Behind says that Newest is in the history of what runs.
	Behind bool
	// Running is the commit that runs, as far as it is known; Deployed is false as
	// long as nothing of the application ever ran.
	Running  string
	Deployed bool
	Failed   []v1alpha1.FailedCommit
	// Requests are those of the application that have not ended, without dry runs.
	Requests []FollowRequest
	// LastEnd is when the last request ended; zero without any.
	LastEnd time.Time
	Now     time.Time
}

// FollowRequest is a request that has not ended.
type FollowRequest struct {
	Name string
	// Commit is the full SHA that it is for, or "" if that is not known yet.
	Commit string
	// ByPolicy says that spec.update made it.
	ByPolicy bool
	Started  bool
}

// FollowKind is what is to be done about a newer commit.
type FollowKind string

// Kinds of a FollowDecision.
const (
	// FollowNothing: there is nothing to do until something changes.
	FollowNothing FollowKind = "Nothing"
	// FollowWait: ask again at Until.
	FollowWait FollowKind = "Wait"
	// FollowRequestIt: an UpdateRequest for Commit is due.
	FollowRequestIt FollowKind = "Request"
)

// FollowDecision is the answer of Follow.
type FollowDecision struct {
	Kind FollowKind
	// Commit to make a request for, as a full SHA.
	Commit string
	// Until is when to ask again.
	Until time.Time
	// Message tells a person why a newer commit is not updated to, or "".
	Message string
}

// Follow says whether an UpdateRequest is to be made by itself, and if not, why.
// It never asks for the same commit twice: what failed, what was cancelled and
// what a person went away from stays so until the source moves on.
func Follow(f FollowFacts) FollowDecision {
	nothing := func(format string, args ...any) FollowDecision {
		return FollowDecision{Kind: FollowNothing, Message: fmt.Sprintf(format, args...)}
	}
	short := Abbreviated(f.Newest)
	switch {
	case f.Spec.Policy != v1alpha1.UpdateAutomatic, !f.Looked, f.Unreachable, f.Newest == "", f.Newest == f.Running:
		return FollowDecision{Kind: FollowNothing}
	case f.Suspended:
		return nothing("%s is not updated to: the Application is suspended", short)
	case !f.Deployed:
		return nothing("%s is not started by itself: nothing of the application ran yet; ask for the first update yourself", short)
	case f.Behind:
		return nothing("%s is older than %s, which runs; it is not gone back by itself: ask for it yourself", short, Abbreviated(f.Running))
	}
	for _, r := range f.Requests {
		switch {
		case r.Commit == f.Newest:
			return nothing("the request %s brings %s", r.Name, short)
		case r.Started, !r.ByPolicy:
			// What a person asked for goes first; and what runs may yet change what
			// is newer.
			return nothing("%s waits for the request %s to end", short, r.Name)
		}
	}
	if i := slices.IndexFunc(f.Failed, func(c v1alpha1.FailedCommit) bool { return c.Commit == f.Newest }); i >= 0 {
		return nothing("%s failed in the request %s (%s) and is not tried again by itself: push a newer commit, or ask with spec.retry",
			short, f.Failed[i].Request, f.Failed[i].Reason)
	}
	if f.Attempted == f.Newest {
		return nothing("%s was asked for before, or something else since, and is not asked for again by itself: push a newer commit, or ask for it yourself", short)
	}
	return timely(f, short)
}

// timely holds a request back until it may start.
func timely(f FollowFacts, short string) FollowDecision {
	open, next, zone, err := openWindow(f.Spec.Windows, f.Now)
	if err != nil {
		return FollowDecision{Kind: FollowNothing, Message: fmt.Sprintf("%s is not updated to: spec.update.windows: %v", short, err)}
	}
	if zone == nil {
		zone = time.UTC
	}
	if c := f.Spec.Cooldown; c != nil && !f.LastEnd.IsZero() {
		if until := f.LastEnd.Add(c.Duration); until.After(f.Now) && !until.Before(next) {
			// It may end outside of the windows; then these decide.
			return FollowDecision{Kind: FollowWait, Until: until, Message: fmt.Sprintf(
				"%s waits until %s: the last update ended at %s and spec.update.cooldown is %s",
				short, until.In(zone).Format(time.RFC3339), f.LastEnd.In(zone).Format(time.RFC3339), c.Duration)}
		}
	}
	if open {
		return FollowDecision{Kind: FollowRequestIt, Commit: f.Newest}
	}
	if next.IsZero() {
		return FollowDecision{Kind: FollowNothing, Message: fmt.Sprintf("%s is not updated to: no window of spec.update.windows ever opens", short)}
	}
	return FollowDecision{Kind: FollowWait, Until: next, Message: fmt.Sprintf(
		"%s waits for the next window of spec.update.windows, which opens at %s", short, next.In(zone).Format(time.RFC3339))}
}

// Abbreviated is a commit as people write it.
func Abbreviated(commit string) string { return commit[:min(7, len(commit))] }
