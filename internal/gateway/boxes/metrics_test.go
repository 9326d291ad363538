// SPDX-License-Identifier: Apache-2.0

package boxes

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

type fixed []prometheus.Metric

func (fixed) Describe(chan<- *prometheus.Desc) {}

func (f fixed) Collect(out chan<- prometheus.Metric) {
	for _, m := range f {
		out <- m
	}
}

// Two gateways measure the same; the registry takes both.
func TestMeasured(t *testing.T) {
	const text = `# HELP fairlead_gateway_requests_total Requests.
# TYPE fairlead_gateway_requests_total counter
fairlead_gateway_requests_total{application="default.shop",service="web"} 7
# TYPE fairlead_gateway_latency_seconds histogram
fairlead_gateway_latency_seconds_bucket{service="web",le="0.1"} 3
fairlead_gateway_latency_seconds_bucket{service="web",le="+Inf"} 4
fairlead_gateway_latency_seconds_sum{service="web"} 1.5
fairlead_gateway_latency_seconds_count{service="web"} 4
# TYPE go_goroutines gauge
go_goroutines 9
`
	registry := prometheus.NewRegistry()
	var known families
	// The second one is of another version: it says other words, has one label more, and counts latencies otherwise.
	other := strings.NewReplacer("Requests.", "All requests.", `service="web"} 7`, `service="web",zone="a"} 7`).Replace(text)
	odd := "# TYPE fairlead_gateway_latency_seconds gauge\nfairlead_gateway_latency_seconds 1\n"
	registry.MustRegister(fixed(slices.Concat(known.measured([]byte(text), "shop.gateway-1"), known.measured([]byte(other), "shop.gateway-front-1"),
		known.measured([]byte(odd), "shop.gateway-2"))))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		got = append(got, f.GetName())
		if len(f.GetMetric()) != 2 {
			t.Errorf("%s has %d series, want one for each gateway", f.GetName(), len(f.GetMetric()))
		}
	}
	if strings.Join(got, " ") != "fairlead_gateway_latency_seconds fairlead_gateway_requests_total" {
		t.Errorf("metrics %v", got)
	}
	if known.measured([]byte("not metrics"), "x") != nil {
		t.Error("nonsense is taken for metrics")
	}
}
