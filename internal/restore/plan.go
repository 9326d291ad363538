// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/measure"
	"github.com/fairlead-dev/fairlead/internal/plural"
)

// Skip says what is left as it is.
type Skip struct{ Code, Files, Volumes, Database bool }

// Facts are what a plan is made from.
type Facts struct {
	Manifest backup.Manifest
	// Directory is the deployment directory, which may be another than that of the
	// backup.
	Directory string
	Skip      Skip
	// Head and Branch are checked out now; Ahead says how many commits are only in
	// this clone, Edits which files were changed by hand and are in the way.
	Head, Branch string
	Ahead        int
	Edits        []string
	// Present says of each artifact, by name, what is in its place now.
	Present map[string]Present
	// Users are the containers of others that run and may write to a place, by its
	// volume or path.
	Users map[string][]string
	// Databases are the dumped services, by name.
	Databases map[string]Database
	// Containers that run now, by name; Self is the service that this command
	// runs in, if any.
	Containers []string
	Self       string
	// Images say where those come from.
	Images []ImageSource
	// SafetyBackup is made before anything is overwritten, or was made by an
	// earlier attempt.
	SafetyBackup bool
	EarlierID    string
	// NewCluster asks for an emptied data directory of every dumped database.
	NewCluster bool
}

// Present is what is in the place of an artifact.
type Present struct {
	// Exists is false where nothing is there.
	Exists bool
	// Bytes that are there; -1 where that is not known.
	Bytes int64
	// Impossible says why it cannot be restored here.
	Impossible string
}

// Database is a PostgreSQL service of which there is a dump.
type Database struct {
	// InModel says that the Compose model at the commit has the service.
	InModel bool
	// Data names the artifact with the files of its data directory, if any.
	Data string
	// Place is the volume or directory that holds the data; empty where the
	// model mounts none.
	Place string
	// Major version of the files that are there now; empty where there are none.
	Major string
}

// ImageSource says where the image of a service comes from.
type ImageSource struct {
	Service, How string
	Exact        bool
}

// Action is what is done with an artifact.
type Action string

// The actions.
const (
	// ActionReplace makes the content of a place that of the archive.
	ActionReplace Action = "replace"
	// ActionWrite writes files over those that are there; others stay.
	ActionWrite Action = "write"
	// ActionFeed feeds a dump to its server.
	ActionFeed Action = "feed"
	// ActionEmpty empties the data directory of a database before its dump is fed.
	ActionEmpty Action = "empty"
	// ActionLeave leaves it as it is.
	ActionLeave Action = "leave"
)

// Item is one artifact, with what is done with it.
type Item struct {
	Artifact backup.Artifact
	Action   Action
	// Words say what happens, and why.
	Words string
}

// Plan is what a restore is going to do.
type Plan struct {
	// Code is the commit that the working tree goes to; empty: it stays.
	Code string
	// Items in the order of the manifest.
	Items []Item
	// Empty names, by service, the places whose databases are made anew.
	Empty map[string]string
	// Lines say all of it for people.
	Lines []string
	// Warnings name what is not as it was.
	Warnings []string
	// Blocked says why it cannot be carried out.
	Blocked []string
}

// Of returns the items with one of the actions.
func (p *Plan) Of(actions ...Action) []Item {
	return slices.DeleteFunc(slices.Clone(p.Items), func(i Item) bool { return !slices.Contains(actions, i.Action) })
}

// NewPlan decides what is done. It is pure: it looks at nothing but f.
func NewPlan(f Facts) *Plan {
	p := &planner{f: f, plan: &Plan{Empty: map[string]string{}}}
	if f.Directory != f.Manifest.DeployDir {
		p.warn("the backup was made of %s; what was in it comes back in %s", f.Manifest.DeployDir, f.Directory)
	}
	p.code()
	for _, a := range f.Manifest.Artifacts {
		p.artifact(a)
	}
	p.users()
	p.containers()
	p.images()
	p.lost()
	return p.plan
}

type planner struct {
	f    Facts
	plan *Plan
}

func (p *planner) say(format string, args ...any) {
	p.plan.Lines = append(p.plan.Lines, fmt.Sprintf(format, args...))
}

func (p *planner) warn(format string, args ...any) {
	p.plan.Warnings = append(p.plan.Warnings, fmt.Sprintf(format, args...))
}

func (p *planner) block(format string, args ...any) {
	p.plan.Blocked = append(p.plan.Blocked, fmt.Sprintf(format, args...))
}

func (p *planner) code() {
	f := p.f
	switch {
	case f.Skip.Code:
		p.say("code: stays at %s, as asked, and so do the images", short(f.Head))
		if f.Manifest.Commit != "" && f.Manifest.Commit != f.Head {
			p.warn("the data is from %s, the code stays at %s: see that they fit", short(f.Manifest.Commit), short(f.Head))
		}
		return
	case f.Manifest.Commit == "":
		p.block("the backup does not say which commit ran: restore without the code (--skip-code), and check it out by hand")
		return
	case f.Manifest.Commit == f.Head && len(f.Edits) == 0:
		p.say("code: is at %s already", short(f.Head))
	default:
		p.plan.Code = f.Manifest.Commit
		p.say("code: %s goes from %s%s to %s", f.Directory, short(f.Head), onBranch(f.Branch), short(f.Manifest.Commit))
	}
	if len(f.Edits) > 0 {
		p.say("code: %s changed by hand will be overwritten: %s", plural.Of(len(f.Edits), "file"), list(f.Edits, 10))
		if !f.SafetyBackup {
			p.block("%s changed by hand would be lost without a safety backup: commit or remove the changes, or leave out --no-safety-backup", plural.Of(len(f.Edits), "file"))
		}
	}
	if f.Ahead > 0 {
		p.say("code: %s only in this clone will be kept there, below refs/fairlead/kept", plural.Of(f.Ahead, "commit"))
	}
}

func (p *planner) artifact(a backup.Artifact) {
	item := p.decide(a)
	p.plan.Items = append(p.plan.Items, item)
	p.say("%s: %s", a.Name, item.Words)
}

func (p *planner) decide(a backup.Artifact) Item {
	f, here := p.f, p.f.Present[a.Name]
	leave := func(why string) Item { return Item{Artifact: a, Action: ActionLeave, Words: "left as it is: " + why} }
	if service, ok := p.dataOf(a); ok {
		return p.dataDirectory(a, service)
	}
	switch {
	case a.Kind == backup.KindFiles && f.Skip.Files, (a.Kind == backup.KindVolume || a.Kind == backup.KindBind) && f.Skip.Volumes,
		a.Kind == backup.KindPostgreSQL && f.Skip.Database:
		return leave("as asked")
	case here.Impossible != "":
		p.block("%s cannot be restored: %s", a.Name, here.Impossible)
		return leave(here.Impossible)
	}
	switch a.Kind {
	case backup.KindFiles:
		var names []string
		for _, file := range a.Files {
			names = append(names, file.Path)
		}
		return Item{a, ActionWrite, fmt.Sprintf("%s written over what is there: %s", plural.Of(len(names), "setting"), list(names, 10))}
	case backup.KindVolume:
		return Item{a, ActionReplace, "the content of the volume " + a.Volume + p.replaced(a, here)}
	case backup.KindBind:
		return Item{a, ActionReplace, "the content of " + a.Path + p.replaced(a, here)}
	case backup.KindPostgreSQL:
		return p.dump(a)
	}
	p.block("%s is of the kind %s, which this version of Fairlead does not know; use a newer one", a.Name, a.Kind)
	return leave("its kind is not known")
}

func (p *planner) replaced(a backup.Artifact, here Present) string {
	size := measure.Bytes(a.UncompressedBytes)
	switch {
	case !here.Exists:
		return " comes back (" + size + "); nothing is there now"
	case here.Bytes >= 0:
		return fmt.Sprintf(" (%s now) is replaced by that of the backup (%s)", measure.Bytes(here.Bytes), size)
	}
	return " is replaced by that of the backup (" + size + ")"
}

// dataOf returns the service of which the artifact has the database's files.
func (p *planner) dataOf(a backup.Artifact) (string, bool) {
	for service, db := range p.f.Databases {
		if db.Data != "" && db.Data == a.Name {
			return service, true
		}
	}
	return "", false
}

// dataDirectory never restores the files of a database of which there is a dump:
// they were copied while the server wrote, the dump is consistent.
func (p *planner) dataDirectory(a backup.Artifact, service string) Item {
	leave := func(why string) Item { return Item{Artifact: a, Action: ActionLeave, Words: why} }
	if p.f.Skip.Database {
		return leave("left as it is, as asked: they are the files of the database " + service)
	}
	if why := p.anew(service); why != "" {
		return Item{a, ActionEmpty, fmt.Sprintf("the files of the database %s are removed, as %s; the server makes new ones, and the dump is fed to it", service, why)}
	}
	return leave(fmt.Sprintf("not restored: the files of the database %s were copied while it ran; its dump is restored instead", service))
}

// anew says why the data directory of a database is emptied first.
func (p *planner) anew(service string) string {
	db := p.f.Databases[service]
	if db.Place == "" {
		return ""
	}
	if p.f.NewCluster {
		return "asked"
	}
	made := ""
	for _, a := range p.f.Manifest.Artifacts {
		if a.Kind == backup.KindPostgreSQL && a.Service == service {
			made = backup.PostgresMajor(a.Tool)
		}
	}
	if made != "" && db.Major != "" && made != db.Major {
		return fmt.Sprintf("they are of PostgreSQL %s, and the backup was made with %s", db.Major, made)
	}
	return ""
}

func (p *planner) dump(a backup.Artifact) Item {
	db, known := p.f.Databases[a.Service]
	if !known || !db.InModel {
		p.block("%s cannot be restored: the Compose model of the backup has no active service %s: name its profile with --profile, or leave the database out (--skip-database)", a.Name, a.Service)
		return Item{a, ActionLeave, "left as it is: there is no such service"}
	}
	if why := p.anew(a.Service); why != "" {
		p.plan.Empty[a.Service] = db.Place
	}
	return Item{a, ActionFeed, fmt.Sprintf("the databases %s of the service %s are dropped and made anew from the dump (%s); other databases stay",
		strings.Join(a.Databases, ", "), a.Service, measure.Bytes(a.UncompressedBytes))}
}

// users blocks what others write to: they would go on in files that are gone.
func (p *planner) users() {
	for _, place := range p.plan.places(p.f) {
		if users := p.f.Users[place]; len(users) > 0 {
			p.block("%s is also written by containers that are not of this application and run: stop %s first, or leave it out (--skip-volumes, --skip-database)",
				place, list(users, 10))
		}
	}
}

// places are the volumes and paths whose content is replaced or emptied.
func (p *Plan) places(f Facts) []string {
	var out []string
	for _, i := range p.Of(ActionReplace) {
		out = append(out, placeOf(i.Artifact, f.Manifest.DeployDir, f.Directory))
	}
	for _, place := range p.Empty {
		if place != "" {
			out = append(out, place)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// placeOf is the volume or path that an artifact is restored to.
func placeOf(a backup.Artifact, from, to string) string {
	if a.Kind == backup.KindVolume {
		return a.Volume
	}
	return move(a.Path, from, to)
}

func (p *planner) containers() {
	if n := len(p.f.Containers); n > 0 {
		p.say("containers: %d that run are stopped: %s", n, list(p.f.Containers, 20))
	}
	if p.f.Self != "" {
		p.warn("the service %s is left as it is, as this command runs in it", p.f.Self)
	}
}

func (p *planner) images() {
	for _, i := range p.f.Images {
		p.say("image of %s: %s", i.Service, i.How)
		if !i.Exact {
			p.warn("the image of %s is not the very one that ran: it %s", i.Service, i.How)
		}
	}
}

// lost names what the backup does not have.
func (p *planner) lost() {
	for _, w := range p.f.Manifest.Warnings {
		p.warn("not in the backup, or not usable: %s", w)
	}
	switch {
	case p.f.EarlierID != "":
		p.say("safety backup: an earlier attempt made %s, which stays the one to go back to", p.f.EarlierID)
	case p.f.SafetyBackup:
		p.say("safety backup: what is there now is saved first, as a backup of its own")
	default:
		p.warn("there will be no safety backup: what is overwritten is lost")
	}
}

// Show writes the plan for people.
func (p *Plan) Show(w io.Writer) {
	for _, line := range p.Lines {
		fmt.Fprintln(w, "  -", line)
	}
	for _, line := range p.Warnings {
		fmt.Fprintln(w, "  ! ", line)
	}
	for _, line := range p.Blocked {
		fmt.Fprintln(w, "  X ", line)
	}
}

func onBranch(branch string) string {
	if branch == "" {
		return ""
	}
	return " (" + branch + ")"
}

func short(commit string) string { return commit[:min(7, len(commit))] }

// list names at most limit of the names.
func list(names []string, limit int) string {
	if len(names) > limit {
		return strings.Join(names[:limit], ", ") + fmt.Sprintf(" and %d more", len(names)-limit)
	}
	return strings.Join(names, ", ")
}
