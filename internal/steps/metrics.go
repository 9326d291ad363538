// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/downtime"
)

var (
	gapSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "fairlead_update_gap_seconds",
		Help:    "Longest time without an answer in each step of an update that replaces containers, seen from outside.",
		Buckets: []float64{0, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
	}, []string{"namespace", "application"})
	probes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fairlead_update_probes_total",
		Help: "Probes of published ports while containers were replaced.",
	}, []string{"namespace", "application", "result"})
)

func init() { metrics.Registry.MustRegister(gapSeconds, probes) }

func observeDowntime(app *v1alpha1.Application, r downtime.Result) {
	gapSeconds.WithLabelValues(app.Namespace, app.Name).Observe(r.LongestGap.Seconds())
	probes.WithLabelValues(app.Namespace, app.Name, "failed").Add(float64(r.Failed))
	probes.WithLabelValues(app.Namespace, app.Name, "answered").Add(float64(r.Probes - r.Failed))
}
