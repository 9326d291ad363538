// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListTellsWholeFromBroken(t *testing.T) {
	if whole, broken, err := List(filepath.Join(t.TempDir(), "none")); len(whole)+len(broken) != 0 || err != nil {
		t.Errorf("no directory: %v, %v, %v", whole, broken, err)
	}
	for name, c := range map[string]struct {
		damage func(path string) error
		want   string
		verify bool // only the checksums tell
	}{
		"no manifest":     {damage: func(p string) error { return os.Remove(filepath.Join(p, ManifestName)) }, want: "not made by Fairlead"},
		"empty manifest":  {damage: func(p string) error { return os.WriteFile(filepath.Join(p, ManifestName), nil, 0o600) }, want: "not valid JSON"},
		"newer manifest":  {damage: edit(`"schemaVersion": 1`, `"schemaVersion": 2`), want: "use a newer one"},
		"another backup":  {damage: edit(testID, "backup_20231201_143023"), want: "manifest of"},
		"evil file name":  {damage: edit(`"file": "files.tar.gz"`, `"file": "../files.tar.gz"`), want: "invalid file name"},
		"file is missing": {damage: func(p string) error { return os.Remove(filepath.Join(p, "files.tar.gz")) }, want: "files.tar.gz is missing"},
		"file is cut":     {damage: func(p string) error { return os.Truncate(filepath.Join(p, "files.tar.gz"), 10) }, want: "10 bytes instead of"},
		"bit rot":         {damage: flip, want: "damaged", verify: true},
		"other checksum":  {damage: edit(`"sha256": "`, `"sha256": "0`), want: "SHA-256", verify: true},
		"other size":      {damage: edit(`"uncompressedBytes": `, `"uncompressedBytes": 1`), want: "bytes of data", verify: true},
		"other entries":   {damage: edit(`"entries": `, `"entries": 1`), want: "entries instead of", verify: true},
		"other databases": {damage: edit(`"shop"
      ]`, `"shop2"
      ]`), want: `"shop2" is missing`, verify: true},
		"unknown format": {damage: edit("tar+gzip", "tar+x"), want: "unknown format", verify: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			_, err := s.run()
			must(t, err)
			must(t, c.damage(filepath.Join(s.dir, testID)))
			whole, broken, err := List(s.dir)
			must(t, err)
			if c.verify {
				if len(whole) != 1 {
					t.Fatalf("broken already: %v", broken)
				}
			} else if len(whole) != 0 || len(broken) != 1 || !strings.Contains(broken[0].Err.Error(), c.want) {
				t.Errorf("whole %v, broken %v", whole, broken)
			}
			if err := Verify(context.Background(), s.dir, testID); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("verify: %v", err)
			}
		})
	}
}

func edit(from, to string) func(string) error {
	return func(p string) error {
		path := filepath.Join(p, ManifestName)
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !strings.Contains(string(data), from) {
			return errors.New("not in the manifest: " + from)
		}
		return os.WriteFile(path, []byte(strings.ReplaceAll(string(data), from, to)), 0o600)
	}
}

// flip changes one bit in the middle of a file.
func flip(p string) error {
	path := filepath.Join(p, "volume_shop_data.tar.gz")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	return os.WriteFile(path, data, 0o600)
}

func TestVerifyEndsWithTheContext(t *testing.T) {
	s := newScene(t)
	_, err := s.run()
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Verify(ctx, s.dir, testID); !errors.Is(err, context.Canceled) || errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

func TestOpenAndRemoveAreStrict(t *testing.T) {
	s := newScene(t)
	_, err := s.run()
	must(t, err)
	for _, id := range []string{"", "..", "../backups", testID + "/", "backup_20231201_143023"} {
		if _, err := Open(s.dir, id); err == nil {
			t.Errorf("Open(%q) succeeded", id)
		}
		if err := Remove(s.dir, id); err == nil {
			t.Errorf("Remove(%q) succeeded", id)
		}
	}
	if _, err := Open(s.dir, "backup_20231201_143023"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if err := Remove(s.dir, "backup_20231201_143023"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	must(t, os.MkdirAll(filepath.Join(s.dir, trashPrefix+testID, "old"), 0o700)) // of a crash in an earlier removal
	must(t, Remove(s.dir, testID))
	s.nothingLeft()
}

func TestSweepLeavesWhatIsInUse(t *testing.T) {
	s := newScene(t)
	_, err := s.run()
	must(t, err)
	const busyID, deadID = "backup_20240101_000000", "backup_20240101_000001"
	for _, name := range []string{partialName(busyID), partialName(deadID), trashPrefix + deadID, "mine", ".notes.partial"} {
		must(t, os.Mkdir(filepath.Join(s.dir, name), 0o700))
	}
	for _, id := range []string{busyID, deadID} {
		v := volumeSource{engine: s.engine, volume: "shop_data", images: s.engine.images, labels: TemporaryLabels(s.dir, id)}
		_, err := v.create(context.Background())
		must(t, err)
	}
	other := volumeSource{engine: s.engine, volume: "shop_data", images: s.engine.images, labels: TemporaryLabels("/elsewhere", deadID)}
	_, err = other.create(context.Background())
	must(t, err)
	l, err := lockDir(filepath.Join(s.dir, partialName(busyID)))
	must(t, err)
	must(t, s.runner.Sweep(context.Background(), s.dir))
	for name, want := range map[string]bool{
		testID: true, partialName(busyID): true, "mine": true, ".notes.partial": true, partialName(deadID): false, trashPrefix + deadID: false,
	} {
		if _, err := os.Stat(filepath.Join(s.dir, name)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", name, err == nil, want)
		}
	}
	if len(s.engine.containers) != 2 {
		t.Errorf("%d containers left, want that in use and that of another directory", len(s.engine.containers))
	}
	s.job.ID = busyID
	if _, err := s.run(); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
	l.release()
	if _, err := s.run(); err != nil {
		t.Error(err)
	}
}

func TestTemporaryContainersAreNotTheApplications(t *testing.T) {
	labels := TemporaryLabels("/d", testID)
	for _, inherited := range []string{"com.docker.compose.project", "com.docker.compose.service", "fairlead.dev/application"} {
		if v, ok := labels[inherited]; !ok || v != "" {
			t.Errorf("%s would be inherited from the image", inherited)
		}
	}
}
