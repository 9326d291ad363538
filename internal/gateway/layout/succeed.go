// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"slices"
	"strings"
)

// Ending is at the end of the name of an inner gateway whose place another one has taken.
const Ending = ".ending"

// succeed has an inner box take the place of another one of another name, which can run beside it. The containers that are
// there find gateways by links to the names of their containers, so that it answers to the other one's name as well.
func (b *Box) succeed(old Box) {
	for network := range b.Networks {
		b.Networks[network] = append(b.Networks[network], old.Name)
	}
	b.sort()
}

// succeeds reports whether b takes the place of old.
func (b Box) succeeds(old Box) bool {
	if b.Front || old.Front || b.Name == old.Name {
		return false
	}
	name := strings.TrimSuffix(old.Name, Ending)
	for network, names := range b.Networks {
		if slices.Contains(names, name) && b.Owners[network][name] == "" {
			return true
		}
	}
	return false
}

// looks reports whether running containers look for a service at b, or at one whose place b has taken.
func (in Input) looks(b Box, s Service) bool {
	for network, all := range s.Networks {
		for _, name := range all {
			if slices.ContainsFunc(in.Looked[network][name], func(box string) bool {
				return box == strings.TrimPrefix(b.Name, newMark) || slices.Contains(b.Networks[network], box) && b.Owners[network][box] == ""
			}) {
				return true
			}
		}
	}
	return false
}

// inherit gives a box the names of those whose place another one has taken.
func (b *Box) inherit(from Box) {
	for network := range b.Networks {
		for _, name := range from.Networks[network] {
			if from.Owners[network][name] == "" && !slices.Contains(b.Networks[network], name) {
				b.Networks[network] = append(b.Networks[network], name)
			}
		}
	}
	b.sort()
}

// reserved are the names of inner boxes, and of those whose place they have taken. One of which nobody knows what it was made for
// gives way to what gets its name.
func reserved(existing, boxes []Box) func(name string) bool {
	has := func(b Box, name string) bool {
		if len(b.Owners) > 0 && (b.Name == name || b.Name == newMark+name) {
			return true
		}
		for network, names := range b.Networks {
			if slices.Contains(names, name) && b.Owners[network][name] == "" {
				return true
			}
		}
		return false
	}
	return func(name string) bool {
		return slices.ContainsFunc(existing, func(b Box) bool { return !b.Front && has(b, name) }) ||
			slices.ContainsFunc(boxes, func(b Box) bool { return has(b, name) })
	}
}
