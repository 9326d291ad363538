// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"net/url"
	"strings"
)

// CommitURL is the page that shows a commit, for repositories on hosts that are
// known, or by their names are likely, to be GitHub, GitLab, Gitea, Forgejo or
// Bitbucket; else "".
func CommitURL(repository, sha string) string {
	host, path, secure := split(repository)
	if host == "" || strings.Count(path, "/") < 1 || sha == "" {
		return ""
	}
	scheme := "https://"
	if !secure {
		scheme = "http://"
	}
	page := scheme + host + "/" + path
	switch name := strings.ToLower(host); {
	case is(name, "bitbucket"):
		return page + "/commits/" + sha
	case is(name, "gitlab"):
		return page + "/-/commit/" + sha
	case is(name, "github"), is(name, "gitea"), is(name, "forgejo"), name == "codeberg.org":
		return page + "/commit/" + sha
	}
	return ""
}

// is reports whether one of the labels of a host's name is software, as in
// gitlab.com, gitlab.example.com and git.gitlab.example.com:8443.
func is(host, software string) bool {
	host, _, _ = strings.Cut(host, ":")
	for label := range strings.SplitSeq(host, ".") {
		if label == software {
			return true
		}
	}
	return false
}

// split takes the host (with the port of the web server) and the path out of the
// address of a repository. secure is false for http alone.
func split(repository string) (host, path string, secure bool) {
	if !strings.Contains(repository, "://") {
		// host:path, with or without user@
		before, after, ok := strings.Cut(repository, ":")
		if !ok || strings.Contains(before, "/") {
			return "", "", false
		}
		return before[strings.LastIndex(before, "@")+1:], trim(after), true
	}
	u, err := url.Parse(repository)
	if err != nil {
		return "", "", false
	}
	switch u.Scheme {
	case "http", "https":
		return u.Host, trim(u.Path), u.Scheme == "https"
	case "ssh", "git+ssh", "ssh+git":
		return u.Hostname(), trim(u.Path), true // its port is not the web server's
	}
	return "", "", false
}

func trim(path string) string { return strings.TrimSuffix(strings.Trim(path, "/"), ".git") }
