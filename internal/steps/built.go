// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"slices"

	"github.com/distribution/reference"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// findBuilt looks for images that were built of the same content before, where no release names one.
func (s *run) findBuilt(ctx context.Context, want []wanted) error {
	if s.Request.Spec.Force {
		return nil
	}
	var keys []string
	for _, d := range want {
		if d.how == imageBuild && !s.foundNone(d) {
			keys = append(keys, d.buildKey)
		}
	}
	var images map[string]string
	if s.keyed != nil && len(keys) > 0 {
		all, err := s.keyed()
		if err != nil {
			return err
		}
		images = all.Find(keys)
	} else {
		var err error
		if images, err = s.Builder(1).FindByKeys(ctx, keys); err != nil {
			return err
		}
	}
	for i := range want {
		d := &want[i]
		if id := images[d.buildKey]; d.how == imageBuild && id != "" {
			found, err := s.lookup(ctx, id, d)
			if err != nil {
				return err
			}
			d.how = orBuild(found)
		}
	}
	return nil
}

// listBuilt lists what was built on the host while the commit is fetched: an engine with many images
// needs a while for it.
func (s *run) listBuilt(ctx context.Context) {
	s.keyed = ahead(s, func() (build.Keyed, error) { return s.Builder(1).ListKeyed(ctx) })
}

// foundNone reports whether the preflight of the request has looked for an image of that content, and found
// none. An engine with many images takes a while to list them; what was built since is in its cache. Another
// attempt looks for what the one before it may have built.
func (s *run) foundNone(d wanted) bool {
	u := s.updateOf(d.Name)
	return s.Step == v1alpha1.StepBuild && s.attemptNumber() == 1 && u.BuildKey == d.buildKey && u.ImageID == ""
}

// imageBuilders are the services that build an image, by its full name. Where
// several do, the first one counts.
func imageBuilders(services []compose.Service) map[string]string {
	out := map[string]string{}
	for _, svc := range services {
		if name := fullName(svc.ImageName); svc.Build != nil && name != "" && out[name] == "" {
			out[name] = svc.Name
		}
	}
	return out
}

// fullName is a reference with registry and tag; "" if it is none.
func fullName(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return ""
	}
	return reference.TagNameOnly(named).String()
}

// shareBuilt gives services that name an image which another one builds that
// image, as far as it is known.
func shareBuilt(want []wanted) {
	for i := range want {
		d := &want[i]
		j := slices.IndexFunc(want, func(o wanted) bool { return d.builtBy != "" && o.Name == d.builtBy })
		if j >= 0 {
			d.how, d.image = want[j].how, want[j].image
		}
	}
}

func (s *run) desireBuilt(ctx context.Context, w *workspace, project *compose.Project, commit string, releases []v1alpha1.Release, d *wanted) error {
	spec, err := s.buildSpec(ctx, w, project, commit, d.Service)
	if err != nil {
		return err
	}
	d.spec, d.buildKey, d.how = spec, spec.Key, imageBuild
	if d.buildKey == "" || s.Request.Spec.Force {
		return nil
	}
	for _, r := range releases {
		rs, ok := release.Service(&r, d.Name)
		if !ok || rs.BuildKey != d.buildKey || rs.ImageID == "" {
			continue
		}
		if found, err := s.lookup(ctx, rs.ImageID, d); err != nil || found {
			d.how = orBuild(found)
			return err
		}
	}
	return nil
}

func orBuild(found bool) string {
	if found {
		return imageReuse
	}
	return imageBuild
}
