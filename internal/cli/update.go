// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/cli/render"
	"github.com/fairlead-dev/fairlead/internal/clientconfig"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
)

const defaultNamespace = clientconfig.DefaultNamespace

const exitCodes = `
Exit codes: 0 succeeded, 1 failed, 2 wrong usage, 3 failed and rolled back, 4 cancelled,
5 the end was not seen (timeout, connection lost, Ctrl-C): the update goes on.`

// requestFlags are what update and rollback have in common.
type requestFlags struct {
	name    string
	wait    bool
	noLog   bool
	timeout time.Duration
	output  string
}

func (f *requestFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "name of the update request; default: the application's name and a random ending")
	flags.BoolVar(&f.wait, "wait", true, "show the progress and wait for the end")
	flags.BoolVar(&f.noLog, "no-log", false, "do not show the log")
	flags.DurationVar(&f.timeout, "timeout", 0, "stop waiting after this time; the update goes on (0: wait for ever)")
	flags.StringVarP(&f.output, "output", "o", "", "print the update request at the end: json, yaml or name; progress goes to stderr")
}

func newUpdateCommand(a *app) *cobra.Command {
	var flags requestFlags
	var spec v1alpha1.UpdateRequestSpec
	cmd := &cobra.Command{
		Use:   "update APPLICATION [COMMIT]",
		Short: "Bring an application to a commit: backup, build, rollout, verification, and rollback on failure",
		Long: `Creates an UpdateRequest and shows its progress. COMMIT is a SHA, a branch or a tag;
without it, the newest commit of the application's source.ref is meant.

Ctrl-C stops watching, not the update.
` + exitCodes,
		Example: `  fairlead update shop
  fairlead update shop v1.4.2 --dry-run
  fairlead update shop abc1234 --retry -n production`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.complete(completeApplications),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				spec.Commit = args[1]
				if strings.HasPrefix(spec.Commit, "-") || strings.TrimSpace(spec.Commit) == "" {
					return usageError(errors.New("COMMIT must be a SHA, a branch or a tag"))
				}
			}
			s, target, err := a.prepare(cmd.Context(), args[0], &flags)
			if err != nil {
				return err
			}
			return a.submit(cmd.Context(), s, target, spec, &flags)
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&spec.DryRun, "dry-run", false, "find out what would be done, print it, and change nothing")
	cmd.Flags().BoolVar(&spec.Force, "force", false, "build every image and replace every service, changed or not")
	cmd.Flags().BoolVar(&spec.Retry, "retry", false, "try a commit again that failed before")
	return cmd
}

func newRollbackCommand(a *app) *cobra.Command {
	var flags requestFlags
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "rollback APPLICATION [RELEASE]",
		Short: "Go back to a release that ran before, without a build",
		Long: `Creates an UpdateRequest with rollbackTo and shows its progress. RELEASE is the name or
the number of a release; without it, the one before the current one is meant.

Services, images and the working tree go back. Data does not: databases and volumes stay
as they are. See the backups that could be restored with: fairlead backups APPLICATION
` + exitCodes,
		Example: `  fairlead rollback shop
  fairlead rollback shop 7
  fairlead rollback shop shop-7 -n production`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.complete(completeApplications, completeReleases),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, target, err := a.prepare(cmd.Context(), args[0], &flags)
			if err != nil {
				return err
			}
			releases, err := s.releases(cmd.Context(), target.Name)
			if err != nil {
				return err
			}
			wanted := ""
			if len(args) == 2 {
				wanted = args[1]
			}
			to, current, err := chooseRelease(target.Name, releases, wanted)
			if err != nil {
				return err
			}
			fmt.Fprint(a.Err, rollbackNotice(target.Name, to, current))
			spec := v1alpha1.UpdateRequestSpec{RollbackTo: &v1alpha1.LocalReference{Name: to.Name}, DryRun: dryRun}
			return a.submit(cmd.Context(), s, target, spec, &flags)
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "find out what would be done, print it, and change nothing")
	return cmd
}

// chooseRelease finds the release to go back to among releases, newest first.
func chooseRelease(application string, releases []v1alpha1.Release, wanted string) (to, current *v1alpha1.Release, err error) {
	number, numErr := strconv.ParseInt(strings.TrimPrefix(wanted, "#"), 10, 64)
	for i := range releases {
		r := &releases[i]
		if r.Status.State == v1alpha1.ReleaseCurrent && current == nil {
			current = r
		}
		if wanted != "" && (r.Name == strings.TrimPrefix(wanted, "release/") || numErr == nil && r.Spec.Number == number) {
			to = r
		}
	}
	list := "list them with: fairlead releases " + application
	switch {
	case len(releases) == 0:
		return nil, nil, fmt.Errorf("%s has no releases yet: the first one is recorded by its first update", application)
	case wanted != "" && to == nil:
		return nil, nil, fmt.Errorf("%s has no release %q; %s", application, wanted, list)
	case wanted != "" && to.Status.State == v1alpha1.ReleaseExpired:
		return nil, nil, fmt.Errorf("release %s cannot be gone back to: %s; %s", to.Name,
			orElse(to.Status.Message, "its images are gone"), list)
	case wanted != "":
		return to, current, nil
	}
	for i := range releases {
		r := &releases[i]
		if r.Status.State == v1alpha1.ReleasePrevious && (current == nil || r.Spec.Number < current.Spec.Number) {
			return r, current, nil
		}
	}
	return nil, nil, fmt.Errorf("%s has no earlier release that can be gone back to; %s", application, list)
}

func rollbackNotice(application string, to, current *v1alpha1.Release) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s goes back", application)
	if current != nil {
		fmt.Fprintf(&b, " from release %s", describeRelease(current))
	}
	fmt.Fprintf(&b, " to release %s.\n", describeRelease(to))
	b.WriteString("Data is not restored: databases and volumes stay as they are.\n")
	if to.Status.Backup != "" {
		fmt.Fprintf(&b, "The data that belonged to %s is in backup %s.\n", to.Name, to.Status.Backup)
	}
	return b.String()
}

func describeRelease(r *v1alpha1.Release) string {
	text := r.Name
	if r.Spec.Commit != "" {
		text += " (" + strings.TrimSpace(render.Commit(r.Spec.Commit)+" "+render.Clean(r.Spec.Subject)) + ")"
	}
	return text
}

// prepare connects, checks the flags and finds the application.
func (a *app) prepare(ctx context.Context, application string, flags *requestFlags) (*session, *v1alpha1.Application, error) {
	switch flags.output {
	case "", outputJSON, outputYAML, outputName:
	default:
		return nil, nil, usageError(fmt.Errorf("--output=%s: json, yaml or name", flags.output))
	}
	if flags.timeout < 0 {
		return nil, nil, usageError(errors.New("--timeout must not be negative"))
	}
	s, err := a.start()
	if err != nil {
		return nil, nil, err
	}
	target, err := s.application(ctx, application)
	return s, target, err
}

// submit creates the request and, unless told otherwise, waits for its end.
func (a *app) submit(ctx context.Context, s *session, target *v1alpha1.Application, spec v1alpha1.UpdateRequestSpec, flags *requestFlags) error {
	spec.ApplicationRef.Name = target.Name
	ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: flags.name}, Spec: spec}
	if flags.name == "" {
		ur.GenerateName = target.Name + "-"
	}
	if err := s.Create(ctx, ur); err != nil {
		if apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("there is an update request %s already: choose another --name, or leave it out", flags.name)
		}
		return s.explain(err, true)
	}
	fmt.Fprintf(a.Err, "Created update request %s\n", ur.Name)
	switch {
	case target.Spec.Suspend:
		fmt.Fprintf(a.Err, "%s is suspended: the request waits until spec.suspend of the application is false again\n", target.Name)
	case target.Status.ActiveRequest != "" && target.Status.ActiveRequest != ur.Name:
		fmt.Fprintf(a.Err, "%s is being updated by %s: the request waits for its turn\n", target.Name, target.Status.ActiveRequest)
	}
	if !flags.wait {
		return a.printRequest(s, ur, flags.output)
	}
	return a.watchToEnd(ctx, s, ur, flags)
}

// watchToEnd shows progress and report, and turns the end into an exit code.
func (a *app) watchToEnd(ctx context.Context, s *session, ur *v1alpha1.UpdateRequest, flags *requestFlags) error {
	_, _, isTerminal := a.terminal()
	how := watching{out: a.Out, live: isTerminal, noLog: flags.noLog, tail: -1, timeout: flags.timeout}
	if flags.output != "" {
		how.out, how.live = a.Err, false
	}
	last, err := a.wait(ctx, s, ur, how)
	if err != nil {
		return err
	}
	a.report(how.out, last)
	if err := a.printRequest(s, last, flags.output); err != nil {
		return err
	}
	return outcome(last)
}

func (a *app) report(out io.Writer, ur *v1alpha1.UpdateRequest) {
	style := a.style()
	if out != a.Out {
		style.Colour = false
	}
	fmt.Fprintf(out, "\n%s", style.Report(ur, a.Now()))
}

func (a *app) printRequest(s *session, ur *v1alpha1.UpdateRequest, output string) error {
	if output == "" {
		return nil
	}
	return s.printObject(a.Out, ur, output)
}

func newCancelCommand(a *app) *cobra.Command {
	var flags requestFlags
	cmd := &cobra.Command{
		Use:   "cancel REQUEST",
		Short: "Cancel an update request; what it changed so far is undone",
		Long: `Sets spec.cancel of an UpdateRequest. A request that waits ends at once; one that runs is
stopped, and what it changed so far is undone. To cancel a request that is cancelled already
is no error; one that has ended otherwise is.`,
		Example:           "  fairlead cancel shop-x7k2p --wait",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.complete(completeRunning),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			s, err := a.start()
			if err != nil {
				return err
			}
			ur, err := s.request(ctx, args[0])
			var notFound *notFoundError
			if errors.As(err, &notFound) {
				if target, appErr := s.application(ctx, args[0]); appErr == nil && target.Status.ActiveRequest != "" {
					return fmt.Errorf("%s is an application; to cancel the update that runs: fairlead cancel %s", args[0], target.Status.ActiveRequest)
				}
			}
			if err != nil {
				return err
			}
			if requestwatch.Ended(ur) {
				if ur.Status.Phase == v1alpha1.PhaseCancelled {
					fmt.Fprintf(a.Out, "Update request %s is cancelled already\n", ur.Name)
					return nil
				}
				return fmt.Errorf("update request %s has ended already: %s", ur.Name, ur.Status.Phase)
			}
			patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"cancel":true}}`))
			if err := s.Patch(ctx, ur, patch); err != nil {
				return s.explain(err, true)
			}
			fmt.Fprintf(a.Err, "Cancelling update request %s\n", ur.Name)
			if !flags.wait {
				return nil
			}
			err = a.watchToEnd(ctx, s, ur, &flags)
			if ExitCode(err) == ExitCancelled {
				return nil
			}
			if err == nil {
				return errors.New("the request succeeded before it could be cancelled")
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&flags.wait, "wait", false, "show the progress and wait for the end; the exit code is 0 if it was cancelled")
	cmd.Flags().BoolVar(&flags.noLog, "no-log", false, "do not show the log")
	cmd.Flags().DurationVar(&flags.timeout, "timeout", 0, "stop waiting after this time (0: wait for ever)")
	return cmd
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
