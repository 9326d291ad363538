// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/measure"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/source"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

const (
	// fewInodes is the part of all inodes below which it is told.
	fewInodes = 0.05
	// manyUnused is the part of the disk that unused images and build caches may take.
	manyUnused = 0.2
	// clockSkew is how far the clocks of engine and daemon may be apart.
	clockSkew = 5 * time.Second
)

// engine looks at the Docker engine and at the host.
func (d *Doctor) engine(ctx context.Context) []Finding {
	ask, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out := []Finding{d.git(ctx), clockState()}
	if err := d.Deps.Docker.Check(ask); err != nil {
		return append(out, engineAway(err))
	}
	out = append(out, ofPreflight(steps.ExamineHost(ask, d.Deps))...)
	info, err := d.Deps.Docker.Info(ask)
	if err != nil {
		return append(out, engineAway(err))
	}
	out = append(out, inodes("the engine's directory", info.DockerRootDir, pruneEngine), d.skew(ask))
	return append(out, d.unused(ctx, info))
}

func engineAway(err error) Finding {
	do := "start it: systemctl start docker; its log: journalctl -u docker. Where it listens elsewhere, set DOCKER_HOST or --docker-host"
	if errors.Is(err, fs.ErrPermission) {
		do = "run this as root, or as a member of the group docker: usermod -aG docker USER, then log in anew. " +
			"In a container, mount /var/run/docker.sock and run it as root"
	}
	return problem("engine", do, "%v", err)
}

func (d *Doctor) git(ctx context.Context) Finding {
	v, err := source.InstalledVersion(ctx)
	if err != nil {
		return problem("git", "install Git 2.20 or newer: apt-get install git", "%v", err)
	}
	if !v.AtLeast(2, 20) {
		return problem("git", "install Git 2.20 or newer", "git %s is too old", v)
	}
	return ok("git", "git %s", v)
}

// pruneEngine makes inodes free where the engine keeps its files.
const pruneEngine = "remove what has many small files: docker image prune; docker builder prune; docker container prune"

// inodes tells of a file system that cannot take more files though it has room.
func inodes(what, path, do string) Finding {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return ok("inodes", "%s %s cannot be seen from here", what, path)
	}
	return judgeInodes(what+" "+path, do, st.Ffree, st.Files)
}

func judgeInodes(where, do string, free, total uint64) Finding {
	if total > 0 && float64(free) < fewInodes*float64(total) {
		return problem("inodes", do, "%s has %d of %d inodes left: nothing can be written soon, although there is room", where, free, total)
	}
	return ok("inodes", "%s has %d inodes left", where, free)
}

// unused tells of images and build caches that nobody uses.
func (d *Doctor) unused(ctx context.Context, info docker.Engine) Finding {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	usage, err := d.Deps.Docker.DiskUsage(ctx)
	if err != nil {
		return ok("images", "what images take was not added up within %s", patience)
	}
	disk, err := observe.DiskAt(info.DockerRootDir)
	if err != nil {
		disk.Total = 0
	}
	return judgeUnused(usage, disk.Total)
}

func judgeUnused(u docker.Usage, total int64) Finding {
	words := fmt.Sprintf("unused images take %s, unused build caches %s", measure.Bytes(u.UnusedImages), measure.Bytes(u.UnusedBuildCache))
	if total > 0 && float64(u.UnusedImages+u.UnusedBuildCache) > manyUnused*float64(total) {
		return warning("images", "docker image prune and docker builder prune remove what nobody needs; do not use `docker system prune --all`, "+
			"which takes the images that a rollback needs", "%s of a disk of %s", words, measure.Bytes(total))
	}
	return ok("images", "%s", words)
}

// skew compares the clocks of the engine's host and of this process.
func (d *Doctor) skew(ctx context.Context) Finding {
	before := d.Deps.Clock.Now()
	info, err := d.Deps.Docker.Client.Info(ctx)
	if err != nil {
		return ok("clock", "the engine does not tell its time")
	}
	there, err := time.Parse(time.RFC3339Nano, info.SystemTime)
	if err != nil {
		return ok("clock", "the engine does not tell its time")
	}
	return judgeSkew(there, before, d.Deps.Clock.Now())
}

func judgeSkew(there, before, after time.Time) Finding {
	apart := max(before.Sub(there), there.Sub(after))
	if apart > clockSkew {
		return problem("clock", "set both clocks by NTP: timedatectl set-ntp true", "the clocks of the engine and of this host are %s apart: times in logs, tokens and certificates go wrong", measure.Time(apart))
	}
	return ok("clock", "the engine's clock agrees")
}

// clockState asks the kernel whether something keeps its clock right.
func clockState() Finding {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return ok("ntp", "whether the clock is synchronised cannot be told here")
	}
	if state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0 {
		return warning("ntp", "timedatectl set-ntp true, or install chrony", "the kernel does not know that its clock is synchronised")
	}
	return ok("ntp", "the clock is synchronised")
}
