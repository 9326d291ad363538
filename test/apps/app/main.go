// SPDX-License-Identifier: Apache-2.0

// Command app is the one program of the test applications: a web server, a
// worker, a migration and the healthcheck of an image FROM scratch. What a
// version of it does is decided by small files beside it, so that a commit that
// changes its behaviour needs no compiler:
//
//	/version.txt     what GET /version answers
//	/behaviour.json  see [behaviour]
//
// The directory of these files is /, or APP_DIR.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	command := "web"
	if len(args) > 0 {
		command = args[0]
	}
	if command == "healthcheck" {
		return healthcheck(ctx)
	}

	v, err := loadVersion(envOr("APP_DIR", "/"))
	if err != nil {
		return err
	}
	fmt.Printf("%s: version %s\n", command, v.name)
	if v.does.Crash {
		return errors.New("told to crash by behaviour.json")
	}
	if v.does.CrashAfter > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(v.does.CrashAfter), errCrash)
		defer cancel()
	}
	if err := pause(ctx, time.Duration(v.does.StartDelay)); err != nil {
		return err
	}

	switch command {
	case "web":
		err = web(ctx, v)
	case "worker":
		err = worker(ctx, v)
	case "migrate":
		err = migrate(ctx, v)
	case "ledger":
		err = ledger(v)
	default:
		return fmt.Errorf("unknown command %q: one of web, worker, migrate, ledger, healthcheck", command)
	}
	if errors.Is(context.Cause(ctx), errCrash) {
		return errCrash
	}
	return err
}

// errCrash ends a program that was told to crash after a while.
var errCrash = errors.New("told to crash after a while by behaviour.json")

// version is what the files beside the program say.
type version struct {
	dir  string
	name string
	does behaviour
}

func loadVersion(dir string) (version, error) {
	v := version{dir: dir, name: "unknown"}
	name, err := os.ReadFile(filepath.Join(dir, "version.txt"))
	if err == nil {
		v.name = strings.TrimSpace(string(name))
	} else if !errors.Is(err, os.ErrNotExist) {
		return v, err
	}
	v.does, err = loadBehaviour(filepath.Join(dir, "behaviour.json"), os.Getenv("START_DELAY"))
	return v, err
}

// pause waits for d. It returns early, with the reason, when ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

func envOr(key, fallback string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return fallback
}
