// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// fleet is a repository with manifests, and the ManifestSource that names it.
type fleet struct {
	*site
	work   string
	source string
}

func newFleet(t *testing.T, s *site) *fleet {
	t.Helper()
	f := &fleet{site: s, work: filepath.Join(t.TempDir(), "work"), source: s.name}
	origin := filepath.Join(t.TempDir(), "fleet.git")
	f.git("init", "-q", "--bare", "--initial-branch=main", origin)
	f.git("clone", "-q", origin, f.work)
	s.Apply(fmt.Sprintf("apiVersion: fairlead.dev/v1alpha1\nkind: ManifestSource\nmetadata: {name: %s}\nspec: {url: %q, path: production, interval: 1h, serviceAccountName: %s, suspend: true}\n",
		f.source, origin, f.source))
	t.Cleanup(func() {
		ms := &v1alpha1.ManifestSource{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: f.source}}
		if err := s.Client.Delete(context.Background(), ms); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fleet) git(args ...string) {
	f.t.Helper()
	if _, err := os.Stat(f.work); err == nil {
		args = append([]string{"-C", f.work, "-c", "user.name=Bot", "-c", "user.email=bot@example.com"}, args...)
	}
	if _, errOut, code := harness.Run(f.t.Context(), nil, "", "git", args...); code != 0 {
		f.t.Fatalf("git %v: %s", args, errOut)
	}
}

// commit writes files, pushes them, and has the source looked at.
func (f *fleet) commit(files map[string]string) {
	f.t.Helper()
	for name, content := range files {
		path := filepath.Join(f.work, "production", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			f.t.Fatal(err)
		}
		if content == apps.Removed {
			if err := os.Remove(path); err != nil {
				f.t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
	f.git("add", "--all")
	f.git("commit", "-q", "-m", "Bump")
	f.git("push", "-q", "origin", "HEAD")
}

// look has the source looked at, and returns its status then.
func (f *fleet) look(want metav1.ConditionStatus, parts ...string) v1alpha1.ManifestSourceStatus {
	f.t.Helper()
	ask := time.Now().Format(time.RFC3339Nano)
	ms := &v1alpha1.ManifestSource{ObjectMeta: metav1.ObjectMeta{Namespace: f.Namespace, Name: f.source}}
	f.Patch(ms, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}},"spec":{"suspend":false}}`, v1alpha1.AnnotationCheck, ask))
	ctx, cancel := context.WithTimeout(f.t.Context(), harness.Patience)
	defer cancel()
	w, err := f.Client.Watch(ctx, &v1alpha1.ManifestSourceList{}, client.InNamespace(f.Namespace), client.MatchingFields{"metadata.name": f.source})
	if err != nil {
		f.t.Fatal(err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		o, ok := e.Object.(*v1alpha1.ManifestSource)
		if !ok || o.Status.HandledCheck != ask {
			continue
		}
		c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
		if c.Status != want {
			f.t.Fatalf("the source is %s (%s): %s", c.Status, c.Reason, c.Message)
		}
		wantContains(f.t, "the condition", c.Message, parts...)
		return o.Status
	}
	f.t.Fatalf("the source was not looked at: %v\n%s", ctx.Err(), f.DaemonLog())
	return v1alpha1.ManifestSourceStatus{}
}

func wish(app, name, commit string) string {
	return fmt.Sprintf("# Written by a bot.\napiVersion: fairlead.dev/v1alpha1\nkind: UpdateRequest\nmetadata: {name: %s}\nspec:\n  applicationRef: {name: %s}\n  commit: %q\n", name, app, commit)
}

// What a bot commits to a directory in Git is applied and carried out, once.
func TestManifestsInGit(t *testing.T) {
	t.Parallel()
	s := newSite(t, apps.Hello)
	f := newFleet(t, s)
	first := s.deployed()
	name := func(n string) string { return s.name + "-" + n }
	f.commit(map[string]string{"app.yaml": harness.Manifest(s.name, s.repo, ""), "requests/old.yaml": wish(s.name, name("old"), first)})

	// Nobody gave its service account any right.
	f.look(metav1.ConditionFalse, "production/app.yaml:1: ", "create rolebinding "+f.source)
	if _, errOut, code := s.Kubectl("", "-n", s.Namespace, "create", "rolebinding", f.source, "--clusterrole=fairlead-admin",
		"--serviceaccount="+s.Namespace+":"+f.source); code != 0 {
		t.Fatal(errOut)
	}
	f.look(metav1.ConditionTrue, "1 Application, 1 UpdateRequest that lay there at the first look")
	if s.App(s.name).Labels[v1alpha1.LabelManifestSource] != f.source {
		t.Error("the Application does not say where it comes from")
	}
	if made := s.requests(""); len(made) != 0 {
		t.Fatalf("the request %s lay there before, and yet it is carried out", made[0].Name)
	}

	// A bot asks for a commit.
	second := s.publish("Second version", version("2", "."))
	f.commit(map[string]string{"requests/current.yaml": wish(s.name, name("2"), second)})
	f.look(metav1.ConditionTrue)
	s.WantEnd(name("2"), v1alpha1.PhaseSucceeded)
	s.wantVersion("2")
	if r := s.Request(name("2")); r.Annotations[v1alpha1.AnnotationTrigger] != v1alpha1.TriggerManifests ||
		r.Annotations[v1alpha1.AnnotationRequestedBy] != "system:serviceaccount:"+s.Namespace+":"+f.source {
		t.Errorf("the request does not say who made it: %v", r.Annotations)
	}

	// It bumps the commit and forgets the name: nothing happens, and it is told why.
	third := s.publish("Third version", version("3", "."))
	f.commit(map[string]string{"requests/current.yaml": wish(s.name, name("2"), third), "requests/next.yaml": wish(s.name, name("other"), third)})
	f.look(metav1.ConditionFalse, "production/requests/current.yaml:2: ", "new name")
	if made := s.requests(third); len(made) != 0 {
		t.Errorf("half of the commit was applied: %s", made[0].Name)
	}
	f.commit(map[string]string{"requests/current.yaml": wish(s.name, name("3"), third), "requests/next.yaml": apps.Removed})
	f.look(metav1.ConditionTrue)
	s.WantEnd(name("3"), v1alpha1.PhaseSucceeded)
	s.wantVersion("3")

	// One bad file, and nothing of the commit is applied.
	fourth := s.publish("Fourth version", version("4", "."))
	f.commit(map[string]string{
		"requests/current.yaml": wish(s.name, name("4"), fourth),
		"requests/z-bad.yaml":   wish(s.name, name("bad"), "main") + "  comit: main\n",
	})
	f.look(metav1.ConditionFalse, "production/requests/z-bad.yaml:", "comit")
	f.commit(map[string]string{"requests/z-bad.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"})
	f.look(metav1.ConditionFalse, "z-bad.yaml:1: a Secret does not belong into Git")
	// The API server finds this one.
	f.commit(map[string]string{"requests/z-bad.yaml": wish(s.name, name("bad"), "main..x")})
	f.look(metav1.ConditionFalse, "z-bad.yaml:2: ", "commit must be a SHA, a branch or a tag")
	if made := s.requests(fourth); len(made) != 0 {
		t.Errorf("half of the commit was applied: %s", made[0].Name)
	}
	f.commit(map[string]string{"requests/z-bad.yaml": apps.Removed})
	f.look(metav1.ConditionTrue)
	s.WantEnd(name("4"), v1alpha1.PhaseSucceeded)

	// What the API forgets, as by its limits, is not carried out again.
	for _, r := range s.requests("") {
		if err := s.Client.Delete(t.Context(), &r); err != nil {
			t.Fatal(err)
		}
		s.WaitGone(&r)
	}
	status := f.look(metav1.ConditionTrue)
	if made := s.requests(""); len(made) != 0 {
		t.Errorf("%s is carried out again", made[0].Name)
	}
	states := ""
	for _, a := range status.Applied {
		states += " " + strings.TrimPrefix(a.Name, s.name) + "=" + string(a.State)
	}
	if want := " =Applied -4=Applied -old=Recorded -3=Gone -2=Gone"; states != want {
		t.Errorf("the status lists%s, want%s", states, want)
	}
	s.wantVersion("4")
}
