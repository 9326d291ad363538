// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/cli"
)

// terminal is one, and what a person at it types.
func terminal(t *testing.T, typed string) *os.File {
	t.Helper()
	keyboard, path, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keyboard.Close() })
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if _, err := io.WriteString(keyboard, typed); err != nil {
		t.Fatal(err)
	}
	return f
}

// Only the whole word is a yes.
func TestTheQuestionOfRollbackOffline(t *testing.T) {
	const endOfInput = "\x04"
	for typed, want := range map[string]bool{
		"yes\n": true, " YES \r": true, "no\n": false, "y\n": false, "\n": false, endOfInput: false, "yes, but\n": false, "yesyes\n": false,
	} {
		var out strings.Builder
		got, err := ask(t.Context(), terminal(t, typed), &out)
		if err != nil || got != want {
			t.Errorf("%q: %t, %v, want %t", typed, got, err, want)
		}
		if !strings.Contains(out.String(), "Type yes to go on") {
			t.Errorf("%q: nobody was asked: %q", typed, out.String())
		}
	}
}

// Who thinks about it for long may end it as any program.
func TestTheQuestionEndsWithTheProgram(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	if got, err := ask(ctx, terminal(t, ""), io.Discard); got || !errors.Is(err, stop) {
		t.Errorf("%t, %v", got, err)
	}
}

// A script must say that it means it: a yes on its standard input may be meant for
// another program.
func TestNobodyToAsk(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := w.WriteString("yes\n"); err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]io.Reader{"a pipe": r, "no file": strings.NewReader("yes\n")} {
		var out strings.Builder
		got, err := ask(t.Context(), in, &out)
		if got || cli.ExitCode(err) != cli.ExitUsage || !strings.Contains(err.Error(), "--yes") || out.Len() > 0 {
			t.Errorf("%s: %t, %v (exit code %d), printed %q", name, got, err, cli.ExitCode(err), out.String())
		}
	}
}
