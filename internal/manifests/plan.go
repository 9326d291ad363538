// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"fmt"
	"slices"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// maxGone is how many UpdateRequests are remembered that are not in Git any more.
const maxGone = 200

// Action is what is to be done with an object.
type Action string

// Actions.
const (
	// Apply the object.
	Apply Action = "Apply"
	// Renew applies it if it is there, and does not create it.
	Renew Action = "Renew"
	// Leave it alone.
	Leave Action = "Leave"
)

// Step is what is to be done with one object.
type Step struct {
	Object
	Action Action
}

// Plan is what is to be done with a directory.
type Plan struct {
	// Steps in their order: Applications before the requests for them.
	Steps []Step
	// Prune are the Applications that are to be deleted.
	Prune []string
	// Applied is what the status says when all of that is done.
	Applied []v1alpha1.AppliedManifest
}

// Make plans. known is what the status says, first that the directory is looked
// at for the first time: the UpdateRequests in it are recorded then and not
// carried out, as nobody can tell which of them are done. Later on one that is
// new is applied once; it is remembered by its name for good, so that it is
// neither carried out again when the API has forgotten it, nor turned into
// another wish. The error is an *InvalidError.
func Make(objects []Object, known []v1alpha1.AppliedManifest, first, prune bool) (Plan, error) {
	var p Plan
	objects = slices.Clone(objects)
	slices.SortStableFunc(objects, func(a, b Object) int { return rank(a.GetKind()) - rank(b.GetKind()) })
	here := map[string]bool{}
	for _, o := range objects {
		here[o.GetKind()+"/"+o.GetName()] = true
		entry := v1alpha1.AppliedManifest{Kind: o.GetKind(), Name: o.GetName(), Digest: o.Digest, File: o.At(), State: v1alpha1.ManifestApplied}
		action := Apply
		if o.GetKind() == KindUpdateRequest {
			var err error
			if action, entry.State, err = request(o, known, first); err != nil {
				return Plan{}, &InvalidError{File: o.File, Line: o.Line, Err: err}
			}
		}
		p.Steps = append(p.Steps, Step{Object: o, Action: action})
		p.Applied = append(p.Applied, entry)
	}
	gone := 0
	for _, k := range known {
		switch {
		case here[k.Kind+"/"+k.Name]:
		case k.Kind == KindApplication && prune:
			p.Prune = append(p.Prune, k.Name)
		case k.Kind == KindApplication || gone < maxGone:
			if k.Kind == KindUpdateRequest {
				gone++
			}
			k.State = v1alpha1.ManifestGone
			p.Applied = append(p.Applied, k)
		}
	}
	return p, nil
}

// request says what is to be done with an UpdateRequest.
func request(o Object, known []v1alpha1.AppliedManifest, first bool) (Action, v1alpha1.ManifestState, error) {
	i := slices.IndexFunc(known, func(k v1alpha1.AppliedManifest) bool { return k.Kind == KindUpdateRequest && k.Name == o.GetName() })
	if i < 0 {
		if first {
			return Leave, v1alpha1.ManifestRecorded, nil
		}
		return Apply, v1alpha1.ManifestApplied, nil
	}
	same, carriedOut := known[i].Digest == o.Digest, known[i].State != v1alpha1.ManifestRecorded
	switch {
	case same && carriedOut:
		return Renew, v1alpha1.ManifestApplied, nil
	case same, first:
		return Leave, v1alpha1.ManifestRecorded, nil
	case carriedOut:
		return "", "", fmt.Errorf("the UpdateRequest %s was applied before and asked for something else: give this one a new name, such as %s-2", o.GetName(), o.GetName())
	default:
		return Apply, v1alpha1.ManifestApplied, nil
	}
}

func rank(kind string) int {
	if kind == KindApplication {
		return 0
	}
	return 1
}
