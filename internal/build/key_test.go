// SPDX-License-Identifier: Apache-2.0

package build

import "testing"

func base() Spec {
	return Spec{
		Name: "web", Context: "/srv/export/1/web", Args: map[string]string{"B": "2", "A": "1"},
		Labels:  map[string]string{"team": "x", LabelService: "web"},
		Secrets: []Secret{{ID: "b", Value: []byte("v")}, {ID: "a"}}, Tags: []string{"web:1"}, ExtraHosts: []string{"b=1.1.1.1", "a=1.1.1.2"},
	}
}

// A change of this value makes every host build every image again: change
// keyVersion knowingly.
func TestKeyGolden(t *testing.T) {
	const want = "v1-ad26ecc07f52fda7b1ff2b12c45db6ddce5247c255ba57d73d5891f8cbc72013"
	if got := Key(base(), "tree1"); got != want {
		t.Errorf("Key = %s, want %s", got, want)
	}
}

func TestKeyIgnores(t *testing.T) {
	want := Key(base(), "tree1")
	for name, change := range map[string]func(*Spec){
		"name":            func(s *Spec) { s.Name = "other" },
		"directory":       func(s *Spec) { s.Context = "/srv/export/2/web" },
		"tags":            func(s *Spec) { s.Tags = nil },
		"own labels":      func(s *Spec) { s.Labels = map[string]string{"team": "x", LabelApplication: "a/b"} },
		"secret value":    func(s *Spec) { s.Secrets[0].Value = []byte("w") },
		"secret order":    func(s *Spec) { s.Secrets[0], s.Secrets[1] = s.Secrets[1], s.Secrets[0] },
		"host order":      func(s *Spec) { s.ExtraHosts = []string{"a=1.1.1.2", "b=1.1.1.1"} },
		"default file":    func(s *Spec) { s.Dockerfile = "./Dockerfile" },
		"absolute file":   func(s *Spec) { s.Dockerfile = s.Context + "/Dockerfile" },
		"default network": func(s *Spec) { s.Network = "default" },
		"caches":          func(s *Spec) { s.CacheFrom = []string{"x"}; s.CacheTo = []string{"type=inline"} },
		"limits":          func(s *Spec) { s.ShmSize = 1; s.Ulimits = []Ulimit{{Name: "nofile"}} },
		"key itself":      func(s *Spec) { s.Key = "v1-x" },
	} {
		s := base()
		change(&s)
		if got := Key(s, "tree1"); got != want {
			t.Errorf("%s changes the key", name)
		}
	}
}

func TestKeyDepends(t *testing.T) {
	seen := map[string]string{Key(base(), "tree1"): "base", Key(base(), "tree2"): "context"}
	for name, change := range map[string]func(*Spec){
		"dockerfile":    func(s *Spec) { s.Dockerfile = "b/Dockerfile" },
		"inline":        func(s *Spec) { s.DockerfileInline = "FROM scratch" },
		"args":          func(s *Spec) { s.Args["A"] = "3" },
		"target":        func(s *Spec) { s.Target = "prod" },
		"labels":        func(s *Spec) { s.Labels["team"] = "y" },
		"secret ID":     func(s *Spec) { s.Secrets[0].ID = "c" },
		"ssh":           func(s *Spec) { s.SSH = []SSH{{}} },
		"platform":      func(s *Spec) { s.Platforms = []string{"linux/arm64"} },
		"context":       func(s *Spec) { s.AdditionalContexts = map[string]NamedContext{"n": {Source: "/x", Digest: "d1"}} },
		"other context": func(s *Spec) { s.AdditionalContexts = map[string]NamedContext{"n": {Source: "/x", Digest: "d2"}} },
		"network":       func(s *Spec) { s.Network = "none" },
		"hosts":         func(s *Spec) { s.ExtraHosts[0] = "b=1.1.1.9" },
		"entitlements":  func(s *Spec) { s.Entitlements = []string{"security.insecure"} },
		"outside":       func(s *Spec) { s.Dockerfile, s.DockerfileDigest = "../Dockerfile", "blob1" },
		"outside other": func(s *Spec) { s.Dockerfile, s.DockerfileDigest = "../Dockerfile", "blob2" },
	} {
		s := base()
		change(&s)
		got := Key(s, "tree1")
		if other, ok := seen[got]; ok || got == "" {
			t.Errorf("%s gives the key %q of %s", name, got, other)
		}
		seen[got] = name
	}
}

// Content that no digest covers has no key, so that it is always built.
func TestKeyNone(t *testing.T) {
	if Key(base(), "") != "" {
		t.Error("a key without a context digest")
	}
	for name, change := range map[string]func(*Spec){
		"no cache of one": func(s *Spec) { s.NoCacheFilter = []string{"deps"} },
		"no cache":        func(s *Spec) { s.NoCache = true },
		"pull":            func(s *Spec) { s.Pull = true },
		"outside":         func(s *Spec) { s.Dockerfile = "../Dockerfile" },
		"absolute":        func(s *Spec) { s.Dockerfile = "/etc/Dockerfile" },
		"named context":   func(s *Spec) { s.AdditionalContexts = map[string]NamedContext{"n": {Source: "/x"}} },
		"image by a tag":  func(s *Spec) { s.AdditionalContexts = map[string]NamedContext{"n": {Source: "docker-image://a:1"}} },
	} {
		s := base()
		change(&s)
		if got := Key(s, "tree1"); got != "" {
			t.Errorf("%s has the key %s", name, got)
		}
	}
}
