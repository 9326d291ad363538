// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/fairlead-dev/fairlead/internal/gateway"
	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
	"github.com/fairlead-dev/fairlead/internal/logging"
)

// gatewayGCPercent trades memory for time: a gateway makes little garbage and keeps little.
const gatewayGCPercent = 200

type gatewayFlags struct {
	dir, metrics, logLevel, logFormat string
	drain                             time.Duration
}

// newGatewayCommand is what the gateway container of an application runs.
func newGatewayCommand() *cobra.Command {
	f := gatewayFlags{}
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Pass an application's traffic to its containers (run by the daemon in a container of its own)",
		Long: `Pass an application's traffic to its containers.

The daemon runs this in a container for each application and tells it over a socket in --dir what to do. It goes on
with the last state while nobody does, from a file in the same directory. Nothing is listened on before the first state.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := applyEnv(cmd.Flags()); err != nil {
				return err
			}
			return runGateway(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dir, "dir", "/run/fairlead", "directory of the control socket and the state, shared with the daemon; only its owner may enter it")
	flags.StringVar(&f.metrics, "metrics-bind-address", "", "address to serve metrics for Prometheus on, such as :9101; they are on the control socket in any case")
	flags.DurationVar(&f.drain, "drain-timeout", 25*time.Second, "how long what is in flight may take when the gateway is stopped")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn, error, or a number for more detail")
	flags.StringVar(&f.logFormat, "log-format", logging.FormatAuto, "auto (console on a terminal, else json), console or json")
	describeEnv(flags)
	return cmd
}

func runGateway(ctx context.Context, f gatewayFlags) error {
	logger, err := logging.New(os.Stderr, f.logFormat, f.logLevel, term.IsTerminal(int(os.Stderr.Fd())))
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gatewayGCPercent)
	}
	log := logger.Logr
	memory := newTrimmer()
	return gateway.Run(ctx, gateway.Options{
		Dir: f.dir, Build: buildVersion(), Metrics: f.metrics, Drain: f.drain, Log: log,
		Env: &pool.Environment{Resolve: pool.Resolve, Log: log},
		Trim: func(last bool) {
			if err := memory.trim(last); err != nil {
				log.V(1).Info("memory of the start is kept", "reason", err.Error())
			}
		},
	})
}
