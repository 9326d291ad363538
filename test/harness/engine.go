// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// Container is what a test wants to know of a container.
type Container struct {
	// ID in full.
	ID string
	// Name without the slash.
	Name string
	// Service of the Compose project.
	Service string
	// Running says whether it runs now.
	Running bool
	// ExitCode of one that does not run.
	ExitCode int
	// StartedAt is when it was started last.
	StartedAt string
	// Image is the ID of its image.
	Image string
	// Labels of the container.
	Labels map[string]string
	// RestartCount is how often the engine restarted it.
	RestartCount int
}

// Engine is a client of the engine that the environment names.
func Engine(t T) *client.Client {
	t.Helper()
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Gateways are the containers of the gateways that a Compose project has.
func Gateways(t T, project string) []container.Summary {
	t.Helper()
	// It is asked at the end of tests too, when their context has ended.
	list, err := Engine(t).ContainerList(context.WithoutCancel(t.Context()), container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", v1alpha1.LabelGatewayProject+"="+project)),
	})
	if err != nil {
		t.Fatalf("list gateways: %v", err)
	}
	return list
}

// RemoveGateways removes them. It is for a test's end: after that of whatever would
// make them anew, and before that of the project's networks.
func RemoveGateways(t T, project string) {
	t.Helper()
	for _, c := range Gateways(t, project) {
		if err := Engine(t).ContainerRemove(context.WithoutCancel(t.Context()), c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
			t.Errorf("%v", err)
		}
	}
}

// Containers are all containers of a Compose project, by service, in the order of
// their names; stopped ones too.
func Containers(t T, project string) map[string][]Container {
	t.Helper()
	engine := Engine(t)
	list, err := engine.ContainerList(t.Context(), container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", "com.docker.compose.project="+project)),
	})
	if err != nil {
		t.Fatalf("list containers: %v", err)
	}
	out := map[string][]Container{}
	for _, c := range list {
		i, err := engine.ContainerInspect(t.Context(), c.ID)
		if cerrdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			t.Fatalf("inspect %s: %v", c.ID, err)
		}
		service := i.Config.Labels["com.docker.compose.service"]
		out[service] = append(out[service], Container{
			ID: i.ID, Name: strings.TrimPrefix(i.Name, "/"), Service: service,
			Running: i.State.Running, ExitCode: i.State.ExitCode, StartedAt: i.State.StartedAt,
			Image: i.Image, Labels: i.Config.Labels, RestartCount: i.RestartCount,
		})
	}
	for _, cs := range out {
		slices.SortFunc(cs, func(a, b Container) int { return strings.Compare(a.Name, b.Name) })
	}
	return out
}

// Rows counts the rows of a table in the PostgreSQL of a shop's project.
func Rows(t T, project, table string) int {
	t.Helper()
	n, err := strconv.Atoi(SQL(t, project, "SELECT count(*) FROM "+table))
	if err != nil {
		t.Fatalf("count the rows of %s: %v", table, err)
	}
	return n
}

// SQL runs a statement in the PostgreSQL of a shop's project and returns its output.
func SQL(t T, project, statement string) string {
	t.Helper()
	var db string
	for _, c := range Containers(t, project)["db"] {
		if c.Running {
			db = c.ID
		}
	}
	if db == "" {
		t.Fatalf("no database of %s runs", project)
	}
	out, errOut, code := Run(t.Context(), nil, "", "docker", "exec", db, "psql", "-U", "shop", "-d", "shop", "-v", "ON_ERROR_STOP=1", "-Atqc", statement)
	if code != 0 {
		t.Fatalf("psql: exit %d: %s", code, errOut)
	}
	return strings.TrimSpace(out)
}

// Get asks once and returns the trimmed body of a good answer.
func Get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Close = true // it is the way in that is asked for, afresh each time
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", errors.New("GET " + url + ": " + resp.Status)
	}
	return strings.TrimSpace(string(body)), nil
}

// Run runs a command with env added to the environment and stdin as its input.
// The exit code is -1 if it could not be run.
func Run(ctx context.Context, env []string, stdin, name string, args ...string) (stdout, stderr string, code int) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return out.String(), errOut.String(), exit.ExitCode()
	}
	if err != nil {
		return out.String(), errOut.String() + err.Error(), -1
	}
	return out.String(), errOut.String(), 0
}

// Fairlead runs a client command of fairlead as administrator.
func (d *Daemon) Fairlead(args ...string) (stdout, stderr string, code int) {
	d.t.Helper()
	return Run(d.t.Context(), []string{"KUBECONFIG=" + d.Kubeconfig}, "", d.Binary, args...)
}

// Kubectl runs the real kubectl as administrator, with stdin as its input.
func (d *Daemon) Kubectl(stdin string, args ...string) (stdout, stderr string, code int) {
	d.t.Helper()
	home := d.DataDir + ".kubectl" // its cache is not shared with a person's
	return Run(d.t.Context(), []string{"KUBECONFIG=" + d.Kubeconfig, "HOME=" + home}, stdin, "kubectl", args...)
}
