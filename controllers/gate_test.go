// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"
)

func named(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "default", Name: name}
}

// quiesced waits for the end of a Quiesce in the background.
func quiesced(ctx context.Context, t *testing.T, g *Gate, name string) <-chan func() {
	t.Helper()
	done := make(chan func(), 1)
	began := g.changedNow()
	go func() {
		resume, err := g.Quiesce(ctx, named(name))
		if err != nil {
			resume = nil
		}
		done <- resume
	}()
	<-began
	return done
}

func (g *Gate) changedNow() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

func still(t *testing.T, done <-chan func(), why string) {
	t.Helper()
	select {
	case <-done:
		t.Fatal(why)
	default:
	}
}

func TestQuiesceLetsWorkEnd(t *testing.T) {
	g := NewGate(time.Hour)
	var woken []string
	g.wake = func(r types.NamespacedName) { woken = append(woken, r.Name) }
	if !g.enter(named("own"), false) || !g.enter(named("other"), false) {
		t.Fatal("an open gate holds back")
	}
	done := quiesced(t.Context(), t, g, "own")
	if g.enter(named("new"), false) {
		t.Error("a request begins although the daemon is about to be replaced")
	}
	if !g.enter(named("other"), true) {
		t.Error("a request that began may not go on to its end")
	}
	still(t, done, "it does not wait for the other request")
	g.leave(named("other"))
	resume := <-done
	if g.enter(named("other"), true) || g.enter(named("new"), false) {
		t.Error("work begins while the daemon is being replaced")
	}
	// The daemon stays.
	resume()
	resume()
	slices.Sort(woken)
	if !slices.Equal(woken, []string{"new", "other"}) {
		t.Errorf("woken: %v", woken)
	}
	if !g.enter(named("new"), false) {
		t.Error("the gate stays closed")
	}
}

func TestQuiesceHasADeadline(t *testing.T) {
	g := NewGate(time.Minute)
	clock := testclock.NewFakeClock(time.Unix(0, 0))
	g.clock = clock
	g.enter(named("stuck"), true)
	done := quiesced(t.Context(), t, g, "own")
	still(t, done, "it does not wait")
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for !clock.HasWaiters() {
		<-poll.C
	}
	clock.Step(time.Minute)
	if resume := <-done; resume == nil {
		t.Error("it failed")
	}
}

func TestQuiesceIsBrokenOff(t *testing.T) {
	g := NewGate(time.Hour)
	g.enter(named("other"), true)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := quiesced(ctx, t, g, "own")
	if g.enter(named("new"), false) {
		t.Error("a request begins")
	}
	cancel(errors.New("shutdown"))
	if resume := <-done; resume != nil {
		t.Error("it did not fail")
	}
	if !g.enter(named("new"), false) {
		t.Error("the gate stays closed")
	}
}

// TestTwoReplaceTheDaemon must not wait for each other.
func TestTwoReplaceTheDaemon(t *testing.T) {
	g := NewGate(time.Hour)
	g.enter(named("a"), true)
	g.enter(named("b"), true)
	first := quiesced(t.Context(), t, g, "a")
	second := quiesced(t.Context(), t, g, "b")
	(<-first)()
	(<-second)()
	if !g.enter(named("c"), false) {
		t.Error("the gate stays closed")
	}
}

func TestHold(t *testing.T) {
	g := NewGate(0)
	release := g.Hold()
	if g.enter(named("a"), true) {
		t.Error("it does not hold")
	}
	release()
	if !g.enter(named("a"), true) {
		t.Error("it still holds")
	}
}
