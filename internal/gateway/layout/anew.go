// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"maps"
	"slices"
)

// Same reports whether a gateway container that was made as b serves as o as well.
func (b Box) Same(o Box) bool { return b.Encode() == o.Encode() }

// Anew tells which services lose, for a moment, what as existing gateway containers give way to
// wanted ones of the same name: the addresses of the host where they are published, and "" for their names.
func Anew(existing, wanted []Box) map[string][]string {
	out := map[string][]string{}
	add := func(service, what string) {
		if !slices.Contains(out[service], what) {
			out[service] = append(out[service], what)
		}
	}
	for _, w := range wanted {
		i := slices.IndexFunc(existing, func(b Box) bool { return b.Name == w.Name })
		if i < 0 || existing[i].Same(w) {
			continue
		}
		for _, p := range w.Publish {
			if slices.ContainsFunc(existing[i].Publish, p.same) {
				add(p.Service, p.Address())
			}
		}
		for network, owners := range w.Owners {
			for name, service := range owners {
				if existing[i].Owners[network][name] == service {
					add(service, "")
				}
			}
		}
	}
	for _, service := range slices.Collect(maps.Keys(out)) {
		slices.Sort(out[service])
	}
	return out
}
