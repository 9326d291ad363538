// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// An application without a gateway is asked from outside too: while its container is replaced its port has a gap, also
// on the way back, and none while nothing is replaced. What cannot be asked is told.
func TestDowntimeWithoutGateway(t *testing.T) {
	t.Parallel()
	port, err := apps.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	metrics := fmt.Sprintf("127.0.0.1:%d", port)
	s := siteOf(t, harness.Start(t, harness.Options{Args: []string{"--metrics-bind-address", metrics}}), apps.Hello)
	s.apply("  rollout: {soak: 1s, healthTimeout: 20s}\n")
	s.succeeds("")
	address := strings.TrimPrefix(s.repo.URL(""), "http://")
	gap := func(r *v1alpha1.UpdateRequest) {
		t.Helper()
		s.wantProbed(r)
		d := r.Status.Downtime
		if d == nil {
			return
		}
		if longest, err := time.ParseDuration(d.LongestGap); err != nil || longest <= 0 || d.Failed == 0 || d.Target != address {
			t.Errorf("a container was replaced, and %s has no gap: %+v", address, *d)
		}
		wantContains(t, "the log", s.Log(r), "Downtime:    longest gap "+d.LongestGap)
	}
	gap(s.succeeds(s.publish("Two", map[string]string{"version.txt": "2\n"})))
	s.wantVersion("2")
	wantContains(t, "what is measured", get(t, "http://"+metrics+"/metrics"),
		fmt.Sprintf(`fairlead_update_gap_seconds_count{application="%s",namespace="%s"}`, s.name, s.Namespace),
		fmt.Sprintf(`fairlead_update_probes_total{application="%s",namespace="%s",result="failed"}`, s.name, s.Namespace))

	if d := s.succeeds("").Status.Downtime; d != nil {
		t.Errorf("nothing was to be done, and this was seen: %+v", *d)
	}
	// There is something to be done, but not with what has the port.
	before := s.containers()
	open := s.publishing()
	open["docker-compose.yml"] = withExtra(open["docker-compose.yml"], 1)
	r := s.succeeds(s.publish("Another service", open))
	s.wantUntouched(before, "web")
	if d := r.Status.Downtime; d == nil || d.Probes == 0 || d.Failed > 0 || d.LongestGap != "0s" || len(r.Status.Unmeasured) > 0 {
		t.Errorf("what has the port was not replaced, and this was seen: %+v, and not: %+v", d, r.Status.Unmeasured)
	}

	r = s.ends(s.publish("Bad", behave(map[string]string{}, ".", apps.Behaviour{Crash: true})), v1alpha1.PhaseRolledBack)
	s.wantVersion("2")
	gap(r)
	wantContains(t, "the log of the rollback", stepLog(s.Log(r), v1alpha1.StepRollback), "seen from outside: ")

	udp := s.publishing(fmt.Sprintf(`"127.0.0.1:%d:5353/udp"`, port))
	udp["behaviour.json"] = apps.Behaviour{}.JSON()
	r = s.succeeds(s.publish("A port of UDP", udp))
	gap(r)
	if u := r.Status.Unmeasured; len(u) != 1 || u[0].Service != "web" || u[0].Ports != fmt.Sprintf("127.0.0.1:%d/udp", port) {
		t.Errorf("not measured is %+v", u)
	}
	wantContains(t, "the log", s.Log(r), fmt.Sprintf("not measured: web 127.0.0.1:%d/udp: only TCP is probed", port))

	s.apply("  rollout: {soak: 1s, healthTimeout: 20s, measureDowntime: false}\n")
	r = s.succeeds(s.publish("Not to be asked", map[string]string{"version.txt": "3\n"}))
	if d, u := r.Status.Downtime, r.Status.Unmeasured; d != nil || len(u) != 1 || u[0].Service != "web" || !strings.Contains(u[0].Reason, "measureDowntime") {
		t.Errorf("it is turned off, and this was seen: %+v, and not: %+v", d, u)
	}
	s.apply("  rollout: {soak: 1s, healthTimeout: 20s}\n")

	none := s.publishing()
	head, rest, _ := strings.Cut(none["docker-compose.yml"], "    ports:\n")
	for strings.HasPrefix(rest, "      - ") {
		_, rest, _ = strings.Cut(rest, "\n")
	}
	r = s.succeeds(s.publish("No ports", map[string]string{"docker-compose.yml": head + rest}))
	if d, u := r.Status.Downtime, r.Status.Unmeasured; d != nil || len(u) != 1 || u[0].Service != "" {
		t.Errorf("without a port, this was seen: %+v, and not: %+v", d, u)
	}
	wantContains(t, "the log", s.Log(r), "Downtime:    not measured: no port of the host is published")
}

// stepLog are the lines of one step in a log.
func stepLog(log string, step v1alpha1.StepName) string {
	var lines []string
	for line := range strings.Lines(log) {
		if strings.Contains(line, string(step)) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// get is what an address answers.
func get(t *testing.T, address string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
