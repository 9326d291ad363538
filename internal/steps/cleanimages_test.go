// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

// An image that was pulled goes with its own names only, and only if it could be
// pulled again.
func TestPulledNames(t *testing.T) {
	const digest = "@sha256:0123"
	repositories := map[string]bool{"postgres": true, "127.0.0.1:5000/team/web": true}
	for _, c := range []struct {
		name          string
		tags, digests []string
		want          []string
	}{
		{"by tag", []string{"postgres:16"}, []string{"postgres" + digest}, []string{"postgres:16", "postgres" + digest}},
		{"of a registry with a port", []string{"127.0.0.1:5000/team/web:1"}, []string{"127.0.0.1:5000/team/web" + digest},
			[]string{"127.0.0.1:5000/team/web:1", "127.0.0.1:5000/team/web" + digest}},
		{"whose tag moved on", nil, []string{"postgres" + digest}, []string{"postgres" + digest}},
		{"that somebody named", []string{"postgres:16", "mine:1"}, []string{"postgres" + digest}, nil},
		{"that another application keeps", []string{"postgres:16", "blog-db:0123456789ab"}, []string{"postgres" + digest}, nil},
		{"pulled from elsewhere too", []string{"postgres:16"}, []string{"postgres" + digest, "mirror.example/postgres" + digest}, nil},
		{"loaded by hand", []string{"postgres:16"}, nil, nil},
		{"without a name", nil, nil, nil},
	} {
		if got := pulledNames(docker.Image{RepoTags: c.tags, RepoDigests: c.digests}, repositories); !slices.Equal(got, c.want) {
			t.Errorf("an image %s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestPulledRepositories(t *testing.T) {
	releases := []v1alpha1.Release{{Spec: v1alpha1.ReleaseSpec{Services: []v1alpha1.ReleaseService{
		{Name: "db", Image: "docker.io/library/postgres:16@sha256:" + strings.Repeat("0", 64)}, {Name: "web", Image: "shop-web:0123456789ab", BuildKey: "k"},
		{Name: "odd", Image: "Not a name"},
	}}}}
	if got := newRun().pulledRepositories(releases); len(got) != 1 || !got["postgres"] {
		t.Errorf("got %v", got)
	}
	s := newRun(func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) { a.Spec.Build.Pull = v1alpha1.PullNever })
	if got := s.pulledRepositories(releases); len(got) != 0 {
		t.Errorf("where nothing is pulled: %v", got)
	}
}
