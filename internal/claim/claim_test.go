// SPDX-License-Identifier: Apache-2.0

package claim

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestClaims(t *testing.T) {
	dir := t.TempDir()
	take := func(how func(string) (*Claim, error), want error) *Claim {
		t.Helper()
		c, err := how(dir)
		if !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
		return c
	}
	one, two := take(Shared, nil), take(Shared, nil)
	take(Alone, ErrBusy)
	if err := errors.Join(one.Release(), two.Release()); err != nil {
		t.Fatal(err)
	}
	alone := take(Alone, nil)
	take(Shared, ErrBusy)
	take(Alone, ErrBusy)
	if err := alone.Release(); err != nil {
		t.Fatal(err)
	}
	if err := take(Shared, nil).Release(); err != nil {
		t.Fatal(err)
	}
	if _, err := Shared(filepath.Join(dir, "no", "such")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that does not exist: %v", err)
	}
}

func TestRestored(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".update"), 0o700); err != nil {
		t.Fatal(err)
	}
	if r, err := LastRestored(dir, "prod/shop"); r != nil || err != nil {
		t.Errorf("got %v, %v", r, err)
	}
	want := Restored{Backup: "backup_20231201_143022", At: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)}
	if err := MarkRestored(dir, "prod/shop", want); err != nil {
		t.Fatal(err)
	}
	if r, err := LastRestored(dir, "prod/shop"); err != nil || *r != want {
		t.Errorf("got %v, %v", r, err)
	}
	// Another application of the directory was not restored by that.
	for _, other := range []string{"prod/shop-staging", "staging/shop"} {
		if r, err := LastRestored(dir, other); r != nil || err != nil {
			t.Errorf("%s: got %v, %v", other, r, err)
		}
		if JournalPath(dir, other) == JournalPath(dir, "prod/shop") {
			t.Errorf("%s has the journal of another application", other)
		}
	}
	if err := os.WriteFile(of(dir, "restored", "prod/shop"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LastRestored(dir, "prod/shop"); err == nil {
		t.Error("half a file is taken for one")
	}
}
