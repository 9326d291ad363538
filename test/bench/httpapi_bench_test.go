// SPDX-License-Identifier: Apache-2.0

//go:build bench

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tmaxmax/go-sse"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

const (
	// manyFollowers of one log, or of one status, at once.
	manyFollowers = 500
	// receivedWithin is the aim for what they get, at the 99th percentile.
	receivedWithin = 200 * time.Millisecond
)

// crowd is many clients of one stream.
type crowd struct {
	*testing.T
	wg sync.WaitGroup

	mu     sync.Mutex
	delays []time.Duration
}

// gather connects them, and returns when all are. when reads from an event since
// when it was under way, and false if it says nothing of that. Each client leaves
// after so many of these.
func gather(t *testing.T, d *harness.Daemon, path string, events int, when func(sse.Event) (time.Time, bool)) *crowd {
	t.Helper()
	token, errOut, code := d.Fairlead("token", "create", "--role", "viewer", "--for", "1h")
	if code != 0 {
		t.Fatal(errOut)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	c := &crowd{T: t}
	var connected sync.WaitGroup
	connected.Add(manyFollowers)
	for range manyFollowers {
		c.wg.Go(func() {
			in := sync.OnceFunc(connected.Done)
			defer in()
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.HTTP()+"/api/v1/namespaces/"+d.Namespace+path, nil)
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
			for e, err := range sse.Read(response.Body, &sse.ReadConfig{MaxEventSize: 1 << 20}) {
				now := time.Now()
				if err != nil {
					t.Error(err)
					return
				}
				begin, ok := when(e)
				if !ok {
					continue
				}
				c.mu.Lock()
				c.delays = append(c.delays, now.Sub(begin))
				c.mu.Unlock()
				if got++; got == events {
					return
				}
			}
			t.Errorf("a follower got %d of %d", got, events)
		})
	}
	connected.Wait()
	return c
}

// report waits for all, and makes a row of how late they heard.
func (c *crowd) report(what string) {
	c.wg.Wait()
	if len(c.delays) == 0 {
		c.Fatal("nothing arrived")
	}
	slices.Sort(c.delays)
	p99 := c.delays[len(c.delays)*99/100]
	row(what+", p99", "at most 200 ms", "%d ms (median %d ms, last %d ms)", p99.Milliseconds(), c.delays[len(c.delays)/2].Milliseconds(),
		c.delays[len(c.delays)-1].Milliseconds())
	if p99 > receivedWithin {
		c.Errorf("p99 is %s, want %s or less", p99, receivedWithin)
	}
}

// printed are the lines that the container of a printing update prints.
const printed = 50

// printing is an update that waits to be let go: a command in a container will print
// lines that say when they were printed, ten a second.
func printing(t *testing.T) (f *fixture, request string) {
	t.Helper()
	f = &fixture{T: t, repo: apps.ForTest(t, apps.Hello, apps.Options{Label: "bench"}), name: string(apps.Hello)}
	f.daemon = harness.Start(t, harness.Options{})
	data, err := os.ReadFile(filepath.Join(f.repo.Work, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	printer := "\n  printer:\n    image: fairlead-test/base:bookworm\n    labels: *labels\n    init: true\n    command: [sleep, infinity]\n\nnetworks:\n"
	commit, err := f.repo.Publish(t.Context(), "With a printer", map[string]string{
		"docker-compose.yml": strings.Replace(string(data), "\nnetworks:\n", printer, 1),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.daemon.Apply(harness.Manifest(f.name, f.repo, settings))
	f.update(commit)
	// The shell needs some milliseconds for each line.
	script := fmt.Sprintf("for i in $(seq %d); do date +printed=%%s%%N; sleep 0.1; done", printed)
	f.daemon.Apply(harness.Manifest(f.name, f.repo, settings+
		fmt.Sprintf("  hooks: [{name: print, at: [BeforeBackup], exec: {service: printer, command: [sh, -c, %q]}}]\n", script)))
	next := f.daemon.Update(f.name, f.publish("."), harness.Suspend)
	f.daemon.WaitRequest(next.Name, "being seen", func(u *v1alpha1.UpdateRequest) bool { return u.Status.Phase != "" })
	return f, next.Name
}

// release lets an update go on that waits.
func (f *fixture) release(request string) {
	f.daemon.Patch(&v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Name: request}}, `{"spec":{"suspend":false}}`)
}

// TestFollowers measures a log with five hundred followers at once: from the moment
// at which a command in a container prints a line, while an update runs, until each
// of them has it.
func TestFollowers(t *testing.T) {
	f, request := printing(t)
	before, _ := observe(t, f.daemon.PID())
	c := gather(t, f.daemon, "/requests/"+request+"/log/events", printed, func(e sse.Event) (time.Time, bool) {
		_, stamp, ok := strings.Cut(e.Data, "printed=")
		var ns int64
		if !ok {
			return time.Time{}, false
		}
		_, err := fmt.Sscan(stamp, &ns)
		return time.Unix(0, ns), err == nil
	})
	f.release(request)
	c.report("500 followers of the log of an update: a line from its container to all of them")
	after, _ := observe(t, f.daemon.PID())
	row("memory (RSS) 500 followers of a log take, connected before it began", "-", "%.0f MB, before %.0f MB", after, before)
	f.daemon.WantEnd(request, v1alpha1.PhaseSucceeded)
}

// TestStatusFollowers measures the status of a request with as many followers.
func TestStatusFollowers(t *testing.T) {
	const changes = 20
	d := harness.Start(t, harness.Options{})
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: d.Namespace}}
	app.Spec.Compose.Directory = t.TempDir()
	ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Name: "web-1", Namespace: d.Namespace}}
	ur.Spec.ApplicationRef.Name, ur.Spec.Suspend = "web", true
	if err := d.Client.Create(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	if err := d.Client.Create(t.Context(), ur); err != nil {
		t.Fatal(err)
	}
	d.WaitRequest(ur.Name, "being seen", func(u *v1alpha1.UpdateRequest) bool { return u.Status.Phase != "" })
	before, _ := observe(t, d.PID())
	const stamp = "bench.fairlead.dev/at"
	c := gather(t, d, "/requests/web-1/events", changes, func(e sse.Event) (time.Time, bool) {
		var o struct {
			Metadata struct{ Annotations map[string]string }
		}
		if e.Type != "status" || json.Unmarshal([]byte(e.Data), &o) != nil {
			return time.Time{}, false
		}
		at, err := time.Parse(time.RFC3339Nano, o.Metadata.Annotations[stamp])
		return at, err == nil
	})
	during, _ := observe(t, d.PID())
	ticker := time.NewTicker(250 * time.Millisecond) // as often as an update changes its status
	defer ticker.Stop()
	for range changes {
		<-ticker.C
		d.Patch(&v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Name: ur.Name}},
			fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, stamp, time.Now().Format(time.RFC3339Nano)))
	}
	c.report("500 followers of the status of a request: a change written to all of them")
	row("memory (RSS) with 500 followers of a status", "-", "%.0f MB, before %.0f MB", during, before)
	if during-before > 500 {
		t.Errorf("they take %.0f MB", during-before)
	}
}
