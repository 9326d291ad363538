// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("fairlead_gateway_"+name, help, append([]string{"application"}, labels...), nil)
}

var (
	descRevision   = desc("applied_revision", "Revision of the state that is in force.")
	descBound      = desc("listener_bound", "1 if all ports of the listener are listened on.", "listener")
	descRequests   = desc("requests_total", "Requests of HTTP, connections of TCP and sessions of UDP.", "service")
	descErrors     = desc("errors_total", "Requests that the gateway failed, and connections that it closed or cut off.", "service")
	descRetried    = desc("retried_total", "Requests that were sent again because a target had gone.", "service")
	descHeld       = desc("held", "Requests and connections that wait for the end of a hold.", "service")
	descHeldTotal  = desc("held_total", "Requests and connections that have waited.", "service")
	descRefused    = desc("hold_refused_total", "Requests and connections that the bounds of a hold turned away.", "service")
	descOpen       = desc("open_connections", "Clients that are connected, idle ones included.", "service")
	descLatency    = desc("request_duration_seconds", "From the head of a request to the last byte of its answer.", "service")
	descTarget     = desc("target_healthy", "1 if the target is healthy or nothing else is known.", "service", "target", "state")
	descTargetUse  = desc("target_open_connections", "Connections to the target, without those that are left to its end.", "service", "target", "state")
	descTargetLeft = desc("target_left_connections", "TCP connections that a draining target is to end itself, as their time is over.", "service", "target", "state")
)

// Octaves of microseconds that the buckets of the histogram end at: 0.13 ms to 67 s.
const (
	firstOctave = 7
	lastOctave  = 26
)

// collector makes metrics of what a gateway observes.
type collector struct{ g *Gateway }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descRevision, descBound, descRequests, descErrors, descRetried, descHeld, descHeldTotal, descRefused, descOpen,
		descLatency, descTarget, descTargetUse, descTargetLeft,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	o := c.g.Observed()
	app := o.Application
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, value, append([]string{app}, labels...)...)
	}
	send(descRevision, prometheus.GaugeValue, float64(o.AppliedRevision))
	for _, l := range o.Listeners {
		send(descBound, prometheus.GaugeValue, truth(l.Bound), l.Name)
	}
	for _, s := range o.Services {
		send(descRequests, prometheus.CounterValue, float64(s.Requests), s.Name)
		send(descErrors, prometheus.CounterValue, float64(s.Errors), s.Name)
		send(descRetried, prometheus.CounterValue, float64(s.Retried), s.Name)
		send(descHeld, prometheus.GaugeValue, float64(s.Held), s.Name)
		send(descHeldTotal, prometheus.CounterValue, float64(s.HeldTotal), s.Name)
		send(descRefused, prometheus.CounterValue, float64(s.HoldRefused), s.Name)
		send(descOpen, prometheus.GaugeValue, float64(s.OpenConnections), s.Name)
		if h := c.g.latency(s.Name); h != nil {
			ch <- prometheus.MustNewConstHistogram(descLatency, uint64(h.Count()), h.Sum().Seconds(), h.Cumulative(firstOctave, lastOctave), app, s.Name)
		}
		for _, t := range s.Targets {
			good := t.Health == gatewayapi.TargetHealthy || t.Health == gatewayapi.TargetUnknown
			send(descTarget, prometheus.GaugeValue, truth(good), s.Name, t.ID, string(t.State))
			send(descTargetUse, prometheus.GaugeValue, float64(t.OpenConnections), s.Name, t.ID, string(t.State))
			send(descTargetLeft, prometheus.GaugeValue, float64(t.Left), s.Name, t.ID, string(t.State))
		}
	}
}

func (g *Gateway) latency(service string) *pool.Histogram {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.pools[service]; p != nil {
		return p.Stats.Latency()
	}
	return nil
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
