// SPDX-License-Identifier: Apache-2.0

package app

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// versionLine says what this binary is.
func versionLine() string {
	return fmt.Sprintf("fairlead %s (%s, %s/%s)\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary",
		Long:  "Prints the version of this binary. That of the daemon is in status.fairleadVersion of its DockerHost.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), versionLine())
			return err
		},
	}
}
