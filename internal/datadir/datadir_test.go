// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestOpenMakesAPrivateDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "var", "fairlead")
	d, err := Open(path, now)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("mode %s, want 0700", info.Mode())
	}
	if want := filepath.Join(path, "etcd", "member"); d.Join("etcd", "member") != want {
		t.Errorf("Join gives %s, want %s", d.Join("etcd", "member"), want)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSecondHolderIsRefused(t *testing.T) {
	path := t.TempDir()
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	first, err := Open(path, now)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(path, now.Add(time.Hour))
	var inUse *InUseError
	if !errors.As(err, &inUse) {
		t.Fatalf("got %v, want an InUseError", err)
	}
	if inUse.Holder == nil || inUse.Holder.PID != os.Getpid() || !inUse.Holder.Since.Equal(now) {
		t.Errorf("holder %+v, want this process since %s", inUse.Holder, now)
	}
	for _, part := range []string{path, fmt.Sprint(os.Getpid()), "2026-03-01T12:00:00Z", "--data-dir"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("message lacks %q: %s", part, err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(path, now)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestUnknownHolder(t *testing.T) {
	path := t.TempDir()
	first, err := Open(path, now)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()
	if err := os.WriteFile(filepath.Join(path, lockName), []byte(`{"pi`), 0o600); err != nil {
		t.Fatal(err)
	}
	var inUse *InUseError
	if _, err := Open(path, now); !errors.As(err, &inUse) || inUse.Holder != nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v", err)
	}
}

func TestPermissions(t *testing.T) {
	for name, c := range map[string]struct {
		files   []string
		wantErr bool
	}{
		"empty":          {},
		"a data dir":     {files: []string{lockName, "kubeconfig"}},
		"somebody's own": {files: []string{"thesis.tex"}, wantErr: true},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			for _, f := range c.files {
				if err := os.WriteFile(filepath.Join(path, f), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(path, 0o755); err != nil {
				t.Fatal(err)
			}
			d, err := Open(path, now)
			info, statErr := os.Stat(path)
			if statErr != nil {
				t.Fatal(statErr)
			}
			if c.wantErr {
				if err == nil || !strings.Contains(err.Error(), "--data-dir") {
					t.Errorf("got %v, want a refusal that says what to do", err)
				}
				if info.Mode().Perm() != 0o755 {
					t.Errorf("the mode was changed to %s", info.Mode())
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = d.Close() }()
			if info.Mode().Perm() != 0o700 {
				t.Errorf("mode %s, want 0700", info.Mode())
			}
		})
	}
}

// Who forgets sudo is told so; nothing else is blamed on the user.
func TestPermissionIsExplained(t *testing.T) {
	denied := &os.PathError{Op: "mkdir", Path: "/var/lib/fairlead", Err: os.ErrPermission}
	if err := advised(denied); !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "sudo") || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("got %v", err)
	}
	if err := advised(os.ErrInvalid); err.Error() != os.ErrInvalid.Error() {
		t.Errorf("got %v", err)
	}
}
