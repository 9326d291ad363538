// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"testing"
	"time"
)

func TestNewIDIsUTCAndUnique(t *testing.T) {
	at := time.Date(2023, 12, 1, 15, 30, 22, 0, time.FixedZone("CET", 3600))
	taken := map[string]bool{}
	for _, want := range []string{"backup_20231201_143022", "backup_20231201_143023", "backup_20231201_143024"} {
		got := NewID(at, func(id string) bool { return taken[id] })
		if got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		if err := checkID(got); err != nil {
			t.Fatal(err)
		}
		taken[got] = true
	}
}

func TestParseID(t *testing.T) {
	for in, want := range map[string]string{
		"20231201_143022":               "backup_20231201_143022",
		"backup_20231201_143022":        "backup_20231201_143022",
		"":                              "",
		"..":                            "",
		"../backup_20231201_143022":     "",
		"backup_20231201_143022/..":     "",
		"backup_20231201_143022\n":      "",
		"backup_20231301_143022":        "",
		"backup_20231201_146022":        "",
		".backup_20231201_143022.part":  "",
		"backup_backup_20231201_143022": "",
		"backup_２０２３１２０１_143022":        "",
	} {
		got, err := ParseID(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ParseID(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestPartialID(t *testing.T) {
	if id, ok := partialID(partialName("backup_20231201_143022")); !ok || id != "backup_20231201_143022" {
		t.Errorf("got %q, %v", id, ok)
	}
	for _, name := range []string{"backup_20231201_143022", ".partial", ".x.partial", "backup_20231201_143022.partial", ".trash_backup_20231201_143022"} {
		if _, ok := partialID(name); ok {
			t.Errorf("%q is taken for a partial directory", name)
		}
	}
}
