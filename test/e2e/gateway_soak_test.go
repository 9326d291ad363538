// SPDX-License-Identifier: Apache-2.0

//go:build e2e && soak

package e2e

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// Hundreds of clients keep their connections while the shop behind nginx is updated
// again and again, cannot be, and goes back: no request fails, and no connection ends.
func TestSoakCrowd(t *testing.T) {
	s := shopBehindGateway(t)
	const clients = 300
	l := harness.StartLoad(s.repo.URL("/version"), clients, time.Second)
	for v := 2; v <= 3; v++ {
		s.succeeds(s.publish("Next", version(strconv.Itoa(v), "web")))
		s.wantVersion(strconv.Itoa(v))
	}
	s.ends(s.publish("Bad", behave(version("4", "web"), "web", apps.Behaviour{Unhealthy: true})), v1alpha1.PhaseRolledBack)
	s.wantVersion("3")
	s.succeeds("", harness.RollbackTo(s.Releases(s.name)[1].Name))
	s.wantVersion("2")
	r := wantLossless(t, l, "1", "2", "3")
	if r.Connections != clients {
		t.Errorf("%d clients needed %d connections", clients, r.Connections)
	}
	if r.Bodies["4\n"] > 0 {
		t.Errorf("what never became healthy answered: %v", r.Bodies)
	}
}

// goodAndBad updates a shop, fails to, and goes back, and returns the number of the last version.
func (s *site) goodAndBad(v int) int {
	s.t.Helper()
	s.succeeds(s.publish("Good", version(strconv.Itoa(v+1), "web")))
	s.ends(s.publish("Bad", behave(version(strconv.Itoa(v+2), "web"), "web", apps.Behaviour{Unhealthy: true})), v1alpha1.PhaseRolledBack)
	s.succeeds(s.publish("Good again", behave(version(strconv.Itoa(v+3), "web"), "web", apps.Behaviour{})))
	s.succeeds("", harness.RollbackTo(s.Releases(s.name)[1].Name))
	s.wantVersion(strconv.Itoa(v + 1))
	return v + 3
}

// wantKept checks that no request failed and that all clients kept their connections.
func wantKept(t *testing.T, l *harness.Load, clients int) harness.LoadResult {
	t.Helper()
	r := wantLossless(t, l)
	if r.Connections != clients {
		t.Errorf("%d clients needed %d connections", clients, r.Connections)
	}
	return r
}

// As many requests as there can be, over hundreds of connections.
func TestSoakFast(t *testing.T) {
	s := shopBehindGateway(t)
	l := harness.StartLoad(s.repo.URL("/version"), 256, 0)
	s.goodAndBad(1)
	wantKept(t, l, 256)
}

// Two hundred requests a second for a minute at least.
func TestSoakSteady(t *testing.T) {
	s := shopBehindGateway(t)
	l := harness.StartLoad(s.repo.URL("/version"), 200, time.Second)
	v := 1
	for begun := time.Now(); time.Since(begun) < time.Minute; {
		v = s.goodAndBad(v)
	}
	wantKept(t, l, 200)
}

// Fifty updates in a row.
func TestSoakFifty(t *testing.T) {
	s := shopBehindGateway(t)
	l := harness.StartLoad(s.repo.URL("/version"), 300, time.Second)
	for v := 2; v <= 51; v++ {
		s.succeeds(s.publish("Next", version(strconv.Itoa(v), "web")))
		s.wantVersion(strconv.Itoa(v))
	}
	wantKept(t, l, 300)
}

// The daemon is killed at each of the moments around a switch.
func TestSoakKilled(t *testing.T) {
	s := helloThroughNginx(t, harness.Start(t, harness.Options{}), "")
	l := harness.StartLoad(s.repo.URL("/kept/version"), 200, 500*time.Millisecond)
	for i, line := range []string{
		"gateway sends what is new for web", "[Verify]", "[CleanUp]", "[Rollout]",
	} {
		v := strconv.Itoa(i + 2)
		r := s.Update(s.name, s.publish("Next", slowly(v, "500ms")))
		s.waitLog(r.Name, line)
		s.Kill9()
		s.Restart()
		s.WantEnd(r.Name, v1alpha1.PhaseSucceeded)
		s.wantVersion(v)
		s.wantOneOfEach()
	}
	wantKept(t, l, 200)
	s.wantNginxContent()
}

// What is under way comes to its end, and the new version dies later, while hundreds of clients send as much as they can.
func TestSoakUnderWay(t *testing.T) {
	s := helloThroughNginx(t, shared, "  rollout: {healthTimeout: 60s, minHealthy: 500ms, stopTimeout: 3s, soak: 40s, drainTimeout: 20s}\n")
	l := harness.StartLoad(s.repo.URL("/kept/version"), 256, 0)
	r := s.Update(s.name, s.publish("Dies", map[string]string{
		"version.txt": "2\n", "behaviour.json": apps.Behaviour{StartDelay: "1s", CrashAfter: "25s"}.JSON(),
	}))
	s.waitLog(r.Name, "web: starting ")
	slow, download := s.begin("/slow?d=12s"), s.begin("/download?kib=2000")
	s.waitLog(r.Name, "the gateway sends what is new for web")
	moved := time.Now()
	for body, answer := range map[string]<-chan whole{"1\n": slow, strings.Repeat("\x00", 2000<<10): download} {
		if got := <-answer; got.err != nil || got.body != body || got.at.Before(moved) {
			t.Errorf("what was under way got %d bytes, %.20q, %s after the switch: %v", len(got.body), got.body, got.at.Sub(moved), got.err)
		}
	}
	s.WantEnd(r.Name, v1alpha1.PhaseRolledBack)
	s.wantVersion("1")
	if got := wantKept(t, l, 256); got.Bodies["2\n"] == 0 {
		t.Errorf("the version that died never answered: %v", got.Bodies)
	}
	s.wantNginxContent()
}

// Conversations through nginx go on across a switch while hundreds of clients send requests.
func TestSoakConversations(t *testing.T) {
	s := talkThroughNginx(t)
	l := harness.StartLoad(s.repo.URL("/version"), 300, time.Second)
	s.moves(s.talksThroughNginx())
	wantKept(t, l, 300)
	s.wantNginxContent()
}
