// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
)

// AnyPort is what ports of the host are chosen from where the Compose file leaves them to the engine: none that
// the engine or Linux hand out themselves (net.ipv4.ip_local_port_range), so that nobody has it first
// when the host starts. Kubernetes has its node ports there.
const AnyPort = "30000-32767"

// bounds of a range of ports as in "8000-8010"; ok is false for what is none.
func bounds(text string) (first, last int, ok bool) {
	low, high, isRange := strings.Cut(text, "-")
	first, err := strconv.Atoi(low)
	if err != nil || !isRange {
		return 0, 0, false
	}
	last, err = strconv.Atoi(high)
	return first, last, err == nil && 0 < first && first <= last && last < 1<<16
}

// serves reports whether the port p of an existing front is what is asked for.
func (p Publish) serves(ask Publish) bool {
	if ask.From == "" || p.From == "" {
		return p.same(ask)
	}
	first, last, ok := bounds(ask.From)
	if ask.HostPort == 0 && ok && first <= p.HostPort && p.HostPort <= last {
		ask.HostPort = p.HostPort
	}
	return p.same(ask)
}

// choose gives each port that is yet to be chosen the first one that is free, and leaves it 0 if none is.
func choose(project string, asks []Publish, taken func(Publish) bool) {
	for i := range asks {
		p := &asks[i]
		first, last, ok := bounds(p.From)
		if p.HostPort != 0 || !ok {
			continue
		}
		// Without a wish, where it lies is the same each time, should all that knows of it be lost.
		shift := 0
		if p.From == AnyPort {
			h := fnv.New32a()
			_, _ = h.Write([]byte(strings.Join([]string{project, p.Service, strconv.Itoa(p.Target), strconv.FormatBool(p.UDP)}, "/"))) // never fails
			shift = int(h.Sum32() % uint32(last-first+1))                                                                              //nolint:gosec // both are small and positive
		}
		for n := range last - first + 1 {
			p.HostPort = first + (shift+n)%(last-first+1)
			if !taken(*p) && !slices.ContainsFunc(slices.Concat(asks[:i], asks[i+1:]), p.collides) {
				break
			}
			p.HostPort = 0
		}
	}
}

// Unchosen is a port for which none of the host was free, if b has one.
func (b Box) Unchosen() (p Publish, ok bool) {
	i := slices.IndexFunc(b.Publish, func(p Publish) bool { return p.HostPort == 0 })
	if i < 0 {
		return Publish{}, false
	}
	return b.Publish[i], true
}

// fixedFirst puts ports that are asked for by their number before those that are to be chosen.
func fixedFirst(asks []Publish) {
	slices.SortStableFunc(asks, func(a, b Publish) int { return cmp.Compare(min(1, len(a.From)), min(1, len(b.From))) })
}
