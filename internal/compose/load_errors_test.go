// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMissingVariablesAreAllNamed(t *testing.T) {
	deployDir, treeDir := deployment(t, map[string]string{".env": "SET=1\nEMPTY=\n"}, map[string]string{
		"compose.yml": `services:
  a:
    image: a:${TAG:?say which}
    environment:
      URL: postgres://${DB_USER:?}:${DB_PASSWORD?the password}@db
      FINE: ${SET:?x}${SET:+${SET}}${UNUSED+${NOT_LOOKED_AT:?}}${X:-default}$$$${ESCAPED:?}
      NESTED: ${OTHER:-${INNER:?inner}}
      BLANK: ${EMPTY:?is empty}
      OPTIONAL: $PLAIN ${BRACED} ${EMPTY}
include: [more.yml]
`,
		"compose.override.yml": "services: {a: {command: \"${IN_OVERRIDE:?}\"}}",
		"more.yml":             "services:\n  b: {extends: {file: base.yml, service: b}}\n",
		"base.yml":             "services:\n\n  b: {image: \"b:${IN_EXTENDED:?}\"}\n",
	})
	_, err := Load(t.Context(), Options{DeployDir: deployDir, TreeDir: treeDir})
	var model *ModelError
	if !errors.As(err, &model) {
		t.Fatalf("error %v", err)
	}
	want := []string{"DB_PASSWORD", "DB_USER", "EMPTY", "INNER", "IN_EXTENDED", "IN_OVERRIDE", "TAG"}
	if got := model.MissingVariables(); !slices.Equal(got, want) {
		t.Errorf("missing %v, want %v", got, want)
	}
	places := map[string]Problem{}
	for _, p := range model.Problems {
		places[p.Variable] = p
	}
	if p := places["TAG"]; p.File != filepath.Join(deployDir, "compose.yml") || p.Line != 3 || !strings.Contains(p.Message, "say which") {
		t.Errorf("%+v", p)
	}
	if p := places["IN_EXTENDED"]; p.File != filepath.Join(deployDir, "base.yml") || p.Line != 3 {
		t.Errorf("%+v", p)
	}
}

func TestUnsetVariablesAreListed(t *testing.T) {
	deployDir, treeDir := deployment(t, nil, map[string]string{"compose.yml": "services:\n  a:\n    image: a:$TAG\n    command: ${TAG} ${B-x} ${C:-$D}\n"})
	p := mustLoad(t, Options{DeployDir: deployDir, TreeDir: treeDir})
	file := filepath.Join(deployDir, "compose.yml")
	want := []UnsetVariable{{"D", file, 4}, {"TAG", file, 3}}
	if got := p.UnsetVariables(); !slices.Equal(got, want) {
		t.Errorf("unset %v, want %v", got, want)
	}
}

func TestLoadErrors(t *testing.T) {
	const secret = "hunter2hunter2"
	base := map[string]string{".env": "PW=" + secret + "\n"}
	for name, tc := range map[string]struct {
		deployed, tree map[string]string
		options        Options
		want           []string
	}{
		"no file":            {tree: map[string]string{"x": ""}, want: []string{"no Compose file", "spec.compose.files"}},
		"named file absent":  {tree: map[string]string{"x": ""}, options: Options{Files: []string{"a.yml"}}, want: []string{"shop/a.yml", "does not exist at this commit"}},
		"env file absent":    {tree: map[string]string{"compose.yml": "services: {a: {image: a}}"}, options: Options{EnvFiles: []string{"prod.env"}}, want: []string{"shop/prod.env", "spec.compose.envFiles"}},
		"not YAML":           {tree: map[string]string{"compose.yml": "services:\n  a: [\n"}, want: []string{"shop/compose.yml", "not valid YAML", "line"}},
		"unknown key":        {tree: map[string]string{"compose.yml": "services:\n  a:\n    image: a\n    imagee: b\n"}, want: []string{"shop/compose.yml:", "imagee"}},
		"cast":               {tree: map[string]string{"compose.yml": "services:\n  a:\n    image: a\n    scale: ${PW}\n"}, want: []string{"shop/compose.yml:4", "services.a.scale", "${PW}"}},
		"bad template":       {tree: map[string]string{"compose.yml": "services:\n  a:\n    image: a${\n"}, want: []string{"shop/compose.yml:3", "services.a.image"}},
		"unknown dependency": {tree: map[string]string{"compose.yml": "services: {a: {image: a, depends_on: [b]}}"}, want: []string{`"a" depends on undefined service "b"`}},
		"env_file absent":    {tree: map[string]string{"compose.yml": "services: {a: {image: a, env_file: s.env}}"}, want: []string{"service a", "shop/s.env", "required: false"}},
		"env_file malformed": {deployed: map[string]string{"s.env": "A=1\n" + secret + "=!\"x\nB='" + secret + "\n"}, tree: map[string]string{"compose.yml": "services: {a: {image: a, env_file: s.env}}"}, want: []string{"shop/s.env", "cannot be parsed"}},
		"dotenv malformed":   {deployed: map[string]string{".env": "A=1\n" + secret + "!x=1\n"}, tree: map[string]string{"compose.yml": "services: {a: {image: a}}"}, want: []string{"shop/.env", "line 2", "NAME=value"}},
		"remote include":     {tree: map[string]string{"compose.yml": "include: [\"https://x/y.git\"]\nservices: {a: {image: a}}"}, want: []string{"shop/compose.yml:1", "not supported", "repository"}},
		"nested include":     {tree: map[string]string{"compose.yml": "include: [x.yml]", "x.yml": "services: {a: {image: a}}\ninclude:\n- {path: y.yml, env_file: y.env}\n", "y.yml": ""}, want: []string{"shop/x.yml:3", "main Compose file"}},
		"include absent":     {tree: map[string]string{"compose.yml": "include: [x.yml]\nservices: {a: {image: a}}"}, want: []string{"shop/x.yml", "does not exist at this commit"}},
		"include cycle":      {tree: map[string]string{"compose.yml": "include: [compose.yml]\nservices: {a: {image: a}}"}, want: []string{"include cycle", "shop/compose.yml"}},
		"build.privileged":   {tree: map[string]string{"compose.yml": "services: {a: {build: {context: ., privileged: true}}}"}, want: []string{"service a", "build.privileged is not supported", "entitlements"}},
		"build.isolation":    {tree: map[string]string{"compose.yml": "services: {a: {build: {context: ., isolation: hyperv}}}"}, want: []string{"service a", "build.isolation is not supported"}},
		"service: context":   {tree: map[string]string{"compose.yml": "services: {a: {build: {context: ., additional_contexts: {base: 'service:b'}}}, b: {build: .}}"}, want: []string{"service a", "build.additional_contexts base=service:b is not supported", "stage"}},
		"pre_start":          {tree: map[string]string{"compose.yml": "services: {a: {image: a, pre_start: [{command: [x]}]}}"}, want: []string{"service a", "pre_start is not supported", "depends_on"}},
		"provider":           {tree: map[string]string{"compose.yml": "services: {a: {provider: {type: x}}}"}, want: []string{"service a", "provider is not supported"}},
		"no active service":  {tree: map[string]string{"compose.yml": "services: {a: {image: a, profiles: [x]}}"}, want: []string{"no service is active", "spec.compose.profiles"}},
		"secret not set":     {tree: map[string]string{"compose.yml": "services: {a: {image: a, secrets: [s]}}\nsecrets: {s: {environment: NOPE}}"}, want: []string{"required variable NOPE is not set", "secret s"}},
		"project name":       {tree: map[string]string{"compose.yml": "services: {a: {image: a}}"}, options: Options{ProjectName: "Not Good"}, want: []string{`"Not Good"`, "lower-case"}},
		"extension": {tree: map[string]string{"compose.yml": "services: {a: {image: a, x-fairlead: {order: first, healthTimeout: 5, nope: 1, parallelism: -1, maxFailureRatio: 2, failureAction: undo, delay: x, measureDowntime: never}}, b: {image: b, x-fairlead: [1]}}"},
			want: []string{"service a: x-fairlead.order must be one of Auto, StartFirst, StopFirst", "x-fairlead.healthTimeout must be a duration", "x-fairlead.nope is not known: it may have acceptProxyProtocol, balance, delay, drainTimeout, failureAction, gateway, healthTimeout",
				"x-fairlead.parallelism must be a number of containers", "x-fairlead.maxFailureRatio must be a number from 0 to 1", "x-fairlead.failureAction must be one of Rollback, Pause, Continue", "x-fairlead.delay must be a duration", "x-fairlead.measureDowntime must be true or false", "service b: x-fairlead must be a mapping"}},
	} {
		t.Run(name, func(t *testing.T) {
			deployDir, treeDir := deployment(t, merged(base, tc.deployed), tc.tree)
			tc.options.DeployDir, tc.options.TreeDir = deployDir, treeDir
			_, err := Load(t.Context(), tc.options)
			var model *ModelError
			if !errors.As(err, &model) {
				t.Fatalf("error %v is not a ModelError", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "fairlead-compose-") {
				t.Errorf("error %q gives away a secret or an inner path", err)
			}
		})
	}
}

// Where nothing is, it does not help to be told which files are not there.
func TestMissingDeploymentDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shpo")
	_, err := Load(t.Context(), Options{DeployDir: dir})
	if wrong := (*ModelError)(nil); !errors.As(err, &wrong) || !strings.Contains(err.Error(), dir+" does not exist") {
		t.Errorf("got %v", err)
	}
}
