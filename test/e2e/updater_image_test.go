// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/test/harness"
)

// imageFile is SsalgTen's Compose file of pulled images.
const imageFile = "docker-compose.ghcr.yml"

// built is how the monitor's Compose file says that an image is built.
var built = regexp.MustCompile(`(?m)^    build:\n      context: \.\n      dockerfile: ([a-z]+)/Dockerfile$`)

// imageMonitor brings up a monitor none of whose images is built on the host.
func imageMonitor(t *testing.T, r *registry) *monitor {
	t.Helper()
	t.Cleanup(func() { removeImages(t, r.addr+"/team/monitor-*") }) // after the containers
	env := map[string]string{
		"COMPOSE_FILE": imageFile + ":" + ownFile, "UPDATE_MODE": "image",
		"IMAGE_REGISTRY": r.addr, "IMAGE_NAMESPACE": "team", "IMAGE_TAG": "latest",
	}
	return newMonitor(t, env, func(m *monitor) {
		for _, service := range []string{"backend", "frontend", "agent"} {
			m.pushImage(r, service)
		}
		data, err := os.ReadFile(filepath.Join(m.repo.Work, "docker-compose.yml"))
		if err != nil {
			t.Fatal(err)
		}
		text := built.ReplaceAllString(string(data), "    image: $${IMAGE_REGISTRY:?}/$${IMAGE_NAMESPACE:?}/monitor-$1:$${IMAGE_TAG:?}")
		// SsalgTen's own updater, which is nowhere.
		text = strings.Replace(text, "    image: ${UPDATER_IMAGE:?}", "    image: ${IMAGE_REGISTRY:?}/${IMAGE_NAMESPACE:?}/monitor-updater:${IMAGE_TAG:?}", 1)
		// This one is on this host alone.
		text = regexp.MustCompile(`(?m)^(    image: fairlead-test/postgres.*)$`).ReplaceAllString(text, "$1\n    pull_policy: never")
		if strings.Contains(text, "build:") || !strings.Contains(text, "monitor-updater") || !strings.Contains(text, "pull_policy: never") {
			t.Fatalf("the Compose file is not one of pulled images:\n%s", text)
		}
		m.publish("Images", map[string]string{imageFile: text})
		m.git("pull", "--quiet", "--ff-only", m.repo.Origin, "main")
		m.putOwnFile()
	})
}

// removeImages takes the names off images that a reference matches, once nothing
// uses them.
func removeImages(t *testing.T, reference string) {
	out, _, _ := harness.Run(context.Background(), nil, "", "docker", "image", "ls", "--quiet", "--no-trunc", "--filter", "reference="+reference)
	for id := range strings.FieldsSeq(out) {
		if _, errOut, code := harness.Run(context.Background(), nil, "", "docker", "image", "rm", "--force", id); code != 0 && !strings.Contains(errOut, "No such image") {
			t.Errorf("remove %s: %s", id, errOut)
		}
	}
}

// pushImage builds a service as its sources are, pushes it as latest, and removes it
// from the host.
func (m *monitor) pushImage(r *registry, service string) {
	m.t.Helper()
	ref := r.addr + "/team/monitor-" + service + ":latest"
	r.docker("build", "--quiet", "--label", "fairlead.dev/test=e2e", "--file", filepath.Join(m.repo.Work, service, "Dockerfile"), "--tag", ref, m.repo.Work)
	r.docker("push", "--quiet", ref)
	r.docker("image", "rm", ref)
}

// pushVersion is a new image of the backend; nothing is committed.
func (m *monitor) pushVersion(r *registry, files map[string]string) {
	m.t.Helper()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(m.repo.Work, "backend", name), []byte(content), 0o644); err != nil {
			m.t.Fatal(err)
		}
	}
	m.pushImage(r, "backend")
}

// With the file that Fairlead ships given to Compose as a second one, and
// UPDATE_MODE=image: an update is a newer image under the same tag, found by its
// digest at the same commit.
func TestUpdaterPullsImages(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, false)
	m := imageMonitor(t, r)
	m.wantVersion("1")
	wantContains(t, "the Application", m.kubectl("get", "application", m.repo.Project, "-o", "jsonpath={.spec}"), `"files":["`+imageFile+`","`+ownFile+`"]`, `"pull":"Always"`)
	at := m.git("rev-parse", "HEAD")
	untouched := func(m *monitor, before map[string][]harness.Container, but ...string) {
		m.t.Helper()
		(&site{t: m.t, repo: m.repo}).wantUntouched(before, but...)
	}
	others := []string{"database", "frontend", "updater"}

	m.in(t, "nothing newer", func(m *monitor) {
		before := m.containers()
		log := m.ended(m.start(`{}`))
		m.wantCode(log, 0)
		untouched(m, before)
	})
	m.in(t, "a newer image", func(m *monitor) {
		before := m.containers()
		m.pushVersion(r, map[string]string{"version.txt": "2\n"})
		log := m.ended(m.start(`{}`))
		m.wantCode(log, 0)
		wantContains(m.t, "the log", log, "monitor-backend")
		m.wantVersion("2")
		untouched(m, before, others...)
		(&site{t: m.t, repo: m.repo}).wantReplaced(before, "backend")
		if got := m.git("rev-parse", "HEAD"); got != at {
			m.t.Errorf("the deployment directory went to %s", got)
		}
		digests := m.kubectl("get", "releases", "-o", `jsonpath={range .items[*].spec.services[?(@.name=="backend")]}{.repoDigest}{"\n"}{end}`)
		if list := strings.Fields(digests); len(list) < 2 || list[0] == list[len(list)-1] || !strings.HasPrefix(list[0], r.addr+"/team/monitor-backend@sha256:") {
			m.t.Errorf("the releases are of the digests %q", list)
		}
	})
	m.in(t, "the same digest", func(m *monitor) {
		before := m.containers()
		id := m.start(`{}`)
		m.wantCode(m.ended(id), 0)
		untouched(m, before)
		if reason := m.kubectl("get", "updaterequest", "update-"+id, "-o", `jsonpath={.status.conditions[?(@.type=="Succeeded")].reason}`); reason != "Unchanged" {
			m.t.Errorf("the request ended as %s", reason)
		}
	})
	m.in(t, "a bad image", func(m *monitor) {
		before := m.containers()
		m.pushVersion(r, map[string]string{"version.txt": "3\n", "behaviour.json": `{"crash":true}`})
		m.wantCode(m.ended(m.start(`{}`)), 3)
		m.wantVersion("2")
		untouched(m, before, others...)
	})
	m.in(t, "no registry", func(m *monitor) {
		before := m.containers()
		m.pushVersion(r, map[string]string{"version.txt": "4\n", "behaviour.json": "{}"})
		r.docker("stop", "--time", "1", r.id)
		id := m.start(`{}`)
		// A lost network is waited for, and told.
		m.await("the job to tell of the registry", func() bool {
			return strings.Contains(m.asked(http.MethodGet, "/jobs/"+id+"?tail=0", "").body, "could not be fetched from "+r.addr)
		})
		untouched(m, before)
		m.wantVersion("2")
		r.docker("start", r.id)
		m.wantCode(m.ended(id), 0)
		m.wantVersion("4")
	})
	m.in(t, "a new updater", replacesItself)
	m.in(t, "an updater that does not start", isPutBack)
}
