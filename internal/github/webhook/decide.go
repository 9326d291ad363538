// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"path"
	"strings"

	gogithub "github.com/google/go-github/v60/github"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/github/client"
)

// Events that mean something here.
const (
	eventPush    = "push"
	eventRelease = "release"
	eventPing    = "ping"
)

const (
	headsPrefix = "refs/heads/"
	tagsPrefix  = "refs/tags/"
)

// verdict is what a delivery with a good signature means.
type verdict struct {
	result Result
	// message for the person who looks at the delivery on GitHub.
	message string
	// hint is set if the source is to be looked at.
	hint Hint
}

// Hint says what moved, as far as it is known: a ref in full and the commit that
// it is at now. What it says is only a reason to look.
type Hint struct {
	Ref, SHA string
}

func ignored(format string, args ...any) verdict {
	return verdict{result: Ignored, message: "ignored: " + fmt.Sprintf(format, args...)}
}

// decide is pure. repo is the application's repository; empty if it is not known.
func decide(app *v1alpha1.Application, repo client.Repo, event string, payload []byte) (verdict, error) {
	switch event {
	case eventPing, eventPush, eventRelease:
	default:
		return ignored("events of this kind mean nothing here: choose push and release"), nil
	}
	parsed, err := gogithub.ParseWebHook(event, payload)
	if err != nil {
		return verdict{}, err
	}
	var from, message string
	var hint Hint
	switch e := parsed.(type) {
	case *gogithub.PingEvent:
		from = e.GetRepo().GetFullName()
		message = "all is set up: pushes and releases of what the application follows will be looked at"
	case *gogithub.PushEvent:
		from, hint = e.GetRepo().GetFullName(), pushed(e)
		message = "the source will be looked at, for a push to " + client.Line(hint.Ref, 255)
	case *gogithub.ReleaseEvent:
		from, hint.Ref = e.GetRepo().GetFullName(), tagsPrefix+e.GetRelease().GetTagName()
		message = "the source will be looked at, for the release " + client.Line(e.GetRelease().GetTagName(), 255)
		if e.GetAction() != "published" {
			return ignored("only published releases count"), nil
		}
		if e.GetRelease().GetTagName() == "" {
			return ignored("the release has no tag"), nil
		}
	}
	if repo != (client.Repo{}) && from != "" && !strings.EqualFold(from, repo.String()) {
		return ignored("this is of the repository %s, the application is from %s", client.Line(from, 200), repo), nil
	}
	switch push, _ := parsed.(*gogithub.PushEvent); {
	case event == eventPing:
		return verdict{result: Ping, message: message}, nil
	case push.GetDeleted():
		return ignored("the branch or tag was deleted"), nil
	case !follows(app, hint.Ref):
		return ignored("%s is not what the application follows", client.Line(hint.Ref, 255)), nil
	}
	return verdict{result: Accepted, message: message, hint: hint}, nil
}

// pushed is the ref of a push and the commit that it is at now. Of an annotated
// tag GitHub names the tag itself, and describes the commit.
func pushed(e *gogithub.PushEvent) Hint {
	h := Hint{Ref: e.GetRef(), SHA: e.GetAfter()}
	if strings.HasPrefix(h.Ref, tagsPrefix) {
		h.SHA = e.GetHeadCommit().GetID()
	}
	return h
}

// follows reports whether a ref may be what an application follows. Where that is
// not known for sure, it may.
func follows(app *v1alpha1.Application, ref string) bool {
	update, named := app.Spec.Update, app.Spec.Source.Ref
	tag, isTag := strings.CutPrefix(ref, tagsPrefix)
	switch {
	case update.TagPattern != "":
		ok, err := path.Match(update.TagPattern, tag)
		return isTag && (ok || err != nil)
	case update.Semver != "":
		return isTag
	case update.Branch != "":
		return ref == headsPrefix+update.Branch
	case named != "":
		return ref == named || ref == headsPrefix+named || ref == tagsPrefix+named
	case app.Status.Branch != "":
		return ref == headsPrefix+app.Status.Branch
	default:
		return strings.HasPrefix(ref, headsPrefix)
	}
}
