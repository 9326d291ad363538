// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// summary prints a plan for comparison.
func summary(p *Plan) string {
	var b strings.Builder
	for _, a := range p.Artifacts {
		fmt.Fprintf(&b, "%s %s", a.Kind, a.Name)
		for _, s := range []string{a.Container, a.Volume, a.Path} {
			if s != "" {
				fmt.Fprintf(&b, " %s", s)
			}
		}
		if len(a.Files) > 0 {
			fmt.Fprintf(&b, " files=%v", a.Files)
		}
		if len(a.Writers) > 0 {
			fmt.Fprintf(&b, " writers=%v", a.Writers)
		}
		if len(a.Exclude) > 0 {
			fmt.Fprintf(&b, " exclude=%v", a.Exclude)
		}
		fmt.Fprintf(&b, " (%s)\n", a.Reason)
	}
	for _, s := range p.Skipped {
		fmt.Fprintf(&b, "skipped %s (%s)\n", s.What, s.Reason)
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "warning %s\n", w)
	}
	return b.String()
}

func volumeMount(name, at string) Mount {
	return Mount{Type: "volume", VolumeName: "shop_" + name, VolumeKey: name, Destination: at, RW: true}
}

func left(m Mount) Mount { m.Exists = true; return m }

func bindMount(source string, rw bool) Mount {
	return Mount{Type: "bind", Source: source, Destination: "/x", RW: rw}
}

func TestPlan(t *testing.T) {
	postgres := Service{Name: "db", Image: "postgres:15", ContainerID: "c-db", Running: true, Mounts: []Mount{volumeMount("pgdata", "/var/lib/postgresql/data")}}
	anonymous := strings.Repeat("0a", 32)
	with := func(s Service, change func(*Service)) Service { change(&s); return s }
	for _, c := range []struct {
		name string
		in   Input
		want string // an error when it begins with "error: "
	}{
		{
			name: "files once, absolute, in order",
			in:   Input{ComposeFiles: []string{"docker-compose.yml"}, Files: []string{".env", "./.env", "/srv/shop/docker-compose.yml", "/etc/shop.conf"}},
			want: "Files files files=[/srv/shop/docker-compose.yml /srv/shop/.env /etc/shop.conf] (settings of the application)\n",
		},
		{
			name: "database, its volume, and a volume of two services",
			in: Input{Services: []Service{
				{Name: "web", Image: "web", ContainerID: "c-web", Running: true, Mounts: []Mount{volumeMount("uploads", "/up")}},
				postgres,
				{Name: "worker", Image: "web", ContainerID: "c-worker", Running: false, Mounts: []Mount{volumeMount("uploads", "/up")}},
			}},
			want: "PostgreSQL postgres_db c-db (service db is a PostgreSQL server: its image is postgres:15)\n" +
				"Volume volume_shop_pgdata shop_pgdata writers=[c-db] (used by db)\n" +
				"Volume volume_shop_uploads shop_uploads writers=[c-web] (used by web, worker)\n",
		},
		{
			// It would never come out of the pause that it puts itself into.
			name: "the daemon itself is not paused",
			in: Input{Services: []Service{
				{Name: "updater", Image: "fairlead", ContainerID: "c-own", Running: true, Own: true, Mounts: []Mount{
					volumeMount("uploads", "/up"), volumeMount("fairlead", "/var/lib/fairlead"), bindMount("/srv/shop", true)}},
				{Name: "web", Image: "web", ContainerID: "c-web", Running: true, Mounts: []Mount{volumeMount("uploads", "/up")}},
			}},
			want: "Volume volume_shop_uploads shop_uploads writers=[c-web] (used by updater, web)\n" +
				"skipped volume shop_fairlead (only the container of Fairlead itself uses it)\n" +
				"skipped bind mount /srv/shop of updater (only the container of Fairlead itself uses it)\n",
		},
		{
			name: "the daemon's own volume, asked for",
			in: Input{Volumes: ParseSelection("fairlead"), Services: []Service{
				{Name: "updater", Image: "fairlead", ContainerID: "c-own", Running: true, Own: true, Mounts: []Mount{volumeMount("fairlead", "/var/lib/fairlead")}},
			}},
			want: "Volume volume_shop_fairlead shop_fairlead (used by updater)\n",
		},
		{
			name: "a client of the database is no server",
			in: Input{Services: []Service{{Name: "api", Image: "shop/api", ContainerID: "c", Running: true,
				Env: Env{"POSTGRES_USER": "u", "POSTGRES_PASSWORD": "p", "POSTGRES_DB": "d"}}}},
		},
		{
			name: "derived image by PGDATA, one-shot client is none",
			in: Input{Services: []Service{
				{Name: "data", Image: "shop/data:1", ContainerID: "c1", Running: true, Env: Env{"PGDATA": "/d"}},
				{Name: "migrate", Image: "postgres:15", ContainerID: "c2", OneShot: true},
			}},
			want: "PostgreSQL postgres_data c1 (service data is a PostgreSQL server: PGDATA is set in its environment)\n",
		},
		{
			name: "stopped database",
			in:   Input{Services: []Service{with(postgres, func(s *Service) { s.Running = false })}},
			want: `error: the PostgreSQL service "db" is not running, so its databases cannot be dumped; start it, or set backup.databases to None`,
		},
		{
			name: "stopped database, none wanted",
			in: Input{Databases: ParseSelection("None"), Volumes: ParseSelection("None"),
				Services: []Service{with(postgres, func(s *Service) { s.Running = false })}},
			want: "skipped databases of service db (backup.databases is None)\nskipped volume shop_pgdata (backup.volumes is None)\n",
		},
		{
			name: "one replica runs",
			in: Input{Volumes: ParseSelection("None"), Services: []Service{
				{Name: "db", Image: "postgis/postgis", ContainerID: "c1"}, {Name: "db", Image: "postgis/postgis", ContainerID: "c2", Running: true},
				{Name: "db", Image: "postgis/postgis", ContainerID: "c3", Running: true},
			}},
			want: "PostgreSQL postgres_db c2 (service db is a PostgreSQL server: its image is postgis/postgis)\n",
		},
		{
			name: "what is named before the first deployment",
			in: Input{
				Databases: ParseSelection("db"), Volumes: ParseSelection("pgdata,./uploads"),
				Services: []Service{
					{Name: "db", Image: "own/database", Absent: true, Mounts: []Mount{volumeMount("pgdata", "/data")}},
					{Name: "web", Image: "redis", Absent: true, Mounts: []Mount{bindMount("/srv/shop/uploads", true), volumeMount("other", "/x")}},
				},
			},
			want: "warning backup.databases names the service \"db\", which has no container: nothing of it is saved\n" +
				"warning backup.volumes names pgdata, which no container of the application mounts: it is not saved\n" +
				"warning backup.volumes names /srv/shop/uploads, which no container of the application mounts: it is not saved\n",
		},
		{
			name: "a name that neither containers nor the model have",
			in: Input{
				Databases: ParseSelection("db"), Volumes: ParseSelection("data"),
				Services: []Service{{Name: "db", Image: "postgres", Absent: true, Mounts: []Mount{volumeMount("pgdata", "/data")}}},
			},
			want: `error: backup.volumes names "data", which no service of the application mounts`,
		},
		{
			name: "a volume of the model that another service mounts",
			in: Input{
				Databases: ParseSelection("None"), Volumes: ParseSelection("pgdata"),
				Services: []Service{postgres, {Name: "extra", Image: "x", Absent: true, Mounts: []Mount{volumeMount("pgdata", "/data")}}},
			},
			want: "Volume volume_shop_pgdata shop_pgdata writers=[c-db] (used by db)\n" +
				"skipped databases of service db (backup.databases is None)\n",
		},
		{
			name: "never deployed database",
			in:   Input{Services: []Service{{Name: "db", Image: "postgres", Absent: true}}},
			want: "skipped databases of service db (the service has no container)\n",
		},
		{
			name: "a volume that others write to",
			in: Input{Services: []Service{{Name: "web", ContainerID: "c", Running: true, Mounts: []Mount{
				{Type: "volume", VolumeName: "shared", RW: true, Others: []string{"blog-web-1"}},
				{Type: "bind", Source: "/srv/shop/up", RW: true, Others: []string{"ftp", "shell"}},
			}}}},
			want: "Volume volume_shared shared writers=[c] (used by web)\nBind bind_up /srv/shop/up writers=[c] (written by web)\n" +
				"warning volume shared is also written by blog-web-1, not of this application: it is copied meanwhile, and may not be consistent\n" +
				"warning bind mount /srv/shop/up of web is also written by ftp, shell, not of this application: it is copied meanwhile, and may not be consistent\n",
		},
		{
			name: "after docker compose down, the data is still there",
			in: Input{Services: []Service{
				{Name: "db", Image: "postgres:15", Absent: true, Mounts: []Mount{left(volumeMount("pgdata", "/var/lib/postgresql/data"))}},
				{Name: "web", Image: "web", Absent: true, Mounts: []Mount{left(bindMount("/srv/shop/uploads", true)), volumeMount("fresh", "/x"),
					left(Mount{Type: "bind", Source: "/srv/shop/nginx.conf"})}},
			}},
			want: "Volume volume_shop_pgdata shop_pgdata (used by db)\n" +
				"Bind bind_uploads /srv/shop/uploads (written by web)\n" +
				"skipped bind mount /srv/shop/nginx.conf of web (read-only)\n" +
				"warning the PostgreSQL service db has no container, so no dump of it can be made: its files are saved as far as backup.volumes says, " +
				"and fit the same major version only. For a dump, start it first\n",
		},
		{
			name: "after docker compose down, of the data only what is named",
			in: Input{Volumes: ParseSelection("uploads"), Databases: ParseSelection("None"), Services: []Service{
				{Name: "db", Image: "postgres:15", Absent: true, Mounts: []Mount{left(volumeMount("pgdata", "/d")), left(volumeMount("uploads", "/u"))}},
			}},
			want: "Volume volume_shop_uploads shop_uploads (used by db)\n" +
				"skipped databases of service db (backup.databases is None)\nskipped volume shop_pgdata (not in backup.volumes)\n",
		},
		{
			name: "listed database",
			in: Input{Databases: ParseSelection("db"), Volumes: ParseSelection("None"), Services: []Service{
				with(postgres, func(s *Service) { s.Mounts = nil }), {Name: "other", Image: "postgres", ContainerID: "o"}}},
			want: "PostgreSQL postgres_db c-db (service db is a PostgreSQL server: its image is postgres:15)\n" +
				"skipped databases of service other (not in backup.databases)\n",
		},
		{
			name: "listed database that does not exist",
			in:   Input{Databases: ParseSelection("bd"), Services: []Service{postgres}},
			want: `error: backup.databases names the service "bd", which the application does not have; it has: db`,
		},
		{
			name: "listed service that is no database",
			in:   Input{Databases: ParseSelection("cache"), Services: []Service{{Name: "cache", Image: "redis:7"}}},
			want: `error: backup.databases names the service "cache", which was not recognised as PostgreSQL (image redis:7)`,
		},
		{
			name: "other databases",
			in:   Input{Services: []Service{{Name: "my", Image: "docker.io/library/mysql:8@sha256:00"}}},
			want: "warning service my runs MySQL, of which no dump can be made yet: its files are copied while it runs and may not be consistent\n",
		},
		{
			name: "listed volumes, by key and by name; listed bind by relative path",
			in: Input{Volumes: ParseSelection("a, shop_b, data"), Services: []Service{{Name: "web", Mounts: []Mount{
				volumeMount("a", "/a"), volumeMount("b", "/b"), volumeMount("c", "/c"), bindMount("/srv/shop/data", false), bindMount("/srv/shop/more", true)}}}},
			want: "Volume volume_shop_a shop_a (used by web)\nVolume volume_shop_b shop_b (used by web)\n" +
				"Bind bind_data /srv/shop/data (written by web)\n" +
				"skipped volume shop_c (not in backup.volumes)\nskipped bind mount /srv/shop/more of web (not in backup.volumes)\n",
		},
		{
			name: "listed volume that does not exist",
			in:   Input{Volumes: ParseSelection("nope")},
			want: `error: backup.volumes names "nope", which no service of the application mounts`,
		},
		{
			name: "anonymous volume, tmpfs",
			in: Input{Services: []Service{{Name: "web", Mounts: []Mount{{Type: "tmpfs", Destination: "/tmp", RW: true},
				{Type: "volume", VolumeName: anonymous, Destination: "/data", RW: true}}}}},
			want: "warning the anonymous volume at /data of service web is not saved; if its data matters, give it a name in the Compose file\n",
		},
		{
			name: "bind mounts",
			in: Input{RealDeployDir: "/mnt/disk/shop", Services: []Service{
				{Name: "a", ContainerID: "c-a", Running: true, Mounts: []Mount{
					bindMount("/srv/shop/data/sub", true), bindMount("/srv/shop/data/", true), bindMount("/srv/shop/conf", false), bindMount("/srv/shop-old", true),
					bindMount("/var/run/docker.sock", true), bindMount("/proc", true), bindMount("/srv/shop/.update/logs", true),
					bindMount("/mnt/disk/shop/up", true),
					{Type: "bind", Source: "/srv/shop/app.sock", SourceKind: SourceSpecial, RW: true},
				}},
				{Name: "b", ContainerID: "c-b", Running: true, Mounts: []Mount{bindMount("/srv/shop/data", false)}},
			}},
			want: "Bind bind_up /mnt/disk/shop/up writers=[c-a] (written by a)\n" +
				"Bind bind_data /srv/shop/data writers=[c-a] (written by a, b)\n" +
				"skipped bind mount /proc of a (belongs to the host)\n" +
				"skipped bind mount /srv/shop/.update/logs of a (belongs to the update system)\n" +
				"skipped bind mount /srv/shop/app.sock of a (a socket or device)\n" +
				"skipped bind mount /srv/shop/conf of a (read-only)\n" +
				"skipped bind mount /srv/shop/data/sub of a (saved as a part of the bind mount around it)\n" +
				"skipped bind mount /var/run/docker.sock of a (a socket or device)\n" +
				"warning bind mount /srv/shop-old of a is outside of the deployment directory and is not saved; if its data matters, add the path to backup.paths\n",
		},
		{
			name: "the whole deployment directory",
			in:   Input{Services: []Service{{Name: "updater", Mounts: []Mount{bindMount("/srv/shop", true)}}}},
			want: "Bind bind_deployment /srv/shop exclude=[.update .git] (written by updater)\n",
		},
		{
			name: "names that fall together stay apart",
			in: Input{Services: []Service{{Name: "a", Mounts: []Mount{bindMount("/srv/shop/a/b", true), bindMount("/srv/shop/a_b", true),
				bindMount("/srv/shop/A_B", true)}}}},
			want: "Bind bind_A_B /srv/shop/A_B (written by a)\nBind bind_a_b-77e92c546765 /srv/shop/a/b (written by a)\n" +
				"Bind bind_a_b-9b69fe9f8d2c /srv/shop/a_b (written by a)\n",
		},
		{name: "relative directory", in: Input{DeployDir: "shop"}, want: `error: the deployment directory "shop" is not an absolute path`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.in.DeployDir == "" {
				c.in.DeployDir = "/srv/shop"
			}
			c.in.Project = "shop"
			plan, err := NewPlan(c.in)
			if want, ok := strings.CutPrefix(c.want, "error: "); ok {
				var input *InputError
				if !errors.As(err, &input) || !strings.Contains(err.Error(), want) {
					t.Fatalf("got %v, want an InputError with %q", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := summary(plan); got != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}

func TestImageName(t *testing.T) {
	for ref, want := range map[string]string{
		"postgres": "postgres", "postgres:15-alpine": "postgres", "host:5000/team/My-Postgres:1": "my-postgres",
		"a/b@sha256:00": "b", "supabase/postgres:15.1@sha256:00": "postgres",
	} {
		if got := imageName(ref); got != want {
			t.Errorf("imageName(%q) = %q, want %q", ref, got, want)
		}
	}
	for ref, want := range map[string]bool{
		"postgres": true, "bitnami/postgresql:15": true, "timescale/timescaledb-ha:pg15": true, "pgvector/pgvector:pg16": true,
		"prometheuscommunity/postgres-exporter": false, "postgrest/postgrest": false, "redis": false, "prodrigestivill/postgres-backup-local": false,
	} {
		if _, got := isPostgres(Service{Image: ref}); got != want {
			t.Errorf("isPostgres(%q) = %v", ref, got)
		}
	}
}

func TestEnvHidesValues(t *testing.T) {
	s := Service{Name: "db", Env: Env{"POSTGRES_PASSWORD": "geheim", "PGDATA": "/d"}}
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), string(encoded)} {
		if strings.Contains(text, "geheim") || !strings.Contains(text, "POSTGRES_PASSWORD") {
			t.Errorf("printed as %s", text)
		}
	}
}

func TestParseSelection(t *testing.T) {
	for in, want := range map[string]string{
		"": "{None:false Names:[]}", "Auto": "{None:false Names:[]}", " None ": "{None:true Names:[]}", "a, b,,a": "{None:false Names:[a b]}",
	} {
		if got := fmt.Sprintf("%+v", ParseSelection(in)); got != want {
			t.Errorf("ParseSelection(%q) = %s, want %s", in, got, want)
		}
	}
}
