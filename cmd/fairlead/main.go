// SPDX-License-Identifier: Apache-2.0

// Command fairlead updates Docker Compose applications: it is the daemon, the
// client and a built-in kubectl in one binary.
package main

import (
	"context"
	"os"

	"github.com/fairlead-dev/fairlead/cmd/fairlead/app"
	"github.com/fairlead-dev/fairlead/internal/controlplane"
	"github.com/fairlead-dev/fairlead/internal/controlplane/options"
	"github.com/fairlead-dev/fairlead/internal/daemon"
)

func main() {
	os.Exit(app.Run(os.Args[1:], app.Parts{ControlPlane: startControlPlane, Kubectl: newKubectlCommand()}))
}

func startControlPlane(ctx context.Context, opts options.Options) (daemon.ControlPlane, error) {
	return controlplane.Start(ctx, opts)
}
