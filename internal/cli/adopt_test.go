// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

func TestAdopt(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	for _, f := range []string{"a.yml", ".env.staging"} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"adopt", "shop-staging", "--directory", dir, "--file", "a.yml", "--env-file", ".env.staging",
		"--profile", "agent", "--profile", "debug", "--project", "staging", "--ref", "develop"}
	get := func() (*v1alpha1.Application, error) {
		var app v1alpha1.Application
		err := w.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "shop-staging"}, &app)
		return &app, err
	}
	exits(t, w.run(t.Context(), append(slices.Clone(args), "--dry-run")...), ExitOK)
	w.says("directory: "+dir, "- .env.staging", "project: staging")
	if _, err := get(); err == nil {
		t.Error("a dry run made it")
	}
	exits(t, w.run(t.Context(), args...), ExitOK)
	w.says("Created application shop-staging for "+dir, "fairlead update shop-staging")
	app, err := get()
	if err != nil {
		t.Fatal(err)
	}
	c := app.Spec.Compose
	if c.Directory != dir || !slices.Equal(c.Files, []string{"a.yml"}) || !slices.Equal(c.EnvFiles, []string{".env.staging"}) ||
		!slices.Equal(c.Profiles, []string{"agent", "debug"}) || c.Project != "staging" || app.Spec.Source.Ref != "develop" {
		t.Errorf("made %+v", app.Spec)
	}
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
	}{
		"the name is taken":               {[]string{"adopt", "shop-staging", "--directory", t.TempDir()}, ExitFailed, "already"},
		"the directory is taken":          {[]string{"adopt", "other", "--directory", dir, "--env-file", ".env.staging", "--project", "staging"}, ExitUsage, "default/shop-staging"},
		"no directory":                    {[]string{"adopt", "other"}, ExitUsage, "--directory"},
		"a path in the place of the name": {[]string{"adopt", "/opt/other/"}, ExitUsage, "fairlead adopt other --directory /opt/other/"},
		"a file":                          {[]string{"adopt", "other", "--directory", filepath.Join(dir, "a.yml")}, ExitUsage, "no directory"},
		"no such Compose file":            {[]string{"adopt", "other", "--directory", dir, "--file", "b.yml"}, ExitUsage, "b.yml does not exist"},
		"no such environment file":        {[]string{"adopt", "other", "--directory", dir, "--env-file", ".env.x"}, ExitUsage, ".env.x does not exist"},
		"an output that there is not":     {[]string{"adopt", "other", "--directory", dir, "-o", "wide"}, ExitUsage, "--output=wide"},
	} {
		t.Run(name, func(t *testing.T) { exits(t, w.run(t.Context(), tt.args...), tt.code, tt.want) })
	}
	// Told apart by the environment file, which names another project.
	exits(t, w.run(t.Context(), "adopt", "shop-production", "--directory", dir), ExitOK)
	// The Docker host may be another machine.
	exits(t, w.run(t.Context(), "adopt", "far", "--directory", "/does/not/exist/here"), ExitOK)
}
