// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestContained(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	var shas []string
	for i := range 5 {
		shas = append(shas, put(t, up, fmt.Sprint(i), "a", fmt.Sprint(i)))
	}
	sh(t, up, "config", "uploadpack.allowAnySHA1InWant", "true")
	// As a server keeps a pull request of somebody without a right to push.
	sh(t, up, "checkout", "-q", "--detach", shas[3])
	pull := put(t, up, "of a fork", "a", "evil")
	sh(t, up, "update-ref", "refs/pull/1/head", pull)
	sh(t, up, "checkout", "-q", "-b", "feature", shas[3])
	feature := put(t, up, "on a branch", "b", "1")
	sh(t, up, "checkout", "-q", "-b", "gone", shas[3])
	tagged := put(t, up, "tagged", "c", "1")
	sh(t, up, "tag", "-a", "-m", "x", "v1")
	sh(t, up, "checkout", "-q", "main")
	sh(t, up, "branch", "-q", "-D", "gone")

	for name, args := range map[string][]string{"clone": nil, "shallow clone": {"--depth=1"}} {
		for _, tt := range []struct {
			name, sha string
			want      bool
		}{
			{"checked out", shas[4], true},
			{"before it", shas[0], true},
			{"on another branch", feature, true},
			{"under a tag alone", tagged, true},
			{"of a pull request", pull, false},
		} {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				dir := clone(t, "file://"+up, args...)
				r := open(t, dir, Options{})
				fetch(t, r, tt.sha)
				if got, err := r.Contained(t.Context(), tt.sha); err != nil || got != tt.want {
					t.Errorf("contained %v, %v; want %v", got, err, tt.want)
				}
				noLocks(t, dir)
			})
		}
	}

	t.Run("merged since", func(t *testing.T) {
		dir := clone(t, "file://"+up)
		r := open(t, dir, Options{})
		fetch(t, r, pull)
		if got, err := r.Contained(t.Context(), pull); got || err != nil {
			t.Fatalf("before: %v, %v", got, err)
		}
		sh(t, up, "branch", "merged", pull)
		defer sh(t, up, "branch", "-q", "-D", "merged")
		if got, err := r.Contained(t.Context(), pull); !got || err != nil {
			t.Errorf("after: %v, %v", got, err)
		}
	})

	t.Run("remote is gone", func(t *testing.T) {
		dir := clone(t, "file://"+up)
		r := open(t, dir, Options{})
		fetch(t, r, pull)
		if err := os.Rename(up, up+".gone"); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.Rename(up+".gone", up) }()
		if got, err := r.Contained(t.Context(), feature); !got || err != nil {
			t.Errorf("what is here does not answer: %v, %v", got, err)
		}
		if got, err := r.Contained(t.Context(), pull); got || err == nil {
			t.Errorf("no answer is taken for one: %v, %v", got, err)
		}
	})

	t.Run("no remote", func(t *testing.T) {
		r := open(t, up, Options{})
		for sha, want := range map[string]bool{feature: true, tagged: true, pull: false} {
			if got, err := r.Contained(t.Context(), sha); err != nil || got != want {
				t.Errorf("%s is contained %v, %v", sha, got, err)
			}
		}
	})
	r := open(t, up, Options{})
	if _, err := r.Contained(t.Context(), strings.Repeat("12", 20)); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such commit: %v", err)
	}
}
