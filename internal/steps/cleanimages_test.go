// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// An image that was pulled goes with its own names only, and only if it could be
// pulled again.
func TestPulledNames(t *testing.T) {
	const digest = "@sha256:0123"
	repositories := map[string]bool{"postgres": true, "127.0.0.1:5000/team/web": true}
	for _, c := range []struct {
		name          string
		tags, digests []string
		want          []string
	}{
		{"by tag", []string{"postgres:16"}, []string{"postgres" + digest}, []string{"postgres:16", "postgres" + digest}},
		{"of a registry with a port", []string{"127.0.0.1:5000/team/web:1"}, []string{"127.0.0.1:5000/team/web" + digest},
			[]string{"127.0.0.1:5000/team/web:1", "127.0.0.1:5000/team/web" + digest}},
		{"whose tag moved on", nil, []string{"postgres" + digest}, []string{"postgres" + digest}},
		{"that somebody named", []string{"postgres:16", "mine:1"}, []string{"postgres" + digest}, nil},
		{"that another application keeps", []string{"postgres:16", "blog-db:0123456789ab"}, []string{"postgres" + digest}, nil},
		{"pulled from elsewhere too", []string{"postgres:16"}, []string{"postgres" + digest, "mirror.example/postgres" + digest}, nil},
		{"loaded by hand", []string{"postgres:16"}, nil, nil},
		{"without a name", nil, nil, nil},
	} {
		if got := pulledNames(docker.Image{RepoTags: c.tags, RepoDigests: c.digests}, repositories); !slices.Equal(got, c.want) {
			t.Errorf("an image %s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestPulledRepositories(t *testing.T) {
	releases := []v1alpha1.Release{{Spec: v1alpha1.ReleaseSpec{Services: []v1alpha1.ReleaseService{
		{Name: "db", Image: "docker.io/library/postgres:16@sha256:" + strings.Repeat("0", 64)}, {Name: "web", Image: "shop-web:0123456789ab", BuildKey: "k"},
		{Name: "odd", Image: "Not a name"},
	}}}}
	if got := newRun().pulledRepositories(releases); len(got) != 1 || !got["postgres"] {
		t.Errorf("got %v", got)
	}
	s := newRun(func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) { a.Spec.Build.Pull = v1alpha1.PullNever })
	if got := s.pulledRepositories(releases); len(got) != 0 {
		t.Errorf("where nothing is pulled: %v", got)
	}
}

// imageEngine stands in for an engine that has images by the same name, which two
// applications built, and tells which names were taken off.
type imageEngine struct {
	mu      sync.Mutex
	ids     []string
	more    map[string]string // other names, by ID
	used    map[string]bool   // names that a container holds
	removed []string
}

func (e *imageEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	tags := func(id string) []string {
		names := []string{"acme/web:" + Short12(strings.TrimPrefix(id, "sha256:"))}
		if e.more[id] != "" {
			names = append(names, e.more[id])
		}
		return names
	}
	switch _, path, _ := strings.Cut(r.URL.Path, "/images/"); {
	case strings.HasSuffix(r.URL.Path, "/_ping"):
		w.Header().Set("Api-Version", docker.MinAPIVersion)
	case path == "json" && strings.Contains(r.URL.RawQuery, "label"):
		var list []map[string]any
		for _, id := range e.ids {
			list = append(list, map[string]any{"Id": id, "RepoTags": tags(id)})
		}
		_ = json.NewEncoder(w).Encode(list)
	case path == "json":
		fmt.Fprint(w, `[]`)
	case r.Method == http.MethodDelete && e.used[path]:
		http.Error(w, `{"message":"conflict: unable to remove repository reference: container c1 is using its referenced image"}`, http.StatusConflict)
	case r.Method == http.MethodDelete:
		e.removed = append(e.removed, path)
		fmt.Fprint(w, `[]`)
	default:
		id := strings.TrimSuffix(path, "/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"Id": id, "RepoTags": tags(id), "Config": map[string]any{}})
	}
}

// Where the Compose file names the image, applications of one repository have it
// under one name: it stays as long as one of them needs it.
func TestImagesThatOthersNeedStay(t *testing.T) {
	image := func(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }
	engine := &imageEngine{
		ids: []string{image("1"), image("2"), image("3"), image("4"), image("5")},
		// The same content is the same image: a name that no other application has goes.
		more: map[string]string{image("1"): "shop-web:111111111111", image("2"): "shop-web:222222222222"},
	}
	server := httptest.NewServer(engine)
	defer server.Close()
	client, err := docker.New("tcp://" + server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	of := func(namespace, app, name, id string, state string) *v1alpha1.Release {
		r := &v1alpha1.Release{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		r.Spec.ApplicationRef.Name, r.Spec.Project, r.Status.State = app, app, state
		r.Spec.Services = []v1alpha1.ReleaseService{{Name: "web", Image: "acme/web", ImageID: id, BuildKey: "k" + id}}
		return r
	}
	current := of("prod", "shop", "shop-9", image("1"), v1alpha1.ReleaseCurrent)
	gone := []v1alpha1.Release{
		*of("prod", "shop", "shop-1", image("2"), v1alpha1.ReleasePrevious), *of("prod", "shop", "shop-2", image("3"), v1alpha1.ReleasePrevious),
		*of("prod", "shop", "shop-3", image("4"), v1alpha1.ReleasePrevious), *of("prod", "shop", "shop-4", image("5"), v1alpha1.ReleasePrevious),
	}
	request := func(name, id string) *v1alpha1.UpdateRequest {
		ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name}}
		ur.Spec.ApplicationRef.Name, ur.Status.Services = "shop-staging", []v1alpha1.ServiceUpdate{{Name: "web", ImageID: id}}
		return ur
	}
	ended := request("ended", image("5"))
	ended.Status.FinishedAt = &metav1.Time{Time: time.Now()}
	s := newRun()
	s.Docker, s.log = client, updatelog.Lost("", nil)
	s.Store = storeOf(t, current, request("under-way", image("4")), ended,
		of("staging", "shop", "shop-1", image("2"), v1alpha1.ReleasePrevious), of("prod", "shop-staging", "s-1", image("3"), v1alpha1.ReleaseExpired))
	if err := s.cleanImages(t.Context(), gone, []v1alpha1.Release{*current}, nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{"shop-web:222222222222", "acme/web:333333333333", "acme/web:555555555555"}; !slices.Equal(engine.removed, want) {
		t.Errorf("removed %v, want %v", engine.removed, want)
	}
}

// What an old container still uses when images are removed goes when that is gone; the others are not asked for again.
func TestImagesOfOldContainersGoAfterThem(t *testing.T) {
	image := func(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }
	engine := &imageEngine{used: map[string]bool{"acme/web:222222222222": true}}
	s := newRun()
	s.Docker, s.log = engineOn(t, engine), updatelog.Lost("", nil)
	var gone []v1alpha1.Release
	for _, digit := range []string{"1", "2"} {
		r := v1alpha1.Release{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "shop-" + digit}}
		r.Spec.ApplicationRef.Name, r.Spec.Project = "shop", "shop"
		r.Spec.Services = []v1alpha1.ReleaseService{{Name: "web", Image: "acme/web", ImageID: image(digit), BuildKey: "k"}}
		gone = append(gone, r)
	}
	s.Store = storeOf(t)
	w := &workspace{dir: t.TempDir(), app: s.Application}
	if err := os.MkdirAll(w.path("work"), 0o700); err != nil {
		t.Fatal(err)
	}
	k := kept{w: w, gone: gone, known: true, images: []string{image("1"), image("2")}}
	if err := s.dropImages(t.Context(), &k); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(engine.removed, []string{"acme/web:111111111111"}) || !slices.Equal(k.images, []string{image("2")}) {
		t.Errorf("removed %v, left %v", engine.removed, k.images)
	}
	engine.used = nil
	if err := s.clean(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if want := []string{"acme/web:111111111111", "acme/web:222222222222"}; !slices.Equal(engine.removed, want) {
		t.Errorf("removed %v, want %v", engine.removed, want)
	}
}
