// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

// upstreamRolesHook installs the roles of a whole cluster, a hundred and more.
// It waits for a second before it begins and is replaced by ensureRoles.
const upstreamRolesHook = rbacrest.PostStartHookName

// standardRoles are the roles of Kubernetes that mean something here; the
// bindings have the same names.
func standardRoles() sets.Set[string] {
	return sets.New(
		"cluster-admin",
		"system:basic-user",
		"system:discovery",
		"system:public-info-viewer",
	)
}

// ensureRoles creates the standard roles and bindings and adds what is missing
// from them, but takes nothing away.
func ensureRoles(ctx context.Context, client kubernetes.Interface) error {
	names := standardRoles()
	for _, role := range bootstrappolicy.ClusterRoles() {
		if !names.Has(role.Name) {
			continue
		}
		reconcile := reconciliation.ReconcileRoleOptions{
			Role:    reconciliation.ClusterRoleRuleOwner{ClusterRole: &role},
			Client:  reconciliation.ClusterRoleModifier{Client: client.RbacV1().ClusterRoles()},
			Confirm: true,
		}
		if err := retryConflicts(ctx, func() error { _, err := reconcile.Run(); return err }); err != nil {
			return fmt.Errorf("role %s: %w", role.Name, err)
		}
	}
	for _, binding := range bootstrappolicy.ClusterRoleBindings() {
		if !names.Has(binding.Name) {
			continue
		}
		reconcile := reconciliation.ReconcileRoleBindingOptions{
			RoleBinding: reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: &binding},
			Client:      reconciliation.ClusterRoleBindingClientAdapter{Client: client.RbacV1().ClusterRoleBindings()},
			Confirm:     true,
		}
		if err := retryConflicts(ctx, func() error { _, err := reconcile.Run(); return err }); err != nil {
			return fmt.Errorf("role binding %s: %w", binding.Name, err)
		}
	}
	return nil
}

func retryConflicts(ctx context.Context, f func() error) error {
	return retry.OnError(retry.DefaultBackoff, func(err error) bool {
		return ctx.Err() == nil && (apierrors.IsConflict(err) || apierrors.IsServiceUnavailable(err))
	}, f)
}
