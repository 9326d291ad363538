// SPDX-License-Identifier: Apache-2.0

package github

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/github/client"
	"github.com/fairlead-dev/fairlead/internal/source"
)

// Hosts of the public GitHub, and of its Enterprise Cloud with data residency.
const (
	publicHost  = "github.com"
	publicSSH   = "ssh.github.com" // ssh over port 443
	tenantZone  = ".ghe.com"
	schemeSSH   = "ssh"
	schemeHTTPS = "https"
)

// Remote is what the URL of a Git repository says.
type Remote struct {
	// Host in lower case, without user and port.
	Host string
	client.Repo
}

// ParseURL takes the URL of a Git repository as GitHub and its Enterprise Server
// give them: https, ssh and git URLs, and host:owner/name as ssh has it. A path
// that is not OWNER/NAME is an error, and so is one on this machine.
func ParseURL(raw string) (Remote, error) {
	refused := func(why string) (Remote, error) {
		return Remote{}, fmt.Errorf("%s: %s", client.Line(source.Redact(raw), 200), why)
	}
	var host, path string
	if strings.Contains(raw, "://") {
		u, err := url.Parse(raw)
		if err != nil {
			return refused("is no URL")
		}
		switch strings.ToLower(u.Scheme) {
		case schemeHTTPS, "http", schemeSSH, "git", "git+ssh", "ssh+git":
		default:
			return refused("is not the address of a repository on GitHub")
		}
		host, path = u.Hostname(), u.Path
	} else {
		before, after, ok := strings.Cut(raw, ":")
		if !ok || strings.Contains(before, "/") || strings.HasPrefix(after, ":") {
			return refused("is a path on this machine")
		}
		host, path = before[strings.LastIndexByte(before, '@')+1:], after
	}
	host = strings.ToLower(host)
	if host == publicSSH || host == "www."+publicHost {
		host = publicHost
	}
	path = strings.TrimSuffix(strings.Trim(path, "/"), ".git")
	owner, name, ok := strings.Cut(path, "/")
	if host == "" || !ok || !isName(owner) || !isName(name) {
		return refused("does not name a repository as OWNER/NAME")
	}
	return Remote{Host: host, Repo: client.Repo{Owner: owner, Name: name}}, nil
}

func isName(s string) bool {
	if s == "" || s == "." || s == ".." || len(s) > 100 {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

// Target is a repository, the API that it is reached by, and the Secret with the
// token for it.
type Target struct {
	client.Repo
	// APIURL as client.BaseURL takes it.
	APIURL string
	// Secret in the Application's namespace; empty without one.
	Secret string
}

// target decides where an application's repository is, from its spec and from the
// URL that its commits come from. It is pure.
func target(app *v1alpha1.Application, sourceURL string) (Target, error) {
	remote, urlErr := ParseURL(sourceURL)
	spec := app.Spec.GitHub
	if spec == nil {
		if urlErr != nil || remote.Host != publicHost {
			return Target{}, ErrNotGitHub
		}
		spec = &v1alpha1.GitHubSpec{}
	}
	t := Target{Repo: client.Repo{Owner: spec.Owner, Name: spec.Repository}, APIURL: spec.APIURL}
	if t.Owner == "" || t.Name == "" {
		if urlErr != nil {
			return Target{}, fmt.Errorf("%w: set github.owner and github.repository, as the source does not tell them: %w", ErrNotGitHub, urlErr)
		}
		if t.Owner == "" {
			t.Owner = remote.Owner
		}
		if t.Name == "" {
			t.Name = remote.Name
		}
	}
	if t.APIURL == "" {
		switch {
		case urlErr != nil || remote.Host == publicHost || spec.Owner != "" && spec.Repository != "":
			t.APIURL = client.DefaultAPI
		case strings.HasSuffix(remote.Host, tenantZone):
			t.APIURL = "https://api." + remote.Host + "/"
		default:
			return Target{}, fmt.Errorf("%w: the source is on %s: set github.apiURL, such as https://%s/api/v3/, or github.owner and github.repository",
				ErrNotGitHub, remote.Host, remote.Host)
		}
	}
	switch {
	case spec.SecretRef != nil:
		t.Secret = spec.SecretRef.Name
	case app.Spec.Source.SecretRef != nil && urlErr == nil && serves(t.APIURL, remote.Host):
		// The token for the source is for the source's server alone.
		t.Secret = app.Spec.Source.SecretRef.Name
	}
	return t, nil
}

// serves reports whether an API belongs to the server that a repository is on.
func serves(apiURL, host string) bool {
	base, err := client.BaseURL(apiURL)
	if err != nil {
		return false
	}
	api := base.Hostname()
	return api == host || api == "api."+host
}
