// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/source"
)

type fakeRemote struct {
	remote source.Remote
	err    error
}

func (f fakeRemote) Remote(context.Context, *v1alpha1.Application) (source.Remote, error) {
	return f.remote, f.err
}

func TestRefs(t *testing.T) {
	var remote source.Remote
	for _, name := range []string{"refs/tags/v1.9.0", "refs/heads/main", "refs/tags/nightly", "refs/tags/v1.10.0", "refs/heads/fix/a", "refs/tags/v1.10.0-rc.1", "refs/pull/1/head"} {
		remote.Refs = append(remote.Refs, source.Ref{Name: name, SHA: "sha of " + name})
	}
	refs, err := Sources{Git: fakeRemote{remote: remote}}.Refs(t.Context(), &v1alpha1.Application{})
	var names []string
	for _, r := range refs {
		names = append(names, r.Kind+" "+r.Name)
	}
	want := []string{"Branch fix/a", "Branch main", "Tag v1.10.0", "Tag v1.10.0-rc.1", "Tag v1.9.0", "Tag nightly"}
	if err != nil || !slices.Equal(names, want) || refs[2].Commit != "sha of refs/tags/v1.10.0" {
		t.Errorf("%v, %v, want %v", refs, err, want)
	}
	away := errors.New("away")
	if _, err := (Sources{Git: fakeRemote{err: away}}).Refs(t.Context(), &v1alpha1.Application{}); !errors.Is(err, away) {
		t.Errorf("%v", err)
	}
}
