// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// adoptFlags say what is adopted.
type adoptFlags struct {
	compose v1alpha1.ComposeSpec
	ref     string
	dryRun  bool
	output  string
}

func newAdoptCommand(a *app) *cobra.Command {
	var flags adoptFlags
	cmd := &cobra.Command{
		Use:   "adopt NAME --directory DIR",
		Short: "Tell Fairlead of an application that is there: creates an Application for a deployment directory",
		Long: `Creates an Application for a deployment directory on the Docker host: a Git clone with a
Compose file. Nothing that runs is touched; the first update goes on from it.

Several environments of one application are several Applications, each with its own
environment file and Compose project. See docs/guides/environments.md.`,
		Example: `  fairlead adopt shop --directory /opt/shop
  fairlead adopt shop-staging --directory /opt/shop-staging --env-file .env.staging --project shop-staging --ref develop
  fairlead adopt shop --directory . --file docker-compose.yml --file prod.yml --profile agent --dry-run`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.adopt(cmd.Context(), args[0], flags)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.compose.Directory, "directory", "", "deployment directory on the Docker host (required)")
	f.StringArrayVar(&flags.compose.Files, "file", nil, "Compose file, relative to the directory; may be repeated (default: Compose's own search)")
	f.StringArrayVar(&flags.compose.EnvFiles, "env-file", nil, "environment file, relative to the directory; may be repeated (default: .env)")
	f.StringArrayVar(&flags.compose.Profiles, "profile", nil, "Compose profile that is active; may be repeated")
	f.StringVar(&flags.compose.Project, "project", "", "name of the Compose project (default: Compose's own rule)")
	f.StringVar(&flags.ref, "ref", "", "branch or tag that updates come from (default: the branch that is checked out)")
	f.BoolVar(&flags.dryRun, "dry-run", false, "ask the API whether it would take the Application, print it, and create nothing")
	f.StringVarP(&flags.output, "output", "o", "", "print the Application: json, yaml or name")
	return cmd
}

func (a *app) adopt(ctx context.Context, name string, flags adoptFlags) error {
	switch flags.output {
	case "", outputJSON, outputYAML, outputName:
	default:
		return usageError(fmt.Errorf("--output=%s: json, yaml or name", flags.output))
	}
	if strings.ContainsRune(name, filepath.Separator) {
		return usageError(fmt.Errorf("the name %s is a path: give the application a name, as in: fairlead adopt %s --directory %s",
			name, orElse(strings.Trim(filepath.Base(name), "/."), "shop"), orElse(flags.compose.Directory, name)))
	}
	if flags.compose.Directory == "" {
		return usageError(errors.New("--directory is missing: name the deployment directory, such as --directory /opt/" + name))
	}
	dir, err := filepath.Abs(flags.compose.Directory)
	if err != nil {
		return err
	}
	flags.compose.Directory = dir
	if err := a.look(flags.compose); err != nil {
		return err
	}
	s, err := a.start()
	if err != nil {
		return err
	}
	target := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	target.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Application"))
	target.Spec.Compose = flags.compose
	target.Spec.Source.Ref = flags.ref
	var opts []client.CreateOption
	if flags.dryRun {
		opts = append(opts, client.DryRunAll)
		if flags.output == "" {
			flags.output = outputYAML
		}
	}
	if err := s.checkNeighbours(ctx, target); err != nil {
		return s.explain(err, true)
	}
	err = s.Create(ctx, target, opts...)
	if apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("there is an Application %s in the namespace %s already: choose another name, or change it with: fairlead kubectl edit application %s -n %s",
			name, s.namespace, name, s.namespace)
	}
	if apierrors.IsForbidden(err) {
		// Whoever may write an Application decides what runs on the host.
		return fmt.Errorf("you may not do this: %w\nThe role fairlead-admin allows it", err)
	}
	if err != nil {
		return s.explain(err, true)
	}
	if flags.output != "" {
		return s.printObject(a.Out, target, flags.output)
	}
	_, err = fmt.Fprintf(a.Out, "Created application %s for %s.\nSee it with: fairlead status %s\nUpdate it with: fairlead update %s\n", name, dir, name, name)
	return err
}

// look finds what is plainly wrong, if the directory can be seen from here: the
// command may be typed on another machine than the Docker host.
func (a *app) look(c v1alpha1.ComposeSpec) error {
	info, err := os.Stat(c.Directory)
	if err != nil {
		_, err = fmt.Fprintf(a.Err, "Note: %s cannot be seen from here (%v); it is taken to be on the Docker host.\n", c.Directory, errors.Unwrap(err))
		return err
	}
	if !info.IsDir() {
		return usageError(fmt.Errorf("--directory: %s is no directory", c.Directory))
	}
	for flag, files := range map[string][]string{"--file": c.Files, "--env-file": c.EnvFiles} {
		for _, f := range files {
			path := f
			if !filepath.IsAbs(path) {
				path = filepath.Join(c.Directory, f)
			}
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				return usageError(fmt.Errorf("%s %s: %s does not exist; the path is relative to the deployment directory", flag, f, path))
			}
		}
	}
	return nil
}

// checkNeighbours refuses a second Application of the same directory that nothing
// tells apart: both would work on the same containers.
func (s *session) checkNeighbours(ctx context.Context, target *v1alpha1.Application) error {
	var list v1alpha1.ApplicationList
	err := s.List(ctx, &list)
	if apierrors.IsForbidden(err) { // it may be allowed in the own namespace alone
		err = s.List(ctx, &list, client.InNamespace(target.Namespace))
	}
	if err != nil {
		return err
	}
	mine := target.Spec.Compose
	for _, o := range list.Items {
		other := o.Spec.Compose
		if o.Name == target.Name && o.Namespace == target.Namespace || filepath.Clean(other.Directory) != mine.Directory {
			continue
		}
		if mine.Project == other.Project && slices.Equal(mine.EnvFiles, other.EnvFiles) {
			return usageError(fmt.Errorf("the Application %s/%s is of the directory %s already: give another Compose project with --project, or another environment file with --env-file",
				o.Namespace, o.Name, mine.Directory))
		}
	}
	return nil
}
