// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

// builtEngine is a stand-in that has one image, which was built with the key that it is told, or none.
func builtEngine(t *testing.T, id string, key *string) *docker.Client {
	t.Helper()
	return engineOn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, "/_ping"):
			w.Header().Set("Api-Version", docker.MinAPIVersion)
		case *key == "" && strings.HasSuffix(path, "/images/json"):
			_, _ = w.Write([]byte("[]"))
		case strings.HasSuffix(path, "/images/json"):
			_ = json.NewEncoder(w).Encode([]map[string]any{{
				"Id": id, "RepoTags": []string{"shop/web:" + strings.TrimPrefix(id, "sha256:")[:12]}, "Labels": map[string]string{build.LabelBuildKey: *key},
			}})
		case strings.HasSuffix(path, "/images/"+id+"/json"):
			_ = json.NewEncoder(w).Encode(map[string]any{"Id": id, "RootFS": map[string]any{"Type": "layers", "Layers": []string{id}}, "Config": map[string]any{}})
		default:
			http.NotFound(w, r)
		}
	}))
}

// An image of the same content is used again, whether a release names it or the engine alone has it; with force it is built
// anew, past the build cache.
func TestForceBuildsAnew(t *testing.T) {
	dir, commit := committed(t, map[string]string{
		"compose.yaml": "name: shop\nservices: {web: {build: .}}\n", "Dockerfile": "FROM scratch\n",
	})
	id, key := "sha256:"+strings.Repeat("ab", 32), ""
	client := builtEngine(t, id, &key)
	web := func(force bool, releases ...v1alpha1.Release) wanted {
		t.Helper()
		s := newRun(func(a *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
			a.Spec.Compose.Directory, ur.Spec.Force, ur.Status.ID = dir, force, "20240102_030405"
		})
		s.Docker, s.clones = client, &clones{}
		s.Builder = func(parallel int) *build.Builder {
			return build.NewBuilder(client, build.Options{Parallelism: parallel})
		}
		w, err := s.workspace(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.export(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
		project, err := w.load(t.Context(), commit)
		if err != nil {
			t.Fatal(err)
		}
		want, err := s.desire(t.Context(), w, project, commit, releases)
		if err != nil || len(want) != 1 {
			t.Fatalf("%+v, %v", want, err)
		}
		return want[0]
	}
	first := web(false)
	if first.how != imageBuild || first.buildKey == "" {
		t.Fatalf("no image is there, and it comes out as %q with the key %q", first.how, first.buildKey)
	}
	named := v1alpha1.Release{}
	named.Spec.Services = []v1alpha1.ReleaseService{{Name: "web", BuildKey: first.buildKey, ImageID: id}}
	for _, c := range []struct {
		name     string
		key      string // of the image that the engine finds by it
		releases []v1alpha1.Release
	}{
		{"found on the engine", first.buildKey, nil},
		{"named by a release", "other", []v1alpha1.Release{named}},
	} {
		t.Run(c.name, func(t *testing.T) {
			key = c.key
			if got := web(false, c.releases...); got.how != imageReuse || got.image.ID != id {
				t.Errorf("without force: %q, image %q, want it used again", got.how, got.image.ID)
			}
			got := web(true, c.releases...)
			if got.how != imageBuild || got.image.ID != "" || !got.spec.NoCache {
				t.Errorf("with force: %q, image %q, without the cache: %v; want it built", got.how, got.image.ID, got.spec.NoCache)
			}
		})
	}
}
