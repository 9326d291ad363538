// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

func newBackupCommand(a *app) *cobra.Command {
	var flags requestFlags
	var spec v1alpha1.UpdateRequestSpec
	cmd := &cobra.Command{
		Use:   "backup APPLICATION",
		Short: "Make a backup now",
		Long: `Creates an UpdateRequest with backupOnly and shows its progress. The application goes on
running, and nothing but the backup is made. See the backups with: fairlead backups APPLICATION
` + exitCodes,
		Example:           "  fairlead backup shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.complete(completeApplications),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, target, err := a.prepare(cmd.Context(), args[0], &flags)
			if err != nil {
				return err
			}
			spec.BackupOnly = true
			return a.submit(cmd.Context(), s, target, spec, &flags)
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&spec.DryRun, "dry-run", false, "find out what would be saved, print it, and change nothing")
	return cmd
}

func newRestoreCommand(a *app) *cobra.Command {
	var flags requestFlags
	var spec v1alpha1.UpdateRequestSpec
	var yes bool
	cmd := &cobra.Command{
		Use:   "restore APPLICATION BACKUP",
		Short: "Go back to a backup: code, settings, volumes and databases",
		Long: `Creates an UpdateRequest with restoreFrom and shows its progress. BACKUP is the name or the
ID of a backup. What is there now is saved first, as a backup of its own; then it is
overwritten. The application is down meanwhile.

To restore without the daemon, on the Docker host, see: fairlead rollback-offline
` + exitCodes,
		Example: `  fairlead restore shop shop-20231201-143022 --dry-run
  fairlead restore shop 20231201_143022 --yes`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.complete(completeApplications),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && !spec.DryRun {
				return usageError(errors.New("what changed since the backup is overwritten: see what that is with --dry-run, and say --yes to go on"))
			}
			s, target, err := a.prepare(cmd.Context(), args[0], &flags)
			if err != nil {
				return err
			}
			backups, err := s.backups(cmd.Context(), target.Name)
			if err != nil {
				return err
			}
			b := chooseBackup(backups, args[1])
			if b == nil {
				return fmt.Errorf("%s has no backup %q; list them with: fairlead backups %s", target.Name, args[1], target.Name)
			}
			spec.RestoreFrom = &v1alpha1.LocalReference{Name: b.Name}
			return a.submit(cmd.Context(), s, target, spec, &flags)
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&spec.DryRun, "dry-run", false, "find out what would be overwritten, print it, and change nothing")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "overwrite it")
	return cmd
}

// chooseBackup finds a backup by its name, or by its ID with or without "backup_".
func chooseBackup(backups []v1alpha1.Backup, wanted string) *v1alpha1.Backup {
	wanted = strings.TrimPrefix(wanted, "backup/")
	for i := range backups {
		b := &backups[i]
		if b.Name == wanted || b.Spec.ID == wanted || b.Spec.ID == "backup_"+wanted {
			return b
		}
	}
	return nil
}
