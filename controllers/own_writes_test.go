// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

func TestOwnWrites(t *testing.T) {
	phase := func(p v1alpha1.Phase) func(*v1alpha1.UpdateRequest) {
		return func(ur *v1alpha1.UpdateRequest) { ur.Status.Phase = p }
	}
	another := func(ur *v1alpha1.UpdateRequest) { ur.UID = types.UID("another") }
	tests := []struct {
		name   string
		cached v1alpha1.UpdateRequest
		want   v1alpha1.Phase
		kept   bool
	}{
		{"the cache is behind", request("a", 1, version("9"), phase("Old")), v1alpha1.PhaseBuilding, true},
		{"the cache has caught up", request("a", 1, version("10"), phase("Same")), "Same", false},
		{"somebody wrote since", request("a", 1, version("11"), phase("New")), "New", false},
		{"another one of that name", request("a", 1, version("9"), phase("Old"), another), "Old", false},
		{"a version that says nothing", request("a", 1, version("x"), phase("Old")), "Old", false},
		{"another request", request("b", 1, version("9"), phase("Old")), "Old", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var o ownWrites
			mine := request("a", 1, version("10"), phase(v1alpha1.PhaseBuilding))
			o.keep(&mine)
			mine.Status.Phase = "Changed"
			o.catchUp(&tt.cached)
			if tt.cached.Status.Phase != tt.want {
				t.Errorf("phase %s, want %s", tt.cached.Status.Phase, tt.want)
			}
			if (len(o.latest) == 1) != tt.kept {
				t.Errorf("kept: %v", o.latest)
			}
			o.forget(types.NamespacedName{Namespace: "ns", Name: "a"})
			if len(o.latest) != 0 {
				t.Errorf("not forgotten: %v", o.latest)
			}
		})
	}
}

func TestAfterAConflictItIsWhatTheServerHas(t *testing.T) {
	theirs := request("a", 1, func(ur *v1alpha1.UpdateRequest) { ur.Status.Phase = v1alpha1.PhaseVerifying })
	key := types.NamespacedName{Namespace: "ns", Name: "a"}
	var o ownWrites
	mine := request("a", 1, version("5"))
	o.keep(&mine)
	o.renew(t.Context(), fakeAPI(t, &theirs), key)
	cached := request("a", 1, version("1"))
	if o.catchUp(&cached); cached.Status.Phase != v1alpha1.PhaseVerifying {
		t.Errorf("by a cache that is behind it is %q", cached.Status.Phase)
	}
	if o.renew(t.Context(), fakeAPI(t), key); len(o.latest) != 0 {
		t.Errorf("a request that is gone is remembered: %v", o.latest)
	}
}
