// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

var update = flag.Bool("golden", false, "write the golden files anew")

// shop is the backup of a shop, and what is there now.
func shop() Facts {
	return Facts{
		Manifest: backup.Manifest{
			ID: "backup_20231201_143022", Application: "default/shop", Commit: "1111111aaaa", DeployDir: "/opt/shop",
			Artifacts: []backup.Artifact{
				{Name: "files", Kind: backup.KindFiles, Files: []backup.SavedFile{{Path: "/opt/shop/.env", Entry: ".env"}, {Path: "/opt/shop/docker-compose.yml", Entry: "docker-compose.yml"}}},
				{Name: "postgres_db", Kind: backup.KindPostgreSQL, Service: "db", Databases: []string{"postgres", "shop"}, UncompressedBytes: 4 << 20, Tool: "pg_dumpall (PostgreSQL) 15.4"},
				{Name: "volume_shop_db", Kind: backup.KindVolume, Service: "db", Volume: "shop_db", UncompressedBytes: 60 << 20},
				{Name: "volume_shop_redis", Kind: backup.KindVolume, Service: "redis", Volume: "shop_redis", UncompressedBytes: 1 << 20},
				{Name: "bind_uploads", Kind: backup.KindBind, Service: "web", Path: "/opt/shop/uploads", UncompressedBytes: 2 << 20},
			},
			Warnings: []string{"the anonymous volume at /cache of service web is not saved"},
		},
		Directory: "/opt/shop", Head: "2222222bbbb", Branch: "main", SafetyBackup: true,
		Present: map[string]Present{
			"files": {Exists: true, Bytes: -1}, "postgres_db": {Exists: true, Bytes: -1}, "volume_shop_db": {Exists: true, Bytes: -1},
			"volume_shop_redis": {Exists: true, Bytes: -1}, "bind_uploads": {Exists: true, Bytes: 3 << 20},
		},
		Databases:  map[string]Database{"db": {InModel: true, Data: "volume_shop_db", Place: "shop_db", Major: "15"}},
		Containers: []string{"shop-db-1", "shop-web-1"},
		Images:     []ImageSource{{Service: "db", How: "is on this host (abc)", Exact: true}, {Service: "web", How: "is on this host (def)", Exact: true}},
	}
}

func TestPlan(t *testing.T) {
	for name, change := range map[string]func(*Facts){
		"ordinary":                            func(*Facts) {},
		"local edits and unpushed commits":    func(f *Facts) { f.Edits, f.Ahead = []string{"web/index.html"}, 2 },
		"local edits without a safety backup": func(f *Facts) { f.Edits, f.SafetyBackup = []string{"web/index.html"}, false },
		"a database of another major version": func(f *Facts) {
			f.Databases["db"] = Database{InModel: true, Data: "volume_shop_db", Place: "shop_db", Major: "16"}
		},
		"the database server does not start": func(f *Facts) { f.NewCluster = true },
		"everything skipped":                 func(f *Facts) { f.Skip = Skip{Code: true, Files: true, Volumes: true, Database: true} },
		"without the database":               func(f *Facts) { f.Skip.Database = true },
		"on a new host": func(f *Facts) {
			f.Head, f.Containers, f.Directory = f.Manifest.Commit, nil, "/srv/shop"
			f.Present = map[string]Present{}
			f.Databases["db"] = Database{InModel: true, Data: "volume_shop_db", Place: "shop_db"}
			f.Images[1] = ImageSource{Service: "web", How: "is built again at the commit, as it is not on this host any more"}
		},
		"taken up again":               func(f *Facts) { f.EarlierID = "backup_20231202_000000" },
		"in the updater itself":        func(f *Facts) { f.Self = "updater" },
		"the model lacks the database": func(f *Facts) { f.Databases["db"] = Database{} },
		"no commit in the backup":      func(f *Facts) { f.Manifest.Commit = "" },
		"a place that cannot be restored": func(f *Facts) {
			f.Present["bind_uploads"] = Present{Impossible: "the deployment directory is inside of it"}
		},
		"used by others": func(f *Facts) {
			f.Users = map[string][]string{"shop_redis": {"blog-web-1", "shell"}, "/opt/shop/uploads": {"ftp"}, "shop_db": {"blog-web-1"}, "x": {"y"}}
		},
		"a database to be made anew that others use": func(f *Facts) {
			f.NewCluster, f.Users = true, map[string][]string{"shop_db": {"blog-web-1"}}
		},
		"used by others, and skipped": func(f *Facts) {
			f.Skip.Volumes, f.Users = true, map[string][]string{"shop_redis": {"blog-web-1"}}
		},
		"a kind of tomorrow": func(f *Facts) { f.Manifest.Artifacts[3].Kind = "MySQL" },
	} {
		t.Run(name, func(t *testing.T) {
			f := shop()
			change(&f)
			p := NewPlan(f)
			var b strings.Builder
			p.Show(&b)
			for _, i := range p.Items {
				fmt.Fprintf(&b, "%-8s %s\n", i.Action, i.Artifact.Name)
			}
			fmt.Fprintf(&b, "code %q, emptied %v, blocked %t\n", p.Code, p.Empty, len(p.Blocked) > 0)
			path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".golden")
			if *update {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if b.String() != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
			}
		})
	}
}

// Who reads only, is stopped by the restore, or looks after the host is no user.
func TestUsers(t *testing.T) {
	volume := func(rw bool) docker.Mount {
		return docker.Mount{Type: "volume", Name: "data", Source: "/var/lib/docker/volumes/data/_data", RW: rw}
	}
	running := []docker.Container{
		{ID: "1", Name: "shop-web-1", Mounts: []docker.Mount{volume(true)}},
		{ID: "2", Name: "blog-web-1", Mounts: []docker.Mount{volume(true), {Type: "bind", Source: "/srv/up", RW: true}}},
		{ID: "3", Name: "reader", Mounts: []docker.Mount{volume(false)}},
		{ID: "4", Name: "fairlead", Mounts: []docker.Mount{volume(true)}},
		{ID: "5", Name: "shell", Mounts: []docker.Mount{volume(true), volume(true)}},
	}
	got := users(running, running[:1], "4")
	want := map[string][]string{"data": {"blog-web-1", "shell"}, "/srv/up": {"blog-web-1"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestMove(t *testing.T) {
	for _, tt := range [][4]string{
		{"/opt/shop/uploads", "/opt/shop", "/srv/shop", "/srv/shop/uploads"}, {"/opt/shop", "/opt/shop", "/srv/shop", "/srv/shop"},
		{"/opt/shop2/x", "/opt/shop", "/srv/shop", "/opt/shop2/x"}, {"/etc/x", "/opt/shop", "/srv", "/etc/x"}, {"rel", "/opt/shop", "/srv", "rel"},
	} {
		if got := move(tt[0], tt[1], tt[2]); got != tt[3] {
			t.Errorf("%s from %s to %s is %s, want %s", tt[0], tt[1], tt[2], got, tt[3])
		}
	}
}
