// SPDX-License-Identifier: Apache-2.0

// Command crashd is the daemon with fault points, for the crash tests. It is
// composed as `fairlead serve` is and takes those of its flags that tests use.
//
// The environment variable CRASH_FILE names the file that holds the fault to
// come, if any; see [parseFault]. A fault happens once: the file is removed
// just before, so that the next process runs to the end.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/config"
	"github.com/fairlead-dev/fairlead/controllers"
	"github.com/fairlead-dev/fairlead/internal/agent"
	"github.com/fairlead-dev/fairlead/internal/controlplane"
	"github.com/fairlead-dev/fairlead/internal/controlplane/options"
	"github.com/fairlead-dev/fairlead/internal/daemon"
	"github.com/fairlead-dev/fairlead/internal/logging"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crashd:", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, args []string) error {
	if len(args) == 0 || args[0] != "serve" {
		return fmt.Errorf("there is no command but serve; got %q", args)
	}
	opts := daemon.Options{StartControlPlane: startControlPlane}
	var logFormat string
	flags := flag.NewFlagSet("crashd serve", flag.ContinueOnError)
	flags.StringVar(&opts.DataDir, "data-dir", "", "directory of all state")
	flags.IntVar(&opts.SecurePort, "secure-port", 0, "port of the Kubernetes API")
	flags.StringVar(&opts.Listen, "listen", "127.0.0.1:0", "address of the HTTP endpoints")
	flags.StringVar(&opts.MetricsBindAddress, "metrics-bind-address", "0", "address of the metrics")
	flags.StringVar(&opts.ReadyFile, "ready-file", "", "file to write when the daemon is ready")
	flags.StringVar(&logFormat, "log-format", logging.FormatJSON, "format of the log")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	var err error
	if opts.Logger, err = logging.New(os.Stderr, logFormat, "info", false); err != nil {
		return err
	}
	opts.Logger.Install()
	if opts.Manifests.CRDs, err = config.CRDs(); err != nil {
		return err
	}
	if opts.Manifests.Roles, err = config.Roles(); err != nil {
		return err
	}
	opts.Manifests.Version = "crashd"
	opts.Scheme = runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(opts.Scheme); err != nil {
		return err
	}
	if err := v1alpha1.AddToScheme(opts.Scheme); err != nil {
		return err
	}
	f := &faults{file: os.Getenv("CRASH_FILE")}
	opts.Setup = []daemon.SetupFunc{agent.Setup(agent.Options{
		Version:    "crashd",
		WrapSteps:  func(r controllers.StepRunner) controllers.StepRunner { return faultySteps{r, f} },
		WrapClient: func(c client.Client) client.Client { return faultyClient{c, f} },
	})}
	return daemon.Run(ctx, opts)
}

func startControlPlane(ctx context.Context, opts options.Options) (daemon.ControlPlane, error) {
	return controlplane.Start(ctx, opts)
}
