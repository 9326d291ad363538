// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

var (
	gapSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "fairlead_update_gap_seconds",
		Help:    "Longest time without an answer in each update that replaced containers, seen from outside.",
		Buckets: []float64{0, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
	}, []string{"namespace", "application"})
	probes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fairlead_update_probes_total",
		Help: "Probes of published ports while containers were replaced.",
	}, []string{"namespace", "application", "result"})
)

func init() { metrics.Registry.MustRegister(gapSeconds, probes) }

// observeDowntime counts what was seen of a request that ended: a gap that goes over two of its steps is one.
func observeDowntime(request *v1alpha1.UpdateRequest) {
	if request.Status.Downtime == nil {
		return
	}
	r, app := beforeNow(request.Status.Downtime), request.Spec.ApplicationRef.Name
	gapSeconds.WithLabelValues(request.Namespace, app).Observe(r.LongestGap.Seconds())
	probes.WithLabelValues(request.Namespace, app, "failed").Add(float64(r.Failed))
	probes.WithLabelValues(request.Namespace, app, "answered").Add(float64(r.Probes - r.Failed))
}
