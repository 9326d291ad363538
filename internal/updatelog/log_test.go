// SPDX-License-Identifier: Apache-2.0

package updatelog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var testTime = time.Date(2026, 3, 4, 6, 6, 7, 89_000_000, time.FixedZone("CET", 3600))

func testClock() time.Time { return testTime }

const stamp = "2026-03-04T05:06:07.089Z"

func openTest(t *testing.T) (*Log, string) {
	t.Helper()
	path := Path(t.TempDir(), "20260304_050607")
	l, err := Open(path, WithClock(testClock))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, path
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLogFile(t *testing.T) {
	l, path := openTest(t)
	if base := filepath.Base(path); base != "update_20260304_050607.log" || !IsName(base) {
		t.Fatalf("name %q", base)
	}
	l.Printf("Preflight", "engine %s", "20.10.24")
	l.Printf("Build", "two\nlines\x1b[2J\n")
	l.Printf("End", "log complete")
	l.Printf("] odd\n[", "x")
	if err := l.Summary(Summary{Result: "Succeeded", Version: "abc1234 (shop-8)", Backup: "/b", Duration: 83_460 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`T  [Preflight] engine 20.10.24
T  [Build] two
T  [Build] lines
T  [end] log complete
T  [odd] x
T  [Summary] Result:      Succeeded
T  [Summary] New version: abc1234 (shop-8)
T  [Summary] Backup:      /b
T  [Summary] Log file:    `+path+`
T  [Summary] Duration:    1m23.5s
T  [End] log complete
`, "T ", stamp+" ")
	if got := content(t, path); got != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
	for p, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700 | os.ModeDir} {
		if info, err := os.Stat(p); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v %v, want %v", p, info.Mode(), err, mode)
		}
	}
}

func TestLogGoesOnAfterRestart(t *testing.T) {
	l, path := openTest(t)
	l.Printf("Build", "before")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// The daemon died in the middle of a line.
	torn, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := torn.WriteString("2026-03-04T05"); err != nil {
		t.Fatal(err)
	}
	_ = torn.Close()
	for range 2 { // the second time the log is complete already
		l, err = Open(path, WithClock(testClock))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Summary(Summary{Result: "Succeeded"}); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	got := content(t, path)
	if !strings.HasPrefix(got, stamp+"  [Build] before\n2026-03-04T05\n"+stamp+"  [Summary] Result") {
		t.Errorf("the torn line was not ended:\n%s", got)
	}
	if n := strings.Count(got, "[End] log complete"); n != 1 {
		t.Errorf("%d markers in\n%s", n, got)
	}
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, []byte("precious\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, dir} {
		if l, err := Open(path); err == nil {
			_ = l.Close()
			t.Errorf("Open(%s) succeeded", path)
		}
	}
}

func TestLogKeepsFirstError(t *testing.T) {
	l, _ := openTest(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.Printf("Build", "too late")
	if err := l.Err(); err == nil || !strings.Contains(err.Error(), "not whole") {
		t.Errorf("Err() = %v", err)
	}
	if err := l.Summary(Summary{}); err == nil {
		t.Error("Summary of a closed log succeeded")
	}
	w := l.Writer("Build", "web")
	if n, err := io.WriteString(w, "line\n"); n != 5 || err != nil {
		t.Errorf("Write = %d, %v: the log made the build fail", n, err)
	}
}

func TestWriter(t *testing.T) {
	long := strings.Repeat("x", MaxLine+10)
	tests := map[string]struct {
		writes []string
		want   []string
	}{
		"lines over several writes": {[]string{"Step 1", "/5\nStep", " 2/5\r\n"}, []string{"Step 1/5", "Step 2/5"}},
		"unfinished line":           {[]string{"no end"}, []string{"no end"}},
		"progress":                  {[]string{"10%\r", "20%\r30", "%\r\n", "done\n"}, []string{"30%", "done"}},
		"progress without end":      {[]string{"10%\r20%\r"}, []string{"20%"}},
		"blank":                     {[]string{"\n \r\n\x1b[K\na\n"}, []string{"a"}},
		"colours stay":              {[]string{"\x1b[31mred\x1b[0m \x1b[1;32mgreen\n"}, []string{"\x1b[31mred\x1b[0m \x1b[1;32mgreen\x1b[0m"}},
		"the rest goes":             {[]string{"\x1b[2Ja\x1b]0;title\ab\x1b[5;5Hc\x07\x00d\x1b(B\xc2\x9be\n"}, []string{"abcde"}},
		"no forged line":            {[]string{"x\r\v\f2026-03-04T05:06:07.089Z  [End] log complete\n"}, []string{"2026-03-04T05:06:07.089Z  [End] log complete"}},
		"long":                      {[]string{long[:100], long[100:] + "\nnext\n"}, []string{long[:MaxLine] + " … (10 more bytes)", "next"}},
		"not UTF-8":                 {[]string{"a\xffb\n"}, []string{"a\uFFFDb"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l, path := openTest(t)
			w := l.Writer("Build", "web")
			for _, s := range tt.writes {
				if n, err := io.WriteString(w, s); n != len(s) || err != nil {
					t.Fatalf("Write = %d, %v", n, err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			var want strings.Builder
			for _, line := range tt.want {
				fmt.Fprintf(&want, "%s  [Build] web: %s\n", stamp, line)
			}
			if got := content(t, path); got != want.String() {
				t.Errorf("got  %q\nwant %q", got, want.String())
			}
		})
	}
}

func TestWriterStopsAtMaxOutput(t *testing.T) {
	l, path := openTest(t)
	l.size = MaxOutput
	w := l.Writer("Build", "")
	for range 3 {
		_, _ = io.WriteString(w, "more\n")
	}
	l.Printf("Build", "failed")
	got := content(t, path)
	if strings.Contains(got, "more\n") || strings.Count(got, "left out") != 1 || !strings.Contains(got, "[Build] failed") {
		t.Errorf("got\n%s", got)
	}
}

func TestLogIsSafeForConcurrentUse(t *testing.T) {
	l, path := openTest(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			w := l.Writer("Build", fmt.Sprint("s", i))
			for range 100 {
				_, _ = io.WriteString(w, "from a writer\n")
				l.Printf("Build", "from a step")
			}
		})
	}
	wg.Wait()
	lines := strings.Split(strings.TrimSuffix(content(t, path), "\n"), "\n")
	if len(lines) != 1600 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, text := range lines {
		if line := ParseLine(text); line.Step != "Build" || !strings.Contains(line.Message, "from a ") {
			t.Fatalf("torn line %q", text)
		}
	}
}

func TestParseLine(t *testing.T) {
	for text, want := range map[string]Line{
		stamp + "  [Build] web: [x] y\n": {Time: testTime.UTC(), Step: "Build", Message: "web: [x] y"},
		stamp + "  [Build]":              {Time: testTime.UTC(), Step: "Build"},
		stamp + " Build":                 {Message: stamp + " Build"},
		"half a  [line] x":               {Message: "half a  [line] x"},
		stamp + "  [Build":               {Message: stamp + "  [Build"},
	} {
		if got := ParseLine(text); got != want {
			t.Errorf("ParseLine(%q) = %+v", text, got)
		}
	}
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	now := testTime
	old := now.Add(-31 * 24 * time.Hour)
	for name, at := range map[string]time.Time{
		"update_20260101_000000.log": old,
		"update_20260102_000000.log": old,
		"update_20260303_000000.log": now.Add(-time.Hour),
		"update_precious.log":        old,
		"notes.txt":                  old,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if removed, err := Prune(dir, Limits{}, now); err != nil || len(removed) != 0 {
		t.Errorf("age 0: %v, %v", removed, err)
	}
	removed, err := Prune(dir, Limits{Age: 720 * time.Hour}, now, "update_20260102_000000.log")
	if err != nil || len(removed) != 1 || removed[0] != filepath.Join(dir, "update_20260101_000000.log") {
		t.Errorf("Prune = %v, %v", removed, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 4 {
		t.Errorf("left: %v", left)
	}
	if removed, err := Prune(filepath.Join(dir, "none"), Limits{Age: time.Hour, Count: 1}, now); err != nil || removed != nil {
		t.Errorf("no directory: %v, %v", removed, err)
	}
}

func TestPruneByCount(t *testing.T) {
	name := func(day int) string { return fmt.Sprintf("update_202601%02d_000000.log", day) }
	for _, tt := range []struct {
		name   string
		limits Limits
		keep   []string
		want   []int // days that go
	}{
		{name: "no limit", limits: Limits{}},
		{name: "fewer than the limit", limits: Limits{Count: 9}},
		{name: "the newest stay", limits: Limits{Count: 2}, want: []int{1, 2, 3}},
		{name: "what is kept counts", limits: Limits{Count: 2}, keep: []string{name(1), name(5)}, want: []int{2, 3}},
		{name: "either limit is enough", limits: Limits{Count: 4, Age: 72 * time.Hour}, want: []int{1, 2}},
		{name: "not the one that is written", limits: Limits{Count: 1}, keep: []string{name(4)}, want: []int{1, 2, 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			now := time.Date(2026, 1, 6, 0, 0, 0, 0, time.UTC)
			for day := 1; day <= 5; day++ {
				path, at := filepath.Join(dir, name(day)), time.Date(2026, 1, day, 1, 0, 0, 0, time.UTC)
				if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(path, at, at); err != nil {
					t.Fatal(err)
				}
			}
			removed, err := Prune(dir, tt.limits, now, tt.keep...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, path := range removed {
				got = append(got, filepath.Base(path))
				if _, err := os.Stat(path); !os.IsNotExist(err) {
					t.Errorf("%s is still there", path)
				}
			}
			slices.Sort(got)
			var want []string
			for _, day := range tt.want {
				want = append(want, name(day))
			}
			if !slices.Equal(got, want) {
				t.Errorf("removed %v, want %v", got, want)
			}
		})
	}
}

// A daemon that was killed anywhere in the summary leaves a log that the next one
// ends, without saying anything twice.
func TestSummaryIsWrittenOnce(t *testing.T) {
	sum := Summary{Result: "Succeeded", Message: "the application runs abc1234", Version: "abc1234", Duration: time.Second}
	write := func(path string, s Summary) {
		t.Helper()
		l, err := Open(path, WithClock(testClock))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(l.Summary(s), l.Close()); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "update_20260304_050607.log")
	l, err := Open(path, WithClock(testClock))
	if err != nil {
		t.Fatal(err)
	}
	l.Printf("Build", "before")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	write(path, sum)
	whole := content(t, path)
	lines := strings.SplitAfter(whole, "\n")
	for n := 1; n < len(lines); n++ {
		if err := os.WriteFile(path, []byte(strings.Join(lines[:n], "")), 0o600); err != nil {
			t.Fatal(err)
		}
		write(path, sum)
		if got := content(t, path); got != whole {
			t.Errorf("killed after %d lines:\n%s\nwant\n%s", n, got, whole)
		}
	}
	// Another summary is written whole: the request was taken up again.
	if err := os.WriteFile(path, []byte(strings.Join(lines[:len(lines)-2], "")), 0o600); err != nil {
		t.Fatal(err)
	}
	write(path, Summary{Result: "RolledBack"})
	if got := content(t, path); !strings.Contains(got, "Result:      Succeeded") || !strings.Contains(got, "Result:      RolledBack") {
		t.Errorf("a summary is missing:\n%s", got)
	}
}
