// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/hostaccess"
	"github.com/fairlead-dev/fairlead/internal/source"
)

// Remote asks the server of an Application's source.
type Remote interface {
	Remote(ctx context.Context, app *v1alpha1.Application) (source.Remote, error)
}

// Sources is hostaccess.Sources by Git.
type Sources struct{ Git Remote }

var _ hostaccess.Sources = Sources{}

// Refs implements hostaccess.Sources.
func (s Sources) Refs(ctx context.Context, app *v1alpha1.Application) ([]hostaccess.Ref, error) {
	remote, err := s.Git.Remote(ctx, app)
	if err != nil {
		return nil, err
	}
	var branches, tags []hostaccess.Ref
	for _, ref := range remote.Refs {
		if name, ok := strings.CutPrefix(ref.Name, "refs/heads/"); ok {
			branches = append(branches, hostaccess.Ref{Name: name, Kind: hostaccess.KindBranch, Commit: ref.SHA})
		} else if name, ok := strings.CutPrefix(ref.Name, "refs/tags/"); ok {
			tags = append(tags, hostaccess.Ref{Name: name, Kind: hostaccess.KindTag, Commit: ref.SHA})
		}
	}
	slices.SortFunc(branches, func(a, b hostaccess.Ref) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(tags, byVersion)
	return append(branches, tags...), nil
}

// byVersion puts the highest version first, and after them what is no version.
func byVersion(a, b hostaccess.Ref) int {
	va, errA := semver.NewVersion(a.Name)
	vb, errB := semver.NewVersion(b.Name)
	switch {
	case errA == nil && errB == nil:
		return cmp.Or(vb.Compare(va), strings.Compare(a.Name, b.Name))
	case errA == nil:
		return -1
	case errB == nil:
		return 1
	}
	return strings.Compare(b.Name, a.Name)
}
