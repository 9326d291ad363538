// SPDX-License-Identifier: Apache-2.0

// Package app is the command tree and the composition root: here flags become
// options, and concrete adapters meet.
package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/internal/daemon"
)

// Parts are what is made of Kubernetes itself: all else can be compiled, and tested
// with the race detector, without it.
type Parts struct {
	// ControlPlane starts the embedded API server.
	ControlPlane daemon.StartControlPlane
	// Kubectl is the command of that name.
	Kubectl *cobra.Command
}

// exitError carries the exit code of a command that has already said why.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// Run runs the command of these arguments and returns its exit code.
func Run(args []string, parts Parts) int {
	ctx, stop := signalContext()
	defer stop()
	cmd := newRootCommand(parts)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.code
	default:
		if text := err.Error(); text != "" {
			fmt.Fprintln(os.Stderr, "fairlead:", text)
		}
		return cli.ExitCode(err)
	}
}

// newRootCommand is the command tree.
func newRootCommand(parts Parts) *cobra.Command {
	cmd := &cobra.Command{
		Use:           "fairlead",
		Short:         "Update Docker Compose applications declaratively, with backup, health gates and rollback",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       buildVersion(),
	}
	cmd.SetVersionTemplate(versionLine())
	cmd.AddCommand(newServeCommand(parts.ControlPlane, composeAgent), newRollbackOfflineCommand(), newDoctorCommand(), newVersionCommand(),
		newUnpackVolumeCommand(), newSelfSwapCommand(), newGatewayCommand())
	for _, own := range cmd.Commands() {
		cli.Strict(own)
	}
	if parts.Kubectl != nil {
		cmd.AddCommand(parts.Kubectl) // which judges its arguments itself
	}
	cmd.AddCommand(cli.Commands(cli.Options{Version: buildVersion()})...)
	cli.Strict(cmd)
	return cmd
}

// signalContext ends with the first SIGINT or SIGTERM; the second one ends the
// process at once.
func signalContext() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel()
		case <-done:
			return
		}
		select {
		case s := <-signals:
			code := 130
			if s == unix.SIGTERM {
				code = 143
			}
			os.Exit(code)
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}
