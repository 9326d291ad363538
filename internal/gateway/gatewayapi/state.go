// SPDX-License-Identifier: Apache-2.0

// Package gatewayapi is what the daemon and a gateway say to each other: the
// state that a gateway shall have, the state that it has, and the client of the
// control socket that carries both.
//
// A whole [DesiredState] is put, never a change to one. Putting the same one
// again does nothing. Who puts a state chooses its revision, higher than the
// one that the gateway has applied.
package gatewayapi

import "time"

// Version is the version of these types. A gateway refuses any other.
const Version = "fairlead.dev/gateway/v1"

// The files in the directory that the daemon and one gateway share.
const (
	// SocketName is the control socket, of mode 0600.
	SocketName = "control.sock"
	// StateName is the last DesiredState, which a gateway starts from.
	StateName = "state.json"
	// ProgramName says which program in the directory took the place of the container's own,
	// and is run instead of it when the container starts again.
	ProgramName = "program.json"
)

// Program is a program in the gateway's directory, to take the place of the one that runs.
type Program struct {
	// File is its name in the directory. It must be executable.
	File string `json:"file"`
	// SHA256 is the digest of its content, in hexadecimal digits.
	SHA256 string `json:"sha256"`
}

// DesiredState is everything that a gateway shall do.
type DesiredState struct {
	// Version is [Version].
	Version string `json:"version"`
	// Revision is chosen by who puts the state. A lower one than the applied one
	// is refused, and so is the same one with another content: 409 both.
	Revision int64 `json:"revision"`
	// Application is the application's name, for logs and metrics.
	Application string `json:"application"`
	// Listeners are what clients connect to.
	Listeners []Listener `json:"listeners,omitempty"`
	// Services are where their traffic goes.
	Services []Service `json:"services,omitempty"`
}

// Protocol is what is spoken on a listener's connections.
type Protocol string

// The protocols of a listener.
const (
	// ProtocolAuto finds out from the first bytes of each connection whether it
	// is HTTP/1, HTTP/2 or anything else. If the client says nothing for some
	// milliseconds, the target is connected to, and if that speaks first, the
	// connection is TCP; so protocols in which the server greets lose no time.
	ProtocolAuto Protocol = "auto"
	// ProtocolHTTP is HTTP/1.0, 1.1 and HTTP/2 with prior knowledge, nothing else.
	ProtocolHTTP Protocol = "http"
	// ProtocolH2C is the same as http; it says that HTTP/2 is expected.
	ProtocolH2C Protocol = "h2c"
	// ProtocolGRPC is h2c.
	ProtocolGRPC Protocol = "grpc"
	// ProtocolTCP passes bytes and does not look at them.
	ProtocolTCP Protocol = "tcp"
	// ProtocolUDP passes datagrams.
	ProtocolUDP Protocol = "udp"
)

// ForwardedMode is what is done with X-Forwarded-For, -Proto and -Host and Forwarded.
type ForwardedMode string

// The modes for forwarding headers.
const (
	// ForwardedSet replaces the client's headers by the gateway's own; from a
	// trusted proxy, the client's address is appended to them instead.
	ForwardedSet ForwardedMode = "set"
	// ForwardedKeep leaves the headers as they are, as for traffic between the
	// containers of an application.
	ForwardedKeep ForwardedMode = "keep"
)

// Listener is a port, or a range of ports, that the gateway listens on in its
// own network namespace. What the engine publishes in front of it is not its
// matter. Several listeners may have the same address, ports and transport if
// Hosts tells them apart.
type Listener struct {
	// Name is unique in the state and stays the same from revision to revision.
	Name string `json:"name"`
	// Address is where to listen: empty for every address, IPv4 and IPv6; an IP
	// address; or a prefix such as 172.18.0.0/16, which is whatever address the
	// gateway has in that network, and the way to name the gateway's side of a
	// Docker network, since it outlives a restart of the engine. For a prefix all
	// addresses are listened on and connections to others are closed. Where
	// several listeners fit, the longest prefix counts.
	Address string `json:"address,omitempty"`
	// Port is the first port.
	Port int `json:"port"`
	// PortEnd is the last port of a range; 0 if there is only Port.
	PortEnd int `json:"portEnd,omitempty"`
	// Protocol is auto by default. udp listens on UDP, all others on TCP.
	Protocol Protocol `json:"protocol,omitempty"`
	// Hosts restricts the listener to requests whose Host (without a port) is one of
	// these, without regard to case. Only requests of HTTP have one: of the listeners
	// on a port, the one without Hosts gets everything else; if there is none,
	// other requests get 421 and other protocols a closed connection.
	Hosts []string `json:"hosts,omitempty"`

	// Service is the name of the service that gets the traffic.
	Service string `json:"service"`
	// TargetPort is the port of the targets. In a range it belongs to Port, the
	// next one to Port + 1 and so on.
	TargetPort int `json:"targetPort"`

	// Internal says that the clients are the application's own containers. It
	// makes the default of Forwarded "keep".
	Internal bool `json:"internal,omitempty"`
	// Forwarded is "set" by default, "keep" for internal listeners.
	Forwarded ForwardedMode `json:"forwarded,omitempty"`
	// TrustedProxies are addresses and prefixes whose X-Forwarded headers and PROXY
	// protocol headers are believed. None by default.
	TrustedProxies []string `json:"trustedProxies,omitempty"`
	// ForwardedProto is what X-Forwarded-Proto says of a connection to this
	// listener: http (default), or https where something in front ends TLS.
	ForwardedProto string `json:"forwardedProto,omitempty"`
	// ProxyProtocolIn expects a PROXY protocol header, v1 or v2, at the start of each
	// connection from a trusted proxy, and takes the client's address from it. With it on,
	// connections from anybody else are closed. TCP only.
	ProxyProtocolIn bool `json:"proxyProtocolIn,omitempty"`
	// ProxyProtocolOut sends such a header to the target: "v1", "v2", or empty for none.
	// TCP only; it takes HTTP/2 connections as TCP.
	ProxyProtocolOut string `json:"proxyProtocolOut,omitempty"`

	// HTTP bounds HTTP/1 and HTTP/2 connections.
	HTTP HTTPLimits `json:"http,omitzero"`
	// UDPIdleTimeout is how long a UDP client without datagrams keeps its target. 60 s by default.
	UDPIdleTimeout Duration `json:"udpIdleTimeout,omitzero"`
}

// HTTPLimits bounds what a client may do. Zero values are the defaults.
type HTTPLimits struct {
	// HeaderTimeout is how long a client may take for the head of a request, from
	// its first byte on. 30 s by default.
	HeaderTimeout Duration `json:"headerTimeout,omitzero"`
	// IdleTimeout is how long a connection may wait for its next request. 90 s by default.
	IdleTimeout Duration `json:"idleTimeout,omitzero"`
	// BodyTimeout is how long a body, or an answer, may stand still because the
	// client neither sends nor reads. 60 s by default.
	BodyTimeout Duration `json:"bodyTimeout,omitzero"`
	// MaxHeaderBytes bounds the head of a request. 64 KiB by default; at most 1 MiB.
	MaxHeaderBytes int `json:"maxHeaderBytes,omitempty"`
}

// Balance is how one of several targets is chosen.
type Balance string

// The ways to balance.
const (
	// BalanceLeastConnections takes the target with the fewest open connections.
	BalanceLeastConnections Balance = "leastConnections"
	// BalanceRoundRobin takes one after another.
	BalanceRoundRobin Balance = "roundRobin"
	// BalanceRandomTwo takes two at random, and of these the one with fewer open connections.
	BalanceRandomTwo Balance = "randomTwo"
	// BalanceSource takes the same target for the same client address, as long as
	// the pool stays the same.
	BalanceSource Balance = "source"
)

// Service is one service of the application with its pool of targets.
type Service struct {
	// Name is unique in the state.
	Name string `json:"name"`
	// Targets are the containers. Their order does not matter.
	Targets []Target `json:"targets,omitempty"`
	// Balance is leastConnections by default.
	Balance Balance `json:"balance,omitempty"`
	// Hold makes new requests and connections wait instead of going to a target.
	Hold Hold `json:"hold,omitzero"`
	// DrainTimeout is how long a target that became draining, or went away from the state, may still
	// take to begin its answers to the requests in flight. 30 s by default.
	DrainTimeout Duration `json:"drainTimeout,omitzero"`
	// TransferTimeout is how long uploads, and downloads of a known size, may go on then. One whose client
	// stands still ends by the listener's BodyTimeout. 10 min by default.
	TransferTimeout Duration `json:"transferTimeout,omitzero"`
	// LongLivedDeadline is how long everything may go on that has no end of its own: TCP and UDP, WebSocket and
	// other upgraded connections, streams of HTTP/2, server-sent events and other answers of unknown size. 5 min by default.
	// What is TCP only, of which the gateway sees nothing but bytes, is not cut then but left to the target's own end.
	LongLivedDeadline Duration `json:"longLivedDeadline,omitzero"`
	// ConnectTimeout bounds the attempts to connect to a target, all together. 5 s by default.
	ConnectTimeout Duration `json:"connectTimeout,omitzero"`
	// Probe looks at each target regularly. Without one only connections that are
	// refused tell that a target is unhealthy.
	Probe *Probe `json:"probe,omitempty"`
}

// TargetState is what a target is used for.
type TargetState string

// The states of a target.
const (
	// TargetActive gets new requests.
	TargetActive TargetState = "active"
	// TargetStandby is resolved and probed, gets nothing new, and keeps what it has.
	// It is how a target becomes known before a switch.
	TargetStandby TargetState = "standby"
	// TargetDraining gets nothing new and loses what it has by DrainTimeout, TransferTimeout
	// and LongLivedDeadline. It can become active again at any time.
	TargetDraining TargetState = "draining"
)

// Target is one container. It is found by Host, by Addresses, or both.
//
// With a Host, that is the truth: it is asked for about every second and
// whenever a connection fails, and Addresses are believed only from the put to
// the first answer, never from the state file. So a container that came back
// under another address is found, and one that got its former address is not
// taken for it. A name that does not exist means that the container is down; a
// DNS server that does not answer changes nothing.
type Target struct {
	// ID is the container's ID, or any other name that is unique in the service.
	// It carries connections, counts and health from revision to revision.
	ID string `json:"id"`
	// Host is a name that Docker's DNS has for this container only: the
	// first 12 digits of its ID are one in every network that the user made.
	Host string `json:"host,omitempty"`
	// Addresses are IP addresses of the container, those to be tried first at the front.
	Addresses []string `json:"addresses,omitempty"`
	// State is active by default.
	State TargetState `json:"state,omitempty"`
}

// Hold bounds what waits. Requests beyond the bounds get 503 with Retry-After, TCP
// connections are closed, datagrams dropped. Zero values are the defaults.
type Hold struct {
	// Enabled holds what is new. What is in flight goes on.
	Enabled bool `json:"enabled,omitempty"`
	// MaxRequests is how many requests and connections may wait at once. 1024 by default.
	MaxRequests int `json:"maxRequests,omitempty"`
	// MaxBytes bounds the memory that they fill while they wait. 16 MiB by default. Bodies stay
	// with the client until the request goes on.
	MaxBytes int64 `json:"maxBytes,omitempty"`
	// MaxWait is how long each may wait. 30 s by default.
	MaxWait Duration `json:"maxWait,omitzero"`
	// Until is when the hold ends by itself, should nobody end it: what waits then, and what is new, goes
	// to the active targets. Never by default.
	Until time.Time `json:"until,omitzero"`
}

// Holds says whether the hold is in force at a time.
func (h *Hold) Holds(now func() time.Time) bool {
	return h.Enabled && (h.Until.IsZero() || now().Before(h.Until))
}

// ProbeType is how a target is looked at.
type ProbeType string

// The types of probes.
const (
	// ProbeTCP connects.
	ProbeTCP ProbeType = "tcp"
	// ProbeHTTP makes a GET over HTTP/1.1; a status from 200 to 399 passes.
	ProbeHTTP ProbeType = "http"
)

// Probe looks at active and standby targets. An unhealthy one leaves the pool
// and comes back by itself. If all are unhealthy, all are tried: a probe that is
// wrong must not take a service down.
type Probe struct {
	// Type is tcp by default.
	Type ProbeType `json:"type,omitempty"`
	// Port is the targets' port.
	Port int `json:"port"`
	// Path is that of the GET, "/" by default.
	Path string `json:"path,omitempty"`
	// HostHeader is the Host of the GET; the service's name by default.
	HostHeader string `json:"hostHeader,omitempty"`
	// Interval is the time between two looks. 2 s by default.
	Interval Duration `json:"interval,omitzero"`
	// Timeout bounds one look. 2 s by default.
	Timeout Duration `json:"timeout,omitzero"`
	// Failing is how many looks in a row must fail until a target leaves the pool. 3 by default.
	Failing int `json:"failing,omitempty"`
	// Passing is how many must pass until it comes back. 2 by default.
	Passing int `json:"passing,omitempty"`
}
