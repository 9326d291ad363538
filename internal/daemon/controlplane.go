// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"

	"k8s.io/client-go/rest"

	"github.com/fairlead-dev/fairlead/internal/controlplane/options"
)

// ControlPlane is a Kubernetes API server inside this process.
type ControlPlane interface {
	// RESTConfig is for clients in this process, with all rights.
	RESTConfig() *rest.Config
	// KubeconfigPath is the administrator's kubeconfig.
	KubeconfigPath() string
	// URL is where clients on this host reach it.
	URL() string
	// Done is closed when it has failed or was stopped; then Err is the reason, nil
	// after an orderly stop.
	Done() <-chan struct{}
	Err() error
	// Stop gives requests in flight until ctx ends.
	Stop(ctx context.Context) error
}

// StartControlPlane returns when the control plane serves requests. ctx bounds only
// the start.
type StartControlPlane func(ctx context.Context, opts options.Options) (ControlPlane, error)
