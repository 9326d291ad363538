// SPDX-License-Identifier: Apache-2.0

package boxes

import (
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
	registry.MustRegister(fixed(append(measured([]byte(text), "shop-gateway-1"), measured([]byte(text), "shop-gateway-front-1")...)))
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
	if measured([]byte("not metrics"), "x") != nil {
		t.Error("nonsense is taken for metrics")
	}
}
