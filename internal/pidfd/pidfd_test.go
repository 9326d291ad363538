// SPDX-License-Identifier: Apache-2.0

package pidfd

import (
	"context"
	"errors"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFirstOfNamespace(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tapp\nNSpid:\t4711\t1\nNSpgid:\t4711\t1\n": true,
		"Name:\tapp\nNSpid:\t4711\t23\t1\n":               true,
		"NSpid:\t4711\t1\t7\n":                            false,
		"NSpid:\t4711\n":                                  false,
		"NSpid:\t1\n":                                     false, // of the reader's own namespace
		"NSpid:\n":                                        false,
		"Name:\tapp\n":                                    false,
		"":                                                false,
	} {
		if got := firstOfNamespace([]byte(status)); got != want {
			t.Errorf("%q: %v", status, got)
		}
	}
}

// process is one that runs until it is killed.
func process(t *testing.T) (p *Init, kill func()) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	p = &Init{fd: fd}
	t.Cleanup(p.Close)
	return p, func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
	}
}

func TestAwait(t *testing.T) {
	one, killOne := process(t)
	two, killTwo := process(t)
	var ended []string
	kill := map[string]func(){"one": killTwo, "two": func() {}}
	killOne()
	err := Await(t.Context(), map[string]*Init{"one": one, "two": two}, func(k string) {
		ended = append(ended, k)
		kill[k]()
	})
	if err != nil || len(ended) != 2 || ended[0] != "one" || ended[1] != "two" {
		t.Errorf("ended %v: %v", ended, err)
	}
	if err := Await(t.Context(), map[string]*Init{}, func(string) { t.Error("nothing ended") }); err != nil {
		t.Error(err)
	}
}

// The end of the context ends the waiting, also of one that is over before it begins.
func TestAwaitBrokenOff(t *testing.T) {
	one, killOne := process(t)
	two, _ := process(t)
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	killOne()
	err := Await(ctx, map[string]*Init{"one": one, "two": two}, func(k string) {
		if k != "one" {
			t.Errorf("%s ended", k)
		}
		cancel(stop)
	})
	if !errors.Is(err, stop) {
		t.Error(err)
	}
	if err := Await(ctx, map[string]*Init{"two": two}, func(string) { t.Error("it ended") }); !errors.Is(err, stop) {
		t.Error(err)
	}
	if one.Ended() != true || two.Ended() {
		t.Error("what has ended is not told apart from what has not")
	}
}
