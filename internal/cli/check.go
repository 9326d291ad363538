// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

func newCheckCommand(a *app) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "check APPLICATION",
		Short: "Look for newer commits now",
		Long: `Has the daemon look at the application's source now, instead of at the next interval of
spec.update, and shows what it found. Nothing is updated, unless spec.update says so.

It sets an annotation on the Application, which takes the role fairlead-admin. Others can ask by
fairlead update APPLICATION --dry-run.`,
		Example:           "  fairlead check shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.complete(completeApplications),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.start()
			if err != nil {
				return err
			}
			return a.check(cmd.Context(), s, args[0], timeout)
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "stop waiting for the answer after this time")
	return cmd
}

func (a *app) check(ctx context.Context, s *session, name string, timeout time.Duration) error {
	target, err := s.application(ctx, name)
	if err != nil {
		return err
	}
	ask := a.Now().UTC().Format(time.RFC3339Nano)
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationCheck, ask)
	if err := s.Patch(ctx, target, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		if apierrors.IsForbidden(err) {
			return fmt.Errorf("you may not change the application %s (role fairlead-admin); this asks its source too, and changes nothing: fairlead update %s --dry-run",
				target.Name, target.Name)
		}
		return s.explain(err, true)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, &Error{Code: ExitUnknown, Err: fmt.Errorf(
		"the source of %s was not looked at within %s; it is, as soon as no update runs: fairlead status %s", target.Name, timeout, target.Name)})
	defer cancel()
	for {
		done, err := awaitCheck(ctx, s, target, ask)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return s.explain(err, false)
		}
		if done != nil {
			fmt.Fprint(a.Out, a.style().Update(done))
			return nil
		}
	}
}

// awaitCheck waits until the question was answered; nil if the watch ended before.
func awaitCheck(ctx context.Context, s *session, target *v1alpha1.Application, ask string) (*v1alpha1.Application, error) {
	w, err := s.Watch(ctx, &v1alpha1.ApplicationList{}, client.InNamespace(target.Namespace),
		client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", target.Name)})
	if err != nil {
		return nil, err
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		switch o := event.Object.(type) {
		case *v1alpha1.Application:
			if o.Name != target.Name {
				continue
			}
			if event.Type == "DELETED" {
				return nil, errors.New("the application was deleted")
			}
			if o.Status.Update != nil && o.Status.Update.HandledCheck == ask {
				return o, nil
			}
		default:
			return nil, apierrors.FromObject(event.Object)
		}
	}
	return nil, nil
}
