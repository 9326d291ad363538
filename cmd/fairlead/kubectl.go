// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/cli"
	componentversion "k8s.io/component-base/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/fairlead-dev/fairlead/internal/clientconfig"
)

// newKubectlCommand is `fairlead kubectl`: the real kubectl, pointed at this
// host's daemon unless told otherwise.
func newKubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl",
		Short: "kubectl, built in; talks to this host's daemon unless --kubeconfig or KUBECONFIG says otherwise",
		// kubectl parses its own flags.
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			// kubectl has its own ways with signals.
			signal.Reset()
			return runKubectl(args)
		},
	}
}

func runKubectl(args []string) error {
	if err := nameKubectl(); err != nil {
		return err
	}
	paths, lookupErr := clientconfig.Locate("", clientconfig.DataDir())
	if lookupErr == nil {
		// The environment is how every part of kubectl, `kubectl config` too,
		// learns of a default.
		if err := os.Setenv(clientcmd.RecommendedConfigPathEnvVar, strings.Join(paths, string(filepath.ListSeparator))); err != nil {
			return err
		}
	}
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	root := kubectl.NewKubectlCommand(kubectl.KubectlOptions{
		IOStreams: streams,
		Arguments: append([]string{"kubectl"}, args...),
		ConfigFlags: genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().
			WithDiscoveryBurst(300).WithDiscoveryQPS(50).WithWarningPrinter(streams),
	})
	root.SetArgs(args)
	prepare := root.PersistentPreRunE
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		if lookupErr != nil && needsCluster(cmd) {
			return lookupErr
		}
		return prepare(cmd, args)
	}
	// CheckErr prints as kubectl does and exits with its code.
	cmdutil.CheckErr(cli.RunNoErrOutput(root))
	return nil
}

// nameKubectl gives kubectl a version that it can parse. The libraries know
// theirs only when the linker is told; otherwise they carry a placeholder, which
// `kubectl version` fails on, and accept nothing but a suffix to 0.0.0.
func nameKubectl() error {
	if !strings.Contains(componentversion.Get().GitVersion, "$Format") {
		return nil
	}
	name := "v0.0.0-kubectl"
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range build.Deps {
			if dep.Path == "k8s.io/kubectl" {
				name += "." + dep.Version
			}
		}
	}
	return componentversion.SetDynamicVersion(name)
}

// needsCluster says whether a kubectl command talks to a cluster that nothing on
// its command line names.
func needsCluster(cmd *cobra.Command) bool {
	for _, flag := range []string{"kubeconfig", "server", "cluster"} {
		if f := cmd.Flag(flag); f != nil && f.Changed {
			return false
		}
	}
	if f := cmd.Flag("client"); f != nil && f.Changed {
		return false // kubectl version --client
	}
	top := cmd
	for top.HasParent() && top.Parent().HasParent() {
		top = top.Parent()
	}
	switch top.Name() {
	case "kubectl", "help", "completion", "config", "kustomize", "options", "plugin", "kuberc",
		cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
		return false
	}
	return true
}
