// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// Labels that this package and its callers put on images.
//
// The commit is deliberately not among them: it would give the same content
// another image ID for every commit, and every service would be recreated.
const (
	// LabelApplication names the application, as namespace/name.
	LabelApplication = "fairlead.dev/application"
	// LabelService names the Compose service that the image was built for.
	LabelService = "fairlead.dev/service"
	// LabelBuildKey holds the digest of everything that went into the build,
	// see Key. Builder.Build sets it from Spec.Key.
	LabelBuildKey = "fairlead.dev/build-key"

	labelPrefix = "fairlead.dev/"
)

// DefaultDockerfile is the name of the Dockerfile when a Spec names none.
const DefaultDockerfile = "Dockerfile"

// Spec says how one image is built. It is the build section of a Compose
// service with every variable, path and default resolved by the caller.
type Spec struct {
	// Name is the service's name, used in logs and errors. Required.
	Name string
	// Key is the result of Key for this Spec, or empty. When it is set the
	// image gets LabelBuildKey, and Parallel does not build content that is
	// already there.
	Key string
	// Context is an absolute directory, or a remote URL (Git or HTTP archive).
	Context string
	// ContextKey says that a file below Context, or a Dockerfile outside of it,
	// never has two contents with one size and modification time: under one key
	// BuildKit keeps the files of one build for the next, and takes only those
	// that changed. Default: none, every build takes all files. The classic
	// builder always does.
	ContextKey string
	// Dockerfile is relative to Context or absolute, and may lie outside of a
	// local Context. Default: DefaultDockerfile.
	Dockerfile string
	// DockerfileDigest identifies the content of a Dockerfile that lies outside
	// of Context (a Git blob ID, for example). Only Key uses it.
	DockerfileDigest string
	// DockerfileInline is the text of the Dockerfile; it excludes Dockerfile.
	DockerfileInline string
	// Args are the build arguments. They end up in the image's history and are
	// not the place for secrets.
	Args map[string]string
	// Target is the stage to build. Default: the last one.
	Target string
	// Tags are the names given to the image, each with or without a tag.
	Tags []string
	// Labels are put on the image.
	Labels map[string]string
	// Secrets are what RUN --mount=type=secret can see.
	Secrets []Secret
	// SSH are the agents or keys that RUN --mount=type=ssh can use.
	SSH []SSH
	// CacheFrom and CacheTo are cache sources and destinations in Compose's
	// syntax: an image name, or type=...,key=value.
	CacheFrom, CacheTo []string
	// Platforms holds at most one platform. Default: the engine's own.
	Platforms []string
	// AdditionalContexts are named contexts for FROM and COPY --from.
	AdditionalContexts map[string]NamedContext
	// Network is the network of RUN steps: empty or "default", "none", "host";
	// the classic builder takes the name of any network.
	Network string
	// Missing says that an image of Key was looked for already, with FindByKeys,
	// and is not there: listing images takes an engine with many of them a while.
	Missing bool
	// NoCache builds every step again.
	NoCache bool
	// NoCacheFilter names the stages whose steps are built again. A builder that knows
	// no such filter builds every step again.
	NoCacheFilter []string
	// Pull asks the registry for newer base images.
	Pull bool
	// ShmSize is the size of /dev/shm of RUN steps in bytes; 0 is the default.
	ShmSize int64
	// ExtraHosts are entries host=ip or host:ip for RUN steps. The ip may be
	// "host-gateway".
	ExtraHosts []string
	// Ulimits apply to RUN steps.
	Ulimits []Ulimit
	// Entitlements are BuildKit's, such as security.insecure.
	Entitlements []string
	// Progress, if not nil, is told how many of the Dockerfile's steps are done, and
	// of how many that are known so far. It must be quick, and is called by one
	// goroutine at a time.
	Progress func(done, total int) `json:"-"`
}

// Secret is one build secret. Its value comes from File or, when File is
// empty, from Value. Printing a Secret prints its ID only.
type Secret struct {
	ID    string
	File  string
	Value []byte
}

// String returns the ID; it keeps the value out of logs.
func (s Secret) String() string { return "secret " + s.ID }

// GoString is String, for %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalJSON encodes the ID only.
func (s Secret) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `{"ID":%q}`, s.ID), nil }

// SSH is one SSH agent socket or private key file. An empty ID is "default";
// an empty Path is the agent of SSH_AUTH_SOCK.
type SSH struct {
	ID   string
	Path string
}

// NamedContext is an additional build context.
type NamedContext struct {
	// Source is an absolute directory, a Git or HTTP URL, or docker-image://REF.
	Source string
	// Digest identifies the content of a directory or URL. Only Key uses it.
	Digest string
}

// Ulimit is a resource limit of RUN steps.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// Result is an image that a build produced or found.
type Result struct {
	// ImageID is the engine's ID of the image, sha256:...
	ImageID string
	// UsedBuildKit is false when the classic builder made the image.
	UsedBuildKit bool
	// Reused says that the image was found by its key and not built.
	Reused bool
	// Steps counts the Dockerfile's steps that were looked at, CachedSteps
	// those that came from the cache.
	Steps, CachedSteps int
}

// Cached reports whether no step had to run.
func (r Result) Cached() bool { return r.Reused || r.Steps > 0 && r.Steps == r.CachedSteps }

// check rejects what no builder could build.
func (s *Spec) check() error {
	invalid := func(format string, args ...any) error {
		return &Error{Service: s.Name, Kind: KindInvalid, Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case s.Name == "":
		return invalid("the build has no name")
	case s.Context == "":
		return invalid("the build has no context")
	case !isRemote(s.Context) && !filepath.IsAbs(s.Context):
		return invalid("the build context %q is neither an absolute directory nor a remote URL", s.Context)
	case s.DockerfileInline != "" && s.Dockerfile != "":
		return invalid("dockerfile and dockerfile_inline exclude each other; keep one of them")
	case len(s.Platforms) > 1:
		return invalid("the engine keeps one platform per image, but build.platforms lists %s; keep the one of this host",
			strings.Join(s.Platforms, ", "))
	}
	seen := map[string]bool{}
	for _, secret := range s.Secrets {
		if secret.ID == "" || seen[secret.ID] {
			return invalid("build secret %q has no ID of its own; give every secret a different ID", secret.ID)
		}
		seen[secret.ID] = true
	}
	for _, host := range s.ExtraHosts {
		if _, _, ok := splitHost(host); !ok {
			return invalid("extra_hosts entry %q is not of the form host=ip", host)
		}
	}
	if _, err := s.tags(); err != nil {
		return invalid("%v", err)
	}
	return nil
}

// tags returns the normalized names, each with a tag, without duplicates.
func (s *Spec) tags() ([]string, error) {
	var tags []string
	for _, tag := range s.Tags {
		named, err := reference.ParseNormalizedNamed(tag)
		if err != nil {
			return nil, fmt.Errorf("image name %q is not valid: %w", tag, err)
		}
		if _, ok := named.(reference.Digested); ok {
			return nil, fmt.Errorf("image name %q has a digest, which a built image cannot be given", tag)
		}
		if full := reference.TagNameOnly(named).String(); !slices.Contains(tags, full) {
			tags = append(tags, full)
		}
	}
	return tags, nil
}

// labels returns the image's labels with the build key. Without a key the label is
// empty: the image may be built on one that has a key.
func (s *Spec) labels() map[string]string {
	labels := maps.Clone(s.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[LabelBuildKey] = s.Key
	return labels
}

func (s *Spec) platform() string {
	if len(s.Platforms) == 0 {
		return ""
	}
	return s.Platforms[0]
}

// isRemote reports whether a context is for the engine to fetch.
func isRemote(context string) bool {
	for _, prefix := range []string{"http://", "https://", "git://", "ssh://", "git@", "github.com/"} {
		if strings.HasPrefix(context, prefix) {
			return true
		}
	}
	return false
}

// splitHost splits host=ip or host:ip; the address may be IPv6, in brackets or not.
func splitHost(entry string) (host, ip string, ok bool) {
	host, ip, ok = strings.Cut(entry, "=")
	if !ok {
		host, ip, ok = strings.Cut(entry, ":")
	}
	ip = strings.TrimSuffix(strings.TrimPrefix(ip, "["), "]")
	return host, ip, ok && host != "" && ip != ""
}
