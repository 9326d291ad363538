// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

func newLogsCommand(a *app) *cobra.Command {
	var follow bool
	var tail int
	cmd := &cobra.Command{
		Use:   "logs APPLICATION | ur/REQUEST",
		Short: "Print the log of an update request; of an application, that of the newest one",
		Example: `  fairlead logs shop
  fairlead logs shop -f
  fairlead logs ur/shop-x7k2p --tail 50`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.complete(completeApplicationsAndRequests),
		RunE: func(cmd *cobra.Command, args []string) error {
			if tail < -1 {
				return usageError(errors.New("--tail must be a number of lines, or -1 for all"))
			}
			s, err := a.start()
			if err != nil {
				return err
			}
			ur, err := s.resolve(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printLog(cmd.Context(), s, ur, logQuery{follow: follow, offset: -1, tail: tail})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more until the request has ended")
	cmd.Flags().IntVar(&tail, "tail", -1, "begin that many lines before the end (-1: print all)")
	return cmd
}

// resolve finds the request that an argument means: ur/NAME, the newest one of an
// application, or the name of a request.
func (s *session) resolve(ctx context.Context, arg string) (*v1alpha1.UpdateRequest, error) {
	name, isRequest := cutRequest(arg)
	if isRequest {
		return s.request(ctx, name)
	}
	_, appErr := s.application(ctx, arg)
	var notFound *notFoundError
	if appErr != nil && !errors.As(appErr, &notFound) {
		return nil, appErr
	}
	// The requests of an application that was deleted can still be read.
	requests, err := s.requests(ctx, arg)
	if err != nil {
		return nil, err
	}
	if len(requests) > 0 {
		return &requests[0], nil
	}
	if appErr == nil {
		return nil, fmt.Errorf("%s has not been updated yet: there is no log", arg)
	}
	if ur, err := s.request(ctx, name); err == nil {
		return ur, nil
	}
	return nil, appErr
}

func (a *app) printLog(ctx context.Context, s *session, ur *v1alpha1.UpdateRequest, q logQuery) error {
	if !q.follow && ur.Status.LogFile == "" {
		return fmt.Errorf("update request %s is %s and has no log yet; wait for it with --follow", ur.Name,
			orElse(string(ur.Status.Phase), string(v1alpha1.PhasePending)))
	}
	_, _, isTerminal := a.terminal()
	colours := isTerminal && os.Getenv("NO_COLOR") == ""
	ended := func() bool {
		var now v1alpha1.UpdateRequest
		if err := s.Get(ctx, client.ObjectKeyFromObject(ur), &now); err != nil {
			return false
		}
		return requestwatch.Ended(&now)
	}
	if requestwatch.Ended(ur) {
		ended = func() bool { return true }
	}
	var writeErr error
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	err := s.followLog(inner, ur.Name, q, ended, func(line string) {
		if _, err := fmt.Fprintln(a.Out, updatelog.Clean(line, colours)); err != nil {
			writeErr = err
			cancel() // nobody reads any more
		}
	})
	switch {
	case writeErr != nil:
		return writeErr
	case errors.Is(err, context.Canceled) && q.follow:
		return nil // Ctrl-C is how one leaves
	case errors.Is(err, errNoLogs):
		return fmt.Errorf("%w: read it on the Docker host in %s", err, orElse(ur.Status.LogFile, "<deployment directory>/.update/logs"))
	case apierrors.IsNotFound(err):
		return errors.New(strings.TrimSpace(err.Error()))
	}
	return s.explain(err, false)
}
