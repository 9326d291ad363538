// SPDX-License-Identifier: Apache-2.0

//go:build crash

// Package crash kills the daemon at every step of an update, and after every
// single change that it makes on the engine, starts it again and looks on the
// real engine at what became of the application.
package crash

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead-dev/fairlead/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if err := buildDaemon(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	log.SetLogger(logr.Discard()) // of the library's client
	return m.Run()
}

// buildDaemon builds the daemon with fault points, once, and has the harness
// run it in place of fairlead.
func buildDaemon(ctx context.Context) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	binary := filepath.Join(cache, "fairlead-test", "crashd")
	out, err := exec.CommandContext(ctx, "go", "build", "-race=false", "-ldflags=-s -w", "-o", binary, "./crashd").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build crashd: %w\n%s", err, out)
	}
	return os.Setenv(testenv.BinaryEnv, binary)
}
