// SPDX-License-Identifier: Apache-2.0

package failure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

func TestKindsAreFoundInAChain(t *testing.T) {
	plain := errors.New("connection refused")
	tests := []struct {
		name                  string
		err                   error
		terminal, interrupted bool
		text                  string
	}{
		{"nothing", nil, false, false, ""},
		{"a disturbance", plain, false, false, "connection refused"},
		{"terminal", Terminalf("Bad", "mend it"), true, false, "mend it"},
		{"wrapped", fmt.Errorf("service web: %w", Terminalf("Bad", "mend it")), true, false, "service web: mend it"},
		{"joined", errors.Join(plain, Terminalf("Bad", "mend it")), true, false, "connection refused\nmend it"},
		{"interrupted", &Interrupted{Err: context.Canceled}, false, true, "interrupted: context canceled"},
		{"interrupted without a cause", &Interrupted{}, false, true, "interrupted"},
		{"wrapped interruption", fmt.Errorf("build: %w", &Interrupted{}), false, true, "build: interrupted"},
		{"somebody's cancellation", context.Canceled, false, false, "context canceled"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := AsTerminal(tt.err); (got != nil) != tt.terminal || got != nil && (got.Reason != "Bad" || got.Message != "mend it") {
				t.Errorf("terminal: %+v", got)
			}
			if got := IsInterrupted(tt.err); got != tt.interrupted {
				t.Errorf("interrupted: %t", got)
			}
			if tt.err != nil && tt.err.Error() != tt.text {
				t.Errorf("text: %q", tt.err.Error())
			}
		})
	}
}

func TestTerminalKeepsItsCause(t *testing.T) {
	err := Terminalf("Bad", "open the file: %w", fs.ErrNotExist)
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != "open the file: file does not exist" {
		t.Errorf("got %v", err)
	}
	if err := error(&Terminal{Reason: "Bad", Err: fs.ErrNotExist}); err.Error() != "file does not exist" {
		t.Errorf("without a message: %q", err.Error())
	}
	if !errors.Is(&Interrupted{Err: context.Canceled}, context.Canceled) {
		t.Error("the cause of an interruption is lost")
	}
}
