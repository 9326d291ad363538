// SPDX-License-Identifier: Apache-2.0

// Command demo shows Fairlead at work on this machine's Docker engine: an
// application is brought up by a declarative request, updated without a lost request, and a bad
// update is undone by itself. It leaves nothing behind. Run it by `make demo`.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fairlead-dev/fairlead/test/apps"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := demo(ctx)
	if ctx.Err() != nil {
		err = context.Cause(ctx) // what followed from it is of no interest
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

const manifests = `apiVersion: fairlead.dev/v1alpha1
kind: Application
metadata: {name: hello}
spec:
  compose: {directory: %q}
  gateway: {mode: Auto}
  rollout: {healthTimeout: 10s, minHealthy: 1s, soak: 2s}
  verify:
    checks:
    - {name: version, http: {url: %q}}
  preflight: {minFreeDisk: 512Mi, minFreeMemory: 256Mi}
---
apiVersion: fairlead.dev/v1alpha1
kind: UpdateRequest
metadata: {name: first}
spec:
  applicationRef: {name: hello}
  commit: %q
`

func demo(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "fairlead-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	title("An application: one web service, its Git repository, its deployment directory")
	app, err := apps.New(ctx, dir, apps.Hello, apps.Options{Label: "demo"})
	if err != nil {
		return err
	}
	// Whatever happens, and even after Ctrl-C, nothing of the application stays.
	defer func() {
		title("Cleaning up")
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, app.DownForGood(cleaning))
	}()
	first, err := app.Deployed(ctx)
	if err != nil {
		return err
	}
	say("Compose project %s in %s, published at %s", app.Project, app.Dir, app.URL("/"))

	title("The daemon, with a Kubernetes API of its own")
	daemon, err := startDaemon(ctx, os.Getenv("FAIRLEAD_BIN"), dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, daemon.stop()) }()
	say("ready after %s, log in %s", daemon.after.Round(time.Millisecond), daemon.log)

	title("A declarative request brings the application up")
	if err := daemon.fairlead(ctx, fmt.Sprintf(manifests, app.Dir, app.URL("/version"), first), "kubectl", "apply", "-f", "-"); err != nil {
		return err
	}
	if err := daemon.fairlead(ctx, "", "kubectl", "wait", "--for=condition=Succeeded", "--timeout=120s", "updaterequest/first"); err != nil {
		return err
	}
	if err := daemon.fairlead(ctx, "", "status", "hello"); err != nil {
		return err
	}
	if err := expectVersion(ctx, app, "1"); err != nil {
		return err
	}

	title("A new commit, which needs two seconds to start")
	second, err := app.Publish(ctx, "Version 2", map[string]string{
		"version.txt": "2\n", "behaviour.json": apps.Behaviour{StartDelay: "2s"}.JSON(),
	})
	if err != nil {
		return err
	}
	watch := watchApp(ctx, app.URL("/version"))
	err = daemon.fairlead(ctx, "", "update", "hello", second)
	answers := watch.stop()
	if err != nil {
		return err
	}
	if err := answers.lossless(); err != nil {
		return err
	}
	if err := expectVersion(ctx, app, "2"); err != nil {
		return err
	}

	title("A bad commit: its healthcheck never passes")
	bad, err := app.Publish(ctx, "Version 3, broken", map[string]string{
		"version.txt": "3\n", "behaviour.json": apps.Behaviour{Unhealthy: true}.JSON(),
	})
	if err != nil {
		return err
	}
	watch = watchApp(ctx, app.URL("/version"))
	err = daemon.fairlead(ctx, "", "update", "hello", bad)
	answers = watch.stop()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil {
		return errors.New("the update to a version that is never healthy succeeded; that must not be")
	}
	if err := answers.lossless(); err != nil {
		return err
	}
	if err := expectVersion(ctx, app, "2"); err != nil {
		return err
	}
	deployed, err := app.Deployed(ctx)
	if err != nil {
		return err
	}
	if deployed != second {
		return fmt.Errorf("the deployment directory is at %s, not back at %s", deployed, second)
	}

	title("What the API tells")
	for _, command := range []string{"releases hello", "kubectl get updaterequests", "kubectl get applications"} {
		if err := daemon.fairlead(ctx, "", strings.Fields(command)...); err != nil {
			return err
		}
	}
	return showLog(app)
}

// showLog prints the end of the last update's log, as it lies in the deployment directory.
func showLog(app *apps.Repo) error {
	logs, err := filepath.Glob(filepath.Join(app.Dir, ".update", "logs", "update_*.log"))
	if err != nil || len(logs) == 0 {
		return errors.Join(err, errors.New("no log was written to .update/logs"))
	}
	last := logs[len(logs)-1] // the names are times
	data, err := os.ReadFile(last)
	if err != nil {
		return err
	}
	title("The log of the bad update, " + filepath.Base(last))
	fmt.Println(strings.TrimSpace(string(data)))
	return nil
}

func title(text string) { fmt.Printf("\n\033[1m==> %s\033[0m\n", text) }

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }
