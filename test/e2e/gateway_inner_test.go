// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/test/apps"
)

// What other containers find by the name of a service is passed on as x-fairlead says, also where nothing of it is
// published, and as app_protocol of a port says.
func TestGatewayInnerProtocols(t *testing.T) {
	t.Parallel()
	s := siteOf(t, shared, apps.Talk)
	t.Cleanup(func() { s.removeGateways() })
	data, err := os.ReadFile(filepath.Join(s.repo.Dir, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	const inner = `services:
  lines: {build: ., labels: *labels, expose: ["7000"], x-fairlead: {protocol: TCP}}
  rpc:
    build: .
    labels: *labels
    x-fairlead: {protocol: TCP}
    ports: [{target: 9090, host_ip: 127.0.0.1, app_protocol: grpc}]
`
	s.apply(gatewayOn + "  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 0s}\n")
	s.succeeds(s.publish("Services inside", map[string]string{"docker-compose.yml": strings.Replace(string(data), "services:\n", inner, 1)}))
	for _, tt := range []struct {
		service string
		port    int
		want    gatewayapi.Protocol
		open    func(address string) (*talk, error)
	}{
		{"lines", 7000, gatewayapi.ProtocolTCP, func(address string) (*talk, error) { return talkLines("tcp", address) }},
		{"rpc", 9090, gatewayapi.ProtocolGRPC, func(address string) (*talk, error) { return talkGRPC(t.Context(), address) }},
		{"talk", 7000, gatewayapi.ProtocolAuto, func(address string) (*talk, error) { return talkLines("tcp", address) }},
	} {
		address, got := s.innerListener(tt.service, tt.port)
		if got != tt.want {
			t.Errorf("the port %d of %s is passed on as %q, want %q", tt.port, tt.service, got, tt.want)
		}
		c, err := tt.open(address)
		if err != nil {
			t.Errorf("%s: %v", tt.service, err)
			continue
		}
		if answer, err := c.say("hello"); err != nil || answer != "1 hello" {
			t.Errorf("the port %d of %s answers %q, %v", tt.port, tt.service, answer, err)
		}
		c.end()
	}
}

// innerListener is the address where other containers find a port of a service, and what the gateway there was told of it.
func (s *site) innerListener(service string, port int) (address string, protocol gatewayapi.Protocol) {
	s.t.Helper()
	keeper := &boxes.Keeper{Dir: filepath.Join(s.DataDir, "gateway")}
	for _, g := range s.gateways() {
		state, err := keeper.Client(strings.TrimPrefix(g.Names[0], "/")).Desired(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		for _, l := range state.Listeners {
			if !l.Internal || l.Service != service || l.TargetPort != port {
				continue
			}
			for _, n := range g.NetworkSettings.Networks {
				return net.JoinHostPort(n.IPAddress, fmt.Sprint(l.Port)), l.Protocol
			}
		}
	}
	s.t.Fatalf("no gateway has the port %d of %s", port, service)
	return "", ""
}
