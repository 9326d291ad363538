// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/cli/render"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
)

// completionTime is how long a shell waits for the names.
const completionTime = 2 * time.Second

// completer lists the names for an argument; args are those before it.
type completer func(ctx context.Context, s *session, args []string) []cobra.Completion

// complete completes each argument with the completer at its place.
func (a *app) complete(completers ...completer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= len(completers) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		s, err := a.start()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		parent := cmd.Context()
		if parent == nil {
			parent = context.Background()
		}
		ctx, cancel := context.WithTimeout(parent, completionTime)
		defer cancel()
		var fitting []cobra.Completion
		for _, c := range completers[len(args)](ctx, s, args) {
			if strings.HasPrefix(c, toComplete) {
				fitting = append(fitting, c)
			}
		}
		return fitting, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// An API that cannot be read completes nothing: there is no place for an error.

func completeApplications(ctx context.Context, s *session, _ []string) []cobra.Completion {
	var list v1alpha1.ApplicationList
	if s.List(ctx, &list, client.InNamespace(s.namespace)) != nil {
		return nil
	}
	names := make([]cobra.Completion, 0, len(list.Items))
	for i := range list.Items {
		names = append(names, cobra.CompletionWithDesc(list.Items[i].Name, render.Commit(list.Items[i].Status.Commit)))
	}
	return names
}

func completeReleases(ctx context.Context, s *session, args []string) []cobra.Completion {
	list, err := s.releases(ctx, args[0])
	if err != nil {
		return nil
	}
	var names []cobra.Completion
	for i := range list {
		if list[i].Status.State == v1alpha1.ReleasePrevious {
			names = append(names, cobra.CompletionWithDesc(list[i].Name,
				strings.TrimSpace(render.Commit(list[i].Spec.Commit)+" "+render.Clean(list[i].Spec.Subject))))
		}
	}
	return names
}

func completeRequests(ctx context.Context, s *session, prefix string, want func(*v1alpha1.UpdateRequest) bool) []cobra.Completion {
	var list v1alpha1.UpdateRequestList
	if s.List(ctx, &list, client.InNamespace(s.namespace)) != nil {
		return nil
	}
	var names []cobra.Completion
	for i := range list.Items {
		if ur := &list.Items[i]; want(ur) {
			names = append(names, cobra.CompletionWithDesc(prefix+ur.Name, string(ur.Status.Phase)))
		}
	}
	return names
}

func completeRunning(ctx context.Context, s *session, _ []string) []cobra.Completion {
	return completeRequests(ctx, s, "", func(ur *v1alpha1.UpdateRequest) bool { return !requestwatch.Ended(ur) })
}

func completeApplicationsAndRequests(ctx context.Context, s *session, args []string) []cobra.Completion {
	all := func(*v1alpha1.UpdateRequest) bool { return true }
	return append(completeApplications(ctx, s, args), completeRequests(ctx, s, "ur/", all)...)
}
