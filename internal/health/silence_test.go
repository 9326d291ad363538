// SPDX-License-Identifier: Apache-2.0

package health

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// A container that should listen, and does not, is asked all the same: its healthcheck may not need that.
func TestAskedInSilence(t *testing.T) {
	alone := exec.Command("sleep", "600")
	if os.Geteuid() == 0 { // nobody else may listen there: then it is asked at once
		alone.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	if err := alone.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = alone.Process.Kill()
		_ = alone.Wait() // it was killed
	})
	e := newFake()
	id := e.create("quiet", []string{"CMD", "/app", "say", "well"}, noRestart)
	e.start(id)
	e.mu.Lock()
	e.containers[id].Pid, e.containers[id].Exposed = alone.Process.Pid, []string{"80/tcp"}
	e.mu.Unlock()
	if err := NewProber(e, 0).Gate(t.Context(), id, Policy{Timeout: time.Minute, MinHealthy: -1}, nil); err != nil {
		t.Error(err)
	}
	if e.total != 1 {
		t.Errorf("asked %d times", e.total)
	}
}
