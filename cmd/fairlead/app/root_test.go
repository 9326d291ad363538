// SPDX-License-Identifier: Apache-2.0

package app

import (
	"io"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/cli"
)

func TestWrongCommandLines(t *testing.T) {
	for _, tt := range []struct{ line, says string }{
		{"updaet", `there is no command "updaet" of fairlead; did you mean update?`},
		{"serve --bad", "unknown flag: --bad\nSee: fairlead serve --help"},
		{"serve too much", `unknown command "too" for "fairlead serve"`},
		{"doctor --bad", "unknown flag: --bad"},
		{"rollback-offline one two", "accepts at most 1 arg(s)"},
		{"--bad", "unknown flag: --bad"},
		{"token creat", `there is no command "creat" of fairlead token; did you mean create?`},
	} {
		cmd := newRootCommand(Parts{})
		cmd.SetArgs(strings.Fields(tt.line))
		cmd.SetOut(io.Discard)
		err := cmd.Execute()
		if cli.ExitCode(err) != cli.ExitUsage || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v (exit code %d), want one that says %q and exit code %d", tt.line, err, cli.ExitCode(err), tt.says, cli.ExitUsage)
		}
	}
}

func TestHelpIsNoError(t *testing.T) {
	for _, line := range []string{"", "--help", "token", "serve --help"} {
		cmd := newRootCommand(Parts{})
		cmd.SetArgs(strings.Fields(line))
		var out strings.Builder
		cmd.SetOut(&out)
		if err := cmd.Execute(); err != nil || !strings.Contains(out.String(), "Usage:") {
			t.Errorf("%q: %v\n%s", line, err, out.String())
		}
	}
}

func TestVersion(t *testing.T) {
	version = "v1.2.3"
	t.Cleanup(func() { version = "" })
	for _, line := range []string{"version", "--version"} {
		cmd := newRootCommand(Parts{})
		cmd.SetArgs(strings.Fields(line))
		var out strings.Builder
		cmd.SetOut(&out)
		if err := cmd.Execute(); err != nil || !strings.HasPrefix(out.String(), "fairlead v1.2.3 (go1.") || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%q: %v\n%s", line, err, out.String())
		}
	}
}
