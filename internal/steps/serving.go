// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
)

// balances are the gateway's words for ways to balance.
var balances = map[v1alpha1.GatewayBalance]gatewayapi.Balance{
	v1alpha1.BalanceLeastConnections: gatewayapi.BalanceLeastConnections,
	v1alpha1.BalanceRoundRobin:       gatewayapi.BalanceRoundRobin,
	v1alpha1.BalanceRandomTwo:        gatewayapi.BalanceRandomTwo,
	v1alpha1.BalanceSource:           gatewayapi.BalanceSource,
}

// protocols are the gateway's words for what clients speak.
var protocols = map[v1alpha1.GatewayProtocol]gatewayapi.Protocol{
	v1alpha1.GatewayProtocolAuto: gatewayapi.ProtocolAuto,
	v1alpha1.GatewayProtocolHTTP: gatewayapi.ProtocolHTTP,
	v1alpha1.GatewayProtocolTCP:  gatewayapi.ProtocolTCP,
}

// traffic is how the gateway passes the requests of a service on, the narrowest setting first: the
// Application's for the service, x-fairlead of the Compose file, the Application's for all.
func (s *run) traffic(svc compose.Service, drain time.Duration) layout.Traffic {
	t := layout.Traffic{Drain: drain, LongLived: drain}
	t.Hold.MaxWait = gatewayapi.Duration(defaultHoldTimeout)
	setTraffic(&t, s.Application.Spec.Gateway.GatewayTraffic)
	setExtension(&t, svc.Extension.Traffic)
	for _, one := range s.Application.Spec.Gateway.Services {
		if one.Name == svc.Name {
			setTraffic(&t, one.GatewayTraffic)
		}
	}
	return t
}

func setTraffic(t *layout.Traffic, g v1alpha1.GatewayTraffic) {
	if g.Protocol != "" {
		t.Protocol = protocols[g.Protocol]
	}
	if g.Balance != "" {
		t.Balance = balances[g.Balance]
	}
	if g.HoldTimeout != nil {
		t.Hold.MaxWait = gatewayapi.Duration(g.HoldTimeout.Duration)
	}
	if g.HoldRequests > 0 {
		t.Hold.MaxRequests = int(g.HoldRequests)
	}
	if g.HoldBytes != nil && g.HoldBytes.Value() > 0 {
		t.Hold.MaxBytes = g.HoldBytes.Value()
	}
	if g.TransferTimeout != nil {
		t.Transfer = g.TransferTimeout.Duration
	}
	if g.LongLivedTimeout != nil {
		t.LongLived = g.LongLivedTimeout.Duration
	}
	if p := g.Probe; p != nil {
		t.Probe = &gatewayapi.Probe{
			Type: probeType(p.Path), Path: p.Path, Port: int(p.Port), Interval: lasting(p.Interval), Timeout: lasting(p.Timeout),
			Failing: int(p.Failing), Passing: int(p.Passing),
		}
	}
	if g.AcceptProxyProtocol != nil {
		t.AcceptProxy = *g.AcceptProxyProtocol
	}
	setSend(t, string(g.SendProxyProtocol))
}

func setExtension(t *layout.Traffic, x compose.Traffic) {
	if x.Protocol != "" {
		t.Protocol = protocols[v1alpha1.GatewayProtocol(x.Protocol)]
	}
	if x.Balance != "" {
		t.Balance = balances[v1alpha1.GatewayBalance(x.Balance)]
	}
	if x.HoldTimeout > 0 {
		t.Hold.MaxWait = gatewayapi.Duration(x.HoldTimeout)
	}
	if x.HoldRequests > 0 {
		t.Hold.MaxRequests = x.HoldRequests
	}
	if x.HoldBytes > 0 {
		t.Hold.MaxBytes = x.HoldBytes
	}
	t.Transfer, t.LongLived = orSet(x.TransferTimeout, t.Transfer), orSet(x.LongLivedTimeout, t.LongLived)
	if p := x.Probe; p != nil {
		t.Probe = &gatewayapi.Probe{
			Type: probeType(p.Path), Path: p.Path, Port: p.Port, Interval: gatewayapi.Duration(p.Interval), Timeout: gatewayapi.Duration(p.Timeout),
			Failing: p.Failing, Passing: p.Passing,
		}
	}
	if x.AcceptProxyProtocol != nil {
		t.AcceptProxy = *x.AcceptProxyProtocol
	}
	setSend(t, x.SendProxyProtocol)
}

func setSend(t *layout.Traffic, version string) {
	switch v1alpha1.ProxyProtocol(version) {
	case v1alpha1.ProxyProtocolV1, v1alpha1.ProxyProtocolV2:
		t.SendProxy = strings.ToLower(version)
	case v1alpha1.ProxyProtocolOff:
		t.SendProxy = ""
	}
}

func probeType(path string) gatewayapi.ProbeType {
	if path == "" {
		return gatewayapi.ProbeTCP
	}
	return gatewayapi.ProbeHTTP
}

func lasting(d *metav1.Duration) gatewayapi.Duration {
	if d == nil {
		return 0
	}
	return gatewayapi.Duration(d.Duration)
}
