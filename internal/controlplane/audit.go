// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"io"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapiserver "k8s.io/apiserver/pkg/server"
	auditlog "k8s.io/apiserver/plugin/pkg/audit/log"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// auditTo makes the server write a line to out for every write, done or refused:
// who, what, from where, with which result. Bodies, which may hold secrets, are
// left out.
func auditTo(out io.Writer, generic *genericapiserver.Config) {
	generic.AuditPolicyRuleEvaluator = policy.NewPolicyRuleEvaluator(auditPolicy())
	// A write is answered when its line is in the file.
	generic.AuditBackend = auditlog.NewBackend(out, auditlog.FormatJson, auditv1.SchemeGroupVersion)
}

// auditPolicy says which requests are audited. The first rule that matches counts.
func auditPolicy() *auditinternal.Policy {
	writes := []string{"create", "update", "patch", "delete", "deletecollection"}
	own := []string{user.APIServerUser}
	return &auditinternal.Policy{
		OmitStages: []auditinternal.Stage{auditinternal.StageRequestReceived},
		Rules: []auditinternal.PolicyRule{
			// Of what the daemon itself does: its writes to objects that people know,
			// and those that it makes for the updater. Not the status after every
			// step, nor the upkeep of the server.
			{Level: auditinternal.LevelMetadata, Users: own, Verbs: writes, Resources: []auditinternal.GroupResources{
				{Group: v1alpha1.GroupVersion.Group, Resources: []string{"applications", "updaterequests", "releases", "backups"}},
				{Group: corev1.GroupName, Resources: []string{"serviceaccounts", "serviceaccounts/token"}},
			}},
			{Level: auditinternal.LevelNone, Users: own},
			// Questions that have the form of a write, and what nobody asks for later.
			{Level: auditinternal.LevelNone, Resources: []auditinternal.GroupResources{
				{Group: authenticationv1.GroupName}, {Group: authorizationv1.GroupName}, {Group: coordinationv1.GroupName},
				{Group: eventsv1.GroupName}, {Group: corev1.GroupName, Resources: []string{"events"}},
			}},
			{Level: auditinternal.LevelMetadata, Verbs: writes},
			// It hands out all secrets of an application.
			{Level: auditinternal.LevelMetadata, Verbs: []string{"get"}, Resources: []auditinternal.GroupResources{
				{Group: v1alpha1.GroupVersion.Group, Resources: []string{"backups/download"}},
			}},
			{Level: auditinternal.LevelNone},
		},
	}
}
