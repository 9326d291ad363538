// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"maps"
	"slices"
)

// Same reports whether a gateway container that was made as b serves as o as well.
func (b Box) Same(o Box) bool { return b.Encode() == o.Encode() }

// Replaces are the names of existing gateways whose place b is to take: fronts that have ports of the host which the front b
// is to publish, inner ones of whose names it is to have some. None of them may be wanted any more.
func (b Box) Replaces(existing []Box) []string {
	var out []string
	for _, e := range existing {
		taken := func(p Publish) bool { return slices.ContainsFunc(e.Publish, p.collides) }
		if b.Front && e.Front && e.Name != b.Name && slices.ContainsFunc(b.Publish, taken) || b.succeeds(e) {
			out = append(out, e.Name)
		}
	}
	return out
}

// collides reports whether only one of two can be published at a time.
func (p Publish) collides(o Publish) bool {
	all := func(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }
	return p.HostPort != 0 && p.HostPort == o.HostPort && p.UDP == o.UDP && (p.HostIP == o.HostIP || all(p.HostIP) || all(o.HostIP))
}

// Anew tells which services lose, for a moment, what as existing gateway containers give way to
// wanted ones: the addresses of the host where they are published, and "" for their names.
func Anew(existing, wanted []Box) map[string][]string {
	out := map[string][]string{}
	add := func(service, what string) {
		if !slices.Contains(out[service], what) {
			out[service] = append(out[service], what)
		}
	}
	for _, w := range wanted {
		for _, e := range existing {
			if e.Front != w.Front || e.Name == w.Name && e.Same(w) {
				continue
			}
			for _, p := range w.Publish {
				if slices.ContainsFunc(e.Publish, p.collides) {
					add(p.Service, p.Address())
				}
			}
			if e.Name != w.Name && !w.succeeds(e) {
				continue
			}
			for network, owners := range w.Owners {
				for name, service := range owners {
					if e.Owners[network][name] == service {
						add(service, "")
					}
				}
			}
		}
	}
	for _, service := range slices.Collect(maps.Keys(out)) {
		slices.Sort(out[service])
	}
	return out
}
