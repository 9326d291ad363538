// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/utils/clock"

	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/health"
	"github.com/fairlead-dev/fairlead/internal/measure"
	"github.com/fairlead-dev/fairlead/internal/restore"
	"github.com/fairlead-dev/fairlead/internal/self"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

// offlineFlags are the settings of `fairlead rollback-offline`.
type offlineFlags struct {
	restore.Options
	dockerHost string
	yes        bool
	ignoreAPI  bool
}

// newRollbackOfflineCommand is `fairlead rollback-offline`: it works without the
// daemon, so it is no client of the API like the others.
func newRollbackOfflineCommand() *cobra.Command {
	var f offlineFlags
	cmd := &cobra.Command{
		Use:   "rollback-offline [BACKUP]",
		Short: "Restore a backup by hand, without the daemon",
		Long: `Restore a backup of an application when all else is down: configuration, code,
volumes and PostgreSQL come back. It needs the deployment directory with its
backups, Git and the Docker engine, and neither the daemon nor its data.

What will be overwritten is shown first, and asked for; and it is saved, as a
backup of its own. If the restore is cut off, the same command goes on. Without
BACKUP, the backups are listed.

The deployment directory is --directory, or the working directory.`,
		Example: `  fairlead rollback-offline --directory /opt/shop
  fairlead rollback-offline 20231201_143022 --directory /opt/shop --dry-run
  fairlead rollback-offline 20231201_143022 --directory /opt/shop`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return listBackups(cmd.OutOrStdout(), f.Directory)
			}
			f.ID = args[0]
			return rollbackOffline(cmd.Context(), f, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Directory, "directory", ".", "deployment directory of the application")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask, as for scripts")
	flags.BoolVar(&f.DryRun, "dry-run", false, "show what would be overwritten, and change nothing")
	flags.BoolVar(&f.Skip.Code, "skip-code", false, "leave the working tree where it is")
	flags.BoolVar(&f.Skip.Files, "skip-files", false, "leave .env, the Compose files and other settings as they are")
	flags.BoolVar(&f.Skip.Volumes, "skip-volumes", false, "leave volumes and bind mounts as they are")
	flags.BoolVar(&f.Skip.Database, "skip-database", false, "leave the PostgreSQL databases as they are")
	flags.BoolVar(&f.NoSafetyBackup, "no-safety-backup", false, "do not save what is overwritten: it is lost")
	flags.BoolVar(&f.NewCluster, "new-database-cluster", false, "remove the files of the PostgreSQL servers and make new ones from the dumps, where a server does not start any more")
	flags.DurationVar(&f.HealthTimeout, "health-timeout", 5*time.Minute, "how long a container may take to become ready")
	flags.StringSliceVar(&f.Profiles, "profile", nil, "Compose profile that is active besides those that the backup names")
	flags.StringVar(&f.dockerHost, "docker-host", "", "Docker engine; default: DOCKER_HOST or the engine's default socket")
	flags.BoolVar(&f.ignoreAPI, "ignore-daemon", false, "do not ask a daemon on this host whether it works on the application")
	return cmd
}

// newUnpackVolumeCommand is what rollback-offline runs inside of a container.
func newUnpackVolumeCommand() *cobra.Command {
	return &cobra.Command{
		Use: restore.UnpackCommand, Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return restore.UnpackVolume(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr())
		},
	}
}

func listBackups(out io.Writer, directory string) error {
	dir, err := filepath.Abs(directory)
	if err != nil {
		return err
	}
	whole, broken, err := backup.List(backup.Dir(dir))
	if err != nil {
		return err
	}
	if len(whole)+len(broken) == 0 {
		return fmt.Errorf("there are no backups in %s; name the deployment directory of the application with --directory", backup.Dir(dir))
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "BACKUP\tAPPLICATION\tMADE\tCOMMIT\tSIZE\tMADE FOR")
	for _, m := range whole {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", m.ID, m.Application, m.CreatedAt.Local().Format(time.DateTime),
			steps.Short(m.Commit), measure.Bytes(m.Bytes), m.Request)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, b := range broken {
		fmt.Fprintf(out, "%s cannot be used: %v\n", b.ID, b.Err)
	}
	return nil
}

func rollbackOffline(ctx context.Context, f offlineFlags, in io.Reader, out io.Writer) error {
	if !f.ignoreAPI {
		if err := refuseActive(ctx, f.Directory, out); err != nil {
			return err
		}
	}
	engine, err := docker.New(f.dockerHost)
	if err != nil {
		return err
	}
	defer func() { _ = engine.Close() }()
	creator, err := compose.NewCreator(engine)
	if err != nil {
		return err
	}
	defer func() { _ = creator.Close() }()
	program, err := os.Executable()
	if err != nil {
		return err
	}
	own, err := (&self.Finder{Engine: engine}).Find(ctx)
	if err != nil {
		return err
	}
	runner := &restore.Runner{
		Deps: steps.Deps{
			Docker: engine, Creator: creator, Prober: health.NewProber(engine, 0),
			Builder: func(parallel int) *build.Builder {
				return build.NewBuilder(engine, build.Options{Parallelism: parallel})
			},
			Puller:  build.NewPuller(engine, build.Options{}),
			Traffic: steps.DirectTraffic{}, Clock: clock.RealClock{}, Version: buildVersion(),
			Gateways: &boxes.Keeper{Engine: engine}, // what it brings back has its ports and names itself
		},
		Program: program, Out: out, Self: own,
		Confirm: func(ctx context.Context) (bool, error) {
			if f.yes {
				return true, nil
			}
			return ask(ctx, in, out)
		},
	}
	err = runner.Run(ctx, f.Options)
	if errors.Is(err, restore.ErrDeclined) {
		return &cli.Error{Code: cli.ExitCancelled, Err: err}
	}
	return err
}

// ask asks a person; whoever is not there must say so beforehand.
func ask(ctx context.Context, in io.Reader, out io.Writer) (bool, error) {
	if f, ok := in.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return false, &cli.Error{Code: cli.ExitUsage, Err: errors.New("nobody can be asked here, as the input is no terminal: nothing was changed; say --yes to go on without being asked")}
	}
	fmt.Fprint(out, "\nOverwrite this? Type yes to go on: ")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n') // without an answer it is no
		answer <- line
	}()
	select {
	case line := <-answer:
		return strings.EqualFold(strings.TrimSpace(line), "yes"), nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}
