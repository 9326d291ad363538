// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"testing"

	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

func TestAuditPolicy(t *testing.T) {
	evaluator := policy.NewPolicyRuleEvaluator(auditPolicy())
	const ours, rbac, authn, authz = "fairlead.dev", "rbac.authorization.k8s.io", "authentication.k8s.io", "authorization.k8s.io"
	for _, c := range []struct {
		user, verb, group, resource, subresource string
		want                                     bool
	}{
		{"jo", "create", ours, "updaterequests", "", true},
		{"jo", "patch", ours, "updaterequests", "", true},
		{"jo", "patch", ours, "updaterequests", "status", true}, // nobody but the daemon should
		{"jo", "deletecollection", ours, "applications", "", true},
		{"jo", "update", "", "secrets", "", true},
		{"jo", "create", "", "serviceaccounts", "token", true},
		{"jo", "create", rbac, "clusterrolebindings", "", true},
		{"system:anonymous", "create", ours, "updaterequests", "", true},
		{"jo", "get", ours, "updaterequests", "", false},
		{"jo", "watch", "", "secrets", "", false},
		{"jo", "create", authn, "selfsubjectreviews", "", false},
		{"jo", "create", authz, "selfsubjectaccessreviews", "", false},
		{"jo", "create", "", "events", "", false},
		{user.APIServerUser, "create", ours, "updaterequests", "", true}, // as the updater
		{user.APIServerUser, "delete", "", "serviceaccounts", "", true},
		{user.APIServerUser, "patch", ours, "updaterequests", "status", false},
		{user.APIServerUser, "patch", rbac, "clusterroles", "", false},
		{user.APIServerUser, "update", "coordination.k8s.io", "leases", "", false},
	} {
		got := evaluator.EvaluatePolicyRule(authorizer.AttributesRecord{User: &user.DefaultInfo{Name: c.user}, Verb: c.verb,
			APIGroup: c.group, Resource: c.resource, Subresource: c.subresource, ResourceRequest: true})
		if audited := got.Level != auditinternal.LevelNone; audited != c.want {
			t.Errorf("%s %s %s/%s/%s: audited %t, want %t", c.user, c.verb, c.group, c.resource, c.subresource, audited, c.want)
		}
	}
}
