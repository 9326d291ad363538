// SPDX-License-Identifier: Apache-2.0

package boxes

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

const (
	// nameFile in a gateway's directory says whose it is.
	nameFile = "name"
	// collectTimeout bounds the look at all gateways.
	collectTimeout = 3 * time.Second
)

// Describe sends nothing: what gateways measure is their matter.
func (k *Keeper) Describe(chan<- *prometheus.Desc) {}

// Collect gives what all gateways measure, each with the label "gateway". One that does
// not answer is left out.
func (k *Keeper) Collect(out chan<- prometheus.Metric) {
	dirs, err := filepath.Glob(filepath.Join(k.Dir, "*", nameFile))
	if err != nil || k.Dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	var all sync.WaitGroup
	var known families
	for _, path := range dirs {
		name, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		all.Go(func() {
			text, err := gatewayapi.NewClient(filepath.Dir(path)).Metrics(ctx)
			if err != nil {
				return
			}
			for _, m := range known.measured(text, string(name)) {
				out <- m
			}
		})
	}
	all.Wait()
}

// families are what metrics are called, by their names. Gateways may be of two versions, as while they are
// replaced: a registry refuses all metrics if two of a name differ in more than their labels.
type families struct {
	mu   sync.Mutex
	seen map[string]*dto.MetricFamily
}

// as gives the family of the same name that was seen first; nil if that is of another type.
func (fs *families) as(f *dto.MetricFamily) *dto.MetricFamily {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	first := fs.seen[f.GetName()]
	switch {
	case first == nil:
		if fs.seen == nil {
			fs.seen = map[string]*dto.MetricFamily{}
		}
		fs.seen[f.GetName()] = f
		return f
	case first.GetType() != f.GetType():
		return nil
	}
	return first
}

// measured reads Prometheus' text format.
func (fs *families) measured(text []byte, gateway string) []prometheus.Metric {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	read, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil
	}
	var out []prometheus.Metric
	for name, f := range read {
		if !strings.HasPrefix(name, "fairlead_gateway_") {
			continue // of the process, which the daemon has too
		}
		known := fs.as(f)
		if known == nil {
			continue
		}
		for _, m := range f.GetMetric() {
			label := "gateway"
			m.Label = append([]*dto.LabelPair{{Name: &label, Value: &gateway}}, m.GetLabel()...)
			names := make([]string, 0, len(m.GetLabel()))
			for _, l := range m.GetLabel() {
				names = append(names, l.GetName())
			}
			out = append(out, passed{desc: prometheus.NewDesc(name, known.GetHelp(), names, nil), metric: m})
		}
	}
	return out
}

// passed is a metric as somebody else measured it.
type passed struct {
	desc   *prometheus.Desc
	metric *dto.Metric
}

func (p passed) Desc() *prometheus.Desc { return p.desc }

func (p passed) Write(out *dto.Metric) error {
	out.Label, out.Counter, out.Gauge = p.metric.GetLabel(), p.metric.GetCounter(), p.metric.GetGauge()
	out.Histogram, out.Summary, out.Untyped = p.metric.GetHistogram(), p.metric.GetSummary(), p.metric.GetUntyped()
	return nil
}
