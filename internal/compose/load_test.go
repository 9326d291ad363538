// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/docker/compose/v5/pkg/api"
	composesdk "github.com/docker/compose/v5/pkg/compose"
)

// everything uses all that decides a service's hash.
const everything = `
name: everything
x-common: &common
  restart: unless-stopped
  logging: {driver: json-file, options: {max-size: 1m}}
include:
- path: infra/compose.yml
services:
  web:
    <<: *common
    build:
      context: ./web
      args: {VERSION: "${VERSION}", EMPTY: }
      additional_contexts: {shared: ./shared, base: "docker-image://scratch"}
      secrets: [token]
      ssh: [default]
      shm_size: 64m
      extra_hosts: ["a:1.2.3.4"]
    container_name: shop-web
    env_file: [common.env, {path: secrets.env, required: true}, {path: absent.env, required: false}]
    label_file: ./labels.env
    environment:
      PLAIN: value
      QUOTED: 'a "b" $$NOT_A_VARIABLE'
      FROM_ENV: ${DB_PASSWORD:?the database password}
      PASSED:
      ABSENT:
    ports: ["127.0.0.1:8080:80", "9000-9001:9000-9001/udp", "443"]
    expose: ["81"]
    volumes:
    - ./data:/data
    - ./web/nginx.conf:/etc/nginx/nginx.conf:ro
    - named:/named
    - /anonymous
    - {type: tmpfs, target: /tmp, tmpfs: {size: 1m}}
    - {type: bind, source: ./nested/dir, target: /x, bind: {create_host_path: false, propagation: rslave}}
    - ../outside:/outside
    - ${PWD}/pwd:/pwd
    tmpfs: [/run:size=1m]
    configs: [{source: inline, target: /inline, mode: 0440}, filed]
    secrets: [token, {source: fromenv, target: /run/x, uid: "1"}]
    networks:
      front: {aliases: [www], ipv4_address: 10.99.0.5, priority: 10}
      default:
    depends_on:
      migrate: {condition: service_completed_successfully}
      db: {condition: service_healthy, restart: true}
    deploy:
      replicas: 1
      update_config: {order: start-first, parallelism: 1, delay: 5s, monitor: 1s}
      rollback_config: {order: stop-first}
      resources: {limits: {cpus: "0.5", memory: 64M}, reservations: {memory: 8m}}
      restart_policy: {condition: on-failure, max_attempts: 3}
    healthcheck: {test: "wget -q localhost || exit 1", interval: 30s, timeout: 3s, retries: 2, start_period: 10s, start_interval: 1s}
    ulimits: {nofile: {soft: 1024, hard: 2048}, nproc: 100}
    sysctls: {net.core.somaxconn: 1024}
    stop_grace_period: 1m30s
    stop_signal: SIGQUIT
    extra_hosts: ["host.docker.internal:host-gateway"]
    develop: {watch: [{action: sync, path: ./web, target: /app}]}
    command: ["serve", "--price=$$5", "yes", "0123", "1e3", "null", "~", ""]
    post_start: [{command: ["touch", "/x"], user: root}]
    x-fairlead: {order: StartFirst, healthTimeout: 5m, minHealthy: 2s, parallelism: 2, maxFailureRatio: 0.5, failureAction: Pause, delay: 3s, monitor: 4s}
  migrate:
    extends: {file: base/base.yml, service: migrate}
    image: shop/migrate:${VERSION}
    command: echo "it's"
  db:
    image: postgres:16
    volumes: [dbdata:/var/lib/postgresql/data]
    shm_size: 128mb
    blkio_config: {weight: 300}
    healthcheck: {disable: true}
    cpus: 0.5
    init: false
  side:
    image: side
    network_mode: service:web
    pid: service:web
    volumes_from: [db:ro]
  agent:
    image: agent
    profiles: [agent]
    environment: [LIST_FORM=a=b, PASSED]
networks:
  front: {ipam: {config: [{subnet: 10.99.0.0/24}]}, driver_opts: {com.docker.network.bridge.name: br-x}}
volumes:
  named: {labels: {a: b}}
  dbdata: {name: "shop-db"}
  unused: {}
  bound: {driver: local, driver_opts: {type: none, o: bind, device: ./bound}}
configs:
  inline: {content: "a=${VERSION}\nb=$$x\n"}
  filed: {file: ./conf/filed.conf}
secrets:
  token: {file: ./token.txt}
  fromenv: {environment: DB_PASSWORD}
`

var (
	trackedFiles = map[string]string{
		"docker-compose.yml":     everything,
		"common.env":             "COMMON=1\nOVERRIDDEN=common\nREFERS=${COMMON}-${VERSION}\n",
		"labels.env":             "team=shop\n",
		"infra/compose.yml":      "services:\n  cache:\n    image: redis:${CACHE_VERSION}\n    volumes: [./cache:/data]\n    build: ./img\n",
		"base/base.yml":          "services:\n  migrate:\n    image: x\n    volumes: [./migrations:/migrations:ro]\n    env_file: base.env\n    environment: {BASE: \"${VERSION}\"}\n",
		"base/base.env":          "BASE_ENV=1\n",
		"web/nginx.conf":         "",
		"web/Dockerfile":         "FROM scratch\n",
		"shared/x":               "",
		"conf/filed.conf":        "",
		"infra/img/Dockerfile":   "FROM scratch\n",
		"docker-compose.dev.yml": "services:\n  web:\n    environment: {PLAIN: dev}\n",
	}
	untrackedFiles = map[string]string{
		".env":        "VERSION=1.2\nDB_PASSWORD=topsecret\nPASSED=from-dotenv\n",
		"secrets.env": "SECRET_KEY=\"multi\nline\"\nOVERRIDDEN=secrets\nDOLLAR='$x'\n",
		"infra/.env":  "CACHE_VERSION=7\n",
		"token.txt":   "t",
	}
)

// The model of a commit must have the hashes that `docker compose` will
// compute when the commit is checked out.
func TestHashesEqualThoseOfTheCommand(t *testing.T) {
	old := merged(trackedFiles, untrackedFiles, map[string]string{"docker-compose.yml": "services: {web: {image: old}}\n", "common.env": "OLD=1\n"})
	for name, tc := range map[string]struct {
		options Options
		load    api.ProjectLoadOptions
	}{
		"defaults":       {},
		"profile":        {Options{Profiles: []string{"agent"}}, api.ProjectLoadOptions{Profiles: []string{"agent"}}},
		"explicit files": {Options{Files: []string{"docker-compose.yml", "docker-compose.dev.yml"}}, api.ProjectLoadOptions{ConfigPaths: []string{"docker-compose.yml", "docker-compose.dev.yml"}}},
		"project name":   {Options{ProjectName: "other"}, api.ProjectLoadOptions{ProjectName: "other"}},
	} {
		t.Run(name, func(t *testing.T) {
			deployDir, treeDir := deployment(t, old, trackedFiles)
			tc.options.DeployDir, tc.options.TreeDir = deployDir, treeDir
			p := mustLoad(t, tc.options)

			write(t, deployDir, trackedFiles) // the checkout
			want := cliProject(t, deployDir, tc.load)
			compare(t, p, want.ServiceNames(), func(service string) string {
				hash, err := composesdk.ServiceHash(want.Services[service])
				if err != nil {
					t.Fatal(err)
				}
				return hash
			})
			if p.Name() != want.Name {
				t.Errorf("name %q, want %q", p.Name(), want.Name)
			}
			for key := range want.Networks {
				n := want.Networks[key]
				w, _ := composesdk.NetworkHash(&n)
				if got, _ := p.networkHash(key); got != w {
					t.Errorf("network %s has another hash", key)
				}
			}
			for key, v := range want.Volumes {
				w, _ := composesdk.VolumeHash(v)
				if got, _ := p.volumeHash(key); got != w {
					t.Errorf("volume %s has another hash", key)
				}
			}
			for service, c := range want.Services {
				for _, label := range []string{LabelProject, LabelService, LabelOneOff, LabelWorkingDir, LabelConfigFiles, LabelEnvFiles} {
					if got := p.model.Services[service].CustomLabels[label]; got != c.CustomLabels[label] {
						t.Errorf("service %s: label %s is %q, want %q", service, label, got, c.CustomLabels[label])
					}
				}
			}
		})
	}
}

func compare(t *testing.T, p *Project, want []string, hash func(string) string) {
	t.Helper()
	var got []string
	for _, s := range p.Services() {
		got = append(got, s.Name)
		h, err := p.Hash(s.Name)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(want, s.Name) && h != hash(s.Name) {
			raw, _ := p.model.Services[s.Name].MarshalYAML()
			t.Errorf("service %s has another hash: %+v", s.Name, raw)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("services %v, want %v", got, want)
	}
}

func TestLoadReadsTheCommitAndTheDeployment(t *testing.T) {
	deployDir, treeDir := deployment(t, untrackedFiles, trackedFiles)
	p := mustLoad(t, Options{DeployDir: deployDir, TreeDir: treeDir})
	web, _ := p.Service("web")

	for name, want := range map[string]string{
		"COMMON":     "1",
		"REFERS":     "1-1.2",
		"OVERRIDDEN": "secrets",
		"SECRET_KEY": "multi\nline",
		"DOLLAR":     "$x",
		"QUOTED":     `a "b" $NOT_A_VARIABLE`,
		"PASSED":     "from-dotenv",
		"FROM_ENV":   "topsecret",
	} {
		if got := web.Environment[name]; got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if _, ok := web.Environment["ABSENT"]; ok {
		t.Error("a variable without a value must not be in the environment")
	}
	if want := filepath.Join(treeDir, "web"); web.Build.Context != want {
		t.Errorf("build context %s, want %s", web.Build.Context, want)
	}
	if got, want := web.Build.AdditionalContexts["shared"], filepath.Join(treeDir, "shared"); got != want {
		t.Errorf("additional context %s, want %s", got, want)
	}
	if got := web.Build.AdditionalContexts["base"]; got != "docker-image://scratch" {
		t.Errorf("additional context %s", got)
	}
	if got := web.Build.Secrets; len(got) != 1 || got[0].File != filepath.Join(deployDir, "token.txt") {
		t.Errorf("build secrets %+v", got)
	}
	sources := map[string]string{}
	for _, m := range web.Mounts {
		sources[m.Target] = m.Source
	}
	for target, want := range map[string]string{
		"/data":                 filepath.Join(deployDir, "data"),
		"/etc/nginx/nginx.conf": filepath.Join(deployDir, "web/nginx.conf"),
		"/named":                "everything_named",
		"/anonymous":            "",
		"/outside":              filepath.Join(filepath.Dir(deployDir), "outside"),
		"/pwd":                  filepath.Join(deployDir, "pwd"),
	} {
		if sources[target] != want {
			t.Errorf("source of %s is %q, want %q", target, sources[target], want)
		}
	}
	if want := []string{"conf/filed.conf", "data", "nested/dir", "pwd", "token.txt", "web/nginx.conf"}; !slices.Equal(web.TrackedPaths, want) {
		t.Errorf("tracked paths %v, want %v", web.TrackedPaths, want)
	}
	cache, _ := p.Service("cache")
	if cache.Image != "redis:7" || cache.Mounts[0].Source != filepath.Join(deployDir, "infra/cache") || cache.Build.Context != filepath.Join(treeDir, "infra/img") {
		t.Errorf("included service: %+v", cache)
	}
	migrate, _ := p.Service("migrate")
	if !migrate.OneShot || migrate.Environment["BASE_ENV"] != "1" || migrate.Mounts[0].Source != filepath.Join(deployDir, "base/migrations") {
		t.Errorf("extended service: %+v", migrate)
	}
	if _, ok := p.Service("agent"); ok {
		t.Error("a service of an inactive profile must not be there")
	}
	for _, v := range p.Volumes() {
		if v.Key == "unused" {
			t.Error("an unused volume must not be there")
		}
	}
}

func TestEnvironmentOfTheProcessDoesNotLeakIn(t *testing.T) {
	t.Setenv("LEAK", "leaked")
	t.Setenv("COMPOSE_PROJECT_NAME", "leaked")
	t.Setenv("COMPOSE_FILE", "leaked.yml")
	t.Setenv("COMPOSE_PROFILES", "leaked")
	deployDir, treeDir := deployment(t, nil, map[string]string{"compose.yaml": "services: {web: {image: \"x:${LEAK-none}\", environment: [LEAK]}, p: {image: x, profiles: [leaked]}}"})
	p := mustLoad(t, Options{DeployDir: deployDir, TreeDir: treeDir})
	web, _ := p.Service("web")
	if web.Image != "x:none" || len(web.Environment) != 0 || p.Name() != "shop" || len(p.Services()) != 1 {
		t.Errorf("leaked: %+v", web)
	}
}

func TestSettingsInTheEnvironmentFile(t *testing.T) {
	tree := map[string]string{
		"a.yml": "services: {a: {image: a}, p: {image: p, profiles: [special]}, q: {image: q, profiles: [other]}}",
		"b.yml": "services: {b: {image: b}}",
	}
	deployDir, treeDir := deployment(t, map[string]string{".env": "COMPOSE_FILE=a.yml;b.yml\nCOMPOSE_PATH_SEPARATOR=;\nCOMPOSE_PROFILES=special\nCOMPOSE_PROJECT_NAME=renamed\n"}, tree)
	p := mustLoad(t, Options{DeployDir: deployDir, TreeDir: treeDir})
	if got := serviceNames(p); !slices.Equal(got, []string{"a", "b", "p"}) || p.Name() != "renamed" {
		t.Errorf("services %v of %s", got, p.Name())
	}
	if want := []string{filepath.Join(deployDir, "a.yml"), filepath.Join(deployDir, "b.yml")}; !slices.Equal(p.Files(), want) {
		t.Errorf("files %v, want %v", p.Files(), want)
	}
}

func serviceNames(p *Project) []string {
	var names []string
	for _, s := range p.Services() {
		names = append(names, s.Name)
	}
	return names
}

func TestFilesInASubdirectoryAreAProjectDirectory(t *testing.T) {
	tree := map[string]string{"deploy/compose.yml": "services: {a: {image: \"a:${TAG}\", build: ../src, volumes: [\"./d:/d\"]}}", "src/Dockerfile": ""}
	deployDir, treeDir := deployment(t, map[string]string{"deploy/.env": "TAG=1"}, tree)
	p := mustLoad(t, Options{DeployDir: deployDir, TreeDir: treeDir, Files: []string{"deploy/compose.yml"}})
	a, _ := p.Service("a")
	if a.Image != "a:1" || p.Name() != "deploy" || a.Build.Context != filepath.Join(treeDir, "src") || a.Mounts[0].Source != filepath.Join(deployDir, "deploy/d") {
		t.Errorf("%s: %+v", p.Name(), a)
	}
	if !slices.Equal(a.TrackedPaths, []string{"deploy/d"}) {
		t.Errorf("tracked paths %v", a.TrackedPaths)
	}
}

func TestDeploymentDirectoryBelowTheRepository(t *testing.T) {
	root := t.TempDir()
	deployDir, export := filepath.Join(root, "repo", "deploy"), filepath.Join(root, "export")
	write(t, export, map[string]string{"deploy/compose.yml": "services: {a: {build: ../src, volumes: [\"../conf:/c\"]}}", "src/Dockerfile": ""})
	write(t, root, map[string]string{"src/wrong": ""})
	p := mustLoad(t, Options{DeployDir: deployDir, TreeDir: filepath.Join(export, "deploy"), TreeRoot: export})
	a, _ := p.Service("a")
	if a.Build.Context != filepath.Join(export, "src") || a.Mounts[0].Source != filepath.Join(root, "repo", "conf") {
		t.Errorf("%+v", a)
	}
	// Without the root, what is beside the tree is not taken for a part of it.
	p = mustLoad(t, Options{DeployDir: deployDir, TreeDir: filepath.Join(export, "deploy")})
	a, _ = p.Service("a")
	if a.Build.Context != filepath.Join(root, "repo", "src") {
		t.Errorf("%+v", a)
	}
}

func TestRemovedFileIsNotReadFromTheDeployment(t *testing.T) {
	deployed := map[string]string{"compose.yml": "services: {a: {image: old}}", "compose.override.yml": "services: {a: {image: overridden}}"}
	deployDir, treeDir := deployment(t, deployed, map[string]string{"compose.yml": "services: {a: {image: new}}"})
	for name, tc := range map[string]struct {
		tracked func(string) bool
		want    string
	}{
		"untracked override": {func(path string) bool { return filepath.Base(path) == "compose.yml" }, "overridden"},
		"tracked override":   {func(string) bool { return true }, "new"},
		"nothing known":      {nil, "overridden"},
	} {
		t.Run(name, func(t *testing.T) {
			p := mustLoad(t, Options{DeployDir: deployDir, TreeDir: treeDir, Tracked: tc.tracked})
			if a, _ := p.Service("a"); a.Image != tc.want {
				t.Errorf("image %s, want %s", a.Image, tc.want)
			}
		})
	}
}

func TestLoadLeavesNothingBehind(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	deployDir, treeDir := deployment(t, untrackedFiles, trackedFiles)
	mustLoad(t, Options{DeployDir: deployDir, TreeDir: treeDir})
	if _, err := Load(t.Context(), Options{DeployDir: deployDir, TreeDir: treeDir, Files: []string{"none.yml"}}); err == nil {
		t.Error("no error")
	}
	entries, err := os.ReadDir(temp)
	if err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}
