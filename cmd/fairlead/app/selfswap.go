// SPDX-License-Identifier: Apache-2.0

package app

import (
	"os"

	"github.com/spf13/cobra"
	"k8s.io/utils/clock"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/health"
	"github.com/fairlead-dev/fairlead/internal/selfswap"
)

// newSelfSwapCommand is what the helper container runs that replaces the
// daemon's own. It is of no use to people.
func newSelfSwapCommand() *cobra.Command {
	return &cobra.Command{
		Use:    selfswap.Command,
		Short:  "Replace the container that the daemon runs in (run by the daemon in a helper container)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			engine, err := docker.New("")
			if err != nil {
				return err
			}
			h := &selfswap.Helper{
				Engine: engine, Prober: health.NewProber(engine, 0), Dir: selfswap.Dir, Out: os.Stdout, Clock: clock.RealClock{},
			}
			return h.Run(cmd.Context())
		},
	}
}
