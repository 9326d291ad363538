// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package controllers_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/controllers"
	"github.com/fairlead-dev/fairlead/internal/manifests"
)

// shelf is a repository with manifests, and a world whose ManifestSources read it.
type shelf struct {
	*world
	work, url string
	mirrors   string
	asked     int
	// unavailable is how often the API is still away for service accounts.
	unavailable atomic.Int32
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{work: filepath.Join(t.TempDir(), "work"), url: filepath.Join(t.TempDir(), "origin.git"), mirrors: t.TempDir()}
	s.world = newWorld(t, func(w *world) {
		w.also = func(mgr ctrl.Manager) error {
			return (&controllers.ManifestSourceReconciler{
				Client: mgr.GetClient(), Reader: &manifests.Git{Dir: s.mirrors}, As: s.actAs, Events: mgr.GetEventRecorder("fairlead"),
			}).SetupWithManager(mgr)
		}
	})
	s.git("", "init", "-q", "--bare", "--initial-branch=main", s.url)
	s.git("", "clone", "-q", s.url, s.work)
	return s
}

// actAs makes a client with the rights of a service account, as the daemon does.
func (s *shelf) actAs(user string) (client.Client, error) {
	config := rest.CopyConfig(env.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user}
	c, err := client.New(config, client.Options{Scheme: s.scheme})
	return &awayClient{Client: c, left: &s.unavailable}, err
}

// awayClient stands for an API that is away for some calls.
type awayClient struct {
	client.Client
	left *atomic.Int32
}

func (c *awayClient) Apply(ctx context.Context, o runtime.ApplyConfiguration, options ...client.ApplyOption) error {
	if c.left.Add(-1) >= 0 {
		return apierrors.NewServiceUnavailable("away, as the test wants it")
	}
	return c.Client.Apply(ctx, o, options...)
}

func (s *shelf) git(dir string, args ...string) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "git", append([]string{"-c", "user.name=Bot", "-c", "user.email=bot@example.com"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// push commits files; those without content are removed.
func (s *shelf) push(files map[string]string) {
	s.t.Helper()
	for name, content := range files {
		path := filepath.Join(s.work, name)
		if content == "" {
			must(s.t, os.Remove(path))
			continue
		}
		must(s.t, os.WriteFile(path, []byte(content), 0o600))
	}
	s.git(s.work, "add", "--all")
	s.git(s.work, "commit", "-q", "-m", "Bump")
	s.git(s.work, "push", "-q", "origin", "HEAD:main")
}

// source makes a ManifestSource, which waits for look.
func (s *shelf) source(name string, change ...func(*v1alpha1.ManifestSource)) {
	s.t.Helper()
	ms := &v1alpha1.ManifestSource{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name}}
	ms.Spec.URL, ms.Spec.Suspend = s.url, true
	for _, c := range change {
		c(ms)
	}
	must(s.t, s.direct.Create(s.t.Context(), ms))
}

// look has a source looked at, with a change of its spec, and returns how it is then.
func (s *shelf) look(name, spec string) (*v1alpha1.ManifestSource, metav1.Condition) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	s.asked++
	asked := fmt.Sprint("ask-", s.asked)
	ms := &v1alpha1.ManifestSource{}
	s.patch(ms, name, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}},"spec":%s}`, v1alpha1.AnnotationCheck, asked, spec))
	w, err := s.direct.Watch(ctx, &v1alpha1.ManifestSourceList{}, client.InNamespace(s.ns), client.MatchingFields{"metadata.name": name})
	must(s.t, err)
	defer w.Stop()
	for e := range w.ResultChan() {
		o, ok := e.Object.(*v1alpha1.ManifestSource)
		if !ok {
			continue
		}
		ready := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
		if ready != nil && (o.Status.HandledCheck == asked || o.Spec.Suspend) && o.Status.ObservedGeneration == o.Generation {
			if problem := checkCondition(*ready, o.Generation); problem != "" {
				s.t.Error(problem)
			}
			return o, *ready
		}
	}
	s.t.Fatalf("%s was not looked at: %v", name, ctx.Err())
	return nil, metav1.Condition{}
}

// wants looks and checks the condition.
func (s *shelf) wants(name, spec, reason string, says ...string) *v1alpha1.ManifestSource {
	s.t.Helper()
	ms, ready := s.look(name, spec)
	if ready.Reason != reason || (ready.Status == metav1.ConditionTrue) != (reason == v1alpha1.ReasonApplied) {
		s.t.Fatalf("%s is %s (%s): %s, want %s", name, ready.Status, ready.Reason, ready.Message, reason)
	}
	for _, part := range says {
		if !strings.Contains(ready.Message, part) {
			s.t.Errorf("the condition does not say %q: %s", part, ready.Message)
		}
	}
	return ms
}

// may gives the account of a source a role.
func (s *shelf) may(role string) {
	s.t.Helper()
	must(s.t, s.direct.Create(s.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: role},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.ns, Name: "fairlead-manifests"}},
	}))
}

func (s *shelf) there(name string, o client.Object) bool {
	s.t.Helper()
	err := s.direct.Get(s.t.Context(), client.ObjectKey{Namespace: s.ns, Name: name}, o)
	must(s.t, client.IgnoreNotFound(err))
	return err == nil
}

func (s *shelf) app(name string) string {
	return "apiVersion: fairlead.dev/v1alpha1\nkind: Application\nmetadata: {name: " + name + "}\nspec: {compose: {directory: /opt/" + name + "}}\n"
}

func wishFor(name string) string {
	return "apiVersion: fairlead.dev/v1alpha1\nkind: UpdateRequest\nmetadata: {name: " + name + "}\nspec: {applicationRef: {name: shop}, commit: c0de, suspend: true}\n"
}

const goOn = `{"suspend":false}`

// TestManifestRights: what lies in Git counts for no more than its service account
// may do, and a commit of which one object is refused is not applied by half.
func TestManifestRights(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.push(map[string]string{"README.md": "Ours.\n"})
	s.source("fleet")
	s.wants("fleet", `{}`, v1alpha1.ReasonSuspended)
	if entries, err := os.ReadDir(s.mirrors); err != nil || len(entries) != 0 {
		t.Errorf("a suspended source was read: %v, %v", entries, err)
	}
	s.wants("fleet", goOn, v1alpha1.ReasonApplied, "the directory holds nothing")

	// It may make requests, and no Application.
	s.may("fairlead-operator")
	s.push(map[string]string{"a.yaml": wishFor("bump"), "b.yaml": s.app("web")})
	s.wants("fleet", `{}`, v1alpha1.ReasonRefused, "b.yaml:1: ", "the service account fairlead-manifests may not do that", "create rolebinding fairlead-manifests", "fairlead-admin")
	if s.there("web", &v1alpha1.Application{}) || s.there("bump", &v1alpha1.UpdateRequest{}) {
		t.Error("half of the commit was applied")
	}
	s.push(map[string]string{"b.yaml": ""})
	ms := s.wants("fleet", `{}`, v1alpha1.ReasonApplied, "1 UpdateRequest")
	if ms.Status.AppliedAt == nil || len(ms.Status.Commit) != 40 || ms.Status.Ref != "refs/heads/main" {
		t.Errorf("the status is %+v", ms.Status)
	}
	ur := &v1alpha1.UpdateRequest{}
	if !s.there("bump", ur) {
		t.Fatal("the request is not there")
	}
	if by := ur.Annotations[v1alpha1.AnnotationRequestedBy]; by != "system:serviceaccount:"+s.ns+":fairlead-manifests" || ur.Labels[v1alpha1.LabelManifestSource] != "fleet" {
		t.Errorf("it was made by %q, for %q", by, ur.Labels[v1alpha1.LabelManifestSource])
	}
	s.until("an Event of each", func() bool {
		got := strings.Join(s.events["fleet"], ", ")
		return strings.Contains(got, "Warning Refused") && strings.Contains(got, "Normal Applied")
	})
}

// TestManifestsComeAndGo: an Application that is not in Git any more is left, or
// deleted where that is wished; one object belongs to one source.
func TestManifestsComeAndGo(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.may("fairlead-admin")
	s.push(map[string]string{"web.yaml": s.app("web"), "api.yaml": s.app("api"), "mine.yaml": s.app("mine")})
	s.source("fleet")
	s.wants("fleet", goOn, v1alpha1.ReasonApplied, "3 Applications")

	s.source("other")
	s.wants("other", goOn, v1alpha1.ReasonInvalidManifest, "is applied by the ManifestSource fleet already")

	s.push(map[string]string{"web.yaml": "", "mine.yaml": ""})
	ms := s.wants("fleet", `{}`, v1alpha1.ReasonApplied, "1 Application, 2 Applications that are not in Git any more and were left")
	if !s.there("web", &v1alpha1.Application{}) || len(ms.Status.Applied) != 3 {
		t.Errorf("without prune: %+v", ms.Status.Applied)
	}
	// Somebody took this one over by hand.
	s.patch(&v1alpha1.Application{}, "mine", fmt.Sprintf(`{"metadata":{"labels":{%q:null}}}`, v1alpha1.LabelManifestSource))
	s.wants("fleet", `{"prune":true}`, v1alpha1.ReasonApplied)
	for name, want := range map[string]bool{"web": false, "api": true, "mine": true, "shop": true} {
		if got := s.there(name, &v1alpha1.Application{}); got != want {
			t.Errorf("with prune, %s is there: %t", name, got)
		}
	}

	// A field that somebody set by hand is theirs.
	s.patch(&v1alpha1.Application{}, "api", `{"spec":{"suspend":true}}`)
	s.push(map[string]string{"api.yaml": s.app("api") + "# Not now.\n"})
	s.wants("fleet", `{}`, v1alpha1.ReasonApplied)
	app := &v1alpha1.Application{}
	if s.there("api", app); !app.Spec.Suspend {
		t.Error("what somebody set by hand was taken back")
	}
	s.push(map[string]string{"api.yaml": strings.Replace(s.app("api"), "spec: {", "spec: {suspend: false, ", 1)})
	s.wants("fleet", `{}`, v1alpha1.ReasonRefused, "somebody else set this field by hand", "--force-conflicts")

	// The source goes, what was applied stays, and the mirror goes.
	must(t, s.direct.Delete(t.Context(), &v1alpha1.ManifestSource{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "fleet"}}))
	s.eventually("the mirror to be removed", func() bool {
		_, err := os.Stat(filepath.Join(s.mirrors, s.ns+".fleet.git"))
		return os.IsNotExist(err)
	})
	if !s.there("api", &v1alpha1.Application{}) {
		t.Error("the Application went with its source")
	}
}

// TestManifestSourceTroubles: what passes is tried again by itself, the rest is told.
func TestManifestSourceTroubles(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.may("fairlead-operator")
	s.push(map[string]string{"README.md": "Ours.\n"})
	s.source("fleet")
	s.wants("fleet", goOn, v1alpha1.ReasonApplied)

	// The API is away for some calls. Nobody has to ask again.
	s.unavailable.Store(3)
	s.push(map[string]string{"bump.yaml": wishFor("bump")})
	s.wants("fleet", `{}`, v1alpha1.ReasonRefused, "away, as the test wants it")
	s.await("bump", "to be made when the API is back", func(*v1alpha1.UpdateRequest) bool { return true })
	if left := s.unavailable.Load(); left >= 0 {
		t.Errorf("%d failures were not met", left)
	}

	for name, c := range map[string]struct{ spec, reason, says string }{
		"no such branch":     {fmt.Sprintf(`{"ref":"nowhere","url":%q}`, s.url), v1alpha1.ReasonSourceUnusable, `no branch or tag "nowhere"`},
		"no such repository": {fmt.Sprintf(`{"ref":null,"url":%q}`, s.url+".none"), v1alpha1.ReasonSourceUnusable, ".none"},
		"no such server":     {`{"ref":null,"url":"http://127.0.0.1:1/x.git"}`, v1alpha1.ReasonSourceUnreachable, "http://127.0.0.1:1/x.git"},
	} {
		t.Log(name)
		s.wants("fleet", c.spec, c.reason, c.says)
	}
	s.push(map[string]string{"bad.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"})
	s.wants("fleet", fmt.Sprintf(`{"url":%q,"ref":null}`, s.url), v1alpha1.ReasonInvalidManifest, "bad.yaml:1: a Secret does not belong into Git")
}
