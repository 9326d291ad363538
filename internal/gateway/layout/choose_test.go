// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// ports of the host that fronts publish, by front.
func hostPorts(boxes []Box) string {
	var out []string
	for _, b := range boxes {
		if b.Front {
			for _, p := range b.Publish {
				out = append(out, strings.TrimPrefix(b.Name, "p.gateway-front-")+":"+p.Address())
			}
		}
	}
	return strings.Join(out, " ")
}

func TestPortsOfARange(t *testing.T) {
	one := Plan(Input{Project: "p", Services: []Service{svc("web", 80).any(1, "8000-8010", 80)}})
	three := Plan(Input{Project: "p", Services: []Service{svc("web", 80).any(3, "8000-8010", 80)}})
	for _, tt := range []struct {
		name string
		in   Input
		want string
	}{
		{"the first one", Input{Services: []Service{svc("web", 80).any(1, "8000-8010", 80)}}, "1:8000"},
		{"one for each replica", Input{Services: []Service{svc("web", 80).any(3, "8000-8010", 80)}}, "1:8000 1:8001 1:8002"},
		{"what others have is left to them", Input{
			Services: []Service{svc("api", 80).on(8001, 80), svc("web", 80).any(2, "8000-8010", 80)},
			Busy:     []Publish{{HostIP: "127.0.0.1", HostPort: 8000}, {HostPort: 8002, UDP: true}},
		}, "1:127.0.0.1:8001 1:8002 1:8003"},
		{"the same services again", Input{Services: []Service{svc("web", 80).any(1, "8000-8010", 80)}, Existing: one}, "1:8000"},
		{"it stays where it is, though a lower one is free by now", Input{
			Services: []Service{svc("web", 80).any(1, "7000-8010", 80)}, Existing: one,
		}, "1:8000"},
		{"another range", Input{Services: []Service{svc("web", 80).any(1, "8001-8010", 80)}, Existing: one}, "2:8001"},
		{"more replicas", Input{Services: []Service{svc("web", 80).any(2, "8000-8010", 80)}, Existing: one}, "1:8000 2:8001"},
		{"fewer replicas: nothing is interrupted for it", Input{Services: []Service{svc("web", 80).any(1, "8000-8010", 80)}, Existing: three}, "1:8000 1:8001 1:8002"},
		{"by number now", Input{
			Services: []Service{svc("web", 80).with(func(s *Service) { s.Publish = []Publish{{HostPort: 8000, Service: "web", Target: 80}} })}, Existing: one,
		}, "1:8000"},
		{"one that was asked for by number goes with that", Input{
			Services: []Service{svc("web", 80).any(1, "8000-8010", 80)},
			Existing: Plan(Input{Project: "p", Services: []Service{svc("web", 80).any(1, "8000-8010", 80).with(func(s *Service) {
				s.Publish = append(s.Publish, Publish{HostPort: 8000, Service: "web", Target: 80})
			})}}),
		}, "2:8001"},
		{"a successor keeps what was chosen", Input{
			Services: []Service{svc("web", 80).any(1, "8000-8010", 80)},
			Existing: Plan(Input{Project: "p", Services: []Service{svc("web", 80).on(9000, 80).any(1, "8000-8010", 80)}, Busy: []Publish{{HostPort: 8000}}}),
		}, "2:8001"},
		{"what a container of it has", Input{Services: []Service{svc("web", 80).with(func(s *Service) {
			s.Publish = []Publish{{HostPort: 8007, From: "8000-8010", Service: "web", Target: 80}, {From: "8000-8010", Service: "web", Target: 80}}
		})}}, "1:8007 1:8000"},
		{"none is free", Input{Services: []Service{svc("web", 80).any(2, "8000-8001", 80)}, Busy: []Publish{{HostPort: 8001}}}, "1:8000 1:0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.Project = "p"
			got := Plan(tt.in)
			if hostPorts(got) != tt.want {
				t.Errorf("published are %s, want %s", hostPorts(got), tt.want)
			}
			tt.in.Existing = got
			if again := Plan(tt.in); hostPorts(again) != hostPorts(got) && !strings.HasSuffix(tt.want, ":0") {
				t.Errorf("planned again, it is %s", hostPorts(again))
			}
			for _, b := range got {
				if _, lacking := b.Unchosen(); lacking != strings.HasSuffix(tt.want, ":0") && b.Front {
					t.Errorf("%s lacks a port: %t", b.Name, lacking)
				}
			}
		})
	}
}

// Where no port is asked for, the same one is chosen each time that it is free.
func TestPortsOfNoRange(t *testing.T) {
	chosen := func(project string, busy ...Publish) Publish {
		made := Plan(Input{Project: project, Services: []Service{svc("web", 80).any(1, AnyPort, 80)}, Busy: busy})
		i := slices.IndexFunc(made, func(b Box) bool { return b.Front })
		return made[i].Publish[0]
	}
	first := chosen("p")
	if first.HostPort < 30000 || first.HostPort > 32767 {
		t.Errorf("chosen is %s", first.Address())
	}
	if again := chosen("p"); again.HostPort != first.HostPort {
		t.Errorf("chosen is %d, and %d the next time", first.HostPort, again.HostPort)
	}
	if other := chosen("q"); other.HostPort == first.HostPort {
		t.Errorf("two projects want %d first", other.HostPort)
	}
	if next := chosen("p", first); next.HostPort == first.HostPort || next.HostPort == 0 {
		t.Errorf("%d is busy, and %d chosen", first.HostPort, next.HostPort)
	}
}

func TestBounds(t *testing.T) {
	for text, want := range map[string]string{
		"8000-8010": "8000 8010 true", "8000-8000": "8000 8000 true", "8000": "0 0 false", "": "0 0 false", "a-b": "0 0 false", "1-b": "1 0 false",
		"8010-8000": "8010 8000 false", "0-5": "0 5 false", "60000-70000": "60000 70000 false",
	} {
		first, last, ok := bounds(text)
		if got := strconv.Itoa(first) + " " + strconv.Itoa(last) + " " + strconv.FormatBool(ok); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
