// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/frontend/dockerfile/builder"
	frontend "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/fairlead-dev/fairlead/internal/failure"
)

// apiEngine20 is the API of Engine 20.10.
const apiEngine20 = "1.41"

// ownFrontend says that the Dockerfile is read here and not by the engine. The frontend of Engine 20.10 asks its worker
// eight times which processors the kernel can run, and each time seven programs are started to try it out, while
// other builds wait. Later engines remember that; what an older one's BuildKit can do is not known here. Remote
// contexts are the engine's, as it is the one that has to reach them.
func (j *job) ownFrontend() bool { return j.ping.APIVersion == apiEngine20 && j.src.remote == "" }

// byFrontend carries out a build by either frontend. What they make of a Dockerfile has the same keys in
// BuildKit's cache. It closes status.
func (j *job) byFrontend(ctx context.Context, c *bkclient.Client, opt bkclient.SolveOpt, status chan *bkclient.SolveStatus) (*bkclient.SolveResponse, error) {
	if j.ownFrontend() {
		var fault *failure.Panic
		resp, err := c.Build(ctx, opt, "", func(ctx context.Context, c frontend.Client) (*frontend.Result, error) {
			result, err := readDockerfile(ctx, c)
			fault = failure.AsPanic(err)
			return result, err
		}, status)
		if fault != nil {
			return nil, fault
		}
		return resp, err
	}
	opt.Frontend = "dockerfile.v0"
	return c.Solve(ctx, nil, opt, status)
}

// readDockerfile is the frontend of the library. A fault of it is one of Fairlead.
func readDockerfile(ctx context.Context, c frontend.Client) (_ *frontend.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = failure.Panicked(p)
		}
	}()
	return builder.Build(ctx, c)
}
