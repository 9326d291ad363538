// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/agent"
	"github.com/fairlead-dev/fairlead/internal/controlplane"
	"github.com/fairlead-dev/fairlead/internal/daemon"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
	"github.com/fairlead-dev/fairlead/internal/updatelog/logserver"
)

// composeAgent is the composition of the daemon: the controllers of the Docker
// host, and the log of requests as a subresource.
func composeAgent(_ context.Context, f serveFlags) (composition, error) {
	var reader atomic.Pointer[requestwatch.Reader]
	logs := logserver.Handler(func() requestwatch.Reader {
		if r := reader.Load(); r != nil {
			return *r
		}
		return nil
	})
	connect := func(_ context.Context, mgr manager.Manager) error {
		c, err := client.NewWithWatch(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper()})
		if err != nil {
			return fmt.Errorf("connect to the API: %w", err)
		}
		var r requestwatch.Reader = c
		reader.Store(&r)
		return nil
	}
	return composition{
		setup: []daemon.SetupFunc{connect, agent.Setup(agent.Options{DockerHost: f.dockerHost, Version: buildVersion(), HandoverTimeout: f.handoverTimeout})},
		subresources: []controlplane.Subresource{{
			GroupVersion: v1alpha1.GroupVersion, Resource: "updaterequests", Subresource: "log", Handler: logs,
		}},
	}, nil
}
