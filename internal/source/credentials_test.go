// SPDX-License-Identifier: Apache-2.0

package source

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestCredentialsFromSecret(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("secretpass"))
	if err != nil {
		t.Fatal(err)
	}
	key := string(pem.EncodeToMemory(plain))
	tests := []struct {
		name string
		data map[string]string
		want Credentials
		err  string
	}{
		{"token", map[string]string{"token": "abc\n"}, Credentials{Password: "abc"}, ""},
		{"token with a user", map[string]string{"token": "abc", "username": "u"}, Credentials{Username: "u", Password: "abc"}, ""},
		{"password", map[string]string{"username": "u\r\n", "password": "p"}, Credentials{Username: "u", Password: "p"}, ""},
		{"key", map[string]string{"ssh-privatekey": key, "known_hosts": "h k"}, Credentials{SSHPrivateKey: []byte(key), KnownHosts: []byte("h k")}, ""},
		{"key and user", map[string]string{"ssh-privatekey": key, "username": "git"}, Credentials{Username: "git", SSHPrivateKey: []byte(key)}, ""},
		{"nothing", nil, Credentials{}, `needs "token"`},
		{"unknown key", map[string]string{"pass": "x"}, Credentials{}, `needs "token"`},
		{"password alone", map[string]string{"password": "topsecret"}, Credentials{}, `without "username"`},
		{"user alone", map[string]string{"username": "u"}, Credentials{}, `without "password"`},
		{"both", map[string]string{"token": "topsecret", "username": "u", "password": "topsecret"}, Credentials{}, "keep one"},
		{"two lines", map[string]string{"token": "topsecret\nx"}, Credentials{}, "one line"},
		{"no key", map[string]string{"ssh-privatekey": "topsecret"}, Credentials{}, "PEM"},
		{"locked key", map[string]string{"ssh-privatekey": string(pem.EncodeToMemory(locked))}, Credentials{}, "passphrase"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := map[string][]byte{}
			for k, v := range tt.data {
				data[k] = []byte(v)
			}
			got, err := CredentialsFromSecret(data)
			if tt.err != "" {
				if !errors.Is(err, ErrCredentials) || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "topsecret") {
					t.Errorf("error is %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Username != tt.want.Username || got.Password != tt.want.Password || string(got.SSHPrivateKey) != string(tt.want.SSHPrivateKey) ||
				string(got.KnownHosts) != string(tt.want.KnownHosts) {
				t.Error("other credentials than wanted")
			}
			if s := fmt.Sprintf("%v %+v %#v", got, got, got); strings.Contains(s, "abc") || strings.Contains(s, "KEY") {
				t.Errorf("printed as %s", s)
			}
		})
	}
}

func TestURLKinds(t *testing.T) {
	for u, want := range map[string]string{
		"https://h/a": "http", "HTTP://h/a": "http", "ssh://h/a": "ssh", "git@h:a/b": "ssh", "h:a": "ssh",
		"/srv/a": "local", "./a:b": "local", "../a": "local", "file:///a": "local", "git://h/a": "",
	} {
		got := ""
		switch {
		case isHTTP(u):
			got = "http"
		case isSSH(u):
			got = "ssh"
		case isLocalURL(u):
			got = "local"
		}
		if got != want {
			t.Errorf("%s is %q, want %q", u, got, want)
		}
	}
}

func TestJoinURL(t *testing.T) {
	for _, tt := range []struct{ super, sub, want string }{
		{"https://h/a/b.git", "../c.git", "https://h/a/c.git"},
		{"https://h/a/b.git/", "../c.git", "https://h/a/c.git"},
		{"https://h/a/b", "./c", "https://h/a/b/c"},
		{"git@h:a/b.git", "../c.git", "git@h:a/c.git"},
		{"ssh://git@h:22/a/b", "../../x/c", "ssh://git@h:22/x/c"},
		{"/srv/a", "../b", "/srv/b"},
		{"../a", "../b", "../b"},
		{"https://h/a", "https://other/c", "https://other/c"},
		{"git@h:a", "../../c", ""},
		{"", "../c", ""},
	} {
		got, err := joinURL(tt.super, tt.sub)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("joinURL(%q, %q) = %q, %v; want %q", tt.super, tt.sub, got, err, tt.want)
		}
	}
}
