// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bytes"
	"encoding/json"
	"go/parser"
	"go/token"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-dev/fairlead/internal/clientconfig"
	"github.com/fairlead-dev/fairlead/internal/daemon"
)

func shipped(t *testing.T, path ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{"..", "..", ".."}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// started are the flags with which a shipped way to run it has `fairlead serve` started.
func started(t *testing.T, args []string) *pflag.FlagSet {
	t.Helper()
	cmd, rest, err := newRootCommand(Parts{}).Find(args)
	if err != nil || cmd.Name() != "serve" {
		t.Fatalf("%v is no command that serves: %v", args, err)
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Errorf("%v: %v", args, err)
	}
	if more := cmd.Flags().Args(); len(more) > 0 {
		t.Errorf("%v: serve takes no arguments, as %v", args, more)
	}
	return cmd.Flags()
}

// The systemd unit starts this program, with its data where the client looks for them, and gives it the time to stop in order.
func TestShippedUnit(t *testing.T) {
	options, err := unit.DeserializeOptions(bytes.NewReader(shipped(t, "config", "systemd", "fairlead.service")))
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for _, o := range options {
		if !slices.Contains([]string{"Unit", "Service", "Install"}, o.Section) {
			t.Errorf("a service has no section %s", o.Section)
		}
		if said[o.Name] != "" && o.Name != "Environment" {
			t.Errorf("%s is there twice", o.Name)
		}
		said[o.Name] = o.Value
	}
	command := strings.Fields(said["ExecStart"])
	if len(command) < 2 || command[0] != "/usr/local/bin/fairlead" {
		t.Fatalf("it starts %q", said["ExecStart"])
	}
	dir := started(t, command[1:]).Lookup("data-dir").Value.String()
	if dir != clientconfig.DefaultDataDir || said["StateDirectory"] != filepath.Base(dir) || filepath.Dir(dir) != "/var/lib" || said["StateDirectoryMode"] != "0700" {
		t.Errorf("the data are in %s, systemd makes /var/lib/%s (%s), and the client looks in %s",
			dir, said["StateDirectory"], said["StateDirectoryMode"], clientconfig.DefaultDataDir)
	}
	if stop, err := time.ParseDuration(said["TimeoutStopSec"]); err != nil || stop <= daemon.DefaultStopTimeout {
		t.Errorf("it is killed after %s, and may take %s to stop", said["TimeoutStopSec"], daemon.DefaultStopTimeout)
	}
	for name, want := range map[string]string{
		"Type": "notify", "Restart": "on-failure", "KillMode": "mixed", "WantedBy": "multi-user.target",
	} {
		if said[name] != want {
			t.Errorf("%s is %q, want %q", name, said[name], want)
		}
	}
	if !strings.Contains(said["After"], "docker.service") || strings.Contains(said["Requires"], "docker.service") {
		t.Errorf("it starts after %q and requires %q: a restart of the engine must not stop it", said["After"], said["Requires"])
	}
}

// What the files for containers set are flags, and what they ask is answered.
func TestShippedContainers(t *testing.T) {
	flags := newServeCommand(nil, nil).Flags()
	known := map[string]bool{}
	flags.VisitAll(func(f *pflag.Flag) { known[envName(f.Name)] = true })

	var file struct {
		Services map[string]struct {
			Environment map[string]string
			Healthcheck struct{ Test []string }
		}
	}
	if err := yaml.Unmarshal(shipped(t, "config", "compose", "docker-compose.yml"), &file); err != nil {
		t.Fatal(err)
	}
	service := file.Services["fairlead"]
	for name, value := range service.Environment {
		if !known[name] {
			t.Errorf("no flag is set by %s", name)
		}
		if name == "FAIRLEAD_LISTEN" && !strings.Contains(value, ":-"+daemon.DefaultListen+"}") {
			t.Errorf("%s is %s, and %s without the file", name, value, daemon.DefaultListen)
		}
	}
	if asked := strings.Join(service.Healthcheck.Test, " "); !strings.Contains(asked, `"http://$$FAIRLEAD_LISTEN/readyz"`) {
		t.Errorf("its health is asked with %s", asked)
	}

	image := string(shipped(t, "Dockerfile"))
	var args []string
	for _, instruction := range []string{"ENTRYPOINT", "CMD"} {
		found := regexp.MustCompile(`(?m)^`+instruction+` (\[.*\])$`).FindAllStringSubmatch(image, -1)
		var words []string
		if len(found) != 1 || json.Unmarshal([]byte(found[0][1]), &words) != nil {
			t.Fatalf("the image has the %s %v", instruction, found)
		}
		args = append(args, words...)
	}
	if args[0] != "fairlead" || started(t, args[1:]).Lookup("data-dir").Value.String() != clientconfig.DefaultDataDir ||
		!strings.Contains(image, "\nVOLUME "+clientconfig.DefaultDataDir+"\n") {
		t.Errorf("the image runs %v, and its data may be lost", args)
	}
}

// The image that is built without a target is one of this program, for which all of its sources are copied.
func TestShippedImageIsCompiled(t *testing.T) {
	stages := strings.Split(string(shipped(t, "Dockerfile")), "\nFROM ")
	last := stages[len(stages)-1]
	if !strings.HasPrefix(last, "runtime\n") || !strings.Contains(last, "\nCOPY --from=compiled /fairlead /opt/fairlead/fairlead\n") {
		t.Errorf("without a target it is\n%s", last)
	}
	compiled := stages[slices.IndexFunc(stages, func(s string) bool { return strings.Contains(s, " AS compiled\n") })]
	context := strings.Fields(string(shipped(t, ".dockerignore")))
	copied := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^COPY (.+) (\S+)$`).FindAllStringSubmatch(compiled, -1) {
		for source := range strings.FieldsSeq(line[1]) {
			copied[source] = line[2] == source || line[2] == "./"
			if !slices.Contains(context, "!"+source) {
				t.Errorf("%s is kept from the builder by .dockerignore", source)
			}
		}
	}
	needed := map[string]bool{"cmd/fairlead": true}
	for _, file := range []string{"go.mod", "go.sum"} {
		if !copied[file] {
			t.Errorf("%s is not copied", file)
		}
	}
	for queue := []string{"cmd/fairlead"}; len(queue) > 0; queue = queue[1:] {
		if top, _, _ := strings.Cut(queue[0], "/"); !copied[top] {
			t.Errorf("%s is not copied", queue[0])
		}
		files, err := filepath.Glob(filepath.Join("..", "..", "..", queue[0], "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has the files %v (%v)", queue[0], files, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range parsed.Imports {
				path, ours := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), "github.com/fairlead-dev/fairlead/")
				if ours && !needed[path] {
					needed[path] = true
					queue = append(queue, path)
				}
			}
		}
	}
	if len(needed) < 50 {
		t.Errorf("it is made of %d packages only", len(needed))
	}
	if !strings.Contains(compiled, "-X github.com/fairlead-dev/fairlead/cmd/fairlead/app.version=${VERSION}") || !strings.Contains(compiled, " -o /fairlead ./cmd/fairlead\n") {
		t.Errorf("it is compiled by\n%s", compiled)
	}
}

// The agent of a cluster finds its kubeconfig, and is asked where it listens.
func TestShippedAgent(t *testing.T) {
	var agent appsv1.Deployment
	for document := range bytes.SplitSeq(shipped(t, "config", "manager", "manager.yaml"), []byte("\n---\n")) {
		if bytes.Contains(document, []byte("\nkind: Deployment\n")) {
			if err := yaml.UnmarshalStrict(document, &agent); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(agent.Spec.Template.Spec.Containers) != 1 {
		t.Fatalf("the agent is %+v", agent.Spec)
	}
	container := agent.Spec.Template.Spec.Containers[0]
	flags := started(t, container.Args)
	mounts := map[string]bool{}
	for _, m := range container.VolumeMounts {
		mounts[m.MountPath] = true
	}
	for _, path := range []string{filepath.Dir(flags.Lookup("kubeconfig").Value.String()), flags.Lookup("data-dir").Value.String(), "/var/run/docker.sock"} {
		if !mounts[path] {
			t.Errorf("the agent needs %s, and has %v", path, mounts)
		}
	}
	_, port, err := net.SplitHostPort(flags.Lookup("listen").Value.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, probe := range []string{container.ReadinessProbe.HTTPGet.Port.String(), container.LivenessProbe.HTTPGet.Port.String()} {
		if probe != port {
			t.Errorf("it listens on port %s, and is asked on %s", port, probe)
		}
	}
	grace := time.Duration(ptr.Deref(agent.Spec.Template.Spec.TerminationGracePeriodSeconds, 30)) * time.Second
	if grace <= daemon.DefaultStopTimeout {
		t.Errorf("it is killed after %s, and may take %s to stop", grace, daemon.DefaultStopTimeout)
	}
}
