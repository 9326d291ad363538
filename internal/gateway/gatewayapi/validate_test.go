// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func valid() *DesiredState {
	return &DesiredState{
		Version: Version, Revision: 1, Application: "shop",
		Listeners: []Listener{
			{Name: "web", Port: 80, Service: "web", TargetPort: 8080},
			{Name: "web-in", Address: "172.18.0.0/16", Port: 80, Service: "web", TargetPort: 80, Internal: true},
			{Name: "api-in", Address: "172.18.0.0/16", Port: 80, Hosts: []string{"api"}, Service: "api", TargetPort: 80},
			{Name: "six", Address: "fd00::/64", Port: 80, Service: "web", TargetPort: 80},
			{Name: "dns", Port: 80, Protocol: ProtocolUDP, Service: "web", TargetPort: 53},
			{Name: "range", Address: "127.0.0.1", Port: 9000, PortEnd: 9010, Protocol: ProtocolTCP, Service: "api", TargetPort: 19000},
		},
		Services: []Service{
			{Name: "web", Targets: []Target{{ID: "a", Host: "0123456789ab"}, {ID: "b", Addresses: []string{"10.0.0.1", "fd00::1"}, State: TargetDraining}},
				DrainTimeout: Duration(90 * time.Second), Probe: &Probe{Type: ProbeHTTP, Port: 80, Path: "/healthz"}},
			{Name: "api", Hold: Hold{Enabled: true}},
		},
	}
}

func TestValidStateSurvivesJSON(t *testing.T) {
	s := valid()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), `"drainTimeout":"1m30s"`) {
		t.Errorf("durations are not written for people: %s", data)
	}
	var back DesiredState
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&back, s) {
		t.Errorf("got\n%+v\nwant\n%+v", back, s)
	}
}

func TestInvalidStates(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*DesiredState)
		want   string
	}{
		"version":             {func(s *DesiredState) { s.Version = "v2" }, `this gateway speaks "fairlead.dev/gateway/v1"`},
		"revision":            {func(s *DesiredState) { s.Revision = 0 }, "must be 1 or more"},
		"twin listener":       {func(s *DesiredState) { s.Listeners[1].Name = "web" }, `listener "web" is there twice`},
		"nameless listener":   {func(s *DesiredState) { s.Listeners[1].Name = "" }, "listeners[1] has no name"},
		"unknown service":     {func(s *DesiredState) { s.Listeners[0].Service = "wep" }, `service "wep" is not part of the state`},
		"address":             {func(s *DesiredState) { s.Listeners[0].Address = "localhost" }, "neither an IP address nor a prefix"},
		"port":                {func(s *DesiredState) { s.Listeners[0].Port = 65536 }, "ports are 1 to 65535"},
		"backward range":      {func(s *DesiredState) { s.Listeners[5].PortEnd = 8999 }, "ends after it begins"},
		"wide range":          {func(s *DesiredState) { s.Listeners[5].PortEnd = 12000 }, "at most 1024"},
		"target port at end":  {func(s *DesiredState) { s.Listeners[5].TargetPort = 65530 }, "also at the end of a range"},
		"protocol":            {func(s *DesiredState) { s.Listeners[0].Protocol = "quic" }, "use auto, http"},
		"hosts of tcp":        {func(s *DesiredState) { s.Listeners[5].Hosts = []string{"x"} }, "no Host"},
		"host":                {func(s *DesiredState) { s.Listeners[2].Hosts = []string{"a b"} }, "not a host name"},
		"trusted":             {func(s *DesiredState) { s.Listeners[0].TrustedProxies = []string{"proxy"} }, "trusted proxy"},
		"proxy from anybody":  {func(s *DesiredState) { s.Listeners[0].ProxyProtocolIn = true }, "needs trustedProxies"},
		"proxy over udp":      {func(s *DesiredState) { s.Listeners[4].ProxyProtocolOut = "v2" }, "TCP only"},
		"proxy version":       {func(s *DesiredState) { s.Listeners[0].ProxyProtocolOut = "v3" }, "use v1 or v2"},
		"two for every host":  {func(s *DesiredState) { s.Listeners[2].Hosts = nil }, "both want every host"},
		"two for one host":    {func(s *DesiredState) { s.Listeners[1].Hosts = []string{"API"} }, "both want host"},
		"one port, two kinds": {func(s *DesiredState) { s.Listeners[2].HTTP.MaxHeaderBytes = 100 }, "before the Host is known"},
		"overlapping ranges": {func(s *DesiredState) {
			s.Listeners[0].Address, s.Listeners[0].Port, s.Listeners[0].Protocol = "127.0.0.1", 9005, ProtocolTCP
		}, "both want every host"},
		"header size":       {func(s *DesiredState) { s.Listeners[0].HTTP.MaxHeaderBytes = 2 << 20 }, "at most 1 MiB"},
		"negative duration": {func(s *DesiredState) { s.Services[0].DrainTimeout = -1 }, "must not be negative"},
		"twin service":      {func(s *DesiredState) { s.Services[1].Name = "web" }, `service "web" is there twice`},
		"twin target":       {func(s *DesiredState) { s.Services[0].Targets[1].ID = "a" }, `target "a" is there twice`},
		"target of nowhere": {func(s *DesiredState) { s.Services[0].Targets[0].Host = "" }, "neither a host nor an address"},
		"target address":    {func(s *DesiredState) { s.Services[0].Targets[1].Addresses[0] = "10.0.0" }, "not an IP address"},
		"target state":      {func(s *DesiredState) { s.Services[0].Targets[1].State = "gone" }, "use active, standby"},
		"balance":           {func(s *DesiredState) { s.Services[0].Balance = "random" }, "use leastConnections"},
		"probe path":        {func(s *DesiredState) { s.Services[0].Probe.Path = "/a\r\nB: c" }, "control characters"},
		"probe port":        {func(s *DesiredState) { s.Services[0].Probe.Port = 0 }, "probe port"},
	} {
		t.Run(name, func(t *testing.T) {
			s := valid()
			c.change(s)
			err := s.Validate()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestDurationSaysWhatItWants(t *testing.T) {
	var s Service
	err := json.Unmarshal([]byte(`{"name":"a","drainTimeout":"soon"}`), &s)
	if err == nil || !strings.Contains(err.Error(), "such as 30s") {
		t.Errorf("got %v", err)
	}
}
