// SPDX-License-Identifier: Apache-2.0

//go:build engine

package pidfd

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/fairlead-dev/fairlead/internal/docker/dockertest"
)

func TestEngine(t *testing.T) {
	e := dockertest.New(t, "pidfd")
	image := e.Image("fairlead-test-pidfd:1", `CMD ["serve"]`)
	run := func(host *container.HostConfig) (id string, pid int) {
		id = e.Run("", &container.Config{Image: image}, host)
		c, err := e.InspectContainer(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return id, c.Pid
	}
	one, pid := run(nil)
	two, pidTwo := run(nil)
	shared, pidShared := run(&container.HostConfig{PidMode: "host"})
	for name, of := range map[string]struct {
		pid int
		id  string
	}{
		"another container's":             {pid, two},
		"of a container with the host's":  {pidShared, shared},
		"none":                            {0, one},
		"without a container":             {pid, ""},
		"one that there is not":           {1 << 22, one},
		"of the host, as if it were seen": {1, one},
	} {
		if p, err := OpenInit(of.pid, of.id); err == nil {
			p.Close()
			t.Errorf("the process %s was opened", name)
		}
	}
	all := map[string]*Init{}
	for id, pid := range map[string]int{one: pid, two: pidTwo} {
		p, err := OpenInit(pid, id)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if p.Ended() {
			t.Error("a container that runs has ended")
		}
		all[id] = p
	}
	var mu sync.Mutex
	var order []string
	first := make(chan struct{})
	over := make(chan error, 1)
	go func() {
		over <- Await(t.Context(), all, func(id string) {
			mu.Lock()
			defer mu.Unlock()
			if order = append(order, id); len(order) == 1 {
				close(first)
			}
		})
	}()
	for _, id := range []string{two, one} {
		if err := e.Stop(t.Context(), id, time.Second, ""); err != nil {
			t.Fatal(err)
		}
		if id == two {
			<-first
		}
	}
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(order, []string{two, one}) {
		t.Errorf("ended %v, want %s before %s", order, two, one)
	}
	for id, p := range all {
		if !p.Ended() {
			t.Errorf("%s has not ended", id)
		}
	}
	if p, err := OpenInit(pid, one); err == nil {
		p.Close()
		t.Error("a process that has ended was opened")
	}
}
