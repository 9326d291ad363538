// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"fmt"
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
}

var (
	extensionOrders   = []string{"Auto", "StartFirst", "StopFirst"}
	extensionGateways = []string{"Auto", "Off"}
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
	}
	known := []string{"order", "gateway"}
	for key := range durations {
		known = append(known, key)
	}
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
		case key == "order":
			if !slices.Contains(extensionOrders, text) {
				report("%s.order must be one of %s", ExtensionKey, strings.Join(extensionOrders, ", "))
				continue
			}
			e.Order = text
		case key == "gateway":
			// YAML reads an unquoted Off as false.
			if off, isBool := settings[key].(bool); isBool && !off {
				text = "Off"
			}
			if !slices.Contains(extensionGateways, text) {
				report("%s.gateway must be one of %s", ExtensionKey, strings.Join(extensionGateways, ", "))
				continue
			}
			e.Gateway = text
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
