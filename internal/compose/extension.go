// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
)

// ExtensionKey is the key of our own settings in a service's definition.
const ExtensionKey = "x-fairlead"

// Extension holds what a service's x-fairlead key says. The zero value of a
// field means: not set there.
type Extension struct {
	// Order is "Auto", "StartFirst" or "StopFirst".
	Order string
	// Gateway is "Auto" or "Off".
	Gateway string
	// HealthTimeout is how long a new container may take to become healthy.
	HealthTimeout time.Duration
	// MinHealthy is how long it must then stay healthy.
	MinHealthy time.Duration
	// DrainTimeout is how long the old container may finish its requests.
	DrainTimeout time.Duration
	// StopTimeout is how long the old container may take to stop.
	StopTimeout time.Duration
	// Parallelism is how many containers are replaced at once, 0 for all; nil when
	// not set.
	Parallelism *uint64
	// Delay is the pause between two groups, and Monitor how long the new containers of
	// one are watched.
	Delay, Monitor time.Duration
	// FailureAction is "Rollback", "Pause" or "Continue".
	FailureAction string
	// MaxFailureRatio is what part may fail, from 0 to 1; nil when not set.
	MaxFailureRatio *float64
	// MeasureDowntime says whether its ports are probed while containers are replaced; nil when not set.
	MeasureDowntime *bool
	// Traffic is how the gateway passes requests on.
	Traffic Traffic
}

var (
	extensionOrders   = []string{"Auto", "StartFirst", "StopFirst"}
	extensionGateways = []string{"Auto", "Off"}
	extensionActions  = []string{"Rollback", "Pause", "Continue"}
)

// parseExtension reads the x-fairlead value of a service; unknown keys and
// malformed values are problems, not ignored.
func parseExtension(service string, value any) (Extension, []Problem) {
	var e Extension
	var problems []Problem
	report := func(format string, args ...any) {
		problems = append(problems, Problem{Message: fmt.Sprintf("service %s: %s", service, fmt.Sprintf(format, args...))})
	}
	if value == nil {
		return e, nil
	}
	settings, ok := value.(map[string]any)
	if !ok {
		report("%s must be a mapping such as `%s: {healthTimeout: 2m}`", ExtensionKey, ExtensionKey)
		return e, problems
	}
	durations := map[string]*time.Duration{
		"healthTimeout": &e.HealthTimeout,
		"minHealthy":    &e.MinHealthy,
		"drainTimeout":  &e.DrainTimeout,
		"stopTimeout":   &e.StopTimeout,
		"delay":         &e.Delay,
		"monitor":       &e.Monitor,

		"holdTimeout":      &e.Traffic.HoldTimeout,
		"transferTimeout":  &e.Traffic.TransferTimeout,
		"longLivedTimeout": &e.Traffic.LongLivedTimeout,
	}
	choices := map[string]struct {
		target *string
		of     []string
	}{
		"order":         {&e.Order, extensionOrders},
		"gateway":       {&e.Gateway, extensionGateways},
		"failureAction": {&e.FailureAction, extensionActions},
	}
	known := append([]string{"parallelism", "maxFailureRatio", "measureDowntime"}, trafficKeys...)
	known = slices.AppendSeq(known, maps.Keys(durations))
	known = slices.AppendSeq(known, maps.Keys(choices))
	sort.Strings(known)
	keys := make([]string, 0, len(settings))
	for key := range settings {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		text, isText := settings[key].(string)
		target, isDuration := durations[key]
		switch {
		case choices[key].target != nil:
			// YAML reads an unquoted Off as false.
			if off, isBool := settings[key].(bool); key == "gateway" && isBool && !off {
				text = "Off"
			}
			if c := choices[key]; slices.Contains(c.of, text) {
				*c.target = text
			} else {
				report("%s.%s must be one of %s", ExtensionKey, key, strings.Join(c.of, ", "))
			}
		case key == "parallelism":
			n, ok := whole(settings[key])
			if !ok {
				report("%s.parallelism must be a number of containers, 0 for all at once", ExtensionKey)
				continue
			}
			e.Parallelism = &n
		case key == "maxFailureRatio":
			ratio, ok := part(settings[key])
			if !ok {
				report("%s.maxFailureRatio must be a number from 0 to 1, such as 0.25", ExtensionKey)
				continue
			}
			e.MaxFailureRatio = &ratio
		case key == "measureDowntime":
			measured, ok := settings[key].(bool)
			if !ok {
				report("%s.measureDowntime must be true or false", ExtensionKey)
				continue
			}
			e.MeasureDowntime = &measured
		case slices.Contains(trafficKeys, key):
			if why := e.Traffic.set(key, settings[key]); why != "" {
				report("%s.%s %s", ExtensionKey, key, why)
			}
		case isDuration:
			d, err := time.ParseDuration(text)
			if !isText || err != nil || d < 0 {
				report("%s.%s must be a duration such as 30s or 2m", ExtensionKey, key)
				continue
			}
			*target = d
		default:
			report("%s.%s is not known: it may have %s", ExtensionKey, key, strings.Join(known, ", "))
		}
	}
	return e, problems
}

// whole reads a number that is not negative.
func whole(value any) (uint64, bool) {
	switch n := value.(type) {
	case int:
		return uint64(n), n >= 0
	case uint64:
		return n, true
	case int64:
		return uint64(n), n >= 0
	case float64: // of a model that was stored as JSON
		return uint64(n), n >= 0 && n == float64(uint64(n))
	}
	return 0, false
}

// part reads a number from 0 to 1.
func part(value any) (float64, bool) {
	var f float64
	switch n := value.(type) {
	case int:
		f = float64(n)
	case int64:
		f = float64(n)
	case uint64:
		f = float64(n)
	case float64:
		f = n
	default:
		return 0, false
	}
	return f, f >= 0 && f <= 1
}
