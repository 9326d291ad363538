// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"errors"
	"fmt"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/failure"
)

// What the host is to blame for is told from what the commit is.
func TestHostFaults(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{startError("create", errors.New("Error response from daemon: mkdir /var/lib/docker/x: no space left on device")), v1alpha1.ReasonNoSpace},
		{startError("create", errors.New(`Conflict. The container name "/shop-db" is already in use by container "0123"`)), v1alpha1.ReasonHostConflict},
		{startError("create", errors.New("invalid mount config for type \"bind\"")), v1alpha1.ReasonRolloutFailed},
		{startError("networks", errors.New("could not find an available, non-overlapping IPv4 address pool")), v1alpha1.ReasonRolloutFailed},
		{imageError(v1alpha1.ReasonPullFailed, &build.Error{Kind: build.KindUnauthorized}), v1alpha1.ReasonRegistryUnauthorized},
		{imageError(v1alpha1.ReasonPullFailed, &build.Error{Kind: build.KindNotFound}), v1alpha1.ReasonPullFailed},
		{imageError(v1alpha1.ReasonBuildFailed, &build.Error{Kind: build.KindUnauthorized}), v1alpha1.ReasonRegistryUnauthorized},
		{imageError(v1alpha1.ReasonBuildFailed, &build.Error{Kind: build.KindBuild}), v1alpha1.ReasonBuildFailed},
	} {
		if got := failure.AsTerminal(c.err); got == nil || got.Reason != c.want {
			t.Errorf("%v: got %+v, want the reason %s", c.err, got, c.want)
		}
	}
	// A step that is tried again says so too.
	full := fmt.Errorf("tag the image of web: %w", errors.New("Error response from daemon: open /var/lib/docker/image/.tmp-1: no space left on device"))
	if got := namedFullDisk(full); !failure.IsNoSpace(got) || !errors.Is(got, full) || got.Error() != full.Error() {
		t.Errorf("a full disk of the engine: %v", got)
	}
	for _, other := range []error{nil, errors.New("connection refused"), failure.Terminalf(v1alpha1.ReasonBuildFailed, "no space left on device")} {
		if got := namedFullDisk(other); got != other || failure.IsNoSpace(got) { //nolint:errorlint // the same one
			t.Errorf("%v became %v", other, got)
		}
	}
	for text, want := range map[string]string{
		"driver failed programming external connectivity: Bind for 0.0.0.0:8080 failed: port is already allocated": v1alpha1.ReasonHostConflict,
		"listen tcp4 0.0.0.0:80: bind: address already in use":                                                     v1alpha1.ReasonHostConflict,
		"exec: \"/app\": permission denied":                                                                        "",
	} {
		if got := hostFault(errors.New(text)); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}
