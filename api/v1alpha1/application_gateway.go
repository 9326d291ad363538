// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GatewayMode says whether a gateway is used.
// +kubebuilder:validation:Enum=Auto;Off
type GatewayMode string

// Gateway modes.
const (
	// GatewayAuto puts a gateway in front of services that it can serve.
	GatewayAuto GatewayMode = "Auto"
	// GatewayOff leaves services as the Compose file has them.
	GatewayOff GatewayMode = "Off"
)

// GatewaySpec says whether and how a gateway stands in front of the services of
// an application: small containers that publish the host ports and have the
// services' names, while the containers behind them come and go.
//
// +kubebuilder:validation:XValidation:rule="(has(self.trustedProxies) && size(self.trustedProxies) > 0) || !((has(self.acceptProxyProtocol) && self.acceptProxyProtocol) || (has(self.services) && self.services.exists(s, has(s.acceptProxyProtocol) && s.acceptProxyProtocol)))",message="acceptProxyProtocol needs trustedProxies: who may say where a client comes from"
type GatewaySpec struct {
	// mode: Auto, or Off. With Auto, an application that publishes ports, or
	// has more than one service, gets a gateway at its next update: each service
	// that it can serve is replaced once, and the host ports change hands with
	// one short interruption, which the plan shows. Turning it off gives
	// ports and names back in the same way. Default: Off.
	// +kubebuilder:default=Off
	// +optional
	Mode GatewayMode `json:"mode,omitempty"`

	GatewayTraffic `json:",inline"`

	// trustedProxies are addresses or networks (CIDR) of proxies in front of
	// this host, whose X-Forwarded-* headers are passed on. Default: none, they
	// are replaced.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	// +listType=set
	// +optional
	TrustedProxies []string `json:"trustedProxies,omitempty"`

	// services are settings of single services.
	// +kubebuilder:validation:MaxItems=256
	// +listType=map
	// +listMapKey=name
	// +optional
	Services []ServiceTraffic `json:"services,omitempty"`
}

// ServiceTraffic holds the settings of the gateway for one service. They go
// before x-fairlead of the Compose file, and that before those for all.
type ServiceTraffic struct {
	GatewayTraffic `json:",inline"`

	// name of the service in the Compose file.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +required
	Name string `json:"name"`
}

// GatewayBalance says which of several containers gets a request.
// +kubebuilder:validation:Enum=LeastConnections;RoundRobin;RandomTwo;Source
type GatewayBalance string

// Ways to balance.
const (
	// BalanceLeastConnections takes the container with the fewest connections.
	BalanceLeastConnections GatewayBalance = "LeastConnections"
	// BalanceRoundRobin takes one after another.
	BalanceRoundRobin GatewayBalance = "RoundRobin"
	// BalanceRandomTwo takes two at random, and of these the one with fewer
	// connections.
	BalanceRandomTwo GatewayBalance = "RandomTwo"
	// BalanceSource takes the same one for the same address of a client.
	BalanceSource GatewayBalance = "Source"
)

// GatewayProtocol is what clients speak.
// +kubebuilder:validation:Enum=Auto;HTTP;TCP
type GatewayProtocol string

// What clients speak.
const (
	// GatewayProtocolAuto finds out by the first bytes of each connection.
	GatewayProtocolAuto GatewayProtocol = "Auto"
	// GatewayProtocolHTTP is HTTP/1.1, or HTTP/2 without TLS, which gRPC is too.
	GatewayProtocolHTTP GatewayProtocol = "HTTP"
	// GatewayProtocolTCP is anything: bytes are passed on as they come.
	GatewayProtocolTCP GatewayProtocol = "TCP"
)

// GatewayTraffic says how a gateway passes requests on, for all services or for
// one.
type GatewayTraffic struct {
	// protocol is what clients speak on the TCP ports, published or not, of which
	// app_protocol of the Compose file does not tell: HTTP (HTTP/1.1, or HTTP/2 without
	// TLS, which gRPC is too), TCP (bytes are passed on as they come), or Auto (the first
	// bytes of each connection tell). A protocol without lines, in which clients begin
	// with a word, needs TCP. Default: Auto.
	// +optional
	Protocol GatewayProtocol `json:"protocol,omitempty"`

	// balance says which of several replicas gets a request: LeastConnections,
	// RoundRobin, RandomTwo (the one with fewer connections of two at random) or
	// Source (the same one for the same client). Default: LeastConnections.
	// +optional
	Balance GatewayBalance `json:"balance,omitempty"`

	// holdTimeout is how long a request to a service whose only container is
	// being replaced is held before it is refused. A time such as 30s or 2m.
	// Default: 60s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	HoldTimeout *metav1.Duration `json:"holdTimeout,omitempty"`

	// holdRequests is how many requests and connections may be held at once.
	// Default: 1024.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	HoldRequests int32 `json:"holdRequests,omitempty"`

	// holdBytes bounds the memory that held requests fill, a quantity such as
	// 16Mi; bodies beyond some KiB stay with the client. Default: 16Mi.
	// +optional
	HoldBytes *resource.Quantity `json:"holdBytes,omitempty"`

	// transferTimeout is how long uploads, and downloads of a known size, may
	// go on with an old container. One whose client stands still for a minute
	// ends earlier. Default: 10m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	TransferTimeout *metav1.Duration `json:"transferTimeout,omitempty"`

	// longLivedTimeout is how long connections without an end of their own may
	// go on with an old container: WebSockets, streams of events, gRPC and TCP.
	// TCP connections are not cut then: they go on until their container is told
	// to stop, after the soak, and ends them. Default: drainTimeout of the service.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	LongLivedTimeout *metav1.Duration `json:"longLivedTimeout,omitempty"`

	// probe has the gateway look at each container regularly: one that does not
	// answer gets no requests until it does, unless all do not. Default: none;
	// a container that refuses connections is left out in any case.
	// +optional
	Probe *GatewayProbe `json:"probe,omitempty"`

	// acceptProxyProtocol expects the header of the PROXY protocol, version 1 or
	// 2, at the start of each connection to published TCP ports, and takes the
	// client's address from it. It needs trustedProxies; connections from others
	// are refused.
	// +optional
	AcceptProxyProtocol *bool `json:"acceptProxyProtocol,omitempty"`

	// sendProxyProtocol sends that header to the containers, for what comes in by
	// published TCP ports: V1, V2 or Off. They must expect it. Default: Off.
	// +optional
	SendProxyProtocol ProxyProtocol `json:"sendProxyProtocol,omitempty"`
}

// ProxyProtocol is a version of the PROXY protocol.
// +kubebuilder:validation:Enum=V1;V2;Off
type ProxyProtocol string

// Versions of the PROXY protocol.
const (
	ProxyProtocolV1  ProxyProtocol = "V1"
	ProxyProtocolV2  ProxyProtocol = "V2"
	ProxyProtocolOff ProxyProtocol = "Off"
)

// GatewayProbe says how a gateway looks at containers.
type GatewayProbe struct {
	// path to GET over HTTP; a status from 200 to 399 passes. Default: none, the
	// port is connected to.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^/[!-~]*$`
	// +optional
	Path string `json:"path,omitempty"`

	// port of the containers. Default: the first TCP port of the service.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port int32 `json:"port,omitempty"`

	// interval is the time between two looks. Default: 2s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`

	// timeout of one look. Default: 2s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// failing is how many looks in a row must fail until a container gets no
	// requests. Default: 3.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	Failing int32 `json:"failing,omitempty"`

	// passing is how many must pass until it gets some again. Default: 2.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	Passing int32 `json:"passing,omitempty"`
}

// DowntimeStatus is what a prober saw from outside while containers were
// replaced.
type DowntimeStatus struct {
	// longestGap is the longest time without an answer between two that came,
	// such as 0s or 350ms.
	LongestGap string `json:"longestGap"`
	// probes that were sent.
	Probes int64 `json:"probes"`
	// failed of them, with those that had no answer when the last step ended.
	Failed int64 `json:"failed"`
	// slowest answer, or how long one that had not come was waited for.
	// +optional
	Slowest string `json:"slowest,omitempty"`
	// target that had the longest gap, or that was asked.
	// +optional
	Target string `json:"target,omitempty"`
}

// UnmeasuredPorts are ports of the host of which it is not known for how long they
// did not answer.
type UnmeasuredPorts struct {
	// service that has them; empty for the whole application.
	// +optional
	Service string `json:"service,omitempty"`
	// ports, such as 127.0.0.1:53/udp; empty for all.
	// +optional
	Ports string `json:"ports,omitempty"`
	// reason why they were not measured.
	Reason string `json:"reason"`
}
