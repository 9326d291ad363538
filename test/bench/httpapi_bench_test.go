// SPDX-License-Identifier: Apache-2.0

//go:build bench

package bench

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tmaxmax/go-sse"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// TestFollowers measures a log with five hundred followers at once.
func TestFollowers(t *testing.T) {
	const followers, lines = 500, 50
	d := harness.Start(t, harness.Options{})
	dir := t.TempDir()
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: d.Namespace}}
	app.Spec.Compose.Directory = dir
	ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Name: "web-1", Namespace: d.Namespace}}
	ur.Spec.ApplicationRef.Name, ur.Spec.Suspend = "web", true
	if err := d.Client.Create(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	if err := d.Client.Create(t.Context(), ur); err != nil {
		t.Fatal(err)
	}
	seen := d.WaitRequest(ur.Name, "being seen", func(u *v1alpha1.UpdateRequest) bool { return u.Status.Phase != "" })
	seen.Status.LogFile = updatelog.Path(dir, "20260304_050607")
	if err := d.Client.Status().Update(t.Context(), seen); err != nil {
		t.Fatal(err)
	}
	log, err := updatelog.Open(seen.Status.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	token, errOut, code := d.Fairlead("token", "create", "--role", "viewer", "--for", "1h")
	if code != 0 {
		t.Fatal(errOut)
	}
	before, _ := observe(t, d.PID())

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var mu sync.Mutex
	var delays []time.Duration
	var wg, connected sync.WaitGroup
	connected.Add(followers)
	for range followers {
		wg.Go(func() {
			in := sync.OnceFunc(connected.Done)
			defer in()
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.HTTP()+"/api/v1/namespaces/"+d.Namespace+"/requests/web-1/log/events", nil)
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = response.Body.Close() }()
			if response.StatusCode != http.StatusOK {
				t.Error(response.Status)
				return
			}
			in()
			got := 0
			for e, err := range sse.Read(response.Body, nil) {
				now := time.Now()
				if err != nil {
					t.Error(err)
					return
				}
				line := updatelog.ParseLine(e.Data)
				if line.Step != "Build" {
					continue
				}
				mu.Lock()
				delays = append(delays, now.Sub(line.Time))
				mu.Unlock()
				if got++; got == lines {
					return
				}
			}
			t.Errorf("a follower got %d of %d lines", got, lines)
		})
	}
	connected.Wait()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for range lines {
		<-ticker.C
		log.Printf("Build", "a line as long as a build usually prints them, more or less")
	}
	wg.Wait()
	if len(delays) == 0 {
		t.Fatal("no line arrived")
	}
	slices.Sort(delays)
	after, _ := observe(t, d.PID())
	row("500 followers of one log, 10 lines a second: line written to line received, p99", "200 ms", "%d ms (median %d ms)",
		delays[len(delays)*99/100].Milliseconds(), delays[len(delays)/2].Milliseconds())
	row("memory (RSS) after them, beside before", "-", "%.0f MB, before %.0f MB", after, before)
}
