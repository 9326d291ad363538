// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/measure"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/plural"
	"github.com/fairlead-dev/fairlead/internal/release"
	"github.com/fairlead-dev/fairlead/internal/source"
)

const minEngine = "20.10"

// hostChecks ask of the host.
func (p *preflightRun) hostChecks() []check {
	return []check{
		{"Engine", nil, p.checkEngine},
		{"Memory", nil, p.checkMemory},
		{"Repository", nil, p.checkRepository},
		{"BackupDirectory", []string{"Repository"}, p.checkBackupDirectory},
		{"Disk", []string{"Engine", "Repository"}, p.checkDisk},
	}
}

// sourceChecks ask of Git.
func (p *preflightRun) sourceChecks() []check {
	return []check{
		{"Commit", []string{"Repository"}, p.checkCommit},
		{"LocalEdits", []string{"Commit"}, p.checkLocalEdits},
	}
}

// applicationChecks ask of the application.
func (p *preflightRun) applicationChecks() []check {
	return []check{
		// What is stale in the work directory is removed before a tree comes in.
		{"Compose", []string{"BackupDirectory", "Commit"}, p.checkCompose},
		{"Healthy", []string{"Compose"}, p.checkHealthy},
		{"UpdateConfig", []string{"Compose"}, p.checkUpdateConfig},
	}
}

// checkVariables refuses what the Application does not leave to its requests.
func (p *preflightRun) checkVariables(context.Context) (string, error) {
	if err := p.variablesAllowed(); err != nil {
		return "", err
	}
	return "requests may set them", nil
}

// variablesAllowed asks whether the request sets nothing that decides which
// application it is, or that the Application did not name.
func (s *run) variablesAllowed() error {
	var reserved, others []string
	for name := range s.Request.Spec.Variables {
		switch {
		case strings.HasPrefix(name, "COMPOSE_"), strings.HasPrefix(name, "DOCKER_"), name == "PWD":
			reserved = append(reserved, name)
		case !slices.Contains(s.Application.Spec.Compose.RequestVariables, name):
			others = append(others, name)
		}
	}
	slices.Sort(reserved)
	slices.Sort(others)
	switch {
	case len(reserved) > 0:
		return failure.Terminalf(v1alpha1.ReasonInvalidSpec,
			"no request may set %s: make it a compose.variables of the Application", strings.Join(reserved, ", "))
	case len(others) > 0:
		return failure.Terminalf(v1alpha1.ReasonInvalidSpec,
			"requests may not set %s: if who may update may decide on it, add it to compose.requestVariables of the Application", strings.Join(others, ", "))
	}
	return nil
}

func (p *preflightRun) checkEngine(ctx context.Context) (string, error) {
	info, err := p.Docker.Info(ctx)
	if err != nil {
		return "", trouble{err}
	}
	p.engine = info
	p.engineRoot.Store(&info.DockerRootDir)
	if !info.AtLeast(minEngine) {
		return "", fmt.Errorf("the Docker engine is %s: install %s or newer", info.Version, minEngine)
	}
	return fmt.Sprintf("Docker engine %s", info.Version), nil
}

func (p *preflightRun) checkMemory(context.Context) (string, error) {
	memory, err := observe.HostMemory()
	if err != nil {
		return "", warn{fmt.Sprintf("the free memory is not known: %v", err)}
	}
	return enough("memory", memory.Available, quantity(p.Application.Spec.Preflight.MinFreeMemory, "2Gi"),
		"stop something, or lower preflight.minFreeMemory of the Application")
}

func (p *preflightRun) checkDisk(context.Context) (string, error) {
	least := quantity(p.Application.Spec.Preflight.MinFreeDisk, "5Gi")
	what := "remove what is not needed (docker system df tells what takes room), or lower preflight.minFreeDisk of the Application"
	note := ""
	if p.w != nil {
		d, derr := observe.DiskAt(p.w.dir)
		if derr != nil {
			return "", derr
		}
		var err error
		if note, err = enough("disk for "+p.w.dir, d.Free, least, what); err != nil {
			return "", err
		}
	}
	// The engine's directory cannot be seen from inside a container, nor where
	// the engine is elsewhere.
	if d, err := observe.DiskAt(p.engine.DockerRootDir); err == nil {
		return enough("disk for "+p.engine.DockerRootDir, d.Free, least, what)
	}
	return note, nil
}

func enough(what string, free int64, least resource.Quantity, advice string) (string, error) {
	have := measure.Bytes(free)
	if free < least.Value() {
		return "", fmt.Errorf("%s: %s free, %s needed: %s", what, have, measure.Bytes(least.Value()), advice)
	}
	return fmt.Sprintf("%s: %s free", what, have), nil
}

func quantity(q *resource.Quantity, otherwise string) resource.Quantity {
	if q != nil {
		return *q
	}
	return resource.MustParse(otherwise)
}

func (p *preflightRun) checkRepository(ctx context.Context) (string, error) {
	w, err := p.workspace(ctx)
	if err != nil {
		return "", passing(err)
	}
	p.w = w
	where := "no branch"
	if w.head.Branch != "" {
		where = w.head.Branch
	}
	return fmt.Sprintf("git %s, %s at %s", w.repo.GitVersion(), where, Short(w.head.Commit)), nil
}

// passing marks an error of Git that goes away by waiting as trouble.
func passing(err error) error {
	switch {
	case errors.Is(err, source.ErrUnreachable), errors.Is(err, source.ErrLocked):
		return trouble{err}
	case failure.IsNoSpace(err):
		return noRoom(err)
	}
	return err
}

// noRoom is the end of a request that met a full disk before it touched anything.
func noRoom(err error) error {
	return failure.Terminalf(v1alpha1.ReasonNoSpace, "the disk is full: %w: make room (docker system df, du) and ask again", err)
}

func (p *preflightRun) checkBackupDirectory(ctx context.Context) (string, error) {
	if p.w == nil {
		return "", errUnanswered
	}
	if err := p.w.prepare(ctx); failure.IsNoSpace(err) {
		return "", noRoom(err)
	} else if err != nil {
		return "", fmt.Errorf("%w: make %s writable for the daemon", err, filepath.Join(p.w.dir, updateDir))
	}
	if !p.Request.Spec.DryRun {
		if err := p.cleanStaleWork(p.w); err != nil {
			p.say("not all of what earlier requests left could be removed: %v", err)
		}
	}
	dir := backup.Dir(p.w.dir)
	f, err := os.CreateTemp(dir, ".writable-*")
	if failure.IsNoSpace(err) {
		return "", noRoom(err)
	}
	if err != nil {
		return "", fmt.Errorf("%w: make %s writable for the daemon", err, dir)
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		return "", err
	}
	return dir + " can be written to", nil
}

func (p *preflightRun) checkCommit(ctx context.Context) (string, error) {
	if p.w == nil {
		return "", errUnanswered
	}
	if ref := p.Request.Spec.RollbackTo; ref != nil {
		return p.checkRelease(ctx, ref.Name)
	}
	wish := p.Request.Spec.Commit
	if st := p.Request.Status; st.Commit != "" {
		wish = st.Commit // resolved by an earlier attempt: the wish stays what it was
	}
	note := ""
	c, err := p.w.repo.Fetch(ctx, wish)
	if err != nil {
		known, kerr := p.w.repo.Resolve(ctx, wish)
		switch {
		case errors.Is(err, source.ErrNoRemote):
			if kerr != nil {
				return "", kerr
			}
		case errors.Is(err, source.ErrUnreachable):
			if kerr != nil || !strings.HasPrefix(known.SHA, wish) || wish == "" {
				return "", trouble{err}
			}
			note = " (known here already; " + err.Error() + ")"
		case errors.Is(err, source.ErrNotFound), errors.Is(err, source.ErrAuth), errors.Is(err, source.ErrInvalidRevision),
			errors.Is(err, source.ErrCredentials), errors.Is(err, source.ErrGitMissing), errors.Is(err, source.ErrLFS):
			return "", err
		case failure.IsNoSpace(err):
			return "", noRoom(err)
		default:
			return "", trouble{err}
		}
		c = known
	}
	if err := p.checkContained(ctx, c.SHA); err != nil {
		return "", err
	}
	p.target = c
	if err := p.checkHistory(c.SHA); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %s%s", Short(c.SHA), limitTo(c.Subject, 80), note), nil
}

// checkContained refuses a commit that nobody with the right to push to the
// source put there: a server gives those of other people's pull requests away by
// their SHA too. What ran here before may run again, also when its branch is gone.
func (p *preflightRun) checkContained(ctx context.Context, sha string) error {
	if p.Application.Spec.Source.Commits == v1alpha1.CommitsAny || p.Request.Status.Commit == sha {
		return nil // an earlier attempt of this request has looked
	}
	found, err := p.w.repo.Contained(ctx, sha)
	if found {
		return nil
	}
	unanswered := err
	releases, err := p.Store.Releases(ctx, p.Application)
	if err != nil {
		return trouble{err}
	}
	if slices.ContainsFunc(releases, func(r v1alpha1.Release) bool { return r.Spec.Commit == sha }) {
		return nil
	}
	if unanswered != nil {
		return trouble{fmt.Errorf("whether a branch or tag of the source has the commit %s is not known: %w", Short(sha), unanswered)}
	}
	return failure.Terminalf(v1alpha1.ReasonCommitNotInSource,
		"the commit %s is in no branch and no tag of %s: push it to one, or allow others with source.commits: Any of the Application",
		Short(sha), p.w.repo.URL())
}

// checkHistory refuses a commit that failed here, unless a person asks.
func (p *preflightRun) checkHistory(sha string) error {
	if p.Request.Spec.Retry || p.Request.Spec.Force || p.Request.Spec.DryRun {
		return nil
	}
	for _, f := range p.FailedCommits {
		if f.Commit == sha {
			return failure.Terminalf(v1alpha1.ReasonCommitFailedBefore,
				"the commit %s failed in the request %s at %s (%s): if the cause is mended, ask again with spec.retry: true (fairlead update --retry)",
				Short(sha), f.Request, f.Time.UTC().Format(time.RFC3339), f.Reason)
		}
	}
	return nil
}

func (p *preflightRun) checkRelease(ctx context.Context, name string) (string, error) {
	releases, err := p.Store.Releases(ctx, p.Application)
	if err != nil {
		return "", trouble{err}
	}
	r, err := findRelease(releases, name)
	if err != nil {
		return "", failure.Terminalf(v1alpha1.ReasonReleaseNotFound, "%w", err)
	}
	unusable := func(format string, args ...any) (string, error) {
		return "", failure.Terminalf(v1alpha1.ReasonReleaseUnusable, "the release "+name+" cannot be gone back to: "+format, args...)
	}
	if r.Spec.ComposePath == "" {
		return unusable("its Compose model is not known, as it could not be loaded when the release was recorded")
	}
	project, err := releaseModel(r)
	if err != nil {
		return unusable("%w", err)
	}
	for _, rs := range r.Spec.Services {
		if rs.OneShot || rs.Replicas == 0 {
			continue
		}
		if rs.ImageID == "" {
			return unusable("the image of %s is not known", rs.Name)
		}
		if _, err := p.Docker.ImageContent(ctx, rs.ImageID); docker.IsNotFound(err) {
			return unusable("the image %s of %s is gone", rs.ImageID, rs.Name)
		} else if err != nil {
			return "", trouble{err}
		}
	}
	c, err := p.w.repo.Resolve(ctx, r.Spec.Commit)
	if err != nil {
		return unusable("its commit: %w", err)
	}
	p.target, p.goBackTo, p.project = c, r, project
	return fmt.Sprintf("release %s of %s %s", name, Short(c.SHA), limitTo(c.Subject, 80)), nil
}

func (p *preflightRun) checkLocalEdits(ctx context.Context) (string, error) {
	if p.target.SHA == "" {
		return "", errUnanswered
	}
	edits, err := p.w.repo.LocalEdits(ctx, p.target.SHA)
	if err != nil {
		return "", passing(err)
	}
	if len(edits) > 0 {
		return "", fmt.Errorf("%s in %s changed by hand would be overwritten: %s: commit and push them, or restore them (git checkout -- FILE), then ask again",
			plural.Of(len(edits), "file"), p.w.dir, limitTo(strings.Join(edits, ", "), 2000))
	}
	if p.goBackTo == nil {
		lost, err := p.w.repo.UnpushedCommits(ctx, p.target.SHA)
		if err != nil {
			return "", err
		}
		if len(lost) > 0 {
			var names []string
			for _, c := range lost {
				names = append(names, c.Short+" "+limitTo(c.Subject, 60))
			}
			return "", fmt.Errorf("%s only in %s would be left behind: %s: push first", plural.Of(len(lost), "commit"), p.w.dir, limitTo(strings.Join(names, ", "), 2000))
		}
	}
	return "no local edits are in the way", nil
}

func (p *preflightRun) checkCompose(ctx context.Context) (string, error) {
	if p.target.SHA == "" || p.variablesAllowed() != nil {
		return "", errUnanswered
	}
	if p.goBackTo == nil {
		err := p.together(
			func() error { return p.w.export(ctx, p.target.SHA) },
			func() error { p.lookBeside(ctx); return nil },
		)
		if err != nil {
			return "", passing(err)
		}
		project, err := p.w.load(ctx, p.target.SHA)
		if err != nil {
			return "", err
		}
		if _, err := compose.Render(project); err != nil {
			return "", err // it could not be kept for a rollback
		}
		p.project = project
	}
	found, err := p.checkProject(ctx)
	if err != nil {
		return "", err
	}
	var diverged []compose.Divergence
	var edited []string
	err = p.together(
		func() (err error) {
			p.releases, p.current, p.containers, err = p.baseline(ctx, p.w, p.project, found)
			p.seen = found.look
			return err
		},
		func() (err error) { diverged, err = p.Creator.CheckResources(ctx, p.project); return err },
		func() (err error) {
			if p.goBackTo == nil {
				edited, err = p.w.handEdits(ctx, p.project.Files())
			}
			return err
		},
	)
	if err != nil {
		return "", trouble{err}
	}
	if err := compose.Blocking(diverged); err != nil {
		return "", err
	}
	warnings := append(modelWarnings(diverged, p.project.UnsetVariables()), edited...)
	if len(warnings) > 0 {
		return "", warn{strings.Join(warnings, "; ")}
	}
	return plural.Of(len(p.project.Services()), "service"), nil
}

// lookBeside looks at what runs, by the name that the application had so far, while the tree of the commit comes to the host.
// What it does not find out is asked for afterwards.
func (p *preflightRun) lookBeside(ctx context.Context) {
	name := p.Application.Status.Project
	if name == "" {
		return
	}
	var found looked
	err := p.together(
		func() (err error) { found.releases, err = p.Store.Releases(ctx, p.Application); return err },
		func() (err error) { found.look, err = p.lookAround(ctx, name); return err },
	)
	if err == nil {
		p.beside = found
	}
}

// modelWarnings are what a valid model leaves to be said: networks and volumes
// that differ from it on the host, and variables that nothing sets.
func modelWarnings(diverged []compose.Divergence, unset []compose.UnsetVariable) []string {
	var warnings, names []string
	for _, d := range diverged {
		warnings = append(warnings, d.Message)
	}
	for _, u := range unset {
		names = append(names, u.Name)
	}
	if len(names) > 0 {
		warnings = append(warnings, "variables without a value, taken as empty: "+strings.Join(names, ", "))
	}
	return warnings
}

func (p *preflightRun) checkHealthy(context.Context) (string, error) {
	if p.project == nil {
		return "", errUnanswered
	}
	if p.current == nil {
		return "nothing runs yet", nil
	}
	var seen observe.Application
	for _, svc := range observe.Services(p.project, p.containers, p.current) {
		if _, ran := release.Service(p.current, svc.Name); ran {
			seen.Services = append(seen.Services, svc)
		}
	}
	if bad := seen.Unhealthy(); len(bad) > 0 {
		return "", warn{"not healthy before the update: " + strings.Join(bad, ", ")}
	}
	return "all services run", nil
}
