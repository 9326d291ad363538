// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import "time"

// ObservedState is what a gateway does. Counts begin with its process; StartedAt
// tells when they began anew.
type ObservedState struct {
	// Version is [Version].
	Version string `json:"version"`
	// Application is that of the applied state.
	Application string `json:"application,omitempty"`
	// AppliedRevision is that of the state that is in force; 0 before the first one.
	AppliedRevision int64 `json:"appliedRevision"`
	// AppliedAt is when it came into force in this process.
	AppliedAt time.Time `json:"appliedAt,omitzero"`
	// SwapMicroseconds is how long the exchange of all pools took, in which new requests waited for
	// nothing: those before it went by the old state, those after it by the new one.
	SwapMicroseconds int64 `json:"swapMicroseconds"`
	// PersistError says why the applied state is not in the state file; it is tried again. A
	// gateway that ends meanwhile starts from the state before.
	PersistError string `json:"persistError,omitempty"`
	// StartedAt is when the process started.
	StartedAt time.Time `json:"startedAt"`
	// Build is the version of the program.
	Build string `json:"build"`
	// Program is the digest of the program in the gateway's directory that runs, in hexadecimal digits; empty if
	// it is the container's own.
	Program string `json:"program,omitempty"`
	// Listeners are those of the applied state, in its order.
	Listeners []ListenerStatus `json:"listeners,omitempty"`
	// Services are those of the applied state, in its order.
	Services []ServiceStatus `json:"services,omitempty"`
}

// ListenerStatus is how it goes with a listener.
type ListenerStatus struct {
	// Name is the listener's.
	Name string `json:"name"`
	// Bound says that all of its ports are listened on. It is tried again otherwise.
	Bound bool `json:"bound"`
	// Reason is why not.
	Reason string `json:"reason,omitempty"`
}

// ServiceStatus is how it goes with a service.
type ServiceStatus struct {
	// Name is the service's.
	Name string `json:"name"`
	// Requests counts requests of HTTP, connections of TCP and sessions of UDP.
	Requests int64 `json:"requests"`
	// Errors counts those that the gateway itself had to fail with 502, 503 or 504, to close, or to
	// cut off. An answer of the application is none, whatever it says.
	Errors int64 `json:"errors"`
	// Retried counts requests that were sent again, as the target had gone before it answered.
	Retried int64 `json:"retried"`
	// Held is how many wait now.
	Held int64 `json:"held"`
	// HeldTotal counts those that have waited.
	HeldTotal int64 `json:"heldTotal"`
	// HoldRefused counts those that the bounds of the hold turned away.
	HoldRefused int64 `json:"holdRefused"`
	// OpenConnections is how many clients are connected, idle ones included.
	OpenConnections int64 `json:"openConnections"`
	// Latency is of requests of HTTP: from the head of a request to the last byte of its answer.
	Latency Latency `json:"latency"`
	// Targets are those of the applied state in its order, then those that are not part of it any more
	// and still have connections.
	Targets []TargetStatus `json:"targets,omitempty"`
}

// Latency is a distribution since the start of the process.
type Latency struct {
	Count int64 `json:"count"`
	// SumSeconds is all of them together.
	SumSeconds float64 `json:"sumSeconds"`
	// P50Seconds and P99Seconds are upper bounds, within 25 %.
	P50Seconds float64 `json:"p50Seconds"`
	P99Seconds float64 `json:"p99Seconds"`
}

// TargetHealth is what the gateway thinks of a target.
type TargetHealth string

// The healths of a target.
const (
	// TargetUnknown has not been looked at, nor tried.
	TargetUnknown TargetHealth = "unknown"
	// TargetHealthy answers.
	TargetHealthy TargetHealth = "healthy"
	// TargetUnhealthy has failed as often as the probe allows, refuses connections, or is said to be so: see [Unhealthy].
	TargetUnhealthy TargetHealth = "unhealthy"
	// TargetUnresolved has no address: its name does not exist.
	TargetUnresolved TargetHealth = "unresolved"
)

// TargetStatus is how it goes with a target.
type TargetStatus struct {
	// ID is the target's.
	ID string `json:"id"`
	// State is that of the applied state; draining for one that is not part of it any more.
	State TargetState `json:"state"`
	// Health is unknown before the first look.
	Health TargetHealth `json:"health"`
	// LastError is why it is not healthy, or what went wrong last.
	LastError string `json:"lastError,omitempty"`
	// Addresses are those in use.
	Addresses []string `json:"addresses,omitempty"`
	// OpenConnections is how many connections the gateway has to it, idle ones included, those that are
	// Left not. A draining target with none has drained: it can be stopped and nobody notices.
	OpenConnections int64 `json:"openConnections"`
	// InFlight is how many requests, streams, TCP connections and UDP sessions it works on.
	InFlight int64 `json:"inFlight"`
	// LongLived is how many of InFlight have no end that is known: what LongLivedDeadline is for.
	LongLived int64 `json:"longLived"`
	// Endless is how many of LongLived have no end of their own: TCP and UDP, WebSocket and other
	// upgraded connections, server-sent events. Nobody can wait for those.
	Endless int64 `json:"endless"`
	// Transfers is how many of InFlight are uploads, and downloads of a known size.
	Transfers int64 `json:"transfers"`
	// Left is how many TCP connections, of which the gateway knows nothing but bytes, a draining target still has when
	// LongLivedDeadline is over. The gateway does not cut them, as it cannot tell where a request ends: they end when the
	// target is told to stop and does so.
	Left int64 `json:"left,omitempty"`
	// Requests counts what it was given.
	Requests int64 `json:"requests"`
	// Errors counts connections that failed or broke before an answer was whole.
	Errors int64 `json:"errors"`
	// DrainingSince is when it became draining.
	DrainingSince time.Time `json:"drainingSince,omitzero"`
}

// TargetChange tells that the health of a target changed.
type TargetChange struct {
	// Service and Target are its service's name and its ID.
	Service string `json:"service"`
	Target  string `json:"target"`
	// Health is what it is now.
	Health TargetHealth `json:"health"`
	// Proven says of an unhealthy one that it is not as it was: it had answered on that port before, or
	// the probe of its service says so.
	Proven bool `json:"proven,omitempty"`
	// Error is why it is not healthy.
	Error string `json:"error,omitempty"`
}

// Drained says that nothing is connected to the target.
func (s TargetStatus) Drained() bool { return s.OpenConnections == 0 && s.InFlight == 0 }
