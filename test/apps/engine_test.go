// SPDX-License-Identifier: Apache-2.0

//go:build engine

package apps

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
)

func TestShopUpAndDown(t *testing.T) {
	r := ForTest(t, Shop, Options{Label: "apps", Env: map[string]string{"HEALTH_INTERVAL": "500ms"}})
	if err := r.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	answers(t, r.URL("/version"))
	if got := get(t, r.URL("/version")); got != "1\n" {
		t.Errorf("the version is %q", got)
	}
	if got := get(t, r.URL("/")); !strings.HasPrefix(got, "version 1 on ") {
		t.Errorf("a visit answers %q", got)
	}
	var counts struct{ Visits, Ticks int }
	if err := json.Unmarshal([]byte(get(t, r.URL("/count"))), &counts); err != nil || counts.Visits != 1 {
		t.Errorf("the counts are %+v (%v), want one visit", counts, err)
	}
	if ps, err := r.Compose(t.Context(), "ps", "--all", "--services"); err != nil || len(strings.Fields(ps)) != 5 {
		t.Errorf("docker-compose ps: %q, %v", ps, err)
	}

	if err := r.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, r)
}

// Two applications of the same content share an image; one may go without the other.
func TestDownLeavesOthersAlone(t *testing.T) {
	one := ForTest(t, Hello, Options{Label: "apps"})
	two := ForTest(t, Hello, Options{Label: "apps", Env: map[string]string{"HEALTH_INTERVAL": "500ms"}})
	for _, r := range []*Repo{one, two} {
		if err := r.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := one.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, one)
	if err := two.Up(t.Context(), "--wait"); err != nil {
		t.Fatal(err)
	}
	if got := get(t, two.URL("/version")); got != "1\n" {
		t.Errorf("the other one answers %q", got)
	}
}

// answers waits until something answers at url: what has no healthcheck is up
// before it listens.
func answers(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v: %s", url, resp.Status, err, body)
	}
	return string(body)
}

func nothingLeft(t *testing.T, r *Repo) {
	t.Helper()
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	ours := filters.NewArgs(filters.Arg("label", projectLabel+"="+r.Project))
	containers, err1 := engine.ContainerList(t.Context(), container.ListOptions{All: true, Filters: ours})
	networks, err2 := engine.NetworkList(t.Context(), network.ListOptions{Filters: ours})
	volumes, err3 := engine.VolumeList(t.Context(), volume.ListOptions{Filters: ours})
	images, err4 := engine.ImageList(t.Context(), image.ListOptions{
		Filters: filters.NewArgs(filters.Arg("reference", r.Project+"-*")),
	})
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := len(containers) + len(networks) + len(volumes.Volumes) + len(images); n != 0 {
		t.Errorf("left behind: %v %v %v %v", containers, networks, volumes.Volumes, images)
	}
}
