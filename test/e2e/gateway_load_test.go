// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// scaled is hello with two containers, and something that lives in the network of a third service.
const scaled = `x-service: &service
  build: .
  restart: unless-stopped
  labels: &labels {fairlead.dev/test: e2e}
  healthcheck: {test: ["CMD", "/app", "healthcheck"], interval: 8s}
services:
  web:
    <<: *service
    ports: ["127.0.0.1:${HELLO_PORT}:8080"]
    deploy: {replicas: 2}
  host:
    <<: *service
    expose: ["8080", "8081"]
  guest:
    <<: *service
    network_mode: service:host
    environment: {PORT: "8081"}
networks:
  default: {labels: *labels}
`

// Both containers of a service share the requests, before and after an update, and one
// that dies costs none. What shares the network of another service goes with it.
func TestGatewayReplicas(t *testing.T) {
	t.Parallel()
	s := siteOf(t, shared, apps.Hello)
	t.Cleanup(func() { s.removeGateways() })
	s.apply(gatewayOn)
	s.succeeds(s.publish("Two of them", map[string]string{"docker-compose.yml": scaled}))
	wantBoth := func() {
		t.Helper()
		l := s.load("/")
		engine := harness.Engine(t)
		s.waitLoad(l, func(r harness.LoadResult) bool { return len(r.Bodies) > 1 })
		if r := l.End(); r.Failed > 0 || len(r.Bodies) != 2 {
			t.Errorf("the answers were %v: %v", r.Bodies, r.Errors)
		}
		cs := s.containers()
		if len(cs["web"]) != 2 || len(cs["guest"]) != 1 || len(cs["host"]) != 1 {
			t.Fatalf("there are %v", cs)
		}
		guest, err := engine.ContainerInspect(t.Context(), cs["guest"][0].ID)
		if err != nil {
			t.Fatal(err)
		}
		if guest.HostConfig.NetworkMode != container.NetworkMode("container:"+cs["host"][0].ID) || !guest.State.Running {
			t.Errorf("the guest, %s, is in the network of %s, and its host is %s", guest.State.Status, guest.HostConfig.NetworkMode, cs["host"][0].ID)
		}
	}
	wantBoth()
	before := s.containers()
	l := s.load("/version")
	s.succeeds(s.publish("Two", map[string]string{"version.txt": "2\n"}))
	s.wantReplaced(before, "web", "host", "guest")
	wantBoth()
	// The engine starts it again.
	dies := s.containers()["web"][0]
	full, err := harness.Engine(t).ContainerInspect(t.Context(), dies.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(full.State.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantBoth()
	if now := s.containers()["web"][0]; now.ID != dies.ID || now.RestartCount != 1 {
		t.Errorf("%v became %v", identities([]harness.Container{dies}), identities([]harness.Container{now}))
	}
	wantLossless(t, l, "1", "2")
}

// waitLoad waits until what became of the requests of a load is as done wants it.
func (s *site) waitLoad(l *harness.Load, done func(harness.LoadResult) bool) {
	s.t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.After(harness.Patience); !done(l.Now()); {
		select {
		case <-deadline:
			s.t.Fatalf("the answers were %v: %s\n%s", l.Now().Bodies, strings.Join(l.Now().Errors, "; "), s.seenByGateways())
		case <-ticker.C:
		}
	}
}

// seenByGateways is what all gateways of the daemon say, for people.
func (s *site) seenByGateways() string {
	var b strings.Builder
	for _, c := range s.gateways() {
		name := strings.TrimPrefix(c.Names[0], "/")
		client := (&boxes.Keeper{Dir: filepath.Join(s.DataDir, "gateway")}).Client(name)
		seen, err := client.Observed(context.Background())
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", name, err)
			continue
		}
		for _, svc := range seen.Services {
			for _, t := range svc.Targets {
				fmt.Fprintf(&b, "%s: %s: %+v\n", name, svc.Name, t)
			}
		}
	}
	return b.String()
}

// finds checks that the engine tells a container who has names.
func (s *site) finds(c harness.Container, names ...string) {
	s.t.Helper()
	engine := harness.Engine(s.t)
	for _, name := range names {
		e, err := engine.ContainerExecCreate(s.t.Context(), c.ID, container.ExecOptions{Cmd: []string{"getent", "hosts", name}, AttachStdout: true})
		if err != nil {
			s.t.Fatal(err)
		}
		out, err := engine.ContainerExecAttach(s.t.Context(), e.ID, container.ExecAttachOptions{})
		if err != nil {
			s.t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, out.Reader) // until it ends
		out.Close()
		if end, endErr := engine.ContainerExecInspect(s.t.Context(), e.ID); err != nil || endErr != nil || end.ExitCode != 0 {
			s.t.Errorf("%s does not find %s: %d, %v, %v", c.Name, name, end.ExitCode, err, endErr)
		}
	}
}
