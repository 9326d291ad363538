// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestTrafficOfTheExtension(t *testing.T) {
	yes := true
	e, problems := parseExtension("web", map[string]any{
		"protocol": "TCP", "balance": "RandomTwo", "holdTimeout": "20s", "holdRequests": 7, "holdBytes": "2Mi", "transferTimeout": "1h", "longLivedTimeout": "90s",
		"probe":               map[string]any{"path": "/health", "port": 8080, "interval": "1s", "timeout": "500ms", "failing": 2, "passing": 3.0},
		"acceptProxyProtocol": true, "sendProxyProtocol": "V2",
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := Traffic{
		Protocol: "TCP", Balance: "RandomTwo", HoldTimeout: 20 * time.Second, HoldRequests: 7, HoldBytes: 2 << 20, TransferTimeout: time.Hour, LongLivedTimeout: 90 * time.Second,
		Probe:               &TargetProbe{Path: "/health", Port: 8080, Interval: time.Second, Timeout: 500 * time.Millisecond, Failing: 2, Passing: 3},
		AcceptProxyProtocol: &yes, SendProxyProtocol: "V2",
	}
	if !reflect.DeepEqual(e.Traffic, want) {
		t.Errorf("got %+v, want %+v", e.Traffic, want)
	}
	// YAML reads an unquoted Off as false.
	if e, problems := parseExtension("web", map[string]any{"sendProxyProtocol": false, "holdBytes": 4096, "measureDowntime": false}); len(problems) > 0 || e.MeasureDowntime == nil || *e.MeasureDowntime || e.Traffic.SendProxyProtocol != "Off" || e.Traffic.HoldBytes != 4096 {
		t.Errorf("got %+v, %v", e.Traffic, problems)
	}
}

func TestTrafficThatIsWrong(t *testing.T) {
	for _, c := range []struct {
		key   string
		value any
		want  string
	}{
		{"protocol", "tcp", "must be one of Auto, HTTP, TCP"},
		{"balance", "Random", "must be one of LeastConnections, RoundRobin, RandomTwo, Source"},
		{"holdRequests", 0, "must be a number from 1"},
		{"holdRequests", "many", "must be a number from 1"},
		{"holdBytes", "lots", "must be a size such as 16Mi"},
		{"holdBytes", -1, "must be a size such as 16Mi"},
		{"holdTimeout", "soon", "must be a duration"},
		{"longLivedTimeout", 5, "must be a duration"},
		{"acceptProxyProtocol", "yes", "must be true or false"},
		{"sendProxyProtocol", "v3", "must be one of V1, V2, Off"},
		{"probe", "/health", "must be a mapping"},
		{"probe", map[string]any{"path": "health"}, "path that does not begin with /"},
		{"probe", map[string]any{"path": "/a b"}, "spaces"},
		{"probe", map[string]any{"port": 70000}, "port that is none"},
		{"probe", map[string]any{"interval": "0s"}, "interval that is no duration"},
		{"probe", map[string]any{"failing": 0}, "failing that is no number from 1 to 100"},
		{"probe", map[string]any{"url": "/"}, "it may have failing, interval, passing, path, port, timeout"},
	} {
		_, problems := parseExtension("web", map[string]any{c.key: c.value})
		if len(problems) != 1 || !strings.Contains(problems[0].Message, "service web: x-fairlead."+c.key+" ") || !strings.Contains(problems[0].Message, c.want) {
			t.Errorf("%s: %v is told as %v, want %q", c.key, c.value, problems, c.want)
		}
	}
}
