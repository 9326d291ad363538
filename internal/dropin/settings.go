// SPDX-License-Identifier: Apache-2.0

// Package dropin lets Fairlead stand where SsalgTen's updater stood: it makes an
// Application of the environment that the updater had, for the Compose project
// that the updater's container is a part of.
package dropin

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Variables of the updater's environment.
const (
	EnvToken          = "UPDATER_TOKEN"
	EnvWorkspace      = "WORKSPACE"
	EnvPort           = "PORT"
	EnvLogDir         = "UPDATE_LOG_DIR"
	EnvScript         = "UPDATE_SCRIPT"
	EnvMaxBody        = "UPDATER_MAX_BODY_BYTES"
	EnvOwner          = "REPO_OWNER"
	EnvRepository     = "REPO_NAME"
	EnvBranch         = "REPO_BRANCH"
	EnvGitHubToken    = "GITHUB_TOKEN"
	EnvGitHubServer   = "GITHUB_SERVER_URL"
	EnvGitHubAPI      = "GITHUB_API_URL"
	EnvBackupDays     = "BACKUP_RETENTION_DAYS"
	EnvHealthAttempts = "MAX_HEALTH_ATTEMPTS"
	EnvWebhook        = "WEBHOOK_URL"
	EnvProfiles       = "COMPOSE_PROFILES"
	EnvForceAgent     = "FORCE_ENABLE_AGENT"
	EnvMode           = "UPDATE_MODE"
)

// AgentProfile is the Compose profile that FORCE_ENABLE_AGENT and forceAgent mean.
const AgentProfile = "agent"

const (
	defaultPort         = 8765
	defaultWorkspace    = "/workspace"
	defaultBranch       = "main"
	defaultMaxBody      = 1 << 20
	defaultBackupDays   = 30
	defaultGitHubServer = "https://github.com"
	defaultGitHubAPI    = "https://api.github.com"

	// dataDir is where the daemon's state lies in a deployment directory: it
	// must outlive the container, which has no other place for that.
	dataDir = ".update/fairlead"
)

// PortVariables are the variables of ports that the updater handed on to Compose.
var PortVariables = []string{"PROJECT_PORT", "NODE_PORT", "BACKEND_PORT", "DB_PORT", "FRONTEND_PORT", "REDIS_PORT", "AGENT_PORT"}

// Mode says how images come to the host.
type Mode string

// Modes. ModeAsStarted goes on as the project was started.
const (
	ModeAsStarted Mode = ""
	ModeSource    Mode = "source"
	ModeImage     Mode = "image"
)

// Settings are what the environment says.
type Settings struct {
	// Token that clients of the updater's API show.
	Token string
	// Workspace is the deployment directory as this process sees it.
	Workspace string
	// LogDir is where the API's clients are told that logs are.
	LogDir string
	// DataDir is where the daemon keeps its state, unless told otherwise.
	DataDir string
	// Listen is where the API listens, unless told otherwise.
	Listen string
	// MaxBody is the size in bytes of the largest body that the API takes.
	MaxBody int64

	// Owner and Repository name the project on the GitHub at Server.
	Owner, Repository string
	// Branch that is followed.
	Branch string
	// GitHubToken may be empty.
	GitHubToken string
	// Server and API are base URLs, without a slash at the end.
	Server, API string

	// BackupDays is for how long backups are kept. Default: 30.
	BackupDays int
	// HealthAttempts is 0 when the environment does not say it.
	HealthAttempts int32
	// Webhook is told of updates; may be empty.
	Webhook string
	// Profiles of the Compose file; none means those of the environment file.
	Profiles []string
	// ForceAgent adds AgentProfile to Profiles, or to those of the environment file.
	ForceAgent bool
	Mode       Mode
	// Ports are those of PortVariables that are set.
	Ports map[string]string
	// Ignored names variables that are set and mean nothing any more.
	Ignored []string
}

// Lookup returns a variable of the environment, as os.LookupEnv does.
type Lookup func(name string) (string, bool)

// Hinted reports whether the environment may be that of an updater at all, and
// Wanted whether it is one: inProject says that this process runs in a container of a
// Compose project.
func Hinted(env Lookup) bool { return Wanted(env, true) }

// Wanted reports whether the environment is that of an updater. On a host of its
// own the token alone does not make one, as other parts use it too.
func Wanted(env Lookup, inProject bool) bool {
	for _, name := range []string{EnvWorkspace, EnvScript, EnvLogDir} {
		if value, _ := env(name); value != "" {
			return true
		}
	}
	_, ok := env(EnvToken)
	return ok && inProject
}

// reader reads variables and keeps what is wrong with them.
type reader struct {
	env  Lookup
	errs []error
}

func (r *reader) get(name, fallback string) string {
	if value, _ := r.env(name); strings.TrimSpace(value) != "" {
		return strings.TrimSpace(value)
	}
	return fallback
}

func (r *reader) wrong(name, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
}

func (r *reader) number(name string, fallback, least, most int64) int64 {
	text := r.get(name, "")
	if text == "" {
		return fallback
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		r.wrong(name, "%q is not a number from %d to %d", text, least, most)
		return fallback
	}
	return n
}

func (r *reader) path(name, fallback string) string {
	path := r.get(name, fallback)
	if !filepath.IsAbs(path) {
		r.wrong(name, "%q must be an absolute path such as %s", path, fallback)
	}
	return filepath.Clean(path)
}

func (r *reader) url(name, fallback string) string {
	text := r.get(name, fallback)
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		// Not the value: such addresses often hold a secret.
		r.wrong(name, "it must be an address that begins with http:// or https://")
		return ""
	}
	return strings.TrimRight(text, "/")
}

// truth reads a switch as the updater's script did.
func truth(value string) bool { return value == "true" || value == "1" }

var (
	ownerPattern      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,99}$`)
	repositoryPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)
)

// Read reads the environment. The error names everything that is wrong with it,
// and never a value that may be secret.
func Read(env Lookup) (Settings, error) {
	r := &reader{env: env}
	s := Settings{
		Token:          r.get(EnvToken, ""),
		Workspace:      r.path(EnvWorkspace, defaultWorkspace),
		MaxBody:        r.number(EnvMaxBody, defaultMaxBody, 1, 1<<30),
		Owner:          r.get(EnvOwner, ""),
		Repository:     strings.TrimSuffix(r.get(EnvRepository, ""), ".git"),
		Branch:         r.get(EnvBranch, defaultBranch),
		GitHubToken:    r.get(EnvGitHubToken, ""),
		Server:         r.url(EnvGitHubServer, defaultGitHubServer),
		API:            r.url(EnvGitHubAPI, defaultGitHubAPI),
		BackupDays:     int(r.number(EnvBackupDays, defaultBackupDays, 1, 36500)),
		HealthAttempts: int32(r.number(EnvHealthAttempts, 0, 1, 10000)), //nolint:gosec // bounded just here
		Webhook:        r.webhook(),
		Ports:          map[string]string{},
	}
	if s.Token == "" {
		r.wrong(EnvToken, "it must be set; the updater does not start without authentication. "+
			"Put a long random value into the .env of the deployment directory, for instance from `openssl rand -hex 32`")
	}
	s.LogDir = r.path(EnvLogDir, filepath.Join(s.Workspace, ".update", "logs"))
	s.DataDir = filepath.Join(s.Workspace, filepath.FromSlash(dataDir))
	s.Listen = net.JoinHostPort("0.0.0.0", strconv.FormatInt(r.number(EnvPort, defaultPort, 1, 65535), 10))
	if s.Owner != "" && !ownerPattern.MatchString(s.Owner) {
		r.wrong(EnvOwner, "%q is no user or organisation of GitHub", s.Owner)
	}
	if s.Repository != "" && !repositoryPattern.MatchString(s.Repository) {
		r.wrong(EnvRepository, "%q is no name of a repository; give the name alone, without the owner", s.Repository)
	}
	if strings.HasPrefix(s.Branch, "-") || strings.ContainsAny(s.Branch, " \t\n") {
		r.wrong(EnvBranch, "%q is no branch", s.Branch)
	}
	s.Profiles = r.profiles()
	s.ForceAgent = truth(r.get(EnvForceAgent, ""))
	s.Mode = r.mode()
	for _, name := range PortVariables {
		if value := r.get(name, ""); value != "" {
			s.Ports[name] = value
		}
	}
	if value := r.get(EnvScript, ""); value != "" {
		s.Ignored = append(s.Ignored, EnvScript)
	}
	return s, errors.Join(r.errs...)
}

// webhook is taken as it stands: its slashes may matter.
func (r *reader) webhook() string {
	if r.url(EnvWebhook, "") == "" {
		return ""
	}
	return r.get(EnvWebhook, "")
}

func (r *reader) profiles() []string {
	var profiles []string
	for p := range strings.SplitSeq(r.get(EnvProfiles, ""), ",") {
		if p = strings.TrimSpace(p); p != "" && !slices.Contains(profiles, p) {
			profiles = append(profiles, p)
		}
	}
	return profiles
}

func (r *reader) mode() Mode {
	switch value := r.get(EnvMode, ""); value {
	case "":
		return ModeAsStarted
	case "image", "images", "ghcr":
		return ModeImage
	case "source", "git":
		return ModeSource
	default:
		r.wrong(EnvMode, "%q is unknown; give image or source", value)
		return ModeAsStarted
	}
}
