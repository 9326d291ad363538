// SPDX-License-Identifier: Apache-2.0

package release

import (
	"maps"
	"regexp"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

func rel(number int64, state string, services ...v1alpha1.ReleaseService) v1alpha1.Release {
	return v1alpha1.Release{
		ObjectMeta: metav1.ObjectMeta{Name: Name("shop", number)},
		Spec:       v1alpha1.ReleaseSpec{Number: number, Services: services},
		Status:     v1alpha1.ReleaseStatus{State: state},
	}
}

func namesOf(releases []v1alpha1.Release) []string {
	out := []string{}
	for _, r := range releases {
		out = append(out, r.Name)
	}
	return out
}

func TestRevision(t *testing.T) {
	base := Revision("config", "image", "files")
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(base) || base != Revision("config", "image", "files") {
		t.Errorf("got %q", base)
	}
	seen := map[string]bool{base: true}
	for _, parts := range [][3]string{
		{"config2", "image", "files"}, {"config", "image2", "files"}, {"config", "image", "files2"}, {"config", "image", ""},
		// The same letters, cut elsewhere.
		{"configimage", "", "files"}, {"confi", "gimage", "files"}, {"config", "imagef", "iles"}, {"", "config", "imagefiles"},
	} {
		r := Revision(parts[0], parts[1], parts[2])
		if seen[r] {
			t.Errorf("%q has the revision of others", parts)
		}
		seen[r] = true
	}
}

func TestNumbersAreNeverGivenTwice(t *testing.T) {
	tests := []struct {
		name     string
		releases []v1alpha1.Release
		last     int64
		want     int64
	}{
		{"the first", nil, 0, 1},
		{"after others", []v1alpha1.Release{rel(2, ""), rel(7, ""), rel(3, "")}, 0, 8},
		{"after one that is gone", []v1alpha1.Release{rel(2, "")}, 9, 10},
		{"when the status is behind", []v1alpha1.Release{rel(12, "")}, 9, 13},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := NextNumber(tt.releases, tt.last); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
	if got := Name("shop", 12); got != "shop-12" {
		t.Errorf("got %s", got)
	}
}

func TestSortIsByNumber(t *testing.T) {
	releases := []v1alpha1.Release{rel(9, ""), rel(10, ""), rel(1, "")}
	Sort(releases)
	if got := namesOf(releases); !slices.Equal(got, []string{"shop-10", "shop-9", "shop-1"}) {
		t.Errorf("got %v", got)
	}
}

func TestLookups(t *testing.T) {
	one := rel(1, v1alpha1.ReleasePrevious, v1alpha1.ReleaseService{Name: "web", Revision: "old"})
	two := rel(2, v1alpha1.ReleaseCurrent, v1alpha1.ReleaseService{Name: "web", Revision: "new"})
	two.Labels = map[string]string{v1alpha1.LabelRequest: "uid-2"}
	all := []v1alpha1.Release{one, two}
	if got := Current(all); got == nil || got.Name != "shop-2" {
		t.Errorf("current: %v", got)
	}
	if Current(all[:1]) != nil {
		t.Error("a previous release is current")
	}
	if got := Find(all, "shop-1"); got == nil || got.Spec.Number != 1 || Find(all, "shop-3") != nil {
		t.Errorf("found %v", got)
	}
	if got := ByRequest(all, "uid-2"); got == nil || got.Name != "shop-2" || ByRequest(all, "uid-1") != nil || ByRequest(all, "") != nil {
		t.Errorf("by request: %v", got)
	}
	// What is found is the list's own, to be changed in place.
	Find(all, "shop-1").Status.State = v1alpha1.ReleaseExpired
	if all[0].Status.State != v1alpha1.ReleaseExpired {
		t.Error("a copy was found")
	}
	if s, ok := Service(&two, "web"); !ok || s.Revision != "new" {
		t.Errorf("service: %+v", s)
	}
	if _, ok := Service(&two, "db"); ok {
		t.Error("found a service that is not there")
	}
	if _, ok := Service(nil, "web"); ok {
		t.Error("found a service of no release")
	}
}

func TestRevisionOf(t *testing.T) {
	releases := []v1alpha1.Release{rel(1, "", v1alpha1.ReleaseService{Name: "web", Revision: "adopted", Containers: []string{"0123456789abcdef"}})}
	for name, tt := range map[string]struct {
		id     string
		labels map[string]string
		want   string
	}{
		"by its label":         {"ffff", map[string]string{v1alpha1.LabelRevision: "labelled"}, "labelled"},
		"the label goes first": {"0123456789abcdef", map[string]string{v1alpha1.LabelRevision: "labelled"}, "labelled"},
		"adopted":              {"0123456789abcdef", nil, "adopted"},
		"a stranger":           {"fedcba9876543210", nil, "container-fedcba987654"},
		"a short ID":           {"fe", nil, "container-fe"},
	} {
		if got := RevisionOf(releases, tt.id, tt.labels); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}

func TestSurplus(t *testing.T) {
	var five []v1alpha1.Release
	for i := int64(1); i <= 5; i++ {
		five = append(five, rel(i, v1alpha1.ReleasePrevious))
	}
	old := slices.Clone(five)
	old[0].Status.State = v1alpha1.ReleaseCurrent // somebody went back to it
	tests := []struct {
		name     string
		releases []v1alpha1.Release
		keep     int
		hold     []string
		want     []string
	}{
		{"none", nil, 2, nil, []string{}},
		{"few", five, 5, nil, []string{}},
		{"oldest first", five, 2, nil, []string{"shop-1", "shop-2", "shop-3"}},
		{"the current one stays", old, 2, nil, []string{"shop-2", "shop-3"}},
		{"what is held stays", five, 2, []string{"shop-2"}, []string{"shop-1", "shop-3"}},
		{"keep nothing but the current one", old, 0, nil, []string{"shop-2", "shop-3", "shop-4", "shop-5"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := namesOf(tt.releases)
			if got := namesOf(Surplus(tt.releases, tt.keep, tt.hold...)); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if !slices.Equal(before, namesOf(tt.releases)) {
				t.Error("the list was changed")
			}
		})
	}
}

func TestWhatKeptReleasesNeed(t *testing.T) {
	one := rel(1, v1alpha1.ReleaseExpired, v1alpha1.ReleaseService{Name: "web", ImageID: "sha256:gone"})
	one.Status.Backup = "backup_1"
	two := rel(2, v1alpha1.ReleasePrevious, v1alpha1.ReleaseService{Name: "web", ImageID: "sha256:b"}, v1alpha1.ReleaseService{Name: "db", ImageID: "sha256:c"})
	two.Status.Backup = "backup_2"
	three := rel(3, v1alpha1.ReleaseCurrent, v1alpha1.ReleaseService{Name: "web", ImageID: "sha256:d"}, v1alpha1.ReleaseService{Name: "db", ImageID: "sha256:c"}, v1alpha1.ReleaseService{Name: "x"})
	all := []v1alpha1.Release{one, two, three}
	if got := Images(all); !slices.Equal(got, []string{"sha256:b", "sha256:c", "sha256:d"}) {
		t.Errorf("images: %v", got)
	}
	if got := Held(all); !maps.Equal(got, map[string]bool{"backup_2": true}) {
		t.Errorf("held: %v", got)
	}
}

func TestAged(t *testing.T) {
	now := time.Date(2026, 6, 30, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	// shop-1 is five days old, shop-5 one.
	var five []v1alpha1.Release
	for i := int64(1); i <= 5; i++ {
		r := rel(i, v1alpha1.ReleasePrevious)
		r.CreationTimestamp = metav1.NewTime(now.Add(-time.Duration(6-i) * day))
		five = append(five, r)
	}
	with := func(current int, expired ...int) []v1alpha1.Release {
		out := slices.Clone(five)
		out[current-1].Status.State = v1alpha1.ReleaseCurrent
		for _, i := range expired {
			out[i-1].Status.State = v1alpha1.ReleaseExpired
		}
		return out
	}
	for _, tt := range []struct {
		name     string
		releases []v1alpha1.Release
		age      time.Duration
		hold     []string
		want     []string
	}{
		{"never", with(5), 0, nil, []string{}},
		{"none is that old", with(5), 10 * day, nil, []string{}},
		{"the older ones", with(5), 3*day + time.Hour, nil, []string{"shop-1", "shop-2"}},
		{"the current one and the one before it stay, however old", with(5), time.Hour, nil, []string{"shop-1", "shop-2", "shop-3"}},
		{"an expired one is not the one before", with(5, 4), time.Hour, nil, []string{"shop-1", "shop-2"}},
		{"somebody went back", with(1), time.Hour, []string{"shop-3"}, []string{"shop-2", "shop-4"}},
		{"held", with(5), time.Hour, []string{"shop-2"}, []string{"shop-1", "shop-3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := namesOf(Aged(tt.releases, tt.age, now, tt.hold...)); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
