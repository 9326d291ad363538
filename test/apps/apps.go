// SPDX-License-Identifier: Apache-2.0

// Package apps has small, real Compose applications and brings them up the way
// a person would have them on a Docker host: a bare repository that is the
// origin, a developer's clone that commits and pushes, and the deployment
// directory, a clone with a .env of its own. Nothing here depends on package
// testing, because the demonstration uses it too; see [ForTest] for tests.
package apps

import (
	"cmp"
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

//go:embed all:shop all:hello all:trio all:monitor all:talk
var templates embed.FS

// An App is the name of one of the applications in this directory.
type App string

const (
	// Shop is a web service, a worker and a migration on PostgreSQL, with nginx
	// in front. Its services that are built: web, worker and migrate. Published
	// port: FRONT_PORT.
	Shop App = "shop"
	// Hello is one web service, web, without a database. Published port: HELLO_PORT.
	Hello App = "hello"
	// Trio is three independent web services, alpha, beta and gamma, of one
	// Dockerfile. It publishes no port.
	Trio App = "trio"
	// Monitor is SsalgTen in small: a database, a backend and a frontend that are
	// built, an agent under a profile, and an updater as a service of the same
	// project. Its .env needs more than New writes. Published port: FRONTEND_PORT.
	Monitor App = "monitor"
	// Talk is one service, talk, that answers to HTTP, WebSocket, gRPC, TCP and UDP.
	// Published ports: TALK_PORT, on ::1 too, TALK_GRPC_PORT and TALK_LINE_PORT.
	Talk App = "talk"
)

// traits is what an application needs beside its files.
type traits struct {
	images  []string // names that test/images/build.sh knows
	port    string   // variable of the published port
	more    []string // variables of further ones
	program string   // its program, "app" unless it says otherwise
}

func (a App) traits() (traits, error) {
	switch a {
	case Shop:
		return traits{images: []string{"postgres", "nginx"}, port: "FRONT_PORT"}, nil
	case Hello:
		return traits{port: "HELLO_PORT"}, nil
	case Trio:
		return traits{}, nil
	case Monitor:
		return traits{images: []string{"postgres", "nginx"}, port: "FRONTEND_PORT"}, nil
	case Talk:
		return traits{port: "TALK_PORT", more: []string{"TALK_GRPC_PORT", "TALK_LINE_PORT"}, program: "talker"}, nil
	default:
		return traits{}, fmt.Errorf("unknown test application %q: one of %s, %s, %s, %s, %s", a, Shop, Hello, Trio, Monitor, Talk)
	}
}

// Behaviour is the content of a behaviour.json: what a version does wrong, or
// slowly. The zero value works and is ready at once.
type Behaviour struct {
	// StartDelay is how long the program needs until it is ready, as "2s".
	StartDelay string `json:"startDelay,omitempty"`
	// StopDelay is how long it goes on after SIGTERM.
	StopDelay string `json:"stopDelay,omitempty"`
	// Unhealthy makes its healthcheck fail for ever.
	Unhealthy bool `json:"unhealthy,omitempty"`
	// Crash ends it with an error at once.
	Crash bool `json:"crash,omitempty"`
	// CrashAfter ends it with an error after that time.
	CrashAfter string `json:"crashAfter,omitempty"`
	// MigrateFails makes the migration fail before it changes anything.
	MigrateFails bool `json:"migrateFails,omitempty"`
}

// JSON is the content of the file.
func (b Behaviour) JSON() string {
	data, err := json.Marshal(b)
	if err != nil {
		panic(err) // strings and booleans only: cannot happen
	}
	return string(data) + "\n"
}

// Options change what [New] makes. The zero value is good.
type Options struct {
	// Env is written to the deployment directory's .env, over the defaults.
	// HEALTH_INTERVAL (30s) is the interval of all healthchecks.
	Env map[string]string
	// Label is the value of the label fairlead.dev/test on all that the
	// application makes. Default: the application's name.
	Label string
}

// Repo is one application with its repositories. Its project name is unique on
// the machine, so that any number of them can run at once.
type Repo struct {
	// App is what this is one of.
	App App
	// Project is the Compose project: the name of the deployment directory.
	Project string
	// Origin is the path of the bare repository.
	Origin string
	// Work is the developer's clone: where Commit commits.
	Work string
	// Dir is the deployment directory. It stays where it is until somebody,
	// the daemon, moves it.
	Dir string
	// Port is the published port on 127.0.0.1; 0 for an application without one.
	Port int
	// Ports are all published ports, by their variables in .env.
	Ports map[string]int

	root string // of this module
}

// New makes the repositories of app below the existing directory dir, with a first commit
// pushed to the branch main, and the deployment directory at that commit with
// its .env. Images that the application needs and that cannot be pulled are
// made first. It runs git and the Go toolchain and must be called from within this module.
// No container is started.
func New(ctx context.Context, dir string, app App, opts Options) (*Repo, error) {
	needs, err := app.traits()
	if err != nil {
		return nil, err
	}
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	if err := ensureImages(ctx, root, needs.images); err != nil {
		return nil, err
	}
	suffix := make([]byte, 4)
	rand.Read(suffix) // never fails
	r := &Repo{App: app, Project: fmt.Sprintf("%s-%x", app, suffix), Ports: map[string]int{}, root: root}
	r.Origin = filepath.Join(dir, r.Project+".git")
	r.Work = filepath.Join(dir, r.Project+".work")
	r.Dir = filepath.Join(dir, r.Project)

	if err := r.create(ctx, cmp.Or(needs.program, "app")); err != nil {
		return nil, fmt.Errorf("make test application %s: %w", app, err)
	}
	env := map[string]string{"POSTGRES_PASSWORD": rand.Text(), "TEST_LABEL": string(app)}
	if opts.Label != "" {
		env["TEST_LABEL"] = opts.Label
	}
	ports := needs.more
	if needs.port != "" {
		ports = append([]string{needs.port}, ports...)
	}
	for _, name := range ports {
		if r.Ports[name], err = FreePort(ctx); err != nil {
			return nil, err
		}
		env[name] = strconv.Itoa(r.Ports[name])
	}
	r.Port = r.Ports[needs.port]
	maps.Copy(env, opts.Env)
	return r, r.WriteEnv(env)
}

// create makes the three repositories with the application's files and program.
func (r *Repo) create(ctx context.Context, name string) error {
	if _, err := git(ctx, "", "init", "--quiet", "--bare", "--initial-branch=main", r.Origin); err != nil {
		return err
	}
	if _, err := git(ctx, "", "clone", "--quiet", r.Origin, r.Work); err != nil {
		return err
	}
	files, err := fs.Sub(templates, string(r.App))
	if err != nil {
		return err
	}
	if err := os.CopyFS(r.Work, files); err != nil {
		return err
	}
	program, err := buildProgram(ctx, r.root, name)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.Work, "app"), data, 0o755); err != nil {
		return err
	}
	// In every build context, though in no image: what another test built of the same
	// content, may be hours ago, is not taken for this one's.
	if err := os.WriteFile(filepath.Join(r.Work, "project.txt"), []byte(r.Project+"\n"), 0o644); err != nil {
		return err
	}
	if _, err := r.Publish(ctx, "First version", nil); err != nil {
		return err
	}
	_, err = git(ctx, "", "clone", "--quiet", r.Origin, r.Dir)
	return err
}

// WriteEnv replaces the .env of the deployment directory.
func (r *Repo) WriteEnv(env map[string]string) error {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(&b, "%s=%s\n", key, env[key])
	}
	return os.WriteFile(filepath.Join(r.Dir, ".env"), []byte(b.String()), 0o600)
}

// URL is path on the published port of the application.
func (r *Repo) URL(path string) string {
	return "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(r.Port)) + path
}

// FreePort finds a TCP port on 127.0.0.1 that nobody listens on just now.
func FreePort(ctx context.Context) (int, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	addr, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return 0, errors.Join(fmt.Errorf("unexpected address %s", listener.Addr()), listener.Close())
	}
	return addr.Port, listener.Close()
}
