// SPDX-License-Identifier: Apache-2.0

//go:build bench

package bench

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// answerWithin is the aim for POST /update at the 99th percentile.
const answerWithin = 20 * time.Millisecond

// TestUpdaterAnswers measures how soon the updater's API answers while an update
// runs. The daemon stands in an updater's place on the host.
func TestUpdaterAnswers(t *testing.T) {
	const (
		asks = 100
		// pace is that of a page whose button is pressed again and again.
		pace = 250 * time.Millisecond
	)
	repo := apps.ForTest(t, apps.Shop, apps.Options{Label: "bench"})
	port, err := apps.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	d := harness.Start(t, harness.Options{
		Env:  []string{"WORKSPACE=" + repo.Dir, "UPDATER_TOKEN=bench-token"},
		Args: []string{"--listen", address},
	})
	d.Apply(harness.Manifest(repo.Project, repo, settings))
	// The update goes on for longer than all that is asked.
	files := map[string]string{}
	for _, service := range []string{"web", "worker"} {
		files[service+"/version.txt"] = "2\n"
		files[service+"/behaviour.json"] = apps.Behaviour{StartDelay: (asks*pace + 15*time.Second).String()}.JSON()
	}
	if _, err := repo.Publish(t.Context(), "Slow to start", files); err != nil {
		t.Fatal(err)
	}

	post := func() (id string, took time.Duration) {
		begin := time.Now()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/update", strings.NewReader(`{"forceAgent":false}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Updater-Token", "bench-token")
		req.Header.Set("Prefer", "respond-async")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		took = time.Since(begin)
		var got struct{ Job struct{ ID string } }
		if err != nil || resp.StatusCode != http.StatusAccepted || json.Unmarshal(body, &got) != nil {
			t.Fatalf("%s %s %v", resp.Status, body, err)
		}
		return got.Job.ID, took
	}
	first, _ := post()
	running := d.WaitStep("update-"+first, v1alpha1.StepBuild)
	var times []time.Duration
	begin, ticker := time.Now(), time.NewTicker(pace)
	defer ticker.Stop()
	for range asks {
		<-ticker.C
		_, took := post()
		times = append(times, took)
		if took > answerWithin {
			t.Logf("after %s, in %s: %s", time.Since(begin).Round(time.Second), d.Request(running.Name).Status.Phase, took.Round(time.Millisecond))
		}
	}
	during := d.Request(running.Name)
	if during.Status.FinishedAt != nil {
		t.Fatal("the update ended before all was asked: nothing was measured")
	}
	slices.Sort(times)
	p99 := times[len(times)*99/100-1]
	row("POST /update answered while an update runs, p99", "≤ 20 ms", "%.1f ms (median %.1f ms, of %d)",
		float64(p99.Microseconds())/1000, float64(median(times).Microseconds())/1000, asks)
	if p99 > answerWithin {
		t.Errorf("p99 is %v, want %v or less", p99, answerWithin)
	}
}
