// SPDX-License-Identifier: Apache-2.0

package release

import (
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// A request that was deleted and made again under its name is another one.
func TestByRequestGoesByUID(t *testing.T) {
	made := v1alpha1.Release{}
	made.Name, made.Spec.Request = "shop-1", "update"
	made.Labels = map[string]string{v1alpha1.LabelRequest: "uid-1"}
	adopted := v1alpha1.Release{}
	adopted.Name = "shop-0"
	all := []v1alpha1.Release{adopted, made}
	if r := ByRequest(all, "uid-1"); r == nil || r.Name != "shop-1" {
		t.Errorf("got %+v", r)
	}
	for _, uid := range []string{"uid-2", ""} {
		if r := ByRequest(all, uid); r != nil {
			t.Errorf("%q: got %s", uid, r.Name)
		}
	}
}
