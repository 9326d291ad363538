// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/test/apps"
)

// proxied are services of apps.Talk, at the beginning of its Compose file, that want to be told where clients come from: at
// the gateway, and at a proxy in front of it.
const proxied = `services:
  told:
    build: .
    labels: *labels
    environment: {PROXY: required}
    ports: ["HOST:TOLD:7000"]
    x-fairlead: {protocol: TCP, sendProxyProtocol: V1}
  passed:
    build: .
    labels: *labels
    environment: {PROXY: required}
    ports: ["127.0.0.1:PASSED:7000"]
    x-fairlead: {protocol: TCP, sendProxyProtocol: V2, acceptProxyProtocol: true}
`

// freeRange is the first one of three ports in a row that nobody listens on.
func freeRange(t *testing.T) int {
	t.Helper()
	for range 50 {
		first, err := apps.FreePort(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		free := true
		for port := first; port < first+3 && free; port++ {
			var ln net.Listener
			if ln, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
				err = ln.Close()
			}
			free = err == nil
		}
		if free {
			return first
		}
	}
	t.Fatal("no three ports in a row")
	return 0
}

// chatter opens conversations one after the other until it is ended, and counts the versions that answer.
type chatter struct {
	stop  chan struct{}
	done  sync.WaitGroup
	heard map[string]int
	err   error
}

// chat begins conversations in each of which one thing is said; want is what is answered after the version.
func chat(open func() (*talk, error), want func(*talk) string) *chatter {
	c := &chatter{stop: make(chan struct{}), heard: map[string]int{}}
	c.done.Go(func() {
		for n := 0; ; n++ {
			if v, err := say(open, strconv.Itoa(n), want); err == nil {
				c.heard[v]++
			} else if c.err == nil {
				c.err = err
			}
			select {
			case <-c.stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	return c
}

// say opens a conversation, says something, and returns the version that answered.
func say(open func() (*talk, error), text string, want func(*talk) string) (version string, err error) {
	c, err := open()
	if err != nil {
		return "", err
	}
	defer c.end()
	got, err := c.say(text)
	if err != nil {
		return "", err
	}
	version, rest, _ := strings.Cut(got, " ")
	if rest != want(c)+text {
		return "", fmt.Errorf("the answer to %q is %q, want it to have %q", text, got, want(c))
	}
	return version, nil
}

// end checks that nothing failed and that the versions answered.
func (c *chatter) end(t *testing.T, name string, versions ...string) {
	t.Helper()
	close(c.stop)
	c.done.Wait()
	t.Logf("%s: %v", name, c.heard)
	if c.err != nil {
		t.Errorf("%s: %v", name, c.err)
	}
	for _, v := range versions {
		if c.heard[v] == 0 {
			t.Errorf("%s: answers were %v", name, c.heard)
		}
	}
}

// Targets that want the PROXY protocol are told the client's address on connections of bare TCP, UDP works over IPv6, and ranges of ports lead to
// the container's ports of the same place: before an update, after it, and in between without a loss.
func TestGatewayPortVariants(t *testing.T) {
	t.Parallel()
	s := siteOf(t, shared, apps.Talk)
	t.Cleanup(func() { s.removeGateways() })
	var told, passed int
	for _, port := range []*int{&told, &passed} {
		var err error
		if *port, err = apps.FreePort(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// Where clients that come by 127.0.0.1 come from the engine tells nobody.
	host, first := hostAddress(t), freeRange(t)
	data, err := os.ReadFile(filepath.Join(s.repo.Dir, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	services := strings.NewReplacer("HOST", host, "TOLD", strconv.Itoa(told), "PASSED", strconv.Itoa(passed)).Replace(proxied)
	further := fmt.Sprintf("    environment: {LINE_PORTS: 9000 9001 9002}\n    ports:\n      - 127.0.0.1:%d-%d:9000-9002\n      - \"[::1]:${TALK_LINE_PORT}:7000/udp\"\n", first, first+2)
	compose := strings.NewReplacer("services:\n", services, "    ports:\n", further).Replace(string(data))
	s.apply("  gateway: {mode: Auto, trustedProxies: [0.0.0.0/0]}\n  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 0s, drainTimeout: 2s}\n")
	s.succeeds(s.publish("More ports", map[string]string{"docker-compose.yml": compose}))
	s.wantBehind("told", "passed", "talk")

	nothing := func(*talk) string { return "" }
	type variant struct {
		open func() (*talk, error)
		want func(*talk) string
	}
	variants := map[string]variant{
		"PROXY protocol": {
			func() (*talk, error) { return talkLines("tcp", net.JoinHostPort(host, strconv.Itoa(told))) },
			func(c *talk) string { return c.from + " " },
		},
		"PROXY protocol of a proxy in front": {
			func() (*talk, error) {
				c, err := talkLines("tcp", "127.0.0.1:"+strconv.Itoa(passed))
				if err == nil {
					c.first = "PROXY TCP4 203.0.113.9 198.51.100.1 4711 7000\r\n"
				}
				return c, err
			},
			func(*talk) string { return "203.0.113.9:4711 " },
		},
		"UDP over IPv6": {
			func() (*talk, error) {
				return talkLines("udp", net.JoinHostPort("::1", strconv.Itoa(s.repo.Ports["TALK_LINE_PORT"])))
			}, nothing,
		},
	}
	for i := range 3 {
		variants[fmt.Sprintf("port %d of a range", i)] = variant{
			func() (*talk, error) { return talkLines("tcp", "127.0.0.1:"+strconv.Itoa(first+i)) },
			func(*talk) string { return fmt.Sprintf("%d ", 9000+i) },
		}
	}
	wantAll := func(version string) {
		t.Helper()
		for name, v := range variants {
			if got, err := say(v.open, "hello", v.want); err != nil || got != version {
				t.Errorf("%s: version %q answers, %v", name, got, err)
			}
		}
	}
	wantAll("1")
	if t.Failed() {
		t.FailNow()
	}
	before := s.containers()
	chats := map[string]*chatter{}
	for name, v := range variants {
		chats[name] = chat(v.open, v.want)
	}
	r := s.succeeds(s.publish("Two", map[string]string{"version.txt": "2\n"}))
	for name, c := range chats {
		c.end(t, name, "1", "2")
	}
	wantAll("2")
	s.wantReplaced(before, "told", "passed", "talk")
	var unmeasured []string
	for _, u := range r.Status.Unmeasured {
		unmeasured = append(unmeasured, u.Service+": "+u.Reason)
	}
	wantContains(t, "what is not measured", strings.Join(unmeasured, "\n"), "passed: ", "PROXY protocol", "talk: only TCP is probed")
	// Who is no proxy gets in nowhere that one is expected.
	if got, err := say(func() (*talk, error) { return talkLines("tcp", "127.0.0.1:"+strconv.Itoa(passed)) }, "hello", nothing); err == nil {
		t.Errorf("without a header version %q answers", got)
	}
}
