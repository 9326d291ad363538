// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/measure"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/release"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

// staleLock is the age from which a lock file of git counts as left over.
const staleLock = 2 * time.Minute

// A container that was restarted manyRestarts times, the last time within
// lateRestart, is taken for one that will be again.
const (
	manyRestarts = 3
	lateRestart  = 10 * time.Minute
)

// application looks at one application. engine says that the engine answers.
func (d *Doctor) application(ctx context.Context, app *v1alpha1.Application, engine bool) []Finding {
	name := app.Spec.Compose.Directory
	if app.Name != "" {
		name = app.Namespace + "/" + app.Name
	}
	there := directory(app.Spec.Compose.Directory)
	out := []Finding{there}
	if there.Result == Problem {
		return of(name, out)
	}
	out = append(out, d.clone(app.Spec.Compose.Directory)...)
	out = append(out, inodes("the deployment directory", app.Spec.Compose.Directory,
		"see with df -i which file system it is, and with du --inodes what has many small files there"))
	out = append(out, backups(app.Spec.Compose.Directory), interruptedRestore(app.Spec.Compose.Directory))
	project, model := d.model(ctx, app)
	out = append(out, model)
	if engine {
		ask, cancel := context.WithTimeout(ctx, 3*patience)
		out = append(out, ofPreflight(steps.Examine(ask, d.Deps, app))...)
		cancel()
	}
	if engine && project != nil {
		out = append(out, d.services(ctx, app, project)...)
		out = append(out, d.registries(ctx, project)...)
	}
	return of(name, out)
}

func directory(dir string) Finding {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return problem("directory", "clone the repository there, or make an Application for the right directory; in a container, mount the "+
			"directory at the same path as on the host", "the deployment directory %s does not exist here", dir)
	case errors.Is(err, fs.ErrPermission):
		return problem("directory", "run this as the user of the daemon, often with sudo", "%v", err)
	case err != nil:
		return problem("directory", "see that the disk is well", "%v", err)
	case !info.IsDir():
		return problem("directory", "name the directory of the clone in compose.directory", "%s is no directory", dir)
	}
	return ok("directory", "%s is there", dir)
}

// clone looks for what keeps git from working: rights, owners, locks. That it is a
// clone at all, the preflight's check of the repository says.
func (d *Doctor) clone(dir string) []Finding {
	gitDir := filepath.Join(dir, ".git")
	info, err := os.Stat(gitDir)
	if err != nil || !info.IsDir() {
		return nil
	}
	out := []Finding{gitPermission(dir, gitDir)}
	lock := filepath.Join(gitDir, "index.lock")
	if held, err := os.Stat(lock); err == nil {
		if age := d.Deps.Clock.Since(held.ModTime()); age > staleLock {
			out = append(out, problem("git-lock", "see that no git is at work there (ps aux | grep git), then: rm "+lock,
				"%s is %s old: a git command was killed, or hangs", lock, measure.Time(age)))
		}
	}
	return out
}

// gitPermission tells when this user cannot write to the clone, and when the
// owner of the clone cannot, as somebody used git there as root.
func gitPermission(dir, gitDir string) Finding {
	owner := func(path string) (uint32, bool) {
		info, err := os.Lstat(path)
		if err != nil {
			return 0, false
		}
		st, isUnix := info.Sys().(*syscall.Stat_t)
		if !isUnix {
			return 0, false
		}
		return st.Uid, true
	}
	top, _ := owner(dir)
	var foreign []string
	for _, part := range []string{"", "HEAD", "index", "config", "objects", "refs", "refs/heads", "FETCH_HEAD"} {
		path := filepath.Join(gitDir, part)
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		if err := unix.Access(path, unix.W_OK); err != nil {
			return problem("git-permission", fmt.Sprintf("give the clone to the user of the daemon (chown -R USER: %s), or run the daemon as root", dir),
				"this user (%d) may not write to %s: %v", os.Geteuid(), path, err)
		}
		if uid, known := owner(path); known && uid != top {
			foreign = append(foreign, path)
		}
	}
	if len(foreign) > 0 {
		return warning("git-permission", fmt.Sprintf("give it to one owner: chown -R --reference=%s %s", dir, gitDir),
			"%s belongs to another user than %s: git says \"dubious ownership\" or \"insufficient permission\" to whoever is not root", strings.Join(foreign, ", "), dir)
	}
	return ok("git-permission", "%s can be written to", gitDir)
}

// backups tells of damaged ones.
func backups(dir string) Finding {
	whole, broken, err := backup.List(backup.Dir(dir))
	if err != nil {
		return problem("backups", "make "+backup.Dir(dir)+" readable for this user", "%v", err)
	}
	if len(broken) > 0 {
		var names []string
		for _, b := range broken {
			names = append(names, b.Path)
		}
		return warning("backups", "look at them, and remove them when they are not needed: they are never removed by themselves",
			"%d backups are damaged: %s", len(broken), strings.Join(names, ", "))
	}
	if len(whole) == 0 {
		return ok("backups", "there are none yet")
	}
	return ok("backups", "%d are whole, the newest is %s", len(whole), whole[0].ID)
}

func interruptedRestore(dir string) Finding {
	if _, err := os.Stat(filepath.Join(dir, ".update", "rollback-offline.json")); err == nil {
		return problem("restore", "run the same `fairlead rollback-offline` again: it goes on", "a restore by hand in %s did not come to its end", dir)
	}
	return ok("restore", "none was cut off")
}

// model loads the Compose model as it is checked out.
func (d *Doctor) model(ctx context.Context, app *v1alpha1.Application) (*compose.Project, Finding) {
	project, err := observe.LoadCheckedOut(ctx, app)
	if err != nil {
		do := "mend the Compose file; `docker compose config` in the directory says the same"
		var wrong *compose.ModelError
		if errors.As(err, &wrong) && len(wrong.MissingVariables()) > 0 {
			do = "add to the .env in the deployment directory: " + strings.Join(wrong.MissingVariables(), ", ")
		}
		return nil, problem("compose", do, "the Compose model is not valid: %v", err)
	}
	if unset := project.UnsetVariables(); len(unset) > 0 {
		var names []string
		for _, u := range unset {
			names = append(names, u.Name)
		}
		return project, warning("compose", "set them in the .env in the deployment directory, if only to nothing",
			"variables without a value, taken as empty: %s", strings.Join(names, ", "))
	}
	return project, ok("compose", "the project %s has %d services", project.Name(), len(project.Services()))
}

// services looks how each one runs.
func (d *Doctor) services(ctx context.Context, app *v1alpha1.Application, project *compose.Project) []Finding {
	containers, err := observe.Containers(ctx, d.Deps.Docker, project.Name())
	if err != nil {
		return []Finding{problem("services", "see the check of the engine", "%v", err)}
	}
	if len(containers) == 0 {
		return []Finding{warning("services", "start it by an update: fairlead update NAME", "nothing of the project %s runs, or ever did", project.Name())}
	}
	current, err := d.current(ctx, app)
	if err != nil {
		return []Finding{problem("services", "see the check of the API", "%v", err)}
	}
	var out []Finding
	for _, s := range observe.Services(project, containers, current) {
		seen := observe.Application{Services: []v1alpha1.ServiceStatus{s}}
		looping := slices.ContainsFunc(containers, func(c docker.Container) bool { return c.Service == s.Name && loops(c, d.Deps.Clock.Now()) })
		if len(seen.Unhealthy()) == 0 && !looping {
			continue
		}
		if looping && s.State == "Running" {
			s.State = "Restarting" // it was just up when it was looked at
		}
		out = append(out, d.unwell(ctx, s, containers))
	}
	if len(out) == 0 {
		out = append(out, ok("services", "all run and are healthy"))
	}
	return out
}

// loops says that the engine has restarted the container several times, and
// lately.
func loops(c docker.Container, now time.Time) bool {
	return c.RestartCount >= manyRestarts && now.Sub(c.StartedAt) < lateRestart && c.State != docker.StateExited
}

func (d *Doctor) unwell(ctx context.Context, s v1alpha1.ServiceStatus, containers []docker.Container) Finding {
	mine := slices.DeleteFunc(slices.Clone(containers), func(c docker.Container) bool { return c.Service != s.Name })
	if len(mine) == 0 {
		return problem("services", "start it: docker compose up -d "+s.Name+", or by an update", "%s has no container", s.Name)
	}
	newest := slices.MaxFunc(mine, func(a, b docker.Container) int { return a.StartedAt.Compare(b.StartedAt) })
	var words string
	do := "read its log: docker logs " + newest.Name
	switch {
	case s.Health == "Unhealthy":
		words = "is unhealthy"
		do = "run its healthcheck by hand and see what it says: docker inspect --format '{{json .State.Health}}' " + newest.Name
	case s.State == "Restarting":
		words = fmt.Sprintf("is restarted again and again (%d times)", newest.RestartCount)
		if !newest.Running() {
			words += ": " + d.state(newest)
		}
	default:
		words = d.state(newest)
		do += "; then: docker start " + newest.Name
	}
	if newest.OOMKilled {
		do = "give it more memory (mem_limit, or the host's), or find out what takes it"
	}
	return problem("services", do, "%s %s%s", s.Name, words, d.lastLines(ctx, newest))
}

// current is the release that runs, where the API can be asked.
func (d *Doctor) current(ctx context.Context, app *v1alpha1.Application) (*v1alpha1.Release, error) {
	if d.API == nil || app.Name == "" {
		return nil, nil
	}
	var list v1alpha1.ReleaseList
	if err := d.API.List(ctx, &list, inNamespace(app.Namespace)); err != nil {
		return nil, nil //nolint:nilerr // the check of the API tells; what runs can be looked at without
	}
	mine := slices.DeleteFunc(list.Items, func(r v1alpha1.Release) bool { return r.Spec.ApplicationRef.Name != app.Name })
	return release.Current(mine), nil
}

// registries asks each registry that images are pulled from for one of them.
func (d *Doctor) registries(ctx context.Context, project *compose.Project) []Finding {
	asked := map[string]bool{}
	var out []Finding
	for _, svc := range project.Services() {
		registry := registryOf(svc.ImageName)
		if svc.Build != nil || registry == "" || asked[registry] {
			continue
		}
		asked[registry] = true
		ask, cancel := context.WithTimeout(ctx, patience)
		_, err := d.Deps.Puller.Digest(ask, svc.ImageName)
		cancel()
		if err == nil {
			out = append(out, ok("registry", "%s answers", registry))
			continue
		}
		do := "see that this host reaches " + registry + ", and log in as the user of the daemon: docker login " + registry
		if _, here := d.Deps.Docker.ImageContent(ctx, svc.ImageName); here == nil {
			out = append(out, warning("registry", do, "%s cannot be asked for %s, which is on this host already: %v", registry, svc.ImageName, err))
			continue
		}
		out = append(out, problem("registry", do, "%s cannot be asked for %s: %v", registry, svc.ImageName, err))
	}
	return out
}
