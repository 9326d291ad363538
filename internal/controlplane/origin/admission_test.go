// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"maps"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

func TestOriginOfRequests(t *testing.T) {
	const by, told, github = v1alpha1.AnnotationRequestedBy, v1alpha1.AnnotationNotifiedPrefix + "chat", v1alpha1.AnnotationGitHubReported
	jo, daemon := &user.DefaultInfo{Name: "jo"}, &user.DefaultInfo{Name: user.APIServerUser}
	root := &user.DefaultInfo{Name: "root", Groups: []string{user.SystemPrivilegedGroup}}
	type notes = map[string]string
	for _, tt := range []struct {
		name              string
		who               user.Info
		before, now, want notes // before nil: it is created
		resource, sub     string
	}{
		{name: "nothing is said", who: jo, want: notes{by: "jo"}},
		{name: "as somebody else", who: jo, now: notes{by: "root", "mine": "1"}, want: notes{by: "jo", "mine": "1"}},
		{name: "as told already", who: jo, now: notes{told: "Started,Failed", github: `{"givenUp":"x"}`}, want: notes{by: "jo"}},
		{name: "changed later", who: jo, before: notes{by: "ann", told: "Started"}, now: notes{by: "jo", told: "Started,Failed", github: "x", "mine": "2"},
			want: notes{by: "ann", told: "Started", "mine": "2"}},
		{name: "removed later", who: jo, before: notes{by: "ann", told: "Started", "mine": "1"}, want: notes{by: "ann", told: "Started"}},
		{name: "by the daemon", who: daemon, before: notes{by: "ann"}, now: notes{by: "ann", told: "Started"}, want: notes{by: "ann", told: "Started"}},
		{name: "made by the daemon", who: daemon, now: notes{by: "update policy"}, want: notes{by: "update policy"}},
		{name: "by an administrator", who: root, want: notes{by: "root"}},
		{name: "by an administrator for somebody", who: root, now: notes{by: "ann"}, want: notes{by: "ann"}},
		{name: "told by an administrator's controller", who: root, before: notes{by: "ann"}, now: notes{by: "ann", told: "x"}, want: notes{by: "ann", told: "x"}},
		{name: "the status", who: jo, sub: "status", before: notes{}, now: notes{told: "x"}, want: notes{told: "x"}},
		{name: "another kind", who: jo, resource: "applications", now: notes{told: "x"}, want: notes{told: "x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			object := func(annotations notes) *v1alpha1.UpdateRequest {
				ur := &v1alpha1.UpdateRequest{}
				ur.Annotations = maps.Clone(annotations)
				return ur
			}
			now, operation := object(tt.now), admission.Create
			var old runtime.Object
			if tt.before != nil {
				old, operation = object(tt.before), admission.Update
			}
			resource := v1alpha1.GroupVersion.WithResource("updaterequests")
			if tt.resource != "" {
				resource.Resource = tt.resource
			}
			a := admission.NewAttributesRecord(now, old, v1alpha1.GroupVersion.WithKind("UpdateRequest"), "ns", "u", resource, tt.sub, operation, nil, false, tt.who)
			if err := (keeper{}).Admit(t.Context(), a, nil); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(now.Annotations, tt.want) {
				t.Errorf("annotations are %v, want %v", now.Annotations, tt.want)
			}
		})
	}
}
