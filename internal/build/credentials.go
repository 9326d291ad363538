// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/docker/docker/api/types/registry"
	"github.com/moby/buildkit/session/auth"
	"google.golang.org/grpc"

	"github.com/fairlead-dev/fairlead/internal/redact"
)

// hubHost is the name under which credentials of Docker Hub are stored.
const hubHost = "docker.io"

// credentials reads the usual Docker configuration: auths, credsStore and
// credHelpers of config.json. It is read anew each time, because
// `docker login` may have changed it.
type credentials struct {
	dir string // empty: DOCKER_CONFIG, else ~/.docker
}

func (c credentials) directory() (string, error) {
	if c.dir != "" {
		return c.dir, nil
	}
	if dir := os.Getenv(config.EnvOverrideConfigDir); dir != "" {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no Docker configuration directory: %w; set DOCKER_CONFIG", err)
	}
	return filepath.Join(home, ".docker"), nil
}

func (c credentials) load() (*configfile.ConfigFile, error) {
	dir, err := c.directory()
	if err != nil {
		// Without a home there is no configuration, as for a daemon started bare.
		return configfile.New(""), nil //nolint:nilerr // anonymous access is what is left
	}
	f, err := config.Load(dir)
	if err != nil {
		return nil, &Error{
			Kind: KindInvalid, Message: "the Docker configuration cannot be read: " + err.Error(),
			Hint: "correct " + filepath.Join(dir, config.ConfigFileName) + " or set DOCKER_CONFIG to another directory", Err: err,
		}
	}
	return f, nil
}

// forHost returns the credentials of one registry; zero when there are none.
func (c credentials) forHost(ctx context.Context, host string) (types.AuthConfig, error) {
	if host == "registry-1.docker.io" {
		host = hubHost
	}
	f, err := c.load()
	if err != nil {
		return types.AuthConfig{}, err
	}
	return await(ctx, func() (types.AuthConfig, error) {
		a, err := f.GetAuthConfig(host)
		if err != nil {
			return a, helperError(host, err)
		}
		return a, nil
	})
}

// all returns every stored credential by registry, for the classic builder.
func (c credentials) all(ctx context.Context) (map[string]registry.AuthConfig, error) {
	f, err := c.load()
	if err != nil {
		return nil, err
	}
	found, err := await(ctx, f.GetAllCredentials)
	if err != nil {
		return nil, helperError("", err)
	}
	out := make(map[string]registry.AuthConfig, len(found))
	for host, a := range found {
		out[host] = a2r(a)
	}
	return out, nil
}

// forImage returns the registry's host of an image and the encoded header with
// its credentials, empty when there are none.
func (c credentials) forImage(ctx context.Context, named reference.Named) (host, header string, err error) {
	host = reference.Domain(named)
	a, err := c.forHost(ctx, host)
	if err != nil {
		return host, "", err
	}
	if a.Username == "" && a.IdentityToken == "" && a.RegistryToken == "" {
		return host, "", nil
	}
	header, err = registry.EncodeAuthConfig(a2r(a))
	return host, header, err
}

func a2r(a types.AuthConfig) registry.AuthConfig {
	return registry.AuthConfig{
		Username: a.Username, Password: a.Password, ServerAddress: a.ServerAddress,
		IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
	}
}

func helperError(host string, err error) error {
	message := "the stored credentials cannot be read: " + err.Error()
	if host != "" {
		message = "the stored credentials of " + host + " cannot be read: " + err.Error()
	}
	return &Error{
		Kind: KindInvalid, Message: message, Err: err,
		Hint: "check credsStore and credHelpers in the Docker configuration: the helper must be installed where Fairlead runs",
	}
}

// await runs f, which may start a credential helper that knows no context, and
// stops waiting for it when ctx ends.
func await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		v, err := f()
		done <- outcome{v, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		var zero T
		return zero, context.Cause(ctx)
	}
}

// proxies returns the proxy build arguments of the Docker configuration.
func (c credentials) proxies(daemonHost string) map[string]string {
	f, err := c.load()
	if err != nil {
		return nil
	}
	out := map[string]string{}
	for k, v := range f.ParseProxyConfig(daemonHost, nil) {
		if v != nil {
			out[k] = *v
		}
	}
	return out
}

// authServer answers the engine's questions for registry credentials during a
// build. It leaves tokens to the engine, which fetches them itself, as it does for
// pulls: that is what the embedded server's answers tell it.
type authServer struct {
	auth.UnimplementedAuthServer
	credentials credentials
}

func (s *authServer) Register(server *grpc.Server) { auth.RegisterAuthServer(server, s) }

// Credentials returns the user and password, or identity token, of a registry.
func (s *authServer) Credentials(ctx context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	a, err := s.credentials.forHost(ctx, req.Host)
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			return nil, errors.New(e.Summary())
		}
		return nil, err
	}
	if a.IdentityToken != "" {
		return &auth.CredentialsResponse{Secret: a.IdentityToken}, nil
	}
	return &auth.CredentialsResponse{Username: a.Username, Secret: a.Password}, nil
}

// proxyPasswords returns the passwords in proxy URLs, which must not be logged.
func proxyPasswords(args map[string]string) []string {
	var out []string
	for k, v := range args {
		if strings.HasSuffix(strings.ToLower(k), "_proxy") {
			out = append(out, redact.URLPassword(v))
		}
	}
	return out
}
