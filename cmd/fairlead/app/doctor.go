// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/internal/clientconfig"
	"github.com/fairlead-dev/fairlead/internal/daemon"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/doctor"
	"github.com/fairlead-dev/fairlead/internal/dropin"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

// doctorFlags are the settings of `fairlead doctor`.
type doctorFlags struct {
	kubeconfig, namespace string
	dataDir, listen       string
	dockerHost            string
	directories           []string
	output                string
	all                   bool
}

// newDoctorCommand is `fairlead doctor`. It looks at the host itself, so it is no
// mere client of the API.
func newDoctorCommand() *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor [APPLICATION]",
		Short: "Find out what is wrong on this host, and what to do",
		Long: `Find out what is wrong on this Docker host, and say what to do about it: the
daemon, the engine, Git, the applications and their requests. It goes as far as
it can when the daemon is down; --directory names applications then.

Run it as the user of the daemon, often with sudo. It fetches from the
repositories and changes nothing else. Exit code 0: no problem was found; 1:
there are some.`,
		Example: `  sudo fairlead doctor
  sudo fairlead doctor shop -o json
  sudo fairlead doctor --directory /opt/shop`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return runDoctor(cmd.Context(), f, name, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file; default: $KUBECONFIG, then the one of this host's daemon")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "namespace of APPLICATION; without one, all are looked at")
	flags.StringVar(&f.dataDir, "data-dir", clientconfig.DataDir(), "data directory of the daemon")
	flags.StringVar(&f.listen, "listen", listenAddress(os.LookupEnv, inContainer()), "address of the daemon's HTTP endpoints")
	flags.StringVar(&f.dockerHost, "docker-host", "", "Docker engine; default: DOCKER_HOST or the engine's default socket")
	flags.StringSliceVar(&f.directories, "directory", nil, "deployment directory to look at, as where the API does not answer")
	flags.StringVarP(&f.output, "output", "o", "", "json or yaml; default: text")
	flags.BoolVar(&f.all, "all", false, "also show what is well")
	return cmd
}

// listenAddress is where a daemon with this environment listens, unless flags say
// otherwise.
func listenAddress(env dropin.Lookup, inContainer bool) string {
	if address, _ := env(envName("listen")); address != "" {
		return address
	}
	if dropin.Wanted(env, inContainer) {
		// What else is wrong with the environment, the daemon has said.
		if s, _ := dropin.Read(env); s.Listen != "" {
			return s.Listen
		}
	}
	return daemon.DefaultListen
}

func runDoctor(ctx context.Context, f doctorFlags, name string, out io.Writer) error {
	switch f.output {
	case "", "json", "yaml":
	default:
		return &cli.Error{Code: cli.ExitUsage, Err: fmt.Errorf("--output=%s: json or yaml", f.output)}
	}
	engine, err := docker.New(f.dockerHost)
	if err != nil {
		return err
	}
	defer func() { _ = engine.Close() }()
	d := &doctor.Doctor{
		Deps:    steps.Deps{Docker: engine, Puller: build.NewPuller(engine, build.Options{}), Clock: clock.RealClock{}, Secrets: noSecrets{}},
		DataDir: f.dataDir, Listen: f.listen,
	}
	apps, err := findApplications(ctx, f, name, d)
	if err != nil {
		return err
	}
	report := d.Examine(ctx, apps)
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := printReport(out, report, f); err != nil {
		return err
	}
	if report.Problems > 0 {
		return exitError{cli.ExitFailed}
	}
	return nil
}

// findApplications connects to the API, if there is one, and finds what to look at.
func findApplications(ctx context.Context, f doctorFlags, name string, d *doctor.Doctor) ([]v1alpha1.Application, error) {
	var apps []v1alpha1.Application
	if err := connectDoctor(f, d); err != nil {
		d.APIError = err
	} else {
		ask, cancel := context.WithTimeout(ctx, apiPatience)
		defer cancel()
		var list v1alpha1.ApplicationList
		if err := d.API.List(ask, &list); err != nil {
			d.API, d.APIError = nil, err
		}
		for _, app := range list.Items {
			if (name == "" || app.Name == name) && (f.namespace == "" || app.Namespace == f.namespace) {
				apps = append(apps, app)
			}
		}
		if name != "" && len(apps) == 0 && d.API != nil {
			return nil, fmt.Errorf("there is no application %q; `fairlead apps -A` lists them", name)
		}
	}
	if name != "" && d.API == nil && len(f.directories) == 0 {
		return nil, &cli.Error{Code: cli.ExitUnknown, Err: fmt.Errorf("the application %q is only known to the daemon, whose API cannot be asked (%w); "+
			"name its directory: fairlead doctor --directory DIR", name, d.APIError)}
	}
	for _, dir := range f.directories {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		known := false
		for _, app := range apps {
			known = known || app.Spec.Compose.Directory == abs
		}
		if !known {
			apps = append(apps, v1alpha1.Application{Spec: v1alpha1.ApplicationSpec{Compose: v1alpha1.ComposeSpec{Directory: abs}}})
		}
	}
	return apps, nil
}

func connectDoctor(f doctorFlags, d *doctor.Doctor) error {
	paths, err := clientconfig.Locate(f.kubeconfig, f.dataDir)
	if err != nil {
		return err
	}
	config, _, err := clientconfig.Load(strings.Join(paths[:1], ""), "")
	if err != nil {
		return err
	}
	config.Timeout = 4 * apiPatience
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	d.Config, d.API = config, c
	d.Deps.Secrets = doctorSecrets{c}
	return nil
}

func printReport(out io.Writer, report doctor.Report, f doctorFlags) error {
	var data []byte
	var err error
	switch f.output {
	case "json":
		data, err = json.MarshalIndent(report, "", "  ")
		data = append(data, '\n')
	case "yaml":
		data, err = yaml.Marshal(report)
	default:
		report.Show(out, f.all)
		return nil
	}
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	return err
}

// doctorSecrets reads the Secrets that Applications name, with the rights of
// whoever asks.
type doctorSecrets struct{ reader client.Reader }

func (s doctorSecrets) Secret(ctx context.Context, namespace, name string) (map[string][]byte, error) {
	var secret corev1.Secret
	err := s.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is no Secret %s in the namespace %s: create it, or remove source.secretRef", name, namespace)
	}
	return secret.Data, err
}

// noSecrets is what there is without an API.
type noSecrets struct{}

func (noSecrets) Secret(_ context.Context, _, name string) (map[string][]byte, error) {
	return nil, fmt.Errorf("the Secret %s is only known to the daemon, whose API cannot be asked", name)
}
