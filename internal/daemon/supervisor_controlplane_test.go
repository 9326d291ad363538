// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package daemon_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// systemd starts what is ordered after the service when it hears that it is ready,
// so that must not be told before everything is.
func TestSystemdIsToldOfReadinessAndStop(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(commandTimeout)); err != nil {
		t.Fatal(err)
	}
	readyFile := filepath.Join(dir, "ready")
	cmd := exec.CommandContext(t.Context(), binary(t), "serve", "--data-dir", filepath.Join(dir, "data"), "--secure-port", "0", "--listen", "127.0.0.1:0",
		"--metrics-bind-address", "0", "--ready-file", readyFile, "--controllers=false")
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told := func() string {
		t.Helper()
		buffer := make([]byte, 1000)
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatalf("systemd hears nothing: %v", err)
		}
		return strings.TrimSpace(string(buffer[:n]))
	}
	if first := told(); first != "READY=1" {
		t.Errorf("systemd is told %q", first)
	}
	if _, err := os.Stat(readyFile); err != nil {
		t.Errorf("systemd was told before the daemon is ready: %v", err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if next := told(); next != "STOPPING=1" {
		t.Errorf("systemd is told %q", next)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
