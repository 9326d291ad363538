// SPDX-License-Identifier: Apache-2.0

// Package options is what a control plane is started with: apart from it, so that
// who starts one need not link it.
package options

import (
	"io"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
	"k8s.io/utils/clock"

	"github.com/fairlead-dev/fairlead/internal/controlplane/subresource"
	"github.com/fairlead-dev/fairlead/internal/datadir"
	"github.com/fairlead-dev/fairlead/internal/oidc"
)

// Options say where and how the control plane runs.
type Options struct {
	// DataDir holds certificates, the kubeconfig and etcd. Its lock must be held
	// for as long as the server runs. Required.
	DataDir *datadir.Dir
	// BindAddress is the IP address to listen on. Required.
	BindAddress string
	// SecurePort is the TCP port to listen on; 0 takes any free one.
	SecurePort int
	// Logger is used by the control plane itself.
	Logger logr.Logger
	// EtcdLogger is used by etcd; default: nothing is logged.
	EtcdLogger *zap.Logger
	// Subresources are served below custom resources.
	Subresources []subresource.Route
	// Audit gets a line of JSON for every write, an Event of audit.k8s.io/v1;
	// default: nothing is audited.
	Audit io.Writer
	// OIDC is a provider whose ID tokens are accepted as bearer tokens; default:
	// none.
	OIDC oidc.Config
	// Clock decides about certificate renewal; default: the real one.
	Clock clock.WithTicker
}
