// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/atomicfile"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/claim"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/steps"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// Options say what is restored.
type Options struct {
	// Directory is the deployment directory; ID the backup.
	Directory, ID string
	Skip          Skip
	// NoSafetyBackup gives up what is overwritten.
	NoSafetyBackup bool
	// NewCluster makes the data directories of dumped databases anew, as when the
	// server does not start with what is there.
	NewCluster bool
	// DryRun ends after the plan was shown.
	DryRun bool
	// HealthTimeout is how long a container may take to become ready; 0: the
	// default of an Application.
	HealthTimeout time.Duration
	// Profiles are active besides those that the backup names.
	Profiles []string
}

// Runner restores backups.
type Runner struct {
	// Deps are the adapters; Store and Secrets are not used.
	Deps steps.Deps
	// Program is this executable, which unpacks volumes in a container.
	Program string
	// Out is where the plan, the progress and the summary go.
	Out io.Writer
	// Confirm asks a person whether the plan that was shown is to be carried out.
	Confirm func(ctx context.Context) (bool, error)
	// Self is the ID of the container that this process runs in; "" for none.
	Self string
}

// ErrDeclined says that the person said no; nothing was changed.
var ErrDeclined = errors.New("nothing was changed")

// work is one restore being carried out.
type work struct {
	*Runner
	o        Options
	manifest *backup.Manifest
	app      *v1alpha1.Application
	id       string // of this restore, for labels and the log
	run      string // of this attempt, for what only it uses
	request  string // UID of the request that it is a step of, if any
	release  string // that runs before
	safetyID string // of the safety backup; empty: made up
	saved    func(context.Context, *backup.Manifest) error
	record   func(func(*v1alpha1.UpdateRequestStatus)) // nil: nobody is told
	log      *updatelog.Log
	offline  *steps.Offline
	project  *compose.Project
	volumes  volumes
	journal  journal
	facts    Facts
	plan     *Plan
	done     []string
	// stopped are the containers that were stopped, with their restart policies.
	stopped map[string]docker.RestartPolicy
	touched bool
}

// journal is what a restore that was cut off needs when it is taken up again.
type journal struct {
	Backup string    `json:"backup"`
	Safety string    `json:"safetyBackup,omitempty"`
	At     time.Time `json:"at"`
	// Stopped are the containers that were stopped, by ID; Touched says that
	// something was overwritten.
	Stopped map[string]docker.RestartPolicy `json:"stopped,omitempty"`
	Touched bool                            `json:"touched,omitempty"`
}

// Run verifies the backup, shows what is going to be overwritten, asks, and
// restores. A damaged backup is refused before anything is touched. The error
// says what was done and how to go on.
func (r *Runner) Run(ctx context.Context, o Options) (err error) {
	dir, err := filepath.Abs(o.Directory)
	if err != nil {
		return err
	}
	o.Directory = dir
	id, err := backup.ParseID(o.ID)
	if err != nil {
		return err
	}
	backups := backup.Dir(dir)
	fmt.Fprintf(r.Out, "Verifying %s in %s …\n", id, backups)
	manifest, err := backup.Open(backups, id)
	if err == nil {
		err = backup.Verify(ctx, backups, id)
	}
	if err != nil {
		return fmt.Errorf("%w; nothing was changed. `fairlead rollback-offline --directory %s` lists the backups", err, dir)
	}
	if sameDirectory(dir, manifest.DeployDir) {
		// By the name that the engine and the labels of containers know.
		dir, o.Directory = manifest.DeployDir, manifest.DeployDir
	}
	c, err := claim.Alone(dir)
	if err != nil {
		return fmt.Errorf("%w; wait for its end, or cancel it: fairlead cancel", err)
	}
	defer func() { err = errors.Join(err, c.Release()) }()

	w := &work{
		Runner: r, o: o, manifest: manifest, id: strings.TrimPrefix(id, "backup_"), stopped: map[string]docker.RestartPolicy{},
		app: application(dir, manifest, o),
	}
	w.run = w.id
	return w.byHand(ctx)
}

func sameDirectory(a, b string) bool {
	one, err1 := os.Stat(a)
	two, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(one, two)
}

// application is the Application as far as the backup knows it.
func application(dir string, m *backup.Manifest, o Options) *v1alpha1.Application {
	namespace, name, _ := strings.Cut(m.Application, "/")
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	app.Spec.Compose = v1alpha1.ComposeSpec{
		Directory: dir, EnvFiles: moveAll(m.EnvFiles, m.DeployDir, dir), Profiles: append(append([]string{}, m.Profiles...), o.Profiles...),
		Project: m.Project, Files: moveAll(m.ComposeFiles, m.DeployDir, dir), Variables: m.Variables,
	}
	if o.HealthTimeout > 0 {
		app.Spec.Rollout.HealthTimeout = &metav1.Duration{Duration: o.HealthTimeout}
	}
	return app
}

// move maps a path in the directory that the backup was made of to the one that
// it is restored to.
func move(path, from, to string) string {
	if rel, err := filepath.Rel(from, path); err == nil && filepath.IsAbs(path) && filepath.IsLocal(rel) {
		return filepath.Join(to, rel)
	}
	return path
}

func moveAll(paths []string, from, to string) []string {
	var out []string
	for _, p := range paths {
		out = append(out, move(p, from, to))
	}
	return out
}

func (w *work) byHand(ctx context.Context) (err error) {
	path := filepath.Join(updatelog.Dir(w.o.Directory), "rollback_offline_"+w.Deps.Clock.Now().UTC().Format("20060102_150405")+".log")
	if w.log, err = updatelog.Open(path, updatelog.WithCopy(w.Out)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.log.Close()) }()
	defer func() { err = errors.Join(err, os.RemoveAll(w.overlay())) }()
	if err := w.readJournal(); err != nil {
		return err
	}
	if err := w.prepare(ctx); err != nil {
		return fmt.Errorf("%w; nothing was changed", err)
	}
	fmt.Fprintf(w.Out, "\nBackup %s of %s, made %s:\n", w.manifest.ID, w.manifest.Application, w.manifest.CreatedAt.Local().Format(time.RFC1123))
	w.plan.Show(w.Out)
	if len(w.plan.Blocked) > 0 {
		return fmt.Errorf("it cannot be restored like this; nothing was changed: %s", strings.Join(w.plan.Blocked, "; "))
	}
	if w.o.DryRun {
		fmt.Fprintln(w.Out, "\nThis was a dry run: nothing was changed.")
		return nil
	}
	confirmed, err := w.Confirm(ctx)
	if err != nil {
		return err
	}
	if !confirmed {
		return ErrDeclined
	}
	if err := w.carryOut(ctx); err != nil {
		return w.explain(ctx, err)
	}
	return w.summary(ctx)
}

func (w *work) say(format string, args ...any) { w.log.Printf("Restore", format, args...) }

func (w *work) backups() string { return backup.Dir(w.o.Directory) }

func (w *work) overlay() string {
	return filepath.Join(w.o.Directory, ".update", "work", "overlay-"+w.run)
}

// application is the name by which the directory knows what is restored.
func (w *work) application() string { return w.app.Namespace + "/" + w.app.Name }

func (w *work) journalPath() string {
	return claim.JournalPath(w.o.Directory, w.application())
}

// readJournal finds out whether an earlier attempt at the same restore was cut
// off: the backup that it made of what was there before stays the one.
func (w *work) readJournal() error {
	data, err := os.ReadFile(w.journalPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var j journal
	if err := json.Unmarshal(data, &j); err != nil {
		return fmt.Errorf("%s is damaged; remove it, and choose the backup by hand: %w", w.journalPath(), err)
	}
	if j.Backup == w.manifest.ID {
		if !j.Touched && (w.request == "" || j.Safety != w.safetyID) {
			// What was there may have run since: only an attempt of the same request
			// goes on by itself, and at once.
			j.Safety = ""
		}
		w.journal, w.touched = j, j.Touched
		for id, policy := range j.Stopped {
			w.stopped[id] = policy
		}
	}
	return nil
}

func (w *work) writeJournal() error {
	w.journal.Stopped, w.journal.Touched = w.stopped, w.touched
	data, err := json.Marshal(w.journal)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(w.journalPath(), append(data, '\n'), 0o600)
}

// giveUp starts again what was stopped, where nothing was overwritten, and ends the
// journal: what runs from then on is not what this attempt saved.
func (w *work) giveUp(ctx context.Context) error {
	if len(w.stopped) > 0 {
		if err := w.startAgain(ctx); err != nil {
			return fmt.Errorf("not all containers that were stopped could be started again: %w", err)
		}
	}
	if err := os.Remove(w.journalPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// explain tells what was done, what was not, and how to go on.
func (w *work) explain(ctx context.Context, err error) error {
	var b strings.Builder
	fmt.Fprintf(&b, "the restore of %s did not come to its end: %v", w.manifest.ID, err)
	if !w.touched {
		b.WriteString("\nNothing was overwritten.")
		if rerr := w.giveUp(context.WithoutCancel(ctx)); rerr != nil {
			fmt.Fprintf(&b, " %v", rerr)
		} else if len(w.stopped) > 0 {
			b.WriteString(" The containers that were stopped run again.")
		}
		if w.journal.Safety != "" {
			fmt.Fprintf(&b, " The backup %s, which was made of what was there, stays; another attempt makes its own.", w.journal.Safety)
		}
	} else {
		fmt.Fprintf(&b, "\nDone: %s.\nNot done: everything after that; what is not ready does not run.", strings.Join(w.done, "; "))
	}
	b.WriteString("\nMend the cause and run the same command again")
	if w.touched {
		b.WriteString(": it goes on")
	}
	b.WriteString(".")
	if w.touched && w.journal.Safety != "" {
		fmt.Fprintf(&b, "\nTo go back to what was there before: fairlead rollback-offline %s --directory %s", w.journal.Safety, w.o.Directory)
	}
	fmt.Fprintf(&b, "\nThe log is %s", w.log.Path())
	w.say("%s", b.String())
	return errors.New(b.String())
}
