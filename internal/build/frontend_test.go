// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"strings"
	"testing"

	"github.com/docker/docker/api/types"
	frontend "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/fairlead-dev/fairlead/internal/failure"
)

func TestWhoseFrontend(t *testing.T) {
	for _, tc := range []struct {
		version, remote string
		own             bool
	}{
		{"1.40", "", false},
		{"1.41", "", true},
		{"1.41", "https://host/shop.git", false},
		{"1.42", "", false},
		{"1.51", "", false},
	} {
		j := &job{ping: types.Ping{APIVersion: tc.version}, src: &sources{remote: tc.remote}}
		if j.ownFrontend() != tc.own {
			t.Errorf("API %s, context %q: own is %v", tc.version, tc.remote, !tc.own)
		}
	}
}

// faulty is a client that a frontend stumbles over.
type faulty struct{ frontend.Client }

func (faulty) BuildOpts() frontend.BuildOpts { panic("no options") }

func TestFaultOfFrontend(t *testing.T) {
	_, err := readDockerfile(context.Background(), faulty{})
	if p := failure.AsPanic(err); p == nil || p.Value != "no options" || !strings.Contains(p.Stack, "BuildOpts") {
		t.Errorf("error %v, want one that has the fault", err)
	}
}
