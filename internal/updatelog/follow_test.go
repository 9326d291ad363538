// SPDX-License-Identifier: Apache-2.0

package updatelog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// following runs Follow in the background; its output is read from the pipe.
func following(ctx context.Context, path string, opt FollowOptions) (*io.PipeReader, <-chan error) {
	r, w := io.Pipe()
	result := make(chan error, 1)
	go func() {
		err := Follow(ctx, path, opt, w)
		_ = w.Close()
		result <- err
	}()
	return r, result
}

func readLine(t *testing.T, r io.Reader) string {
	t.Helper()
	var b strings.Builder
	one := make([]byte, 1)
	for {
		if _, err := io.ReadFull(r, one); err != nil {
			t.Fatalf("after %q: %v", b.String(), err)
		}
		if one[0] == '\n' {
			return b.String()
		}
		b.WriteByte(one[0])
	}
}

func TestFollowUntilComplete(t *testing.T) {
	l, path := openTest(t)
	l.Printf("Build", "first")
	r, result := following(t.Context(), path, FollowOptions{Follow: true})
	// Each line is written only after the one before it was read, so the reader
	// really waits.
	for i := range 20 {
		want := "first"
		if i > 0 {
			want = fmt.Sprint("line ", i)
			l.Printf("Build", "%s", want)
		}
		if got := ParseLine(readLine(t, r)).Message; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	if err := l.Summary(Summary{Result: "Succeeded"}); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r)
	if err != nil || !strings.HasSuffix(string(rest), "[End] log complete\n") {
		t.Fatalf("rest %q, %v", rest, err)
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

func TestFollowEnds(t *testing.T) {
	l, path := openTest(t)
	l.Printf("Build", "only line")

	t.Run("when done, with all that was written before", func(t *testing.T) {
		done := make(chan struct{})
		r, result := following(t.Context(), path, FollowOptions{Follow: true, Done: done})
		readLine(t, r)
		l.Printf("Build", "last words")
		close(done)
		rest, _ := io.ReadAll(r)
		if !strings.HasSuffix(string(rest), "last words\n") {
			t.Errorf("rest %q", rest)
		}
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
	t.Run("with the context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r, result := following(ctx, path, FollowOptions{Follow: true})
		readLine(t, r)
		readLine(t, r)
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("at once without follow", func(t *testing.T) {
		var b strings.Builder
		if err := Follow(t.Context(), path, FollowOptions{}, &b); err != nil || !strings.Contains(b.String(), "only line") {
			t.Errorf("%q, %v", b.String(), err)
		}
	})
	t.Run("at once when complete, from the very end", func(t *testing.T) {
		if err := l.Summary(Summary{}); err != nil {
			t.Fatal(err)
		}
		info, _ := os.Stat(path)
		var b strings.Builder
		if err := Follow(t.Context(), path, FollowOptions{Follow: true, Offset: info.Size()}, &b); err != nil || b.Len() != 0 {
			t.Errorf("%q, %v", b.String(), err)
		}
	})
	t.Run("offset beyond the end", func(t *testing.T) {
		if err := Follow(t.Context(), path, FollowOptions{Offset: 1 << 20}, io.Discard); !errors.Is(err, ErrOffset) {
			t.Error(err)
		}
	})
	t.Run("no file", func(t *testing.T) {
		if err := Follow(t.Context(), path+"x", FollowOptions{}, io.Discard); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	long := strings.Repeat("y", copyBuffer) // lines that cross the blocks read
	all := []string{"one", long, "", "four", long, "six"}
	for _, end := range []string{"", "\n"} {
		if err := os.WriteFile(path, []byte(strings.Join(all, "\n")+end), 0o600); err != nil {
			t.Fatal(err)
		}
		for n := -1; n <= len(all)+1; n++ {
			want := all
			if n >= 0 {
				want = all[max(0, len(all)-n):]
			}
			got, err := Tail(path, n)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("end %q: Tail(%d) = %d lines, %v", end, n, len(got), err)
			}
		}
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Tail(path, 3); err != nil || len(got) != 0 {
		t.Errorf("empty: %q, %v", got, err)
	}
}
