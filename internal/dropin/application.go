// SPDX-License-Identifier: Apache-2.0

package dropin

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/updaterapi"
)

// ImageFile is the Compose file of a SsalgTen that is made of pulled images.
const ImageFile = "docker-compose.ghcr.yml"

// sourceFile is the one of a SsalgTen that is built.
const sourceFile = "docker-compose.yml"

// Project is what the own container's labels say about the Compose project that
// it is a part of. The zero value means: no container.
type Project struct {
	// Name of the project, and Service of the own container.
	Name, Service string
	// Files and EnvFiles are absolute paths on the host.
	Files, EnvFiles []string
}

// Facts are what was found out about the deployment.
type Facts struct {
	// Directory is the deployment directory's path on the host.
	Directory string
	Project   Project
	// Origin is the URL of the clone's origin; may be empty.
	Origin string
	// HasImageFile says that the deployment directory has ImageFile.
	HasImageFile bool
	// Services of the Compose model; nil when it cannot be loaded just now.
	Services map[string]Service
	// Profiles that are active in it.
	Profiles []string
}

// Service is what matters of a service of the Compose model.
type Service struct {
	// Build says that its image is built.
	Build bool
	// Port is its first port that is published, inside the container; 0 for none.
	Port int
	// Published is the fixed port of the host that leads there; 0 for none.
	Published int
	// Networks by key.
	Networks []string
	// Environment has the names of its variables.
	Environment []string
}

// The services of SsalgTen whose answers the updater asked for after an update,
// and where.
var probes = []struct{ name, service, path string }{
	{"api", "backend", "/api/health"},
	{"frontend", "frontend", "/"},
}

// Plan is the Application to apply, and the Secrets that it names.
type Plan struct {
	// Name of the Application.
	Name string
	// Spec holds only what the environment decides; the rest has its defaults or
	// is as somebody set it.
	Spec v1alpha1.ApplicationSpec
	// Secrets by name. One without data is not wanted any more.
	Secrets map[string]map[string]string
	// Notes are worth telling.
	Notes []string
}

// Decide makes the plan. The error says what is wrong with the deployment.
func Decide(s Settings, f Facts) (Plan, error) {
	p := Plan{Name: objectName(cmp.Or(f.Project.Name, filepath.Base(f.Directory))), Secrets: map[string]map[string]string{}}
	if p.Name == "" {
		return p, fmt.Errorf("no name can be made of the Compose project %q and the directory %s: set COMPOSE_PROJECT_NAME", f.Project.Name, f.Directory)
	}
	c := &p.Spec.Compose
	c.Directory, c.Project, c.Profiles = f.Directory, f.Project.Name, profiles(s, f)
	c.EnvFiles = relativeAll(f.Directory, f.Project.EnvFiles)
	c.Files = composeFiles(s, f)
	c.RequestVariables = slices.Clone(updaterapi.PortFields)
	p.variables(s, f)
	p.source(s, f)
	if pulls(s, f) {
		p.Spec.Build.Pull = v1alpha1.PullAlways
	}
	// As many as there are within these days: an age alone is no count.
	p.Spec.Retention.Backups = &v1alpha1.BackupRetention{Age: &metav1.Duration{Duration: time.Duration(s.BackupDays) * 24 * time.Hour}}
	p.Spec.Verify.Attempts = s.HealthAttempts
	p.Spec.Verify.Checks = checks(f)
	hook := p.secret("webhook", "url", s.Webhook)
	if hook != nil {
		p.Spec.Notifications = []v1alpha1.Notification{{Name: "webhook", Webhook: &v1alpha1.WebhookNotification{SecretRef: hook}}}
	}
	return p, nil
}

// secret adds a Secret with one key, or the wish that there be none.
func (p *Plan) secret(suffix, key, value string) *v1alpha1.LocalReference {
	name := p.Name + "-" + suffix
	if value == "" {
		p.Secrets[name] = nil
		return nil
	}
	p.Secrets[name] = map[string]string{key: value}
	return &v1alpha1.LocalReference{Name: name}
}

// profiles are those of the environment. Where only the agent is asked for, those of
// the environment file stay: a list of its own takes their place.
func profiles(s Settings, f Facts) []string {
	all := slices.Clone(s.Profiles)
	if !s.ForceAgent {
		return all
	}
	if len(all) == 0 {
		all = slices.Clone(f.Profiles)
	}
	if !slices.Contains(all, AgentProfile) {
		all = append(all, AgentProfile)
	}
	return all
}

// variables hands on the ports of the environment, but for those that the Compose
// file itself gives the updater: these come from the environment file, which is
// read afresh at every update.
func (p *Plan) variables(s Settings, f Facts) {
	own := f.Services[f.Project.Service].Environment
	for name, value := range s.Ports {
		if f.Services == nil || slices.Contains(own, name) {
			continue
		}
		if p.Spec.Compose.Variables == nil {
			p.Spec.Compose.Variables = map[string]string{}
		}
		p.Spec.Compose.Variables[name] = value
	}
}

// source says where commits come from. The clone's own origin stays, as it was for
// the updater's script; but one on GitHub by SSH, for which a container has no
// key, is read by HTTPS, and a clone without an origin has the named repository.
func (p *Plan) source(s Settings, f Facts) {
	p.Spec.Source.Ref = s.Branch
	token := p.secret("github", "token", s.GitHubToken)
	named := ""
	if s.Owner != "" && s.Repository != "" {
		named = s.Server + "/" + s.Owner + "/" + s.Repository + ".git"
	}
	server, err := url.Parse(s.Server)
	host := ""
	if err == nil {
		host = server.Host
	}
	at, path := location(f.Origin)
	same := named != "" && strings.EqualFold(at, host) &&
		strings.EqualFold(strings.TrimSuffix(path, ".git"), s.Owner+"/"+s.Repository)
	from := f.Origin
	if named != "" && (f.Origin == "" || same && !isHTTP(f.Origin)) {
		p.Spec.Source.URL, from = named, named
	}
	// The token is for its own server and nobody else.
	if at, _ := location(from); token != nil && isHTTP(from) && strings.EqualFold(at, host) {
		p.Spec.Source.SecretRef = token
	}
	if named == "" {
		return
	}
	if f.Origin != "" && !same {
		p.Notes = append(p.Notes, fmt.Sprintf("the clone's origin is not %s: commits come from the origin, as before; set source.url of the Application to change that",
			strings.TrimSuffix(named, ".git")))
	}
	p.Spec.GitHub = &v1alpha1.GitHubSpec{Owner: s.Owner, Repository: s.Repository, SecretRef: token}
	if s.API != defaultGitHubAPI {
		p.Spec.GitHub.APIURL = s.API + "/"
	}
}

func isHTTP(u string) bool {
	l := strings.ToLower(u)
	return strings.HasPrefix(l, "http://") || strings.HasPrefix(l, "https://")
}

// location is the host of a Git URL and the path there, without a slash.
func location(u string) (host, path string) {
	if strings.Contains(u, "://") {
		p, err := url.Parse(u)
		if err != nil {
			return "", ""
		}
		return p.Host, strings.Trim(p.Path, "/")
	}
	// user@host:path
	at, path, ok := strings.Cut(u, ":")
	if !ok || strings.Contains(at, "/") {
		return "", ""
	}
	return at[strings.LastIndex(at, "@")+1:], strings.Trim(path, "/")
}

// pulls reports whether images are compared with the registry at each update.
func pulls(s Settings, f Facts) bool {
	switch s.Mode {
	case ModeImage:
		return true
	case ModeSource:
		return false
	}
	if f.Services == nil {
		return false
	}
	for _, svc := range f.Services {
		if svc.Build {
			return false
		}
	}
	return true
}

// composeFiles are the files to load, relative to the directory; none where
// Compose's own search finds the same. The mode chooses the first file; what was
// given after it, as for Fairlead in the updater's place, stays.
func composeFiles(s Settings, f Facts) []string {
	files := relativeAll(f.Directory, f.Project.Files)
	if s.Mode == ModeImage && f.HasImageFile && !slices.Contains(files, ImageFile) {
		return append([]string{ImageFile}, further(files)...)
	}
	if s.Mode == ModeSource && len(files) > 0 && files[0] == ImageFile {
		if len(files) == 1 {
			return nil // the built ones are in the file with the usual name
		}
		return append([]string{sourceFile}, files[1:]...)
	}
	if len(files) == 0 || slices.Contains(usualFiles, files[0]) &&
		(len(files) == 1 || len(files) == 2 && slices.Contains(usualOverrides, files[1])) {
		return nil
	}
	return files
}

// further are the files after the first one, but for an override that goes with
// that one alone.
func further(files []string) []string {
	if len(files) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(files[1:]), func(f string) bool { return slices.Contains(usualOverrides, f) })
}

// Names that Compose looks for by itself.
var (
	usualFiles     = []string{"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"}
	usualOverrides = []string{"compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"}
)

func relativeAll(dir string, paths []string) []string {
	var out []string
	for _, p := range paths {
		if rel, err := filepath.Rel(dir, p); err == nil && filepath.IsLocal(rel) {
			p = rel
		}
		out = append(out, p)
	}
	return out
}

// checks asks what the updater's script asked: the API and the frontend, where
// there are such services. From a container they are reached by their names, in a
// network that both are in; from the host by their published ports.
func checks(f Facts) []v1alpha1.Check {
	var out []v1alpha1.Check
	for _, p := range probes {
		svc, ok := f.Services[p.service]
		host, port := "127.0.0.1", svc.Published
		if f.Project.Service != "" {
			host, port = p.service, svc.Port
			own := f.Services[f.Project.Service].Networks
			ok = ok && slices.ContainsFunc(own, func(n string) bool { return slices.Contains(svc.Networks, n) })
		}
		if !ok || port == 0 {
			continue
		}
		out = append(out, v1alpha1.Check{
			Name: p.name, Timeout: &metav1.Duration{Duration: 10 * time.Second},
			HTTP: &v1alpha1.HTTPCheck{URL: "http://" + net.JoinHostPort(host, strconv.Itoa(port)) + p.path},
		})
	}
	return out
}

// objectName makes a name that the API takes of the name of a project.
func objectName(project string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, project)
	return strings.Trim(name[:min(len(name), 52)], "-")
}
