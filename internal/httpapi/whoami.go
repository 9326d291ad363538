// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// identityBody is who the caller is, and what they may do in a namespace.
type identityBody struct {
	Username  string              `json:"username" doc:"Name as the API server authenticated it"`
	Groups    []string            `json:"groups" nullable:"false"`
	Namespace string              `json:"namespace" doc:"Namespace that may is about"`
	May       map[string][]string `json:"may" doc:"Verbs by resource of fairlead.dev, such as updaterequests: [get, list, create]; serviceaccounts are what tokens are made of, auditlogs who did what"`
	// Incomplete says that the API server could not tell everything.
	Incomplete bool `json:"incomplete,omitempty" doc:"The API server could not tell everything: try, and see"`
}

type whoOutput struct{ Body identityBody }

func (a *API) who(ctx context.Context, in *struct {
	Namespace string `query:"namespace" default:"default" maxLength:"63" doc:"Namespace that the rights are asked for"`
}) (*whoOutput, error) {
	var user authenticationv1.UserInfo
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: in.Namespace}}
	everywhere := false
	g, asking := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		user, err = a.whoami(asking)
		return err
	})
	g.Go(func() error { return a.kube().Create(asking, review) })
	g.Go(func() (err error) {
		everywhere, err = a.allowed(asking, right{verb: "list", resource: "dockerhosts"})
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	may := verbsOf(review.Status.ResourceRules)
	// The rules of a role in a namespace name hosts, which are in none.
	if !everywhere {
		delete(may, "dockerhosts")
	}
	return &whoOutput{identityBody{Username: user.Username, Groups: user.Groups, Namespace: in.Namespace,
		May: may, Incomplete: review.Status.Incomplete}}, nil
}

// auditLogs is a resource that only RBAC knows: whoever may list it may read who did
// what.
const auditLogs = "auditlogs"

// resources are ours, as RBAC has them, and others that the API writes.
var resources = []struct{ group, name string }{
	{v1alpha1.GroupVersion.Group, "applications"}, {v1alpha1.GroupVersion.Group, "applications/log"},
	{v1alpha1.GroupVersion.Group, "updaterequests"}, {v1alpha1.GroupVersion.Group, "updaterequests/log"},
	{v1alpha1.GroupVersion.Group, "releases"}, {v1alpha1.GroupVersion.Group, "backups"}, {v1alpha1.GroupVersion.Group, "backups/download"},
	{v1alpha1.GroupVersion.Group, "dockerhosts"}, {v1alpha1.GroupVersion.Group, auditLogs}, {"", "serviceaccounts"},
}

// allVerbs is what "*" means.
var allVerbs = []string{"create", "delete", "get", "list", "patch", "update", "watch"}

// verbsOf says what rules allow with our resources. Rules for single names are
// left out: they do not hold for all of a resource.
func verbsOf(rules []authorizationv1.ResourceRule) map[string][]string {
	may := map[string][]string{}
	for _, rule := range rules {
		if len(rule.ResourceNames) > 0 {
			continue
		}
		for _, r := range resources {
			resource := r.name
			if !slices.ContainsFunc(rule.APIGroups, matches(r.group)) || !slices.ContainsFunc(rule.Resources, matches(resource)) {
				continue
			}
			for _, verb := range allVerbs {
				if slices.ContainsFunc(rule.Verbs, matches(verb)) && !slices.Contains(may[resource], verb) {
					may[resource] = append(may[resource], verb)
				}
			}
		}
	}
	for _, verbs := range may {
		slices.Sort(verbs)
	}
	return may
}

func matches(wanted string) func(string) bool {
	return func(s string) bool { return s == "*" || s == wanted }
}
