// SPDX-License-Identifier: Apache-2.0

package dropin

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

func lookup(env map[string]string) Lookup {
	return func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
}

// ssalgten is the environment of SsalgTen's own Compose file.
func ssalgten(more map[string]string) map[string]string {
	env := map[string]string{
		"PORT": "8765", "WORKSPACE": "/workspace", "UPDATE_SCRIPT": "/workspace/scripts/update-production.sh",
		"UPDATE_LOG_DIR": "/workspace/.update/logs", "UPDATER_TOKEN": "t0ken", "FRONTEND_PORT": "80", "BACKEND_PORT": "3001",
		"DB_PORT": "5432", "REDIS_PORT": "6379", "REPO_OWNER": "lonelyrower", "REPO_NAME": "SsalgTen", "REPO_BRANCH": "main", "GITHUB_TOKEN": "",
	}
	maps.Copy(env, more)
	return env
}

func TestWanted(t *testing.T) {
	for _, tt := range []struct {
		name      string
		env       map[string]string
		inProject bool
		want      bool
	}{
		{"a plain host", nil, false, false},
		{"a plain container", nil, true, false},
		{"a token on a host", map[string]string{"UPDATER_TOKEN": "t"}, false, false},
		{"a token in a project", map[string]string{"UPDATER_TOKEN": "t"}, true, true},
		{"a blank token in a project", map[string]string{"UPDATER_TOKEN": ""}, true, true},
		{"a workspace", map[string]string{"WORKSPACE": "/w"}, false, true},
		{"an empty workspace", map[string]string{"WORKSPACE": ""}, false, false},
		{"a log directory", map[string]string{"UPDATE_LOG_DIR": "/l"}, true, true},
		{"ports alone", map[string]string{"PORT": "1", "BACKEND_PORT": "2"}, true, false},
		{"SsalgTen", ssalgten(nil), true, true},
	} {
		if got := Wanted(lookup(tt.env), tt.inProject); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestReadErrors(t *testing.T) {
	for _, tt := range []struct {
		name, value, want string
	}{
		{"UPDATER_TOKEN", "", "UPDATER_TOKEN: it must be set"},
		{"UPDATER_TOKEN", "  ", "UPDATER_TOKEN: it must be set"},
		{"WORKSPACE", "work", "absolute path"},
		{"UPDATE_LOG_DIR", "logs", "absolute path"},
		{"PORT", "70000", "from 1 to 65535"},
		{"PORT", "http", "from 1 to 65535"},
		{"UPDATER_MAX_BODY_BYTES", "-1", "is not a number"},
		{"REPO_OWNER", "a/b", "no user or organisation"},
		{"REPO_NAME", "owner/name", "without the owner"},
		{"REPO_BRANCH", "-x", "no branch"},
		{"BACKUP_RETENTION_DAYS", "0", "from 1 to"},
		{"MAX_HEALTH_ATTEMPTS", "many", "from 1 to 10000"},
		{"WEBHOOK_URL", "ftp://secret", "http:// or https://"},
		{"GITHUB_SERVER_URL", "github.com", "http:// or https://"},
		{"UPDATE_MODE", "sauce", "image or source"},
	} {
		_, err := Read(lookup(ssalgten(map[string]string{tt.name: tt.value})))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), tt.name) {
			t.Errorf("%s=%q: %v, want %q", tt.name, tt.value, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the value is told: %v", tt.name, err)
		}
	}
	_, err := Read(lookup(map[string]string{"PORT": "x", "UPDATE_MODE": "y"}))
	for _, name := range []string{"UPDATER_TOKEN", "PORT", "UPDATE_MODE"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not in %v", name, err)
		}
	}
}

func TestReadDefaults(t *testing.T) {
	s, err := Read(lookup(map[string]string{"UPDATER_TOKEN": " t "}))
	if err != nil {
		t.Fatal(err)
	}
	want := Settings{
		Token: "t", Workspace: "/workspace", LogDir: "/workspace/.update/logs", DataDir: "/workspace/.update/fairlead", Listen: "0.0.0.0:8765",
		MaxBody: 1 << 20, Branch: "main", Server: "https://github.com", API: "https://api.github.com", BackupDays: 30, Ports: map[string]string{},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
}

func TestRead(t *testing.T) {
	for name, tt := range map[string]struct {
		env  map[string]string
		want func(*Settings)
	}{
		"a port":     {map[string]string{"PORT": "9000"}, func(s *Settings) { s.Listen = "0.0.0.0:9000" }},
		"a branch":   {map[string]string{"REPO_BRANCH": "release/2.x"}, func(s *Settings) { s.Branch = "release/2.x" }},
		"days":       {map[string]string{"BACKUP_RETENTION_DAYS": "14"}, func(s *Settings) { s.BackupDays = 14 }},
		"attempts":   {map[string]string{"MAX_HEALTH_ATTEMPTS": "7"}, func(s *Settings) { s.HealthAttempts = 7 }},
		"a body":     {map[string]string{"UPDATER_MAX_BODY_BYTES": "10"}, func(s *Settings) { s.MaxBody = 10 }},
		"a log file": {map[string]string{"UPDATE_LOG_DIR": "/logs"}, func(s *Settings) { s.LogDir = "/logs" }},
		"a workspace": {map[string]string{"WORKSPACE": "/opt/app/"}, func(s *Settings) {
			s.Workspace, s.LogDir, s.DataDir = "/opt/app", "/opt/app/.update/logs", "/opt/app/.update/fairlead"
		}},
		"a repository": {map[string]string{"REPO_OWNER": "acme", "REPO_NAME": "shop.git"}, func(s *Settings) { s.Owner, s.Repository = "acme", "shop" }},
		"image":        {map[string]string{"UPDATE_MODE": "ghcr"}, func(s *Settings) { s.Mode = ModeImage }},
		"source":       {map[string]string{"UPDATE_MODE": "git"}, func(s *Settings) { s.Mode = ModeSource }},
	} {
		want, err := Read(lookup(map[string]string{"UPDATER_TOKEN": "t"}))
		if err != nil {
			t.Fatal(err)
		}
		tt.want(&want)
		tt.env["UPDATER_TOKEN"] = "t\r" // as of a .env file from Windows
		if got, err := Read(lookup(tt.env)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", name, err, got, want)
		}
	}
}

// model has the services of SsalgTen's model.
func model() map[string]Service {
	return map[string]Service{
		"database": {Port: 5432, Published: 5432, Networks: []string{"net"}},
		"backend":  {Build: true, Port: 3001, Published: 13001, Networks: []string{"net"}},
		"frontend": {Build: true, Port: 80, Published: 8080, Networks: []string{"net"}},
		"updater": {Build: true, Port: 8765, Published: 8765, Networks: []string{"net"},
			Environment: []string{"BACKEND_PORT", "DB_PORT", "FRONTEND_PORT", "REDIS_PORT"}},
	}
}

func without(all map[string]Service, names ...string) map[string]Service {
	for _, n := range names {
		delete(all, n)
	}
	return all
}

func pulled(all map[string]Service) map[string]Service {
	for n, s := range all {
		s.Build = false
		all[n] = s
	}
	return all
}

func TestDecide(t *testing.T) {
	const origin = "https://github.com/lonelyrower/SsalgTen.git"
	base := `"compose":{"directory":"/opt/ssalgten","project":"ssalgten","requestVariables":["PROJECT_PORT","NODE_PORT","BACKEND_PORT","DB_PORT"]},` +
		`"source":{"ref":"main"},"retention":{"backups":{"age":"720h0m0s"}}`
	checks := `"verify":{"checks":[{"name":"api","timeout":"10s","http":{"url":"http://backend:3001/api/health"}},` +
		`{"name":"frontend","timeout":"10s","http":{"url":"http://frontend:80/"}}]}`
	github := `"github":{"owner":"lonelyrower","repository":"SsalgTen"}`
	withToken := `"github":{"owner":"lonelyrower","repository":"SsalgTen","secretRef":{"name":"ssalgten-github"}}`
	join := func(parts ...string) string { return "{" + strings.Join(parts, ",") + "}" }
	compose := func(more string) string { return strings.Replace(base, `"project"`, more+`,"project"`, 1) }
	for _, tt := range []struct {
		name    string
		env     map[string]string
		facts   func(*Facts)
		want    string
		secrets string
		note    string
	}{
		{name: "as SsalgTen is", want: join(base, checks, github)},
		{name: "retention and attempts", env: map[string]string{"BACKUP_RETENTION_DAYS": "14", "MAX_HEALTH_ATTEMPTS": "7"},
			want: join(strings.Replace(base, "720h", "336h", 1), strings.Replace(checks, `{"checks"`, `{"attempts":7,"checks"`, 1), github)},
		{name: "another branch", env: map[string]string{"REPO_BRANCH": "production"},
			want: join(strings.Replace(base, `"ref":"main"`, `"ref":"production"`, 1), checks, github)},
		{name: "webhook", env: map[string]string{"WEBHOOK_URL": "https://hooks.example.com/s3cret/"},
			want:    join(base, checks, github, `"notifications":[{"name":"webhook","webhook":{"secretRef":{"name":"ssalgten-webhook"}}}]`),
			secrets: `{"ssalgten-github":null,"ssalgten-webhook":{"url":"https://hooks.example.com/s3cret/"}}`},
		{name: "token", env: map[string]string{"GITHUB_TOKEN": "ghp_x"},
			want:    join(strings.Replace(base, `{"ref":"main"}`, `{"ref":"main","secretRef":{"name":"ssalgten-github"}}`, 1), checks, withToken),
			secrets: `{"ssalgten-github":{"token":"ghp_x"},"ssalgten-webhook":null}`},
		{name: "the token is for GitHub alone", env: map[string]string{"GITHUB_TOKEN": "ghp_x"},
			facts: func(f *Facts) { f.Origin = "https://git.example.com/lonelyrower/SsalgTen.git" },
			want:  join(base, checks, withToken), note: "the clone's origin is not"},
		{name: "a fork stays one", facts: func(f *Facts) { f.Origin = "https://github.com/somebody/SsalgTen" },
			want: join(base, checks, github), note: "the clone's origin is not"},
		{name: "the origin by SSH", env: map[string]string{"GITHUB_TOKEN": "ghp_x"},
			facts: func(f *Facts) { f.Origin = "git@github.com:lonelyrower/SsalgTen.git" },
			want: join(strings.Replace(base, `{"ref":"main"}`,
				`{"url":"`+origin+`","ref":"main","secretRef":{"name":"ssalgten-github"}}`, 1), checks, withToken)},
		{name: "no origin", facts: func(f *Facts) { f.Origin = "" },
			want: join(strings.Replace(base, `{"ref":"main"}`, `{"url":"`+origin+`","ref":"main"}`, 1), checks, github)},
		{name: "Enterprise", env: map[string]string{"GITHUB_SERVER_URL": "https://git.corp/", "GITHUB_API_URL": "https://git.corp/api/v3"},
			facts: func(f *Facts) { f.Origin = "https://git.corp/LonelyRower/SsalgTen" },
			want:  join(base, checks, `"github":{"owner":"lonelyrower","repository":"SsalgTen","apiURL":"https://git.corp/api/v3/"}`)},
		{name: "profiles", env: map[string]string{"COMPOSE_PROFILES": "debug, agent,debug", "FORCE_ENABLE_AGENT": "1"},
			want: join(compose(`"profiles":["debug","agent"]`), checks, github)},
		{name: "agent", env: map[string]string{"FORCE_ENABLE_AGENT": "true"}, want: join(compose(`"profiles":["agent"]`), checks, github)},
		{name: "agent, and the profiles of the environment file", env: map[string]string{"FORCE_ENABLE_AGENT": "true"},
			facts: func(f *Facts) { f.Profiles = []string{"monitoring", "agent"} },
			want:  join(compose(`"profiles":["monitoring","agent"]`), checks, github)},
		{name: "the environment's profiles alone", env: map[string]string{"COMPOSE_PROFILES": "debug"},
			facts: func(f *Facts) { f.Profiles = []string{"debug"} }, want: join(compose(`"profiles":["debug"]`), checks, github)},
		{name: "the environment file's profiles alone", facts: func(f *Facts) { f.Profiles = []string{"monitoring"} }, want: join(base, checks, github)},
		{name: "no agent", env: map[string]string{"FORCE_ENABLE_AGENT": "yes"}, want: join(base, checks, github)},
		{name: "ports that only the updater has", env: map[string]string{"NODE_PORT": "9"},
			want: join(strings.Replace(base, `"project":"ssalgten"`, `"project":"ssalgten","variables":{"NODE_PORT":"9"}`, 1), checks, github)},
		{name: "pulled images", facts: func(f *Facts) {
			f.Project.Files = []string{"/opt/ssalgten/docker-compose.ghcr.yml"}
			f.HasImageFile, f.Services = true, pulled(model())
		}, want: join(compose(`"files":["docker-compose.ghcr.yml"]`), `"build":{"pull":"Always"}`, checks, github)},
		{name: "image mode on a built project", env: map[string]string{"UPDATE_MODE": "ghcr"}, facts: func(f *Facts) { f.HasImageFile = true },
			want: join(compose(`"files":["docker-compose.ghcr.yml"]`), `"build":{"pull":"Always"}`, checks, github)},
		{name: "image mode with Fairlead's own file", env: map[string]string{"UPDATE_MODE": "image"}, facts: func(f *Facts) {
			f.HasImageFile, f.Project.Files = true, []string{"/opt/ssalgten/docker-compose.ghcr.yml", "/opt/ssalgten/updater.yml"}
		}, want: join(compose(`"files":["docker-compose.ghcr.yml","updater.yml"]`), `"build":{"pull":"Always"}`, checks, github)},
		{name: "image mode on a built project with Fairlead's own file", env: map[string]string{"UPDATE_MODE": "image"}, facts: func(f *Facts) {
			f.HasImageFile = true
			f.Project.Files = []string{"/opt/ssalgten/docker-compose.yml", "/opt/ssalgten/docker-compose.override.yml", "/opt/ssalgten/updater.yml"}
		}, want: join(compose(`"files":["docker-compose.ghcr.yml","updater.yml"]`), `"build":{"pull":"Always"}`, checks, github)},
		{name: "source mode on a pulled project with Fairlead's own file", env: map[string]string{"UPDATE_MODE": "source"}, facts: func(f *Facts) {
			f.Project.Files = []string{"/opt/ssalgten/docker-compose.ghcr.yml", "/opt/ssalgten/updater.yml"}
		}, want: join(compose(`"files":["docker-compose.yml","updater.yml"]`), checks, github)},
		{name: "image mode without its file", env: map[string]string{"UPDATE_MODE": "image"}, want: join(base, `"build":{"pull":"Always"}`, checks, github)},
		{name: "source mode on a pulled project", env: map[string]string{"UPDATE_MODE": "source"},
			facts: func(f *Facts) { f.Project.Files = []string{"/opt/ssalgten/docker-compose.ghcr.yml"} }, want: join(base, checks, github)},
		{name: "several files", facts: func(f *Facts) {
			f.Project.Files = []string{"/opt/ssalgten/docker-compose.yml", "/opt/ssalgten/prod.yml", "/etc/extra.yml"}
			f.Project.EnvFiles = []string{"/opt/ssalgten/.env.production"}
		}, want: join(compose(`"files":["docker-compose.yml","prod.yml","/etc/extra.yml"],"envFiles":[".env.production"]`), checks, github)},
		{name: "the usual override", facts: func(f *Facts) {
			f.Project.Files = []string{"/opt/ssalgten/docker-compose.yml", "/opt/ssalgten/docker-compose.override.yml"}
		}, want: join(base, checks, github)},
		{name: "a file below", facts: func(f *Facts) { f.Project.Files = []string{"/opt/ssalgten/deploy/compose.yaml"} },
			want: join(compose(`"files":["deploy/compose.yaml"]`), checks, github)},
		{name: "no frontend", facts: func(f *Facts) { f.Services = without(f.Services, "frontend") },
			want: join(base, strings.Replace(checks, `,{"name":"frontend","timeout":"10s","http":{"url":"http://frontend:80/"}}`, "", 1), github)},
		{name: "out of reach", facts: func(f *Facts) {
			s := f.Services["updater"]
			s.Networks = []string{"other"}
			f.Services["updater"] = s
		}, want: join(base, github)},
		{name: "no model", facts: func(f *Facts) { f.Services = nil }, want: join(base, github)},
		{name: "on the host", facts: func(f *Facts) { f.Project = Project{} },
			want: join(strings.Replace(base, `,"project":"ssalgten"`, `,"variables":{"BACKEND_PORT":"3001","DB_PORT":"5432","FRONTEND_PORT":"80","REDIS_PORT":"6379"}`, 1),
				strings.NewReplacer("backend:3001", "127.0.0.1:13001", "frontend:80", "127.0.0.1:8080").Replace(checks), github)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Read(lookup(ssalgten(tt.env)))
			if err != nil {
				t.Fatal(err)
			}
			f := Facts{Directory: "/opt/ssalgten", Origin: origin, Services: model(),
				Project: Project{Name: "ssalgten", Service: "updater", Files: []string{"/opt/ssalgten/docker-compose.yml"}}}
			if tt.facts != nil {
				tt.facts(&f)
			}
			p, err := Decide(s, f)
			if err != nil {
				t.Fatal(err)
			}
			if p.Name != "ssalgten" {
				t.Errorf("name %q", p.Name)
			}
			if got := marshal(t, p.Spec); !sameJSON(t, got, tt.want) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if tt.secrets == "" {
				return
			}
			if got := marshal(t, p.Secrets); !sameJSON(t, got, tt.secrets) {
				t.Errorf("Secrets %s, want %s", got, tt.secrets)
			}
			if notes := strings.Join(p.Notes, "\n"); tt.note != "" && !strings.Contains(notes, tt.note) {
				t.Errorf("notes %q", notes)
			}
		})
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return reflect.DeepEqual(x, y)
}

func TestNames(t *testing.T) {
	for project, want := range map[string]string{"ssalgten": "ssalgten", "My_App": "my-app", "_x_": "x", strings.Repeat("a", 60): strings.Repeat("a", 52)} {
		if got := objectName(project); got != want {
			t.Errorf("%s: %s, want %s", project, got, want)
		}
	}
	if _, err := Decide(Settings{}, Facts{Directory: "/"}); err == nil {
		t.Error("no name, and no error")
	}
}

func TestHostDirectory(t *testing.T) {
	c := docker.Container{Mounts: []docker.Mount{
		{Type: "bind", Source: "/opt/ssalgten", Destination: "/workspace"},
		{Type: "volume", Name: "logs", Source: "/var/lib/docker/volumes/logs/_data", Destination: "/workspace/.update/logs"},
		{Type: "bind", Source: "/srv", Destination: "/apps"},
	}}
	for workspace, want := range map[string]string{"/workspace": "/opt/ssalgten", "/apps/shop": "/srv/shop", "/workspace/sub": "/opt/ssalgten/sub"} {
		if got, err := HostDirectory(c, workspace); got != want || err != nil {
			t.Errorf("%s: %s, %v; want %s", workspace, got, err, want)
		}
	}
	for _, workspace := range []string{"/elsewhere", "/workspaces"} {
		if _, err := HostDirectory(c, workspace); err == nil || !strings.Contains(err.Error(), `volumes: [".:`+workspace+`"]`) {
			t.Errorf("%s: %v", workspace, err)
		}
	}
}

func TestProjectOf(t *testing.T) {
	p, err := ProjectOf(docker.Container{Labels: map[string]string{
		"com.docker.compose.project": "ssalgten", "com.docker.compose.service": "updater",
		"com.docker.compose.project.config_files":     "/opt/s/a.yml,/opt/s/b.yml",
		"com.docker.compose.project.environment_file": "/opt/s/.env.staging",
	}})
	want := Project{Name: "ssalgten", Service: "updater", Files: []string{"/opt/s/a.yml", "/opt/s/b.yml"}, EnvFiles: []string{"/opt/s/.env.staging"}}
	if err != nil || !reflect.DeepEqual(p, want) {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := ProjectOf(docker.Container{Name: "lonely"}); err == nil || !strings.Contains(err.Error(), "lonely is not a service") {
		t.Errorf("%v", err)
	}
}

func TestLink(t *testing.T) {
	root := t.TempDir()
	workspace := filepath.Join(root, "workspace")
	if err := os.Mkdir(workspace, 0o700); err != nil {
		t.Fatal(err)
	}
	leads := func(dir string) bool {
		target, err := os.Readlink(dir)
		return err == nil && target == workspace
	}
	for _, dir := range []string{filepath.Join(root, "opt", "a", "b"), filepath.Join(root, "opt", "a", "b")} { // the second time it is there
		if err := Link(dir, workspace); err != nil || !leads(dir) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if err := Link(workspace, workspace); err != nil {
		t.Errorf("the same path: %v", err)
	}
	empty := filepath.Join(root, "empty")
	full := filepath.Join(root, "full")
	file := filepath.Join(root, "file")
	other := filepath.Join(root, "other")
	for _, d := range []string{empty, full, filepath.Join(full, "x")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(full, other); err != nil {
		t.Fatal(err)
	}
	if err := Link(empty, workspace); err != nil || !leads(empty) {
		t.Errorf("an empty directory in the way: %v", err)
	}
	for _, dir := range []string{full, file, other, filepath.Join(workspace, "sub")} {
		if err := Link(dir, workspace); err == nil || !strings.Contains(err.Error(), "WORKSPACE="+dir) || leads(dir) {
			t.Errorf("%s in the way: %v", dir, err)
		}
	}
	if _, err := os.Stat(filepath.Join(full, "x")); err != nil {
		t.Errorf("what lay in the way is gone: %v", err)
	}
}
