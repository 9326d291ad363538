// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	composesdk "github.com/docker/compose/v5/pkg/compose"
)

func TestRenderReadsBackTheSame(t *testing.T) {
	deployDir, treeDir := deployment(t, untrackedFiles, trackedFiles)
	p := mustLoad(t, Options{DeployDir: deployDir, TreeDir: treeDir, Profiles: []string{"agent"}, EnvFiles: []string{".env"}})
	data, err := Render(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{deployDir, treeDir} { // nothing is read
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	back, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := p.hashes()
	got, _ := back.hashes()
	if !maps.Equal(got, want) || len(want) < 10 {
		t.Errorf("hashes %v, want %v", got, want)
	}
	for _, s := range p.Services() {
		b, ok := back.Service(s.Name)
		if !ok {
			t.Fatalf("service %s is gone", s.Name)
		}
		if !maps.Equal(s.Environment, b.Environment) || !reflect.DeepEqual(s.Extension, b.Extension) || s.OneShot != b.OneShot ||
			s.Replicas != b.Replicas || !slices.Equal(s.DependsOn, b.DependsOn) || !slices.Equal(s.TrackedPaths, b.TrackedPaths) ||
			(s.Build == nil) != (b.Build == nil) || s.ImageName != b.ImageName {
			t.Errorf("service %s reads back as\n%+v, was\n%+v", s.Name, b, s)
		}
		if !maps.Equal(p.model.Services[s.Name].CustomLabels, back.model.Services[s.Name].CustomLabels) {
			t.Errorf("service %s has other labels", s.Name)
		}
	}
	if back.model.Secrets["fromenv"].Content != "topsecret" {
		t.Error("the content of a secret from the environment is lost")
	}
	again, err := Render(back)
	if err != nil || string(again) != string(data) {
		t.Errorf("rendered again it differs: %v", err)
	}
}

func TestParseRefusesWhatWasChanged(t *testing.T) {
	deployDir, treeDir := deployment(t, nil, map[string]string{"compose.yml": "services: {a: {image: \"a:1\"}}"})
	data, err := Render(mustLoad(t, Options{DeployDir: deployDir, TreeDir: treeDir}))
	if err != nil {
		t.Fatal(err)
	}
	for name, changed := range map[string]string{
		"image":   strings.Replace(string(data), "a:1", "a:2", 1),
		"format":  strings.Replace(string(data), "format: 1", "format: 9", 1),
		"unknown": string(data) + "more: 1\n",
		"half":    string(data[:len(data)/2]),
		"empty":   "",
	} {
		if _, err := Parse([]byte(changed)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSameDefinition(t *testing.T) {
	load := func(yaml string) *Project {
		deployDir, treeDir := deployment(t, nil, map[string]string{"compose.yml": yaml})
		return mustLoad(t, Options{DeployDir: deployDir, TreeDir: treeDir})
	}
	old := load("services: {a: {image: \"a:1\", command: x}, b: {build: ., network_mode: \"service:a\"}}")
	updated := load("services: {a: {image: \"a:2\", command: x}, b: {build: ., network_mode: \"service:a\"}}")
	changed := load("services: {a: {image: \"a:2\", command: y}, b: {build: ., network_mode: \"service:a\", command: z}}")

	hashA, _ := old.Hash("a")
	b := old.model.Services["b"]
	b.NetworkMode = "container:123"
	hashB, _ := composesdk.ServiceHash(b)
	definition, _ := old.DefinitionHash("a")
	for name, tc := range map[string]struct {
		service string
		c       RunningContainer
	}{
		"made by the command":     {"a", RunningContainer{Labels: map[string]string{LabelConfigHash: hashA}, Image: "a:1"}},
		"built, with a reference": {"b", RunningContainer{Labels: map[string]string{LabelConfigHash: hashB}, Image: "shop-b", NetworkMode: "container:123"}},
		"made by us":              {"a", RunningContainer{Labels: map[string]string{LabelDefinitionHash: definition, LabelConfigHash: "x"}, Image: "a:content"}},
	} {
		if same, err := updated.SameDefinition(tc.service, tc.c); err != nil || !same {
			t.Errorf("%s: not the same: %v", name, err)
		}
		if same, err := changed.SameDefinition(tc.service, tc.c); err != nil || same {
			t.Errorf("%s: the same although changed: %v", name, err)
		}
	}
}
