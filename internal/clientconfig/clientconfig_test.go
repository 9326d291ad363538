// SPDX-License-Identifier: Apache-2.0

package clientconfig

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func kubeconfig(t *testing.T, path, server, namespace string) string {
	t.Helper()
	text := `apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "` + server + `"}}]
users: [{name: u, user: {token: secret}}]
contexts: [{name: c, context: {cluster: c, user: u, namespace: "` + namespace + `"}}]
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLocate(t *testing.T) {
	dir, dataDir := t.TempDir(), t.TempDir()
	flag := kubeconfig(t, filepath.Join(dir, "flag"), "https://flag", "")
	env := kubeconfig(t, filepath.Join(dir, "env"), "https://env", "")
	env2 := kubeconfig(t, filepath.Join(dir, "env2"), "https://env2", "")
	own := kubeconfig(t, KubeconfigIn(dataDir), "https://own", "")
	gone := filepath.Join(dir, "gone")
	list := func(paths ...string) string { return strings.Join(paths, string(filepath.ListSeparator)) }
	for name, c := range map[string]struct {
		flag, env, dataDir string
		want               []string
		wantErr            string
	}{
		"flag first":                {flag: flag, env: env, dataDir: dataDir, want: []string{flag}},
		"then KUBECONFIG":           {env: env, dataDir: dataDir, want: []string{env}},
		"all files of KUBECONFIG":   {env: list(env, gone, env2), dataDir: dataDir, want: []string{env, env2}},
		"then the daemon's":         {dataDir: dataDir, want: []string{own}},
		"KUBECONFIG without a file": {env: gone, dataDir: dataDir, want: []string{own}},
		"flag without a file":       {flag: gone, env: env, dataDir: dataDir, wantErr: "--kubeconfig"},
		"nothing at all":            {env: gone, dataDir: dir, wantErr: "fairlead serve"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", c.env)
			got, err := Locate(c.flag, c.dataDir)
			if c.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantErr) {
					t.Errorf("got %v, want an error with %q", err, c.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	dataDir := t.TempDir()
	t.Setenv("KUBECONFIG", "")
	t.Setenv(DataDirEnv, dataDir)
	if _, _, err := Load("", ""); !errors.Is(err, ErrNotFound) {
		t.Fatalf("got %v, want ErrNotFound", err)
	}
	kubeconfig(t, KubeconfigIn(dataDir), "https://127.0.0.1:6443", "")
	other := kubeconfig(t, filepath.Join(t.TempDir(), "k"), "https://other:6443", "production")
	for name, c := range map[string]struct{ kubeconfig, namespace, wantHost, wantNamespace string }{
		"defaults":              {wantHost: "https://127.0.0.1:6443", wantNamespace: "default"},
		"namespace flag":        {namespace: "staging", wantHost: "https://127.0.0.1:6443", wantNamespace: "staging"},
		"namespace of the file": {kubeconfig: other, wantHost: "https://other:6443", wantNamespace: "production"},
		"both flags":            {kubeconfig: other, namespace: "staging", wantHost: "https://other:6443", wantNamespace: "staging"},
	} {
		t.Run(name, func(t *testing.T) {
			config, namespace, err := Load(c.kubeconfig, c.namespace)
			if err != nil {
				t.Fatal(err)
			}
			if config.Host != c.wantHost || namespace != c.wantNamespace {
				t.Errorf("got %s and %s, want %s and %s", config.Host, namespace, c.wantHost, c.wantNamespace)
			}
		})
	}
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(broken, ""); err == nil || !strings.Contains(err.Error(), broken) {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

// Who forgets sudo is told so; nothing else is blamed on the user.
func TestPermissionIsExplained(t *testing.T) {
	denied := &os.PathError{Op: "open", Path: "/var/lib/fairlead/kubeconfig", Err: os.ErrPermission}
	if err := advised(denied); !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "sudo") || !strings.Contains(err.Error(), denied.Path) {
		t.Errorf("got %v", err)
	}
	if err := advised(os.ErrInvalid); err.Error() != os.ErrInvalid.Error() {
		t.Errorf("got %v", err)
	}
}
