// SPDX-License-Identifier: Apache-2.0

// Package layout decides, purely, which gateway containers an application has,
// and what each of them is told to do.
//
// An application has front gateways, which publish the ports of the host, and
// inner ones, which have the names of its services in its networks. What exists
// is not rearranged: containers hold links to inner gateways, and a published
// port that moves from one container to another is gone for a moment.
package layout

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Port is a port that containers of a service listen on.
type Port struct {
	Number int `json:"number"`
	// UDP is false for TCP.
	UDP bool `json:"udp,omitempty"`
	// App is Compose's app_protocol, "" if it says nothing.
	App string `json:"app,omitempty"`
}

// bare is what tells one port from another.
func (p Port) bare() Port { return Port{Number: p.Number, UDP: p.UDP} }

// Publish is a port of the host that leads to a service.
type Publish struct {
	// HostIP is "" for all addresses.
	HostIP string `json:"hostIP,omitempty"`
	// HostPort is 0 until it is chosen out of From.
	HostPort int `json:"hostPort"`
	// From is the range, as in "8000-8010", of which any port will do; "" where HostPort was asked for by its number.
	From    string `json:"from,omitempty"`
	UDP     bool   `json:"udp,omitempty"`
	App     string `json:"app,omitempty"`
	Service string `json:"service"`
	// Target is the container's port.
	Target int `json:"target"`
	// Inside is the port in the gateway's container; 0 until it has one.
	Inside int `json:"inside,omitempty"`
}

func (p Publish) same(o Publish) bool {
	p.Inside, o.Inside, p.App, o.App, p.From, o.From = 0, 0, "", "", "", ""
	return p == o
}

// Address of the host, as in "127.0.0.1:8080/udp".
func (p Publish) Address() string {
	a := strconv.Itoa(p.HostPort)
	if p.HostIP != "" {
		a = p.HostIP + ":" + a
		if strings.Contains(p.HostIP, ":") {
			a = "[" + p.HostIP + "]:" + strconv.Itoa(p.HostPort)
		}
	}
	if p.UDP {
		a += "/udp"
	}
	return a
}

// Service is one service that is to be behind the gateway.
type Service struct {
	Name string
	// Networks by the name that the engine knows, with all names that the service
	// has there.
	Networks map[string][]string
	Ports    []Port
	Publish  []Publish
}

// Box is a gateway container as it is made. Nothing of it can be changed
// afterwards.
type Box struct {
	// Name of the container.
	Name string `json:"name"`
	// Front publishes ports and has no names; the others have names and publish
	// nothing.
	Front bool `json:"front,omitempty"`
	// Networks by name, with the names that it answers to there.
	Networks map[string][]string `json:"networks"`
	// Owners of these names, for inner boxes: network, name, service.
	Owners map[string]map[string]string `json:"owners,omitempty"`
	// Publish are the ports of the host.
	Publish []Publish `json:"publish,omitempty"`
}

// Encode gives the text that Decode reads; equal boxes have equal texts. What the gateway is told, and
// its container is not made of, is left out: protocols.
func (b Box) Encode() string {
	b.Publish = slices.Clone(b.Publish)
	for i := range b.Publish {
		b.Publish[i].App = ""
	}
	data, err := json.Marshal(b)
	if err != nil {
		panic(err) // strings and numbers only: cannot happen
	}
	return string(data)
}

// Decode reads what Encode wrote.
func Decode(text string) (Box, error) {
	var b Box
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return b, fmt.Errorf("what a gateway container was made for cannot be read: %w", err)
	}
	return b, nil
}

// Input is what Plan decides from.
type Input struct {
	// Project is the Compose project.
	Project string
	// Services are those that are to be behind the gateway.
	Services []Service
	// Direct are the names that other services of the application have in its
	// networks: no gateway may answer to them.
	Direct map[string][]string
	// Internal are the networks without a way out: nothing is published there.
	Internal map[string]bool
	// Existing are the gateway containers that there are.
	Existing []Box
	// Looked are the gateways at which running containers look for a name in a network, as their links say: network, name,
	// names of gateways.
	Looked map[string]map[string][]string
	// Busy are ports of the host that others have: none of them is chosen.
	Busy []Publish
}

// firstInside is the first port that fronts listen on.
const firstInside = 20001

// Plan says which gateway containers there are to be. One that is the same as an
// existing one of that name stays; one that is not takes its place. See Replaces for fronts.
func Plan(in Input) []Box {
	slices.SortFunc(in.Services, func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
	boxes := inner(in)
	for i := range boxes {
		boxes[i].Name = strings.TrimPrefix(boxes[i].Name, newMark)
	}
	return append(boxes, fronts(in)...)
}

// inner places the names of the services: where they are already, else where no
// service has the same port in the same network, else in another box. A box that is to have
// other names gets a successor; see succeed.
func inner(in Input) []Box {
	var boxes []Box
	services := map[string]Service{}
	for _, s := range in.Services {
		services[s.Name] = s
	}
	for _, b := range in.Existing {
		if b.Front || slices.ContainsFunc(in.Existing, func(o Box) bool { return o.succeeds(b) }) {
			continue
		}
		next := parted(cleaned(b, services, in.Direct), services)
		if !next.Same(b) && len(next.Owners) > 0 {
			next.succeed(b)
			next.Name = newMark + boxName(in.Project, "", reserved(in.Existing, boxes))
		}
		boxes = append(boxes, next)
	}
	slices.SortFunc(boxes, func(a, b Box) int { return cmp.Compare(a.Name, b.Name) })
	for _, s := range in.Services {
		for _, network := range slices.Sorted(maps.Keys(s.Networks)) {
			for _, name := range s.Networks[network] {
				if !slices.ContainsFunc(boxes, func(b Box) bool { return b.Owners[network][name] == s.Name }) {
					boxes = place(in, boxes, s, services)
				}
			}
		}
	}
	// One whose services are all gone is not needed.
	return slices.DeleteFunc(boxes, func(b Box) bool {
		for _, owners := range b.Owners {
			for _, s := range owners {
				if _, ok := services[s]; ok {
					return false
				}
			}
		}
		return true
	})
}

// cleaned is a box without names that belong to somebody else by now. Names that
// nobody wants any more stay: taking them away would cut connections.
func cleaned(b Box, services map[string]Service, direct map[string][]string) Box {
	taken := func(network, name, owner string) bool {
		if slices.Contains(direct[network], name) {
			return true
		}
		for _, s := range services {
			if s.Name != owner && slices.Contains(s.Networks[network], name) {
				// Two services may share an alias; both keep it.
				own, ok := services[owner]
				return !ok || !slices.Contains(own.Networks[network], name)
			}
		}
		return false
	}
	out := Box{Name: b.Name, Networks: map[string][]string{}, Owners: map[string]map[string]string{}}
	for network, owners := range b.Owners {
		for name, owner := range owners {
			if !taken(network, name, owner) {
				out.give(network, name, owner)
			}
		}
	}
	out.inherit(b)
	return out
}

// parted is a box without the services that listen, by now, on a port of another one of it in the
// same network: what came for one would go to the other. They are placed anew. That the box is made
// anew interrupts the others once, which is less than to serve the wrong ones.
func parted(b Box, services map[string]Service) Box {
	var stay []string
	out := Box{Name: b.Name, Networks: map[string][]string{}, Owners: map[string]map[string]string{}}
	for _, owner := range ownersOf(b) {
		apart := slices.ContainsFunc(stay, func(other string) bool {
			return clash(services[owner].Ports, services[other].Ports) && meet(b, owner, other)
		})
		if !apart {
			stay = append(stay, owner)
		}
	}
	for network, owners := range b.Owners {
		for name, owner := range owners {
			if slices.Contains(stay, owner) {
				out.give(network, name, owner)
			}
		}
	}
	out.inherit(b)
	return out
}

// ownersOf are the services that a box has names of.
func ownersOf(b Box) []string {
	all := map[string]bool{}
	for _, owners := range b.Owners {
		for _, owner := range owners {
			all[owner] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// meet reports whether a box has names of both services in the same network.
func meet(b Box, one, other string) bool {
	for _, owners := range b.Owners {
		names := slices.Collect(maps.Values(owners))
		if slices.Contains(names, one) && slices.Contains(names, other) {
			return true
		}
	}
	return false
}

func (b *Box) give(network, name, owner string) {
	if b.Owners[network] == nil {
		b.Owners[network] = map[string]string{}
	}
	if b.Owners[network][name] == "" {
		b.Networks[network] = append(b.Networks[network], name)
	}
	b.Owners[network][name] = owner
}

func (b *Box) sort() {
	for _, names := range b.Networks {
		slices.Sort(names)
	}
}

// place gives all names of a service to one box, and makes one if none fits.
// Boxes that exist get no further names, as they would have to be made anew: only
// those that this plan makes do. But where running containers look for the service at one that exists, as
// those do that come back when it was about to leave the gateway, a successor of that has its names.
func place(in Input, boxes []Box, s Service, services map[string]Service) []Box {
	fresh := func(b Box) bool { return strings.HasPrefix(b.Name, newMark) }
	for i := range boxes {
		if in.looks(boxes[i], s) && fits(boxes[i], s, services) {
			if old := boxes[i]; !fresh(old) {
				boxes[i].succeed(old)
				boxes[i].Name = newMark + boxName(in.Project, "", reserved(in.Existing, boxes))
			}
			boxes[i].take(s)
			return boxes
		}
	}
	for i := range boxes {
		if fresh(boxes[i]) && fits(boxes[i], s, services) {
			boxes[i].take(s)
			return boxes
		}
	}
	b := Box{Name: newMark + boxName(in.Project, "", reserved(in.Existing, boxes)), Networks: map[string][]string{}, Owners: map[string]map[string]string{}}
	b.take(s)
	return append(boxes, b)
}

// newMark is in front of the name of a box while it is being filled.
const newMark = "+"

func (b *Box) take(s Service) {
	for network, names := range s.Networks {
		for _, name := range names {
			b.give(network, name, s.Name)
		}
	}
	b.sort()
}

// fits reports whether s has no port, and no name, in common with the services of b where both
// have the same network.
func fits(b Box, s Service, services map[string]Service) bool {
	for network, names := range s.Networks {
		for _, name := range names {
			if owner := b.Owners[network][name]; owner != "" && owner != s.Name {
				return false
			}
		}
		for _, owner := range b.Owners[network] {
			if owner != s.Name && clash(services[owner].Ports, s.Ports) {
				return false
			}
		}
	}
	return true
}

func clash(a, b []Port) bool {
	return slices.ContainsFunc(a, func(p Port) bool {
		return slices.ContainsFunc(b, func(q Port) bool { return p.Number == q.Number && p.UDP == q.UDP })
	})
}

// boxName is the first free name: the n-th container of its kind. No project has a dot in its name, so that
// no service, not even one called gateway, gets such a name from Compose.
func boxName(project, kind string, taken func(string) bool) string {
	for n := 1; ; n++ {
		if name := fmt.Sprintf("%s.gateway%s-%d", project, kind, n); !taken(name) {
			return name
		}
	}
}

// fronts keep the ports that they publish; those that are published already by
// none go to another one, so that nothing is interrupted. A front that is to publish
// less, or in other networks, gets a successor of another name, which can be ready beside it and
// takes further ports as well. Ports that were chosen stay as long as something like them is asked for, also
// where fewer replicas need fewer.
func fronts(in Input) []Box {
	var want []Publish
	for _, s := range in.Services {
		want = append(want, s.Publish...)
	}
	fixedFirst(want)
	left := slices.Clone(want)
	var out []Box
	var more []Publish
	networks := map[string][]string{} // of those that get a successor
	names := map[string]bool{}
	placed := func(p Publish) bool {
		return p.HostPort != 0 && (slices.ContainsFunc(more, p.same) ||
			slices.ContainsFunc(out, func(b Box) bool { return slices.ContainsFunc(b.Publish, p.same) }))
	}
	for _, b := range in.Existing {
		if !b.Front {
			continue
		}
		names[b.Name] = true
		keep := Box{Name: b.Name, Front: true}
		for _, have := range b.Publish {
			i := slices.IndexFunc(want, have.serves)
			if i < 0 || placed(have) {
				continue
			}
			have.App = want[i].App
			keep.Publish = append(keep.Publish, have)
			if i = slices.IndexFunc(left, have.serves); i >= 0 {
				left = slices.Delete(left, i, i+1)
			}
		}
		if len(keep.Publish) == 0 {
			continue
		}
		keep.Networks = reach(keep.Publish, in, b.Networks)
		if keep.Same(b) {
			out = append(out, keep)
			continue
		}
		more = append(more, keep.Publish...)
		maps.Copy(networks, b.Networks)
	}
	choose(in.Project, left, func(p Publish) bool {
		return placed(p) || slices.ContainsFunc(more, p.collides) || slices.ContainsFunc(in.Busy, p.collides) ||
			slices.ContainsFunc(out, func(b Box) bool { return slices.ContainsFunc(b.Publish, p.collides) })
	})
	next := firstInside
	for _, b := range append(slices.Clone(out), Box{Publish: more}) {
		for _, p := range b.Publish {
			next = max(next, p.Inside+1)
		}
	}
	for _, p := range left {
		if !placed(p) {
			p.Inside = next
			next++
			more = append(more, p)
		}
	}
	if len(more) == 0 {
		return out
	}
	name := boxName(in.Project, "-front", func(name string) bool { return names[name] })
	return append(out, Box{Name: name, Front: true, Publish: more, Networks: reach(more, in, networks)})
}

// reach are the networks that lead to the services of ports: those that are used
// already, where they do.
func reach(ports []Publish, in Input, have map[string][]string) map[string][]string {
	out := map[string][]string{}
	for _, p := range ports {
		i := slices.IndexFunc(in.Services, func(s Service) bool { return s.Name == p.Service })
		networks := slices.Sorted(maps.Keys(in.Services[i].Networks))
		slices.SortStableFunc(networks, func(a, b string) int {
			rank := func(n string) int {
				_, used := have[n]
				_, chosen := out[n]
				switch {
				case in.Internal[n]:
					return 2
				case used || chosen:
					return 0
				default:
					return 1
				}
			}
			return rank(a) - rank(b)
		})
		if len(networks) > 0 {
			out[networks[0]] = nil
		}
	}
	return out
}
