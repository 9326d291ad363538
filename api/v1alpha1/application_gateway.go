// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
type GatewaySpec struct {
	// mode: Auto, or Off. With Auto, an application that publishes ports, or
	// has more than one service, gets a gateway at its next update: each service
	// that it can serve is replaced once, and the host ports change hands with
	// one short interruption, which the plan shows. Turning it off gives
	// ports and names back in the same way. Default: Off.
	// +kubebuilder:default=Off
	// +optional
	Mode GatewayMode `json:"mode,omitempty"`

	// holdTimeout is how long a request to a service whose only container is
	// being replaced is held before it is refused. A time such as 30s or 2m.
	// Default: 60s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	HoldTimeout *metav1.Duration `json:"holdTimeout,omitempty"`

	// trustedProxies are addresses or networks (CIDR) of proxies in front of
	// this host, whose X-Forwarded-* headers are passed on. Default: none, they
	// are replaced.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	// +listType=set
	// +optional
	TrustedProxies []string `json:"trustedProxies,omitempty"`
}

// DowntimeStatus is what a prober saw from outside while containers were
// replaced.
type DowntimeStatus struct {
	// longestGap is the longest time without an answer between two that came,
	// such as 0s or 350ms.
	LongestGap string `json:"longestGap"`
	// probes that were sent.
	Probes int64 `json:"probes"`
	// failed of them.
	Failed int64 `json:"failed"`
	// slowest answer.
	// +optional
	Slowest string `json:"slowest,omitempty"`
	// target that had the longest gap, or that was asked.
	// +optional
	Target string `json:"target,omitempty"`
}
