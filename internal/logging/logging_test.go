// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestFormats(t *testing.T) {
	for _, c := range []struct {
		format   string
		terminal bool
		wantJSON bool
	}{
		{"auto", true, false}, {"auto", false, true}, {"", false, true},
		{"console", false, false}, {"json", true, true},
	} {
		var out bytes.Buffer
		l, err := New(&out, c.format, "info", c.terminal)
		if err != nil {
			t.Fatal(err)
		}
		l.Logr.Info("update started", "application", "web")
		line := out.Bytes()
		if got := json.Valid(line); got != c.wantJSON {
			t.Errorf("%s, terminal %t: got %s", c.format, c.terminal, line)
		}
		if c.wantJSON {
			var entry map[string]any
			if err := json.Unmarshal(line, &entry); err != nil {
				t.Fatal(err)
			}
			if entry["level"] != "info" || entry["msg"] != "update started" || entry["application"] != "web" || entry["time"] == nil {
				t.Errorf("got %s", line)
			}
		}
	}
}

func TestLevels(t *testing.T) {
	for _, c := range []struct{ level, want string }{
		{"error", "error"}, {"warn", "error"}, {"info", "info error"}, {"", "info error"},
		{"debug", "info v1 error"}, {"1", "info v1 error"}, {"2", "info v1 v2 error"}, {"0", "info error"},
	} {
		var out bytes.Buffer
		l, err := New(&out, FormatJSON, c.level, false)
		if err != nil {
			t.Fatal(err)
		}
		l.Logr.Info("info")
		l.Logr.V(1).Info("v1")
		l.Logr.V(2).Info("v2")
		l.Logr.Error(errors.New("x"), "error")
		if got := strings.Join(messages(t, &out), " "); got != c.want {
			t.Errorf("level %q shows %q, want %q", c.level, got, c.want)
		}
	}
	for _, c := range []struct{ format, level string }{{"xml", "info"}, {"json", "loud"}, {"json", "99"}, {"json", "-1"}} {
		if _, err := New(&bytes.Buffer{}, c.format, c.level, false); err == nil || !strings.Contains(err.Error(), "use ") {
			t.Errorf("%+v: got %v, want an error that lists what is valid", c, err)
		}
	}
}

func TestLibrariesAreQuiet(t *testing.T) {
	speak := func(l *Logger) {
		etcd := l.Etcd().With() // a derived logger hides the same
		etcd.Info("started")
		etcd.Warn("simple token is not cryptographically signed")
		etcd.Warn("disk is slow")
		controllers := l.Controllers().WithName("x").WithValues("a", 1)
		controllers.Info("Starting workers")
		controllers.Info("update started")
		controllers.Error(errors.New("x"), "update failed")
	}
	for level, want := range map[string]string{
		"info":  "disk is slow|update started|update failed",
		"warn":  "disk is slow|update failed",
		"error": "update failed",
		"debug": "started|simple token is not cryptographically signed|disk is slow|Starting workers|update started|update failed",
	} {
		var out bytes.Buffer
		l, err := New(&out, FormatJSON, level, false)
		if err != nil {
			t.Fatal(err)
		}
		speak(l)
		if got := strings.Join(messages(t, &out), "|"); got != want {
			t.Errorf("level %s shows %q, want %q", level, got, want)
		}
	}
}

func messages(t *testing.T, out *bytes.Buffer) []string {
	t.Helper()
	var all []string
	decoder := json.NewDecoder(out)
	for decoder.More() {
		var entry struct{ Msg string }
		if err := decoder.Decode(&entry); err != nil {
			t.Fatal(err)
		}
		all = append(all, entry.Msg)
	}
	return all
}
