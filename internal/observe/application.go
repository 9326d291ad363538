// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/claim"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/release"
	"github.com/fairlead-dev/fairlead/internal/source"
)

// Application is what runs of an application.
type Application struct {
	Project  string
	Branch   string
	Commit   string
	Services []v1alpha1.ServiceStatus
	Releases []v1alpha1.Release
	// Drift is in what way containers are not as the current release has them.
	Drift []v1alpha1.Drift
	// RestoredAt is when a backup was restored that replaced what the current
	// release brought; zero if what runs is that release.
	RestoredAt time.Time
	// Note is worth knowing and no error.
	Note string
}

// Current is the release that runs, or nil: before the first update, and where a
// backup was restored since.
func (a Application) Current() *v1alpha1.Release {
	if !a.RestoredAt.IsZero() {
		return nil
	}
	return release.Current(a.Releases)
}

// Unhealthy names the services that do not run as they should, with the reason.
func (a Application) Unhealthy() []string {
	var out []string
	for _, s := range a.Services {
		if why := trouble(s); why != "" {
			out = append(out, s.Name+" ("+why+")")
		}
	}
	return out
}

// HealthyServices counts the services that run as they should.
func (a Application) HealthyServices() int {
	n := 0
	for _, s := range a.Services {
		if trouble(s) == "" {
			n++
		}
	}
	return n
}

func trouble(s v1alpha1.ServiceStatus) string {
	switch {
	case s.State != "Running" && s.State != "Completed":
		return strings.ToLower(s.State)
	case s.Health == "Unhealthy":
		return "unhealthy"
	}
	return ""
}

// Releases lists the releases of an application.
type Releases interface {
	Releases(ctx context.Context, app *v1alpha1.Application) ([]v1alpha1.Release, error)
}

// Observer looks at applications.
type Observer struct {
	Engine   HostEngine
	Releases Releases
}

// Application looks at one application: its Compose model as checked out, its
// containers and its releases.
func (o *Observer) Application(ctx context.Context, app *v1alpha1.Application) (Application, error) {
	project, err := LoadCheckedOut(ctx, app)
	if err != nil {
		return Application{}, err
	}
	out := Application{Project: project.Name()}
	repo, err := source.Open(ctx, app.Spec.Compose.Directory, source.Options{URL: app.Spec.Source.URL})
	if err != nil {
		return Application{}, err
	}
	head, err := repo.Head(ctx)
	if err != nil {
		return Application{}, err
	}
	out.Branch, out.Commit = head.Branch, head.Commit
	if out.Releases, err = o.Releases.Releases(ctx, app); err != nil {
		return Application{}, err
	}
	containers, err := Containers(ctx, o.Engine, project.Name())
	if err != nil {
		return Application{}, err
	}
	if err := out.lookForRestore(app); err != nil {
		return Application{}, err
	}
	current := out.Current()
	out.Services = Services(project, containers, current)
	if out.RestoredAt.IsZero() {
		out.Drift = Drift(out.Releases, containers)
	}
	if current != nil && current.Spec.Commit != head.Commit {
		out.Note = "the deployment directory is at " + head.Commit[:min(7, len(head.Commit))] + ", the release that runs is of " +
			current.Spec.Commit[:min(7, len(current.Spec.Commit))]
	}
	return out, nil
}

// lookForRestore finds out whether a backup was restored after the current release
// was recorded.
func (a *Application) lookForRestore(app *v1alpha1.Application) error {
	current := release.Current(a.Releases)
	restored, err := claim.LastRestored(app.Spec.Compose.Directory, app.Namespace+"/"+app.Name)
	if err != nil || current == nil || !restored.Since(current.CreationTimestamp.Time) {
		return err
	}
	a.RestoredAt = restored.At
	a.Note = "the backup " + restored.Backup + " was restored after the release " + current.Name + "; the next update records what runs as a release"
	return nil
}

// Services tells how each service of a model runs.
func Services(project *compose.Project, containers []docker.Container, current *v1alpha1.Release) []v1alpha1.ServiceStatus {
	var out []v1alpha1.ServiceStatus
	for _, s := range project.Services() {
		out = append(out, serviceStatus(s, containers, current))
	}
	return out
}

// LoadCheckedOut loads the Compose model as it lies in the deployment directory.
func LoadCheckedOut(ctx context.Context, app *v1alpha1.Application) (*compose.Project, error) {
	c := app.Spec.Compose
	return compose.Load(ctx, compose.Options{
		DeployDir: c.Directory, Files: c.Files, EnvFiles: c.EnvFiles, Profiles: c.Profiles, ProjectName: c.Project,
		Env: c.Variables,
	})
}

func serviceStatus(s compose.Service, containers []docker.Container, current *v1alpha1.Release) v1alpha1.ServiceStatus {
	out := v1alpha1.ServiceStatus{Name: s.Name, State: "Missing"}
	mine := slices.DeleteFunc(slices.Clone(containers), func(c docker.Container) bool { return c.Service != s.Name })
	slices.SortStableFunc(mine, func(a, b docker.Container) int { return stateRank(a.State) - stateRank(b.State) })
	if len(mine) == 0 {
		if r, ok := release.Service(current, s.Name); ok && s.OneShot {
			out.Image, out.ImageID, out.State = r.Image, r.ImageID, "Completed"
		} else if s.Replicas == 0 {
			out.State = "Completed"
		}
		return out
	}
	first := mine[0]
	out.Image, out.ImageID = first.Image, first.ImageID
	switch first.State {
	case docker.StateRunning, docker.StatePaused:
		out.State = "Running"
	case docker.StateRestarting:
		out.State = "Restarting"
	default:
		out.State = "Stopped"
		// The newest run of a one-shot service tells how it ended.
		newest := slices.MaxFunc(mine, func(a, b docker.Container) int { return a.FinishedAt.Compare(b.FinishedAt) })
		if s.OneShot && newest.ExitCode == 0 {
			out.State = "Completed"
		}
	}
	for _, c := range mine {
		if c.State != docker.StateRunning {
			continue
		}
		out.Replicas++
		out.Containers = append(out.Containers, c.Name)
		switch {
		case c.Health == docker.HealthUnhealthy:
			out.Health = "Unhealthy"
		case out.Health == "Unhealthy" || c.Health == docker.HealthNone:
		case c.Health == docker.HealthStarting:
			out.Health = "Starting"
		case out.Health == "":
			out.Health = "Healthy"
		}
	}
	return out
}

func stateRank(state string) int {
	switch state {
	case docker.StateRunning:
		return 0
	case docker.StateRestarting:
		return 1
	case docker.StatePaused:
		return 2
	default:
		return 3
	}
}

// Reason is a word for conditions for an error of looking.
func Reason(err error) string {
	var model *compose.ModelError
	switch {
	case docker.IsUnavailable(err):
		return v1alpha1.ReasonEngineUnavailable
	case errors.As(err, &model):
		return "InvalidComposeModel"
	case errors.Is(err, source.ErrNotRepository):
		return "NotAGitRepository"
	case errors.Is(err, source.ErrGitMissing):
		return "GitMissing"
	}
	return "ObservationFailed"
}
