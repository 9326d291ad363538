// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Credentials are what a server wants to see. Username and Password serve http
// and https, SSHPrivateKey and KnownHosts serve ssh; both may be given.
type Credentials struct {
	// Username may be empty when Password is a token.
	Username string
	// Password is a password or a token.
	Password string
	// SSHPrivateKey is a private key without passphrase, in PEM.
	SSHPrivateKey []byte
	// KnownHosts are lines of an OpenSSH known_hosts file. When empty, the
	// known_hosts of the user and of the system decide. Unknown hosts are
	// always refused.
	KnownHosts []byte
}

// String hides the secrets from logs.
func (c *Credentials) String() string { return "[credentials]" }

// GoString hides the secrets from logs.
func (c *Credentials) GoString() string { return c.String() }

// Keys of a Secret with credentials.
const (
	keyToken      = "token"
	keyUsername   = "username"
	keyPassword   = "password"
	keySSHKey     = "ssh-privatekey"
	keyKnownHosts = "known_hosts"
)

// CredentialsFromSecret reads the data of a Kubernetes Secret: either token
// (with or without username), or username and password, or ssh-privatekey with
// or without known_hosts. Trailing line ends are dropped. The error is
// ErrCredentials and names keys, never values.
func CredentialsFromSecret(data map[string][]byte) (*Credentials, error) {
	value := func(key string) string { return strings.TrimRight(string(data[key]), "\r\n") }
	c := &Credentials{Username: value(keyUsername), SSHPrivateKey: data[keySSHKey], KnownHosts: data[keyKnownHosts]}
	token, password := value(keyToken), value(keyPassword)
	switch {
	case token != "" && password != "":
		return nil, fmt.Errorf("%w: the Secret has both %q and %q, keep one of them", ErrCredentials, keyToken, keyPassword)
	case token != "":
		c.Password = token
	case password != "" && c.Username == "":
		return nil, fmt.Errorf("%w: the Secret has %q without %q; a token belongs under %q", ErrCredentials, keyPassword, keyUsername, keyToken)
	case password == "" && c.Username != "" && len(c.SSHPrivateKey) == 0:
		return nil, fmt.Errorf("%w: the Secret has %q without %q", ErrCredentials, keyUsername, keyPassword)
	default:
		c.Password = password
	}
	if c.Password == "" && len(c.SSHPrivateKey) == 0 {
		return nil, fmt.Errorf("%w: the Secret needs %q, or %q and %q, or %q", ErrCredentials, keyToken, keyUsername, keyPassword, keySSHKey)
	}
	return c, c.validate()
}

func (c *Credentials) validate() error {
	if strings.ContainsAny(c.Username+c.Password, "\r\n\x00") {
		return fmt.Errorf("%w: user name, password and token must be one line", ErrCredentials)
	}
	if len(c.SSHPrivateKey) > 0 {
		if _, err := c.key(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Credentials) key() (any, error) {
	key, err := ssh.ParseRawPrivateKey(c.SSHPrivateKey)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, fmt.Errorf("%w: the SSH private key has a passphrase; give a key without one", ErrCredentials)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the SSH private key cannot be read; give it whole, in PEM", ErrCredentials)
	}
	return key, nil
}

// fit reports why c cannot serve u.
func (c *Credentials) fit(u string) error {
	switch {
	case isHTTP(u) && c.Password == "":
		return fmt.Errorf("%w: %s wants a token or a password, the credentials hold an SSH key; use the ssh URL of the repository", ErrCredentials, Redact(u))
	case isSSH(u) && len(c.SSHPrivateKey) == 0:
		return fmt.Errorf("%w: %s wants an SSH key, the credentials hold a password or token; use the https URL of the repository", ErrCredentials, Redact(u))
	}
	return nil
}

// Variables through which git's credential helper gets at the secret.
const (
	envUsername = "FAIRLEAD_GIT_USERNAME"
	envPassword = "FAIRLEAD_GIT_PASSWORD"
	envRefused  = "FAIRLEAD_GIT_REFUSED"
)

// helper answers git's question for credentials from the environment. It keeps
// silent once they were refused, which the file says then: git-lfs would ask for
// others, and try the same ones, without end.
const helper = `!f() { case "$1" in ` +
	`get) test -e "$` + envRefused + `" || printf 'username=%s\npassword=%s\n' "$` + envUsername + `" "$` + envPassword + `";; ` +
	`erase) : >"$` + envRefused + `";; esac; }; f`

// dress adds to c what an exchange with u needs: credentials, a waiting limit
// and no prompts. needsSSH says that ssh may be started for it, which one has to be asked of git. The returned
// function ends it and must be called.
func (g git) dress(ctx context.Context, c *call, u string, cred *Credentials, needsSSH bool) (func(), error) {
	var ssh string
	if needsSSH {
		var err error
		if ssh, err = g.sshCommand(ctx); err != nil {
			return nil, err
		}
		ssh += " -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
	}
	c.dressed = true
	done := func() {}
	if cred != nil && cred.Password != "" {
		if scope := httpScope(u); scope != "" {
			user := cred.Username
			if user == "" {
				user = tokenUser(u)
			}
			// The empty helper drops those that the user configured: they would
			// be asked first, and told to store what was used. Git itself sees
			// to it that no other server is given these credentials.
			c.config = append(c.config, "credential.helper=", "credential."+scope+".helper="+helper)
			dir, err := os.MkdirTemp("", "fairlead-git-*")
			if err != nil {
				return nil, err
			}
			done = func() { _ = os.RemoveAll(dir) }
			c.env = append(c.env, envUsername+"="+user, envPassword+"="+cred.Password, envRefused+"="+filepath.Join(dir, "refused"))
			c.secrets = append(c.secrets, cred.Password, url.QueryEscape(cred.Password))
		}
	}
	if cred != nil && len(cred.SSHPrivateKey) > 0 {
		a, err := startAgent(cred)
		if err != nil {
			done()
			return nil, err
		}
		before := done
		done = func() { before(); a.close() }
		ssh += a.options()
	}
	if ssh != "" {
		c.env = append(c.env, "GIT_SSH_COMMAND="+ssh)
	}
	if !isLocalURL(u) {
		// A remote repository must not name paths of this machine as submodules.
		c.config = append(c.config, "protocol.file.allow=user")
	} else {
		c.config = append(c.config, "protocol.file.allow=always")
	}
	return done, nil
}

// overSSH reports whether an exchange with a remote may need ssh. The URL of one that is configured is what git's
// insteadOf has made of it; another one may become anything.
func overSSH(remote, u string, cred *Credentials) bool {
	return remote == u || mayBeSSH(u, cred)
}

func mayBeSSH(u string, cred *Credentials) bool {
	return cred != nil && len(cred.SSHPrivateKey) > 0 || !isLocalURL(u) && !isHTTP(u)
}

// sshCommand is the ssh program that the user configured, or "ssh".
func (g git) sshCommand(ctx context.Context) (string, error) {
	if s := os.Getenv("GIT_SSH_COMMAND"); s != "" {
		return s, nil
	}
	if s := g.ssh.known(); s != "" {
		return s, nil
	}
	s, err := g.text(ctx, "config", "--get", "core.sshCommand")
	if exitCode(err) == 1 || err == nil && s == "" {
		s, err = "ssh", nil
	}
	if err == nil {
		g.ssh.keep(s)
	}
	return s, err
}

// sshChoice remembers the ssh program of a repository for as long as what was done
// with it succeeds: whoever corrects a wrong one is heeded at the next attempt.
type sshChoice struct {
	mu      sync.Mutex
	command string
}

func (c *sshChoice) known() string {
	if c == nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.command
}

func (c *sshChoice) keep(command string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.command = command
}

func (c *sshChoice) forget() { c.keep("") }

// httpScope returns scheme://host[:port] of an http or https URL, else "".
func httpScope(u string) string {
	p, err := url.Parse(u)
	if err != nil || !isHTTP(u) || strings.ContainsAny(p.Host, "=\n") {
		return ""
	}
	return p.Scheme + "://" + p.Host
}

// tokenUser is the user name that goes with a bare token.
func tokenUser(u string) string {
	if p, err := url.Parse(u); err == nil && p.Hostname() == "bitbucket.org" {
		return "x-token-auth"
	}
	return "x-access-token"
}
