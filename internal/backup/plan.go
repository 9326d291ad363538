// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Kind is what an artifact holds.
type Kind string

// The kinds of artifacts.
const (
	// KindFiles holds settings: .env, Compose files, extra paths.
	KindFiles Kind = "Files"
	// KindPostgreSQL holds a dump of all databases of a server.
	KindPostgreSQL Kind = "PostgreSQL"
	// KindVolume holds the content of a named volume.
	KindVolume Kind = "Volume"
	// KindBind holds the content of a bind mount.
	KindBind Kind = "Bind"
)

// Planned is one artifact that is going to be made.
type Planned struct {
	// Name is unique in the backup, such as "volume_app_data".
	Name string
	Kind Kind
	// Service is the service that is dumped, or the first one that mounts the
	// volume or directory.
	Service string
	// Volume is the engine's name of a volume; Path the host's path of a bind mount.
	Volume, Path string
	// Files are the paths of KindFiles.
	Files []string
	// Exclude are paths, relative to Path, that are left out.
	Exclude []string
	// Container is where a dump runs.
	Container string
	// Writers are the running containers that may write to the place.
	Writers []string
	// Reason says why the artifact is made.
	Reason string
}

// Skipped is something that is not in the backup, and why.
type Skipped struct {
	// What names it, such as "bind mount /srv/media of service web".
	What   string `json:"what"`
	Reason string `json:"reason"`
}

// Plan says what a backup is going to hold.
type Plan struct {
	// Artifacts in the order in which they are made.
	Artifacts []Planned
	// Skipped is what needs no backup.
	Skipped []Skipped
	// Warnings name data that is in no artifact, or only in a form that may not
	// be usable.
	Warnings []string
}

var (
	anonymousVolume = regexp.MustCompile(`^[0-9a-f]{64}$`)
	// systemDirs belong to the host, not to the application.
	systemDirs = []string{"/proc", "/sys", "/dev", "/run", "/var/run", "/var/lib/docker"}
)

// deployDirs are the names of the deployment directory.
func (in Input) deployDirs() []string {
	dirs := []string{filepath.Clean(in.DeployDir)}
	if in.RealDeployDir != "" && in.RealDeployDir != dirs[0] {
		dirs = append(dirs, filepath.Clean(in.RealDeployDir))
	}
	return dirs
}

// NewPlan decides what is saved. It is pure: it looks at nothing but in. An
// InputError says that the wishes cannot be met: a name that does not exist,
// or a database that would have to run.
func NewPlan(in Input) (*Plan, error) {
	if !filepath.IsAbs(in.DeployDir) {
		return nil, inputErrorf("the deployment directory %q is not an absolute path", in.DeployDir)
	}
	in.DeployDir = filepath.Clean(in.DeployDir)
	in.Services = slices.Clone(in.Services)
	slices.SortStableFunc(in.Services, func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
	p := &planner{in: in, names: map[string]bool{}}
	p.files()
	if err := p.databases(); err != nil {
		return nil, err
	}
	if err := p.mounts(); err != nil {
		return nil, err
	}
	return &p.plan, nil
}

type planner struct {
	in    Input
	plan  Plan
	names map[string]bool
}

func (p *planner) files() {
	var paths []string
	for _, f := range slices.Concat(p.in.ComposeFiles, p.in.Files) {
		if !filepath.IsAbs(f) {
			f = filepath.Join(p.in.DeployDir, f)
		}
		if f = filepath.Clean(f); !slices.Contains(paths, f) {
			paths = append(paths, f)
		}
	}
	if len(paths) > 0 {
		p.add(Planned{Name: "files", Kind: KindFiles, Files: paths, Reason: "settings of the application"})
	}
}

func (p *planner) databases() error {
	sel := p.in.Databases
	done := map[string]bool{}
	for _, s := range p.in.Services {
		reason, postgres := isPostgres(s)
		chosen := slices.Contains(sel.Names, s.Name)
		what := "databases of service " + s.Name
		switch {
		case done[s.Name]:
		case s.Absent && postgres && s.leftData() && (sel.auto() || chosen):
			done[s.Name] = true
			p.warn("the PostgreSQL service %s has no container, so no dump of it can be made: its files are saved as far as backup.volumes says, "+
				"and fit the same major version only. For a dump, start it first", s.Name)
		case s.Absent && chosen:
			p.warn("backup.databases names the service %q, which has no container: nothing of it is saved", s.Name)
		case s.Absent && !postgres:
		case !postgres && chosen:
			return inputErrorf("backup.databases names the service %q, which was not recognised as PostgreSQL (image %s); other databases "+
				"cannot be dumped yet. Remove it from backup.databases; its volumes are saved", s.Name, s.Image)
		case !postgres:
			if product := otherDatabases[imageName(s.Image)]; product != "" && !s.OneShot {
				p.warn("service %s runs %s, of which no dump can be made yet: its files are copied while it runs and may not be consistent", s.Name, product)
				done[s.Name] = true
			}
		case sel.None:
			p.skip(what, "backup.databases is None")
		case !sel.auto() && !chosen:
			p.skip(what, "not in backup.databases")
		case s.ContainerID == "" && !chosen:
			p.skip(what, "the service has no container")
		case !s.Running && p.runsElsewhere(s.Name):
		case !s.Running:
			return inputErrorf("the PostgreSQL service %q is not running, so its databases cannot be dumped; start it, or set backup.databases "+
				"to None or to the names of the services to dump", s.Name)
		default:
			done[s.Name] = true
			p.add(Planned{
				Name: p.unique("postgres_" + s.Name), Kind: KindPostgreSQL, Service: s.Name, Container: s.ContainerID,
				Reason: "service " + s.Name + " is a PostgreSQL server: " + reason,
			})
		}
	}
	for _, name := range sel.Names {
		if !slices.ContainsFunc(p.in.Services, func(s Service) bool { return s.Name == name }) {
			return inputErrorf("backup.databases names the service %q, which the application does not have; it has: %s", name, p.serviceNames())
		}
	}
	return nil
}

func (p *planner) runsElsewhere(service string) bool {
	return slices.ContainsFunc(p.in.Services, func(s Service) bool { return s.Name == service && s.Running })
}

func (p *planner) serviceNames() string {
	var names []string
	for _, s := range p.in.Services {
		names = append(names, s.Name)
	}
	return strings.Join(slices.Compact(names), ", ")
}

// place is a volume or a bind mount with all that mount it.
type place struct {
	volume, key, path string
	kind              SourceKind
	service           string
	services          []string
	writers           []string
	others            []string
	destination       string
	rw                bool
	// own says that nobody but this process's container mounts it.
	own bool
}

func (p *planner) mounts() error {
	volumes, binds := p.places()
	matched := map[string]bool{}
	selected := func(names ...string) bool {
		if p.in.Volumes.None {
			return false
		}
		found := p.in.Volumes.auto()
		for _, name := range names {
			if name != "" && slices.Contains(p.in.Volumes.Names, name) {
				matched[name], found = true, true
			}
		}
		return found
	}
	for _, v := range volumes {
		p.volume(v, selected(v.volume, v.key, strings.TrimPrefix(v.volume, p.in.Project+"_")))
	}
	var saved []place
	for _, b := range binds {
		rel, inside := p.inside(b.path)
		if p.bind(b, inside, selected(b.path, rel, "./"+rel), saved) {
			saved = append(saved, b)
		}
	}
	p.absentMounts(selected)
	for _, name := range p.in.Volumes.Names {
		if !matched[name] {
			return inputErrorf("backup.volumes names %q, which no service of the application mounts", name)
		}
	}
	return nil
}

// leftData says that a service without a container has some from an earlier one.
func (s Service) leftData() bool {
	return slices.ContainsFunc(s.Mounts, func(m Mount) bool { return m.Exists && m.RW })
}

// absentMounts tells of what is wanted and is not there yet.
func (p *planner) absentMounts(selected func(names ...string) bool) {
	if p.in.Volumes.auto() {
		return
	}
	mounted := func(m Mount) bool {
		return slices.ContainsFunc(p.in.Services, func(s Service) bool {
			return slices.ContainsFunc(s.Mounts, func(o Mount) bool {
				return (!s.Absent || o.Exists) && o.Type == m.Type && o.VolumeName == m.VolumeName && (o.Type != "bind" || filepath.Clean(o.Source) == filepath.Clean(m.Source))
			})
		})
	}
	for _, s := range p.in.Services {
		if !s.Absent {
			continue
		}
		for _, m := range s.Mounts {
			names := []string{m.VolumeName, m.VolumeKey, strings.TrimPrefix(m.VolumeName, p.in.Project+"_")}
			if m.Type == "bind" {
				rel, _ := p.inside(filepath.Clean(m.Source))
				names = []string{filepath.Clean(m.Source), rel, "./" + rel}
			}
			if selected(names...) && !mounted(m) {
				p.warn("backup.volumes names %s, which no container of the application mounts: it is not saved", cmp.Or(m.VolumeKey, m.VolumeName, m.Source))
			}
		}
	}
}

// places merges the mounts of all services, sorted by name and path.
func (p *planner) places() (volumes, binds []place) {
	byName := map[string]*place{}
	for _, s := range p.in.Services {
		for _, m := range s.Mounts {
			if s.Absent && !m.Exists {
				continue
			}
			id := m.Type + ":" + m.VolumeName
			if m.Type == "bind" {
				id = "bind:" + filepath.Clean(m.Source)
			} else if m.Type != "volume" || m.VolumeName == "" {
				continue
			}
			at := byName[id]
			if at == nil {
				at = &place{volume: m.VolumeName, service: s.Name, destination: m.Destination, own: true}
				if m.Type == "bind" {
					at.volume, at.path = "", filepath.Clean(m.Source)
				}
				byName[id] = at
			}
			at.key, at.kind, at.rw = cmp.Or(at.key, m.VolumeKey), cmp.Or(at.kind, m.SourceKind), at.rw || m.RW
			at.own = at.own && s.Own
			for _, name := range m.Others {
				if !slices.Contains(at.others, name) {
					at.others = append(at.others, name)
				}
			}
			if !slices.Contains(at.services, s.Name) {
				at.services = append(at.services, s.Name)
			}
			if m.RW && s.Running && !s.Own && s.ContainerID != "" && !slices.Contains(at.writers, s.ContainerID) {
				at.writers = append(at.writers, s.ContainerID)
			}
		}
	}
	for _, at := range byName {
		if at.volume != "" {
			volumes = append(volumes, *at)
		} else {
			binds = append(binds, *at)
		}
	}
	slices.SortFunc(volumes, func(a, b place) int { return cmp.Compare(a.volume, b.volume) })
	slices.SortFunc(binds, func(a, b place) int { return cmp.Compare(a.path, b.path) })
	return volumes, binds
}

func (p *planner) volume(v place, selected bool) {
	what := "volume " + v.volume
	listed := selected && !p.in.Volumes.auto()
	switch {
	case anonymousVolume.MatchString(v.volume) && !listed:
		if selected {
			p.warn("the anonymous volume at %s of service %s is not saved; if its data matters, give it a name in the Compose file", v.destination, v.service)
		}
	case !selected:
		p.skip(what, p.whyNot())
	case v.own && !listed:
		p.skip(what, onlyOwn)
	default:
		p.shared("volume "+v.volume, v.others)
		p.add(Planned{
			Name: p.unique("volume_" + v.volume), Kind: KindVolume, Service: v.service, Volume: v.volume, Writers: v.writers,
			Reason: "used by " + strings.Join(v.services, ", "),
		})
	}
}

// shared warns of those that are never paused for a copy.
func (p *planner) shared(what string, others []string) {
	if len(others) > 0 {
		p.warn("%s is also written by %s, not of this application: it is copied meanwhile, and may not be consistent", what, strings.Join(others, ", "))
	}
}

// onlyOwn is why what nobody but Fairlead mounts is left out: its data directory
// cannot be copied while it runs, and the deployment directory is in Git.
const onlyOwn = "only the container of Fairlead itself uses it"

// bind decides about one bind mount and says whether it is saved.
func (p *planner) bind(b place, inside, selected bool, saved []place) bool {
	what := fmt.Sprintf("bind mount %s of %s", b.path, strings.Join(b.services, ", "))
	listed := selected && !p.in.Volumes.auto()
	system := slices.ContainsFunc(systemDirs, func(dir string) bool { return within(dir, b.path) })
	switch {
	case b.kind == SourceSpecial || strings.HasSuffix(b.path, "/docker.sock"):
		p.skip(what, "a socket or device")
	case slices.ContainsFunc(p.in.deployDirs(), func(dir string) bool { return within(filepath.Join(dir, ".update"), b.path) }):
		p.skip(what, "belongs to the update system")
	case !selected && p.in.Volumes.None:
		p.skip(what, p.whyNot())
	case b.own && !listed:
		p.skip(what, onlyOwn)
	case !b.rw && !listed:
		p.skip(what, "read-only")
	case !inside && !listed && system:
		p.skip(what, "belongs to the host")
	case !inside && !listed:
		p.warn("%s is outside of the deployment directory and is not saved; if its data matters, add the path to backup.paths", what)
	case !selected:
		p.skip(what, p.whyNot())
	case slices.ContainsFunc(saved, func(s place) bool { return within(s.path, b.path) }):
		p.skip(what, "saved as a part of the bind mount around it")
	default:
		p.shared(what, b.others)
		rel, _ := p.inside(b.path)
		name := cmp.Or(rel, b.path)
		if rel == "." {
			name = "deployment"
		}
		p.add(Planned{
			Name: p.unique("bind_" + name), Kind: KindBind, Service: b.service, Path: b.path, Writers: b.writers,
			Exclude: p.exclude(b.path), Reason: "written by " + strings.Join(b.services, ", "),
		})
		return true
	}
	return false
}

// exclude leaves out of a bind mount that holds the deployment directory what is
// no data: the backups themselves, and the Git history, which the remote has and
// no update changes.
func (p *planner) exclude(path string) []string {
	for _, dir := range p.in.deployDirs() {
		if !within(path, dir) {
			continue
		}
		rel, err := filepath.Rel(path, dir)
		if err == nil {
			return []string{filepath.Join(rel, ".update"), filepath.Join(rel, ".git")}
		}
	}
	return nil
}

// inside returns path relative to the deployment directory.
func (p *planner) inside(path string) (rel string, ok bool) {
	for _, dir := range p.in.deployDirs() {
		if !within(dir, path) {
			continue
		}
		if rel, err := filepath.Rel(dir, path); err == nil {
			return rel, true
		}
	}
	return "", false
}

func (p *planner) whyNot() string {
	if p.in.Volumes.None {
		return "backup.volumes is None"
	}
	return "not in backup.volumes"
}

func (p *planner) add(a Planned) { p.plan.Artifacts = append(p.plan.Artifacts, a) }

func (p *planner) skip(what, reason string) {
	p.plan.Skipped = append(p.plan.Skipped, Skipped{What: what, Reason: reason})
}

func (p *planner) warn(format string, args ...any) {
	p.plan.Warnings = append(p.plan.Warnings, fmt.Sprintf(format, args...))
}

var unsafeInName = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// unique makes a file name of s that no other artifact has, also on a file
// system that ignores case.
func (p *planner) unique(s string) string {
	name := unsafeInName.ReplaceAllString(s, "_")
	if sum := sha256.Sum256([]byte(s)); len(name) > 120 || p.names[strings.ToLower(name)] {
		name = name[:min(len(name), 100)] + "-" + hex.EncodeToString(sum[:6])
	}
	p.names[strings.ToLower(name)] = true
	return name
}

// within says whether path is dir or below it; both are clean.
func within(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
