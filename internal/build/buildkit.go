// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/versions"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"
	"google.golang.org/grpc/codes"

	"github.com/fairlead-dev/fairlead/internal/failure"
)

const (
	// apiEngine23 is the API of Engine 23.0, whose Dockerfile frontend knows
	// named contexts, shm-size and ulimits; older ones silently ignore them.
	apiEngine23 = "1.42"
	// cancelGrace is how long a cancelled build may take to end by itself
	// before its connections are cut.
	cancelGrace = 300 * time.Millisecond
	// cutGrace is how long it may take to end when they are cut.
	cutGrace = time.Second

	entitlementHost = "network.host"
	hostGateway     = "host-gateway"
)

func (j *job) buildBuildKit(ctx context.Context) (Result, error) {
	opt, err := j.solveOpt(ctx)
	if err != nil {
		return Result{}, err
	}
	c, err := bkclient.New(ctx, "",
		bkclient.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return j.buildKit.hijack(ctx, "/grpc", "h2c", nil)
		}),
		bkclient.WithSessionDialer(func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
			return j.buildKit.hijack(ctx, "/session", proto, meta)
		}))
	if err != nil {
		return Result{}, engineError(j.spec.Name, "connecting to its BuildKit", err)
	}
	defer c.Close()

	p := newProgress(j.out, j.spec.Progress)
	resp, err := j.solve(ctx, c, opt, p)
	if err != nil {
		if ctx.Err() != nil {
			return Result{}, cancelled(ctx, j.spec.Name)
		}
		if failure.AsPanic(err) != nil {
			return Result{}, err
		}
		return Result{}, j.solveError(p, err)
	}
	steps, cached := p.steps()
	return j.finish(ctx, resp.ExporterResponse[exptypes.ExporterImageDigestKey], steps, cached)
}

// solve runs the build and renders its status until both have ended. When ctx ends and the engine does not let go, the
// connections are cut; and what does not end then, as it speaks to somebody else, is left to itself.
func (j *job) solve(ctx context.Context, c *bkclient.Client, opt bkclient.SolveOpt, p *progress) (*bkclient.SolveResponse, error) {
	status := make(chan *bkclient.SolveStatus)
	r := rendering{of: p, over: make(chan struct{})}
	go r.run(status)
	type outcome struct {
		resp *bkclient.SolveResponse
		err  error
	}
	solved := make(chan outcome, 1)
	go func() {
		resp, err := j.byFrontend(ctx, c, opt, status)
		<-r.over
		solved <- outcome{resp, err}
	}()
	select {
	case o := <-solved:
		return o.resp, o.err
	case <-ctx.Done():
	}
	for _, end := range []struct {
		grace time.Duration
		then  func()
	}{
		{cancelGrace, func() { j.buildKit.Close(); _ = c.Close() }},
		{cutGrace, r.leave},
	} {
		select {
		case o := <-solved:
			return o.resp, o.err
		case <-time.After(end.grace):
			end.then()
		}
	}
	return nil, context.Cause(ctx)
}

// rendering renders the status of a build for as long as somebody reads it.
type rendering struct {
	over chan struct{} // closed when all is rendered

	mu sync.Mutex
	of *progress // nil: nobody does
}

func (r *rendering) run(status <-chan *bkclient.SolveStatus) {
	defer close(r.over)
	for s := range status {
		r.mu.Lock()
		if r.of != nil {
			r.of.update(s)
		}
		r.mu.Unlock()
	}
}

func (r *rendering) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of = nil
}

// solveError tells a failed build from an engine that went away.
func (j *job) solveError(p *progress, err error) error {
	if p.failed == nil {
		code := grpcerrors.Code(err)
		if code == codes.Unavailable || code == codes.Canceled || errors.Is(err, context.Canceled) ||
			isConnection(err) || containsAny(err.Error(), []string{"no active session", "transport is closing", "error reading from server"}) {
			return engineError(j.spec.Name, "building", errors.New(j.out.redact.Text(err.Error())))
		}
	}
	return p.failure(j.spec.Name, err)
}

func (j *job) solveOpt(ctx context.Context) (bkclient.SolveOpt, error) {
	opt := bkclient.SolveOpt{
		FrontendAttrs: map[string]string{},
		LocalMounts:   map[string]fsutil.FS{},
		SharedKey:     j.sharedKey(),
		Exports:       []bkclient.ExportEntry{{Type: "moby", Attrs: map[string]string{}}},
		Session:       []session.Attachable{&authServer{credentials: j.credentials}},
	}
	if len(j.tags) > 0 {
		opt.Exports[0].Attrs["name"] = strings.Join(j.tags, ",")
	}
	for _, add := range []func(context.Context, *bkclient.SolveOpt) error{
		j.addSources, j.addNamedContexts, j.addArguments, j.addRunSettings, j.addCaches, j.addSecrets,
	} {
		if err := add(ctx, &opt); err != nil {
			return opt, err
		}
	}
	return opt, nil
}

// sharedKey returns the key under which BuildKit keeps transferred files. It
// compares those of one key by size and time only. Unless the Spec promises that
// these tell contents apart, the key is never the same twice; nor where there is
// something besides that the promise does not cover.
func (j *job) sharedKey() string {
	if j.spec.ContextKey == "" || j.src.inline != "" || len(j.spec.AdditionalContexts) > 0 {
		return identity.NewID()
	}
	return digest.FromString(j.spec.ContextKey).Encoded()
}

func (j *job) addSources(_ context.Context, opt *bkclient.SolveOpt) error {
	opt.FrontendAttrs["filename"] = j.src.dockerfile
	if j.src.remote != "" {
		opt.FrontendAttrs["context"] = j.src.remote
	} else {
		if err := j.mount(opt, "context", j.src.context); err != nil {
			return err
		}
	}
	switch {
	case j.src.inline != "":
		opt.FrontendAttrs["filename"] = DefaultDockerfile
		opt.LocalMounts["dockerfile"] = memFS{name: DefaultDockerfile, data: []byte(j.src.inline)}
		if j.src.remote != "" {
			// Take the Dockerfile from here and not from the remote context.
			opt.FrontendAttrs["dockerfilekey"] = "dockerfile"
		}
	case j.src.remote == "":
		return j.mount(opt, "dockerfile", j.src.dockerfileDir)
	}
	return nil
}

func (j *job) mount(opt *bkclient.SolveOpt, name, dir string) error {
	fs, err := fsutil.NewFS(dir)
	if err != nil {
		return &Error{Service: j.spec.Name, Kind: KindInvalid, Message: fmt.Sprintf("the build context %s cannot be read: %v", dir, err)}
	}
	opt.LocalMounts[name] = fs
	return nil
}

func (j *job) addNamedContexts(_ context.Context, opt *bkclient.SolveOpt) error {
	if len(j.spec.AdditionalContexts) == 0 {
		return nil
	}
	if versions.LessThan(j.ping.APIVersion, apiEngine23) {
		return j.unsupported("update the Docker engine, or copy what is needed into the build context",
			"additional_contexts need Docker Engine 23.0 or later (this one has API %s and would ignore them)", j.ping.APIVersion)
	}
	for name, c := range j.spec.AdditionalContexts {
		switch {
		case isRemote(c.Source) || strings.HasPrefix(c.Source, dockerImageScheme):
			opt.FrontendAttrs["context:"+name] = c.Source
		case strings.HasPrefix(c.Source, "/"):
			local := "ctx-" + name
			if err := j.mount(opt, local, c.Source); err != nil {
				return err
			}
			opt.FrontendAttrs["context:"+name] = "local:" + local
		default:
			return j.unsupported("use a directory, a URL or docker-image://",
				"additional context %s=%s is of a kind that cannot be used", name, c.Source)
		}
	}
	return nil
}

func (j *job) addArguments(_ context.Context, opt *bkclient.SolveOpt) error {
	attrs := opt.FrontendAttrs
	for k, v := range j.proxies {
		attrs["build-arg:"+k] = v
	}
	for k, v := range j.spec.Args {
		attrs["build-arg:"+k] = v
	}
	for k, v := range j.spec.labels() {
		attrs["label:"+k] = v
	}
	if j.spec.Target != "" {
		attrs["target"] = j.spec.Target
	}
	if p := j.spec.platform(); p != "" {
		attrs["platform"] = p
	}
	if j.spec.NoCache || len(j.spec.NoCacheFilter) > 0 {
		attrs["no-cache"] = ""
		if !j.spec.NoCache {
			attrs["no-cache"] = strings.Join(j.spec.NoCacheFilter, ",")
		}
	}
	if j.spec.Pull {
		attrs["image-resolve-mode"] = "pull"
	}
	return nil
}

func (j *job) addRunSettings(ctx context.Context, opt *bkclient.SolveOpt) error {
	attrs := opt.FrontendAttrs
	opt.AllowedEntitlements = slices.Clone(j.spec.Entitlements)
	switch j.spec.Network {
	case "", "default":
	case "none":
		attrs["force-network-mode"] = "none"
	case "host":
		attrs["force-network-mode"] = "host"
		if !slices.Contains(opt.AllowedEntitlements, entitlementHost) {
			opt.AllowedEntitlements = append(opt.AllowedEntitlements, entitlementHost)
		}
	default:
		return j.unsupported("use none, host or default", "BuildKit cannot build in the network %q", j.spec.Network)
	}
	if len(j.spec.ExtraHosts) > 0 {
		hosts, err := j.extraHosts(ctx)
		if err != nil {
			return err
		}
		attrs["add-hosts"] = strings.Join(hosts, ",")
	}
	if (j.spec.ShmSize > 0 || len(j.spec.Ulimits) > 0) && versions.LessThan(j.ping.APIVersion, apiEngine23) {
		j.out.line("", "note: shm_size and ulimits of a build need Docker Engine 23.0 or later; this engine uses its defaults")
	}
	if j.spec.ShmSize > 0 {
		attrs["shm-size"] = strconv.FormatInt(j.spec.ShmSize, 10)
	}
	var limits []string
	for _, u := range j.spec.Ulimits {
		limits = append(limits, fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard))
	}
	if len(limits) > 0 {
		attrs["ulimit"] = strings.Join(limits, ",")
	}
	return nil
}

// extraHosts returns host=ip entries. The engine resolves host-gateway for
// containers but not for BuildKit; its default is the bridge's gateway.
func (j *job) extraHosts(ctx context.Context) ([]string, error) {
	var hosts []string
	for _, entry := range j.spec.ExtraHosts {
		host, ip, _ := splitHost(entry)
		if ip == hostGateway {
			bridge, err := j.docker.NetworkInspect(ctx, "bridge", network.InspectOptions{})
			if err != nil {
				return nil, engineError(j.spec.Name, "looking up the bridge network for host-gateway", err)
			}
			ip = gateway(bridge.IPAM.Config)
			if ip == "" {
				return nil, j.unsupported("give the address instead", "the bridge network has no gateway address for extra_hosts %s", entry)
			}
		}
		if net.ParseIP(ip) == nil {
			return nil, &Error{Service: j.spec.Name, Kind: KindInvalid, Message: fmt.Sprintf("extra_hosts entry %q has no valid IP address", entry)}
		}
		hosts = append(hosts, host+"="+ip)
	}
	return hosts, nil
}

// gateway returns the address of the host on a bridge network. Where the engine
// does not tell it, it is the subnet's first one.
func gateway(configs []network.IPAMConfig) string {
	for _, c := range configs {
		if c.Gateway != "" {
			return c.Gateway
		}
		if subnet, err := netip.ParsePrefix(c.Subnet); err == nil && subnet.Addr().Is4() {
			return subnet.Masked().Addr().Next().String()
		}
	}
	return ""
}

func (j *job) addCaches(_ context.Context, opt *bkclient.SolveOpt) error {
	for _, list := range []struct {
		name    string
		entries []string
		into    *[]bkclient.CacheOptionsEntry
		ref     string
	}{
		{"cache_from", j.spec.CacheFrom, &opt.CacheImports, "registry"},
		{"cache_to", j.spec.CacheTo, &opt.CacheExports, "registry"},
	} {
		for _, entry := range list.entries {
			parsed, err := parseCache(entry, list.ref)
			if err != nil {
				return &Error{Service: j.spec.Name, Kind: KindInvalid, Message: fmt.Sprintf("%s entry %q: %v", list.name, entry, err)}
			}
			*list.into = append(*list.into, parsed)
		}
	}
	return nil
}

// parseCache reads an image name or type=...,key=value.
func parseCache(entry, refType string) (bkclient.CacheOptionsEntry, error) {
	if !strings.Contains(entry, "=") {
		return bkclient.CacheOptionsEntry{Type: refType, Attrs: map[string]string{"ref": entry}}, nil
	}
	fields, err := csv.NewReader(strings.NewReader(entry)).Read()
	if err != nil {
		return bkclient.CacheOptionsEntry{}, fmt.Errorf("it is not a list of key=value: %w", err)
	}
	out := bkclient.CacheOptionsEntry{Attrs: map[string]string{}}
	for _, field := range fields {
		k, v, ok := strings.Cut(field, "=")
		if !ok {
			return out, fmt.Errorf("%q is not of the form key=value", field)
		}
		if k = strings.ToLower(strings.TrimSpace(k)); k == "type" {
			out.Type = v
		} else {
			out.Attrs[k] = v
		}
	}
	if out.Type == "" {
		return out, errors.New("it has no type")
	}
	return out, nil
}

func (j *job) addSecrets(_ context.Context, opt *bkclient.SolveOpt) error {
	if len(j.secrets) > 0 {
		opt.Session = append(opt.Session, secretsprovider.FromMap(maps.Clone(j.secrets)))
	}
	if len(j.spec.SSH) == 0 {
		return nil
	}
	var agents []sshprovider.AgentConfig
	for _, s := range j.spec.SSH {
		path := orElse(s.Path, os.Getenv("SSH_AUTH_SOCK"))
		if path == "" {
			return &Error{
				Service: j.spec.Name, Kind: KindInvalid, Message: fmt.Sprintf("the build needs the SSH agent %q, but SSH_AUTH_SOCK is not set", s.id()),
				Hint: "start Fairlead with SSH_AUTH_SOCK, or give a socket or key file in build.ssh",
			}
		}
		agents = append(agents, sshprovider.AgentConfig{ID: s.id(), Paths: []string{path}})
	}
	provider, err := sshprovider.NewSSHAgentProvider(agents)
	if err != nil {
		return &Error{
			Service: j.spec.Name, Kind: KindInvalid, Message: "the SSH agent or key for the build cannot be used: " + err.Error(),
			Hint: "check build.ssh; a key file must have no passphrase",
		}
	}
	opt.Session = append(opt.Session, provider)
	return nil
}

func (j *job) unsupported(hint, format string, args ...any) error {
	return &Error{Service: j.spec.Name, Kind: KindUnsupported, Hint: hint, Message: fmt.Sprintf(format, args...)}
}
