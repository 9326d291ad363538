// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// fronted is an application whose ports are those of a plain nginx, which knows its one service by
// name. It takes the name of the service, its ports, and the ports of nginx.
const fronted = `x-labels: &labels {fairlead.dev/test: e2e}
services:
  %[1]s:
    build: .
    restart: unless-stopped
    labels: *labels
    expose: [%[2]s]
    healthcheck: {test: ["CMD", "/app", "healthcheck"], interval: 30s}
  front:
    image: fairlead-test/nginx:1.22
    restart: unless-stopped
    labels: *labels
    ports: [%[3]s]
    volumes: ["./nginx.conf:/etc/nginx/conf.d/default.conf:ro"]
    depends_on: {%[1]s: {condition: service_healthy}}
networks:
  default: {labels: *labels}
`

// helloConf makes a connection for each request, and keeps connections below /kept/. In both, nginx resolves
// the name once and for all.
const helloConf = `upstream kept {
    server web:8080;
    keepalive 8;
}
server {
    listen 80;
    location / {
        proxy_pass http://web:8080;
        proxy_buffering off;
    }
    location /kept/ {
        proxy_pass http://kept/;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
    }
}
`

const talkConf = `map $http_upgrade $connection_upgrade {
    default upgrade;
    ''      close;
}
server {
    listen 80;
    location / {
        proxy_pass http://talk:8080;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        proxy_buffering off;
    }
}
server {
    listen 90 http2;
    location / {
        grpc_pass grpc://talk:9090;
    }
}
`

// throughNginx is an application behind a gateway behind nginx behind a gateway.
func throughNginx(t *testing.T, d *harness.Daemon, app apps.App, compose, conf, rollout string) *site {
	t.Helper()
	s := siteOf(t, d, app)
	t.Cleanup(func() { s.removeGateways() })
	s.apply(gatewayOn + rollout)
	s.succeeds(s.publish("nginx in front", map[string]string{"docker-compose.yml": compose, "nginx.conf": conf}))
	s.wantVersion("1")
	return s
}

func helloThroughNginx(t *testing.T, d *harness.Daemon, rollout string) *site {
	t.Helper()
	s := throughNginx(t, d, apps.Hello, fmt.Sprintf(fronted, "web", `"8080"`, `"127.0.0.1:${HELLO_PORT}:80"`), helloConf, rollout)
	s.wantBehind("web", "front")
	return s
}

// loads are requests of both kinds that nginx makes of what its clients send over kept connections. What is returned
// ends them and checks that none failed, that versions answered, and that no client lost its connection.
func (s *site) loads() func(versions ...string) {
	plain, kept := s.load("/version"), s.load("/kept/version")
	return func(versions ...string) {
		s.t.Helper()
		for _, l := range []*harness.Load{plain, kept} {
			if r := wantLossless(s.t, l, versions...); r.Connections != 8 {
				s.t.Errorf("8 clients needed %d connections", r.Connections)
			}
		}
		s.wantNginxContent()
	}
}

// A stream of events has no end but that which its deadline makes.
var (
	failedInLog = regexp.MustCompile(`(?m)^.* HTTP/[12]\.[01]" 5\d\d .*$`)
	brokenInLog = regexp.MustCompile(`(?m)^.*\[error\].*$`)
	deadlineCut = regexp.MustCompile(`while reading upstream, .*"GET /events `)
)

// wantNginxContent checks that nginx answered nothing with an error, and found no connection to the gateway
// broken, which it may hide from its clients.
func (s *site) wantNginxContent() {
	s.t.Helper()
	front := s.containers()["front"]
	if len(front) != 1 {
		s.t.Fatalf("nginx has the containers %v", identities(front))
	}
	log, errors, code := harness.Run(s.t.Context(), nil, "", "docker", "logs", front[0].ID)
	if code != 0 || !strings.Contains(log, `" 200 `) || !strings.Contains(errors, "[notice]") {
		s.t.Fatalf("the log of nginx tells of no requests: exit %d, %s", code, errors)
	}
	bad := append(failedInLog.FindAllString(log, -1), slices.DeleteFunc(brokenInLog.FindAllString(errors, -1), deadlineCut.MatchString)...)
	if len(bad) > 0 {
		s.t.Errorf("nginx met %d errors, the first of them:\n%s", len(bad), strings.Join(bad[:min(len(bad), 5)], "\n"))
	}
}

// What is under way comes to its end, no request fails, and nginx is left alone: when the new version is good, when it
// is not, when it is an earlier one, and when it dies later.
func TestGatewayThroughNginx(t *testing.T) {
	t.Parallel()
	const drain = 16 * time.Second
	rollout := func(soak time.Duration) string {
		return fmt.Sprintf("  rollout: {healthTimeout: 6s, minHealthy: 500ms, stopTimeout: 3s, soak: %s, drainTimeout: %s}\n", soak, drain)
	}
	s := helloThroughNginx(t, shared, rollout(time.Second))
	first := s.Releases(s.name)[0].Name
	t.Run("under way", func(t *testing.T) {
		s := s.in(t)
		before := s.containers()
		done := s.loads()
		r := s.Update(s.name, s.publish("Two", slowly("2", "1s")))
		s.waitLog(r.Name, "web: starting ") // not before: they must not have ended at the switch
		slow, download, events := s.begin("/slow?d=14s"), s.begin("/download?kib=1300"), s.begin("/events")
		s.waitLog(r.Name, "the gateway sends what is new for web")
		moved := time.Now()
		for body, answer := range map[string]<-chan whole{"1\n": slow, strings.Repeat("\x00", 1300<<10): download} {
			if got := <-answer; got.err != nil || got.body != body || got.at.Before(moved) {
				t.Errorf("what was under way got %d bytes, %.20q, %s after the switch: %v", len(got.body), got.body, got.at.Sub(moved), got.err)
			}
		}
		got := <-events
		if !strings.Contains(got.body, "data: 1\n") || strings.Contains(got.body, "data: 2\n") {
			t.Errorf("the stream of events was %.200q", got.body)
		}
		if lasted := got.at.Sub(moved); lasted < drain-2*time.Second {
			t.Errorf("the stream of events was cut %s after the switch, not %s", lasted, drain)
		}
		s.WantEnd(r.Name, v1alpha1.PhaseSucceeded)
		done("1", "2")
		s.wantVersion("2")
		s.wantReplaced(before, "web")
		s.wantUntouched(before, "front")
	})
	t.Run("failing update", func(t *testing.T) {
		s := s.in(t)
		before := s.containers()
		done := s.loads()
		s.ends(s.publish("Bad", map[string]string{"version.txt": "3\n", "behaviour.json": apps.Behaviour{Unhealthy: true}.JSON()}), v1alpha1.PhaseRolledBack)
		done("2")
		s.wantVersion("2")
		s.wantUntouched(before)
	})
	t.Run("back to an earlier release", func(t *testing.T) {
		s := s.in(t)
		before := s.containers()
		done := s.loads()
		s.succeeds("", harness.RollbackTo(first))
		done("1", "2")
		s.wantVersion("1")
		s.wantReplaced(before, "web")
		s.wantUntouched(before, "front")
	})
	t.Run("new version dies after the switch", func(t *testing.T) {
		s := s.in(t)
		before := s.containers()
		s.apply(gatewayOn + rollout(20*time.Second))
		done := s.loads()
		s.ends(s.publish("Dies", map[string]string{"version.txt": "4\n", "behaviour.json": apps.Behaviour{CrashAfter: "5s"}.JSON()}), v1alpha1.PhaseRolledBack)
		done("1", "4")
		s.wantVersion("1")
		s.wantUntouched(before) // back by a switch, not by a start
	})
}

// What is open through nginx goes on with the container that it is with until its client ends it, which nginx and both
// gateways pass on: the update does not wait for the deadline.
func TestGatewayThroughNginxConversations(t *testing.T) {
	t.Parallel()
	s := talkThroughNginx(t)
	before := s.containers()
	if after := s.moves(s.talksThroughNginx()); after > time.Minute {
		t.Errorf("the update went on for %s after the last conversation", after)
	}
	s.wantReplaced(before, "talk")
	s.wantUntouched(before, "front")
	s.wantNginxContent()
}

func talkThroughNginx(t *testing.T) *site {
	t.Helper()
	ports := `"127.0.0.1:${TALK_PORT}:80", "127.0.0.1:${TALK_GRPC_PORT}:90"`
	s := throughNginx(t, shared, apps.Talk, fmt.Sprintf(fronted, "talk", `"8080", "9090"`, ports), talkConf,
		"  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 1s, drainTimeout: 2m}\n")
	s.wantBehind("talk", "front")
	return s
}

// talksThroughNginx are the talks that nginx passes on.
func (s *site) talksThroughNginx() map[string]func() (*talk, error) {
	all, through := s.talks(), map[string]func() (*talk, error){}
	for _, name := range []string{"websocket", "gRPC stream", "events"} {
		through[name] = all[name]
	}
	return through
}

// The daemon is killed while it moves the traffic that nginx passes on, and goes on.
func TestGatewayThroughNginxDaemonKilled(t *testing.T) {
	t.Parallel()
	s := helloThroughNginx(t, harness.Start(t, harness.Options{}), "")
	before := s.containers()
	done := s.loads()
	r := s.Update(s.name, s.publish("Two", slowly("2", "1s")))
	s.waitLog(r.Name, "the gateway sends what is new for web")
	s.Kill9()
	s.Restart()
	s.WantEnd(r.Name, v1alpha1.PhaseSucceeded)
	done("1", "2")
	s.wantVersion("2")
	s.wantReplaced(before, "web")
	s.wantUntouched(before, "front")
}

// replaceDatabase replaces all of a shop while every one of many clients waits at once for a database.
func (s *site) replaceDatabase() {
	t := s.t
	t.Helper()
	const clients = 40
	const interval = 400 * time.Millisecond
	before := s.containers()
	rows := harness.Rows(t, s.repo.Project, "visits")
	l := harness.StartLoad(s.repo.URL("/"), clients, interval)
	r := s.succeeds("", harness.Force)
	got := wantLossless(t, l)
	if got.Connections != clients {
		t.Errorf("%d clients needed %d connections", clients, got.Connections)
	}
	// No answer for longer than the interval: each client has sent a request meanwhile.
	if got.Longest < interval {
		t.Errorf("not all clients waited: the longest time without an answer was %s", got.Longest)
	}
	s.wantReplaced(before, "db", "web", "front")
	if now := harness.Rows(t, s.repo.Project, "visits"); now < rows+got.Sent {
		t.Errorf("%d rows and %d requests became %d rows", rows, got.Sent, now)
	}
	if !strings.Contains(s.Log(r), "requests wait at the gateway") {
		t.Errorf("nothing was held:\n%s", s.Log(r))
	}
}
