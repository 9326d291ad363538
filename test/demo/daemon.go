// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// daemon is a `fairlead serve` of our own.
type daemon struct {
	binary, kubeconfig, log string
	after                   time.Duration // from its start to ready
	process                 *os.Process
	done                    chan error
}

// startDaemon returns when the daemon is ready. It takes free ports and keeps
// its state below dir.
func startDaemon(ctx context.Context, binary, dir string) (*daemon, error) {
	if binary == "" {
		return nil, errors.New("FAIRLEAD_BIN does not name the fairlead binary: run make demo")
	}
	data, ready := filepath.Join(dir, "data"), filepath.Join(dir, "ready.json")
	d := &daemon{
		binary: binary, kubeconfig: filepath.Join(data, "kubeconfig"), log: filepath.Join(dir, "fairlead.log"),
		done: make(chan error, 1),
	}
	log, err := os.Create(d.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// Not bound to ctx: it is stopped in order, by stop.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), binary, "serve", "--data-dir", data, "--secure-port", "0",
		"--listen", "127.0.0.1:0", "--metrics-bind-address", "0", "--ready-file", ready)
	cmd.Stdout, cmd.Stderr = log, log
	// Ctrl-C is for the demonstration, which stops the daemon in its turn.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d.process = cmd.Process
	go func() { d.done <- cmd.Wait() }()

	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if _, err := os.Stat(ready); err == nil {
			d.after = time.Since(begin)
			return d, nil
		}
		select {
		case err := <-d.done:
			d.done <- err
			return nil, fmt.Errorf("the daemon ended: %w:\n%s", err, d.tail())
		case <-deadline.Done():
			return nil, errors.Join(fmt.Errorf("the daemon is not ready: %w:\n%s", deadline.Err(), d.tail()), d.stop())
		case <-ticker.C:
		}
	}
}

// stop ends the daemon, by force if it does not in half a minute.
func (d *daemon) stop() error {
	if err := d.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	timer := time.NewTimer(30 * time.Second)
	defer timer.Stop()
	select {
	case err := <-d.done:
		return err
	case <-timer.C:
		return errors.Join(errors.New("the daemon did not stop within 30 s"), d.process.Kill())
	}
}

// fairlead runs one command as a person would and shows it and its output.
func (d *daemon) fairlead(ctx context.Context, input string, args ...string) error {
	fmt.Printf("\033[36m$ fairlead %s\033[0m\n", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, d.binary, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+d.kubeconfig)
	cmd.Stdin = strings.NewReader(input)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("fairlead %s: %w; the daemon says last:\n%s", strings.Join(args, " "), err, d.tail())
	}
	return nil
}

// tail is the end of the daemon's log.
func (d *daemon) tail() string {
	data, err := os.ReadFile(d.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
