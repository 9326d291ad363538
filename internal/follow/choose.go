// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/fairlead-dev/fairlead/internal/source"
)

// errNothing: the server has nothing that is followed.
var errNothing = errors.New("nothing to follow")

// matching returns the tags that a shell pattern names.
func matching(tags []source.Ref, pattern string) ([]source.Ref, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("spec.update.tagPattern %q is no shell pattern: give one such as release-*", pattern)
	}
	var out []source.Ref
	for _, t := range tags {
		if ok, _ := path.Match(pattern, t.Short()); ok { // tested above
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: no tag matches spec.update.tagPattern %q", errNothing, pattern)
	}
	return out, nil
}

// newestTag is the tag that was made last. Of those made in the same second it
// is the one with the highest version, or else the last by name, with numbers
// compared as such.
func newestTag(tags []source.Ref) source.Ref {
	return slices.MaxFunc(tags, func(a, b source.Ref) int {
		return cmp.Or(a.Time.Compare(b.Time), compareNames(a.Short(), b.Short()))
	})
}

// compareNames orders names as people read them: v9 before v10, a release after
// its release candidates.
func compareNames(a, b string) int {
	va, errA := tagVersion(a)
	vb, errB := tagVersion(b)
	if errA == nil && errB == nil {
		if c := va.Compare(vb); c != 0 {
			return c
		}
	}
	return natural(a, b)
}

// natural compares runs of digits as numbers, all else by characters.
func natural(a, b string) int {
	whole := strings.Compare(a, b)
	for a != "" && b != "" {
		da, db := digits(a), digits(b)
		if da > 0 && db > 0 {
			na, nb := strings.TrimLeft(a[:da], "0"), strings.TrimLeft(b[:db], "0")
			if c := cmp.Or(cmp.Compare(len(na), len(nb)), strings.Compare(na, nb)); c != 0 {
				return c
			}
			a, b = a[da:], b[db:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Or(cmp.Compare(len(a), len(b)), whole)
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// tagVersion reads a tag as a semantic version of three numbers, with or
// without a leading v. Others, such as 2026 or v1, are no versions: they would
// be above all that are.
func tagVersion(name string) (*semver.Version, error) {
	return semver.StrictNewVersion(strings.TrimPrefix(name, "v"))
}

// highest is the tag with the highest version in a range. Pre-releases count
// only where the range names one. Of two tags with one version, as v1.2.0 and
// 1.2.0, or with other build metadata, it is the last by name.
func highest(tags []source.Ref, constraint string) (source.Ref, error) {
	within, err := semver.NewConstraint(constraint)
	if err != nil {
		return source.Ref{}, fmt.Errorf("spec.update.semver %q is no range of versions: give one such as 1.x or \">=1.4.0 <2.0.0\"", constraint)
	}
	var best source.Ref
	var bestVersion *semver.Version
	for _, t := range tags {
		v, err := tagVersion(t.Short())
		if err != nil || !within.Check(v) {
			continue
		}
		if bestVersion == nil || cmp.Or(v.Compare(bestVersion), natural(t.Short(), best.Short())) > 0 {
			best, bestVersion = t, v
		}
	}
	if bestVersion == nil {
		return best, fmt.Errorf("%w: no tag is a version in spec.update.semver %q", errNothing, constraint)
	}
	return best, nil
}
