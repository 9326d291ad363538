// SPDX-License-Identifier: Apache-2.0

// Package docker is the one door to a Docker engine. It wraps the engine's own
// Go client with what every user of it needs: operations that may be repeated
// after a crash, commands whose exit code is certain, plain structs instead of
// API types, and errors sorted into "not there", "conflict" and "the engine is
// away, try again".
//
// Supported engines: 20.10 (API 1.41) and later. The API version is negotiated
// with the first request.
package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/docker/docker/client"
)

// MinAPIVersion is the oldest engine API that is supported; Engine 20.10.
const MinAPIVersion = "1.41"

// Client talks to one engine. It is safe for concurrent use. The embedded
// client offers everything that has no helper here.
type Client struct {
	*client.Client

	// names lets one call at a time give or take the name of an image. The
	// engine looks for other names and then removes the image: a name that is
	// given in between, by an application that has the same content, would be
	// left without its image.
	names sync.Mutex
}

// New returns a client for the engine at host, such as
// "unix:///var/run/docker.sock" or "tcp://10.0.0.5:2376". An empty host means
// DOCKER_HOST or, without it, the platform's default socket. DOCKER_CERT_PATH,
// DOCKER_TLS_VERIFY and DOCKER_API_VERSION are honoured. New does not contact
// the engine, so that a daemon can start while the engine is down; Check does.
func New(host string) (*Client, error) {
	opts := []client.Opt{client.FromEnv}
	if host != "" {
		opts = []client.Opt{client.WithTLSClientConfigFromEnv(), client.WithHost(host), client.WithVersionFromEnv()}
	}
	cli, err := client.NewClientWithOpts(append(opts, client.WithAPIVersionNegotiation())...)
	if err != nil {
		return nil, fmt.Errorf("the Docker engine address %q cannot be used (%w); give one like unix:///var/run/docker.sock or tcp://HOST:2376, or unset DOCKER_HOST", host, err)
	}
	if strings.HasPrefix(cli.DaemonHost(), "ssh:") {
		err := fmt.Errorf("the Docker engine address %q cannot be used: ssh is not supported; run the daemon on that host, or forward its socket with ssh -L and use the local end", cli.DaemonHost())
		return nil, errors.Join(err, cli.Close())
	}
	return &Client{Client: cli}, nil
}

// Check asks the engine for a sign of life and for an API that is new enough.
// The error says what a person can do. While the engine is merely away,
// IsUnavailable is true for it.
func (c *Client) Check(ctx context.Context) error {
	ping, err := c.Ping(ctx)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return fmt.Errorf("the Docker engine at %s did not answer: %w", c.DaemonHost(), context.Cause(ctx))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to use the Docker engine at %s; run as root or as a member of the group that owns the socket (usually docker): %w", c.DaemonHost(), err)
	default:
		return fmt.Errorf("no Docker engine answers at %s; start it (systemctl start docker) or set DOCKER_HOST to where it listens: %w", c.DaemonHost(), err)
	}
	if ping.APIVersion == "" {
		return fmt.Errorf("what answers at %s is not a Docker engine (no API version in its answer); set DOCKER_HOST to a Docker engine's address", c.DaemonHost())
	}
	if compareVersions(ping.APIVersion, MinAPIVersion) < 0 {
		return fmt.Errorf("the Docker engine at %s speaks API %s, at least %s is needed; upgrade it to Docker 20.10 or later", c.DaemonHost(), ping.APIVersion, MinAPIVersion)
	}
	return nil
}

// apiVersion returns the negotiated API version. The request through
// NewVersionError is what makes the version safe to read concurrently.
func (c *Client) apiVersion(ctx context.Context) (string, error) {
	if err := c.NewVersionError(ctx, MinAPIVersion, "fairlead"); err != nil {
		return "", err
	}
	return c.ClientVersion(), nil
}
