// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
)

func newStatusCommand(a *app) *cobra.Command {
	var list listFlags
	var flags requestFlags
	var watch bool
	cmd := &cobra.Command{
		Use:   "status [APPLICATION | ur/REQUEST]",
		Short: "Show how an application is, or how a request goes",
		Long: `Without an argument, lists the applications. Of an application it shows the services, the
request that runs and the one that ended last; of a request, its steps and its report.

With --watch it shows the progress of a request (of an application: of the one that runs)
until its end, with the exit codes of update.
` + exitCodes,
		Example: `  fairlead status
  fairlead status shop
  fairlead status ur/shop-x7k2p --watch`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.complete(completeApplicationsAndRequests),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				if watch {
					return usageError(errors.New("--watch needs an application or a request"))
				}
				return a.appList().run(cmd.Context(), a, &list, "")
			}
			if list.all {
				return usageError(errors.New("--all-namespaces goes without an application"))
			}
			flags.output = list.output
			switch flags.output {
			case "", outputJSON, outputYAML, outputName:
			default:
				return usageError(fmt.Errorf("--output=%s: json, yaml or name", flags.output))
			}
			s, err := a.start()
			if err != nil {
				return err
			}
			return a.status(cmd.Context(), s, args[0], watch, &flags)
		},
	}
	list.add(cmd)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show the progress until the end of the request")
	cmd.Flags().BoolVar(&flags.noLog, "no-log", false, "with --watch: do not show the log")
	cmd.Flags().DurationVar(&flags.timeout, "timeout", 0, "with --watch: stop after this time (0: wait for ever)")
	return cmd
}

func (a *app) status(ctx context.Context, s *session, arg string, watch bool, flags *requestFlags) error {
	name, isRequest := cutRequest(arg)
	if !isRequest {
		target, err := s.application(ctx, arg)
		var notFound *notFoundError
		switch {
		case err == nil && watch && target.Status.ActiveRequest == "":
			return fmt.Errorf("no request of %s is running", target.Name)
		case err == nil && watch:
			name = target.Status.ActiveRequest
		case err == nil && flags.output != "":
			return s.printObject(a.Out, target, flags.output)
		case err == nil:
			return a.printApplication(ctx, s, target)
		case !errors.As(err, &notFound):
			return err
		default:
			// A request's name is as good as ur/NAME where no application has it.
			if _, requestErr := s.request(ctx, name); requestErr != nil {
				return err
			}
		}
	}
	ur, err := s.request(ctx, name)
	if err != nil {
		return err
	}
	if watch {
		return a.watchToEnd(ctx, s, ur, flags)
	}
	if flags.output != "" {
		return s.printObject(a.Out, ur, flags.output)
	}
	fmt.Fprint(a.Out, a.style().Request(ur, requestwatch.Ended(ur), a.Now()))
	return nil
}

func (a *app) printApplication(ctx context.Context, s *session, target *v1alpha1.Application) error {
	// What cannot be read, or is gone already, is left out: the application says
	// the most important itself.
	get := func(name string) *v1alpha1.UpdateRequest {
		var ur v1alpha1.UpdateRequest
		if name == "" || s.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, &ur) != nil {
			return nil
		}
		return &ur
	}
	var last *v1alpha1.UpdateRequest
	if target.Status.LastRequest != nil {
		last = get(target.Status.LastRequest.Name)
	}
	fmt.Fprint(a.Out, a.style().Application(target, get(target.Status.ActiveRequest), last, a.Now()))
	return nil
}
