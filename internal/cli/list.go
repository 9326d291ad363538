// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/cli/render"
)

func newAppsCommand(a *app) *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use:     "apps",
		Aliases: []string{"applications"},
		Short:   "List the applications",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.appList().run(cmd.Context(), a, &flags, "")
		},
	}
	flags.add(cmd)
	return cmd
}

func (a *app) appList() *listing[v1alpha1.Application] {
	type item = v1alpha1.Application
	list := &v1alpha1.ApplicationList{}
	return &listing[item]{
		list: list, kind: "applications",
		items: func() []item { return list.Items },
		meta:  func(x *item) *metav1.ObjectMeta { return &x.ObjectMeta },
		order: func(x, y *item) int {
			return cmp.Or(strings.Compare(x.Namespace, y.Namespace), strings.Compare(x.Name, y.Name))
		},
		columns: []column[item]{
			{name: "Name", cell: func(x *item) string { return x.Name }},
			{name: "Commit", cell: func(x *item) string { return render.Commit(x.Status.Commit) }},
			{name: "Release", cell: func(x *item) string { return x.Status.Release }},
			{name: "Healthy", cell: func(x *item) string { return x.Status.Healthy }},
			{name: "Ready", cell: func(x *item) string { return conditionWord(x.Status.Conditions, v1alpha1.ConditionReady) }},
			{name: "Request", cell: func(x *item) string { return x.Status.ActiveRequest }},
			{name: "Last", cell: func(x *item) string {
				if last := x.Status.LastRequest; last != nil {
					return string(last.Phase)
				}
				return ""
			}},
			{name: "Age", cell: func(x *item) string { return a.age(x.CreationTimestamp) }},
			{name: "Project", wide: true, cell: func(x *item) string { return x.Status.Project }},
			{name: "Directory", wide: true, cell: func(x *item) string { return x.Spec.Compose.Directory }},
		},
	}
}

func newReleasesCommand(a *app) *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use:               "releases [APPLICATION]",
		Short:             "List the releases, the newest first: what can be gone back to",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.complete(completeApplications),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.releaseList().run(cmd.Context(), a, &flags, first(args))
		},
	}
	flags.add(cmd)
	return cmd
}

func (a *app) releaseList() *listing[v1alpha1.Release] {
	type item = v1alpha1.Release
	list := &v1alpha1.ReleaseList{}
	return &listing[item]{
		list: list, kind: "releases",
		items: func() []item { return list.Items },
		meta:  func(x *item) *metav1.ObjectMeta { return &x.ObjectMeta },
		order: func(x, y *item) int {
			return cmp.Or(strings.Compare(x.Namespace, y.Namespace),
				strings.Compare(x.Spec.ApplicationRef.Name, y.Spec.ApplicationRef.Name), cmp.Compare(y.Spec.Number, x.Spec.Number))
		},
		columns: []column[item]{
			{name: "Name", cell: func(x *item) string { return x.Name }},
			{name: "Application", cell: func(x *item) string { return x.Spec.ApplicationRef.Name }},
			{name: "Commit", cell: func(x *item) string { return render.Commit(x.Spec.Commit) }},
			{name: "State", cell: func(x *item) string { return x.Status.State }},
			{name: "Verified", cell: func(x *item) string { return strconv.FormatBool(x.Status.Verified) }},
			{name: "Backup", cell: func(x *item) string { return x.Status.Backup }},
			{name: "Age", cell: func(x *item) string { return a.age(x.CreationTimestamp) }},
			{name: "Subject", wide: true, cell: func(x *item) string { return render.Clean(x.Spec.Subject) }},
			{name: "Request", wide: true, cell: func(x *item) string { return x.Spec.Request }},
			{name: "Message", wide: true, cell: func(x *item) string { return render.Clean(x.Status.Message) }},
		},
	}
}

// releases lists those of an application, newest first.
func (s *session) releases(ctx context.Context, application string) ([]v1alpha1.Release, error) {
	var list v1alpha1.ReleaseList
	if err := s.List(ctx, &list, client.InNamespace(s.namespace), ofApplication(application)); err != nil {
		return nil, s.explain(err, false)
	}
	slices.SortStableFunc(list.Items, func(x, y v1alpha1.Release) int { return cmp.Compare(y.Spec.Number, x.Spec.Number) })
	return list.Items, nil
}

func newBackupsCommand(a *app) *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use:               "backups [APPLICATION]",
		Short:             "List the backups, the newest first",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.complete(completeApplications),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.backupList().run(cmd.Context(), a, &flags, first(args))
		},
	}
	flags.add(cmd)
	return cmd
}

func (a *app) backupList() *listing[v1alpha1.Backup] {
	type item = v1alpha1.Backup
	list := &v1alpha1.BackupList{}
	return &listing[item]{
		list: list, kind: "backups",
		items: func() []item { return list.Items },
		meta:  func(x *item) *metav1.ObjectMeta { return &x.ObjectMeta },
		order: func(x, y *item) int {
			return cmp.Or(strings.Compare(x.Namespace, y.Namespace),
				strings.Compare(x.Spec.ApplicationRef.Name, y.Spec.ApplicationRef.Name), strings.Compare(y.Spec.ID, x.Spec.ID))
		},
		columns: []column[item]{
			{name: "Name", cell: func(x *item) string { return x.Name }},
			{name: "Application", cell: func(x *item) string { return x.Spec.ApplicationRef.Name }},
			{name: "Release", cell: func(x *item) string { return x.Spec.Release }},
			{name: "Commit", cell: func(x *item) string { return render.Commit(x.Spec.Commit) }},
			{name: "Size", cell: func(x *item) string { return x.Status.Size }},
			{name: "Verified", cell: func(x *item) string { return x.Status.Verified }},
			{name: "Warnings", cell: func(x *item) string { return strconv.Itoa(len(x.Status.Warnings)) }},
			{name: "Age", cell: func(x *item) string { return a.age(x.CreationTimestamp) }},
			{name: "Path", wide: true, cell: func(x *item) string { return x.Status.Path }},
			{name: "Request", wide: true, cell: func(x *item) string { return x.Spec.Request }},
		},
	}
}

func newRequestsCommand(a *app) *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use:               "requests [APPLICATION]",
		Short:             "List the update requests, the newest first",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.complete(completeApplications),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.requestList().run(cmd.Context(), a, &flags, first(args))
		},
	}
	flags.add(cmd)
	return cmd
}

func (a *app) requestList() *listing[v1alpha1.UpdateRequest] {
	type item = v1alpha1.UpdateRequest
	list := &v1alpha1.UpdateRequestList{}
	return &listing[item]{
		list: list, kind: "update requests",
		items: func() []item { return list.Items },
		meta:  func(x *item) *metav1.ObjectMeta { return &x.ObjectMeta },
		order: func(x, y *item) int { return newestFirst(&x.ObjectMeta, &y.ObjectMeta) },
		columns: []column[item]{
			{name: "Name", cell: func(x *item) string { return x.Name }},
			{name: "Application", cell: func(x *item) string { return x.Spec.ApplicationRef.Name }},
			{name: "Wanted", cell: wanted},
			{name: "Commit", cell: func(x *item) string { return render.Commit(x.Status.Commit) }},
			{name: "Phase", cell: func(x *item) string {
				return orElse(string(x.Status.Phase), string(v1alpha1.PhasePending))
			}},
			{name: "Duration", cell: func(x *item) string { return x.Status.Duration }},
			{name: "Age", cell: func(x *item) string { return a.age(x.CreationTimestamp) }},
			{name: "Message", wide: true, cell: func(x *item) string { return render.Clean(x.Status.Message) }},
		},
	}
}

// wanted is what a request asks for.
func wanted(x *v1alpha1.UpdateRequest) string {
	text := render.Commit(x.Spec.Commit)
	if x.Spec.BackupOnly {
		text = "backup"
	}
	if x.Spec.RestoreFrom != nil {
		text = "restore " + x.Spec.RestoreFrom.Name
	}
	if x.Spec.RollbackTo != nil {
		text = "back to " + x.Spec.RollbackTo.Name
	}
	if text == "" {
		text = "newest"
	}
	if x.Spec.DryRun {
		text += " (dry run)"
	}
	return text
}

func (a *app) age(t metav1.Time) string {
	if t.IsZero() {
		return ""
	}
	d := a.Now().Sub(t.Time)
	if d >= 48*time.Hour {
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	}
	return render.Duration(d.Truncate(time.Second))
}

func conditionWord(conditions []metav1.Condition, kind string) string {
	c := meta.FindStatusCondition(conditions, kind)
	switch {
	case c == nil:
		return ""
	case c.Status == metav1.ConditionTrue:
		return "True"
	default:
		return string(c.Status) + " (" + c.Reason + ")"
	}
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// backups lists those of an application.
func (s *session) backups(ctx context.Context, application string) ([]v1alpha1.Backup, error) {
	var list v1alpha1.BackupList
	if err := s.List(ctx, &list, client.InNamespace(s.namespace), ofApplication(application)); err != nil {
		return nil, s.explain(err, false)
	}
	return list.Items, nil
}
