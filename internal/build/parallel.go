// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Parallel builds several images, as many at a time as the Builder's
// parallelism allows, and returns the results by the Specs' names. Content that
// is already built is found by its key and not built again, and Specs with the
// same Key are built once and get all their tags; of Fairlead's labels such an
// image has those on which the Specs agree.
//
// The first error cancels the other builds and is returned, together with the
// results that were there by then. Each line of the log begins with the service's
// name and " | ".
func (b *Builder) Parallel(ctx context.Context, specs []Spec, log io.Writer) (map[string]Result, error) {
	groups, err := group(specs)
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = io.Discard
	}
	var names, keys []string
	for _, g := range groups {
		if err := g.spec.check(); err != nil {
			return nil, err
		}
		names = append(names, g.names...)
		if !g.spec.NoCache && !g.spec.Missing { // else a build is wanted, or all that is left
			keys = append(keys, g.spec.Key)
		}
	}
	found, err := b.built(ctx, strings.Join(names, ", "), keys...)
	if err != nil {
		return nil, err
	}
	var mu, logMu sync.Mutex
	results := make(map[string]Result, len(specs))
	eg, ctx := errgroup.WithContext(ctx)
	for _, g := range groups {
		eg.Go(func() error {
			result, err := b.ensure(ctx, g.spec, found[g.spec.Key], prefixed(log, &logMu, strings.Join(g.names, ",")+" | "))
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for _, name := range g.names {
				results[name] = result
			}
			return nil
		})
	}
	err = eg.Wait()
	return results, err
}

// built is one build that serves the Specs of several services.
type built struct {
	names []string
	spec  Spec
}

// group puts Specs of the same non-empty Key together. The outcome does not
// depend on the order of the Specs.
func group(specs []Spec) ([]built, error) {
	specs = slices.Clone(specs)
	sort.SliceStable(specs, func(i, j int) bool { return specs[i].Name < specs[j].Name })
	var groups []built
	byKey := map[string]int{}
	for i, s := range specs {
		if i > 0 && specs[i-1].Name == s.Name {
			return nil, &Error{Service: s.Name, Kind: KindInvalid, Message: fmt.Sprintf("two builds have the name %q", s.Name)}
		}
		at, known := byKey[s.Key]
		if s.Key == "" || !known {
			byKey[s.Key] = len(groups)
			groups = append(groups, built{names: []string{s.Name}, spec: s})
			continue
		}
		g := &groups[at]
		g.names = append(g.names, s.Name)
		g.spec.Tags = append(slices.Clone(g.spec.Tags), s.Tags...)
		g.spec.Labels = agreed(g.spec.Labels, s.Labels)
		g.spec.Missing = g.spec.Missing && s.Missing
	}
	return groups, nil
}

// agreed returns the labels of a, without those of Fairlead's that differ in b.
func agreed(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.DeleteFunc(out, func(k, v string) bool {
		other, ok := b[k]
		return strings.HasPrefix(k, labelPrefix) && (!ok || other != v)
	})
	return out
}
