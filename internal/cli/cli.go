// SPDX-License-Identifier: Apache-2.0

// Package cli has the client commands of fairlead: what people type to update an
// application and to look at it. The commands speak only to the API, with the
// rights of whoever types them.
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/client-go/rest"

	"github.com/fairlead-dev/fairlead/internal/cli/render"
	"github.com/fairlead-dev/fairlead/internal/clientconfig"
)

// Exit codes of the commands.
const (
	// ExitOK: done; for update and rollback, the request succeeded.
	ExitOK = 0
	// ExitFailed: the command, or the request it waited for, failed.
	ExitFailed = 1
	// ExitUsage: the command line is wrong; nothing was done.
	ExitUsage = 2
	// ExitRolledBack: the update failed and was undone.
	ExitRolledBack = 3
	// ExitCancelled: the request was cancelled or superseded.
	ExitCancelled = 4
	// ExitUnknown: the command stopped waiting before the end (timeout, lost
	// connection, Ctrl-C), or did not reach the API at all. A request that was
	// created goes on.
	ExitUnknown = 5
)

// Error ends a command with an exit code of its own.
type Error struct {
	// Code is the exit code.
	Code int
	// Err says why. It is nil if the command has told everything already.
	Err error
}

func (e *Error) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// ExitCode is the exit code that a command which returned err should end with.
func ExitCode(err error) int {
	var coded *Error
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &coded):
		return coded.Code
	default:
		return ExitFailed
	}
}

func usageError(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: ExitUsage, Err: err}
}

// Options are what the commands need of the world. Zero values mean the real one.
type Options struct {
	Out, Err io.Writer
	// Version is sent as part of the user agent.
	Version string
	// Now is the clock.
	Now func() time.Time
	// Load finds the client configuration; clientconfig.Load by default.
	Load func(kubeconfigFlag, namespaceFlag string) (*rest.Config, string, error)

	// connect replaces the connection in tests.
	connect func(*app) (*session, error)
	// terminal replaces the question whether Out is one, and its size.
	terminal func() (width, height int, ok bool)
}

// app is one run of a command: the options and the flags that all share.
type app struct {
	Options
	kubeconfig string
	namespace  string
}

// Commands returns the client commands: update, rollback, cancel, status, check, logs, adopt,
// apps, releases, backups, requests, token, backup and restore. Errors that they return carry their exit
// code, see ExitCode.
func Commands(o Options) []*cobra.Command {
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Err == nil {
		o.Err = os.Stderr
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Load == nil {
		o.Load = clientconfig.Load
	}
	if o.connect == nil {
		o.connect = connect
	}
	if o.terminal == nil {
		o.terminal = func() (int, int, bool) { return terminalSize(o.Out) }
	}
	makers := []func(*app) *cobra.Command{
		newUpdateCommand, newRollbackCommand, newCancelCommand, newStatusCommand, newCheckCommand, newLogsCommand,
		newAdoptCommand, newAppsCommand, newReleasesCommand, newBackupsCommand, newRequestsCommand,
		newTokenCommand, newBackupCommand, newRestoreCommand,
	}
	commands := make([]*cobra.Command, 0, len(makers))
	for _, make := range makers {
		a := &app{Options: o}
		cmd := make(a)
		a.share(cmd)
		commands = append(commands, cmd)
	}
	return commands
}

// share gives a command, and those below it, what all have in common.
func (a *app) share(cmd *cobra.Command) {
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	Strict(cmd)
	for _, sub := range cmd.Commands() {
		a.share(sub)
	}
	if cmd.HasSubCommands() {
		return
	}
	cmd.Flags().StringVar(&a.kubeconfig, "kubeconfig", "", "kubeconfig file; default: $KUBECONFIG, then the one of this host's daemon")
	cmd.Flags().StringVarP(&a.namespace, "namespace", "n", "", "namespace; default: the kubeconfig's, else "+clientconfig.DefaultNamespace)
}

// Strict makes a flag that cmd does not know, a word too many and one too few
// errors that end the program with ExitUsage.
func Strict(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError(errors.New(err.Error() + "\nSee: " + c.CommandPath() + " --help"))
	})
	args := cmd.Args
	switch {
	case cmd.HasSubCommands():
		cmd.Args = knownCommand
		if cmd.Run == nil && cmd.RunE == nil {
			cmd.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	case args != nil:
		cmd.Args = func(c *cobra.Command, list []string) error {
			if err := args(c, list); err != nil {
				return usageError(errors.New(err.Error() + "\nUsage: " + c.UseLine()))
			}
			return nil
		}
	}
}

// knownCommand refuses the first word that names none of c's commands.
func knownCommand(c *cobra.Command, words []string) error {
	if len(words) == 0 {
		return nil
	}
	c.SuggestionsMinimumDistance = 2 // letters that may be wrong
	message := fmt.Sprintf("there is no command %q of %s", words[0], c.CommandPath())
	if near := c.SuggestionsFor(words[0]); len(near) > 0 {
		message += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError(errors.New(message + "\nSee: " + c.CommandPath() + " --help"))
}

// style is how output to Out is to look.
func (a *app) style() render.Style {
	width, height, ok := a.terminal()
	return render.Style{
		Colour: ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
		Width:  width, Height: height, Location: time.Local,
	}
}

// terminalSize is the size of the terminal behind w, and whether there is one that
// can move its cursor.
func terminalSize(w io.Writer) (width, height int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return 0, 0, false
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 20 || height < 5 {
		return 0, 0, false
	}
	return width, height, true
}
