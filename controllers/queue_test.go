// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) metav1.Time {
	return metav1.NewTime(epoch.Add(time.Duration(seconds) * time.Second))
}

// request makes an UpdateRequest that was created at the given second.
func request(name string, created int, change ...func(*v1alpha1.UpdateRequest)) v1alpha1.UpdateRequest {
	ur := v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: at(created), Generation: 1,
	}}
	ur.Spec.ApplicationRef.Name = "shop"
	for _, c := range change {
		c(&ur)
	}
	return ur
}

func started(ur *v1alpha1.UpdateRequest) {
	ur.Status.Phase = v1alpha1.PhaseBuilding
	ur.Status.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepPreflight, State: v1alpha1.StepSucceeded}}
}

// cleaning has something left to be removed after its end; letGo is a request that nobody sees to any more.
func cleaning(ur *v1alpha1.UpdateRequest) {
	ur.Status.CleanUpPending, ur.Finalizers = true, []string{requestFinalizer}
}

func letGo(ur *v1alpha1.UpdateRequest) { ur.Finalizers = nil }

func ended(ur *v1alpha1.UpdateRequest) {
	started(ur)
	ur.Status.Phase = v1alpha1.PhaseSucceeded
}

func dryRun(ur *v1alpha1.UpdateRequest)    { ur.Spec.DryRun = true }
func suspended(ur *v1alpha1.UpdateRequest) { ur.Spec.Suspend = true }
func cancelled(ur *v1alpha1.UpdateRequest) { ur.Spec.Cancel = true }
func rollbackTo(ur *v1alpha1.UpdateRequest) {
	ur.Spec.RollbackTo = &v1alpha1.LocalReference{Name: "shop-1"}
}
func agent(ur *v1alpha1.UpdateRequest) { ur.Spec.Profiles = []string{"agent"} }
func port(ur *v1alpha1.UpdateRequest)  { ur.Spec.Variables = map[string]string{"WEB_PORT": "1"} }
func seen(v string) func(*v1alpha1.UpdateRequest) {
	return func(ur *v1alpha1.UpdateRequest) { ur.Status.SeenVersion = v }
}

func version(v string) func(*v1alpha1.UpdateRequest) {
	return func(ur *v1alpha1.UpdateRequest) { ur.ResourceVersion = v }
}

func deleting(ur *v1alpha1.UpdateRequest) {
	now := at(99)
	ur.DeletionTimestamp = &now
}

func force(ur *v1alpha1.UpdateRequest) { ur.Spec.Force = true }

func retry(ur *v1alpha1.UpdateRequest) { ur.Spec.Retry = true }

func other(ur *v1alpha1.UpdateRequest) { ur.Spec.Commit = "other" }

func TestQueue(t *testing.T) {
	type siblings = []v1alpha1.UpdateRequest
	tests := []struct {
		name         string
		me           v1alpha1.UpdateRequest
		siblings     siblings
		ahead        string
		supersededBy string
	}{
		{"alone", request("b", 2), nil, "", ""},
		{"an older one is first", request("b", 2), siblings{request("a", 1)}, "a", ""},
		{"a newer one waits", request("b", 2), siblings{request("c", 3)}, "", ""},
		{"of one second the name decides", request("b", 2), siblings{request("a", 2)}, "a", ""},
		{"of one second the one that was seen first is first", request("a", 2, seen("101")), siblings{request("b", 2, seen("99"))}, "b", ""},
		{"of one second a new one is behind one that was seen", request("b", 2, seen("99")), siblings{request("a", 2, version("101"))}, "", ""},
		{"of one second the newer one supersedes", request("b", 2, seen("99")), siblings{request("x", 1, started), request("a", 2, seen("101"))}, "x", "a"},
		{"of one second the older one does not supersede", request("a", 2, seen("101")), siblings{request("x", 1, started), request("b", 2, seen("99"))}, "x", ""},
		{"what was written to it later does not count", request("a", 2, seen("99"), version("500")), siblings{request("b", 2, version("101"))}, "", ""},
		{"the next in turn is named", request("d", 4), siblings{request("b", 2), request("a", 1), request("c", 3)}, "a", ""},
		{"one that runs is named before one that waits", request("c", 3), siblings{request("a", 1), request("b", 2, started)}, "b", ""},
		{"one that runs is first, though it is newer", request("a", 1), siblings{request("b", 2, started)}, "b", ""},
		{"ended ones do not count", request("b", 2), siblings{request("a", 1, ended)}, "", ""},
		{"dry runs do not count", request("b", 2), siblings{request("a", 1, dryRun), request("c", 3, dryRun)}, "", ""},
		{"a suspended one does not hold others up", request("b", 2), siblings{request("a", 1, suspended)}, "", ""},
		{"a suspended one that runs does", request("b", 2), siblings{request("a", 1, suspended, started)}, "a", ""},
		{"one that is deleted before it started does not", request("b", 2), siblings{request("a", 1, deleting)}, "", ""},
		{"one that is deleted while it runs does", request("b", 2), siblings{request("a", 1, deleting, started)}, "a", ""},
		{"a newer one supersedes", request("b", 2), siblings{request("a", 1, started), request("c", 3)}, "a", "c"},
		{"a newer one does not supersede whose turn it is", request("b", 2), siblings{request("a", 1, ended), request("c", 3)}, "", ""},
		{"a suspended newer one does not supersede", request("b", 2), siblings{request("a", 1, started), request("c", 3, suspended)}, "a", ""},
		{"a cancelled newer one does not supersede", request("b", 2), siblings{request("a", 1, started), request("c", 3, cancelled)}, "a", ""},
		{"a deleted newer one does not supersede", request("b", 2), siblings{request("a", 1, started), request("c", 3, deleting)}, "a", ""},
		{"a newer dry run does not supersede", request("b", 2), siblings{request("a", 1, started), request("c", 3, dryRun)}, "a", ""},
		{"a rollback does not supersede", request("b", 2), siblings{request("a", 1, started), request("c", 3, rollbackTo)}, "a", ""},
		{"a rollback is not superseded", request("b", 2, rollbackTo), siblings{request("a", 1, started), request("c", 3)}, "a", ""},
		{"one that lacks a profile does not supersede", request("b", 2, agent), siblings{request("a", 1, started), request("c", 3)}, "a", ""},
		{"one with a profile more supersedes", request("b", 2), siblings{request("a", 1, started), request("c", 3, agent)}, "a", "c"},
		{"one with other variables does not supersede", request("b", 2), siblings{request("a", 1, started), request("c", 3, port)}, "a", ""},
		{"one that does not force does not supersede one that does", request("b", 2, force), siblings{request("a", 1, started), request("c", 3)}, "a", ""},
		{"one that forces too supersedes", request("b", 2, force), siblings{request("a", 1, started), request("c", 3, force)}, "a", "c"},
		{"one of the same commit that does not retry does not supersede", request("b", 2, retry), siblings{request("a", 1, started), request("c", 3)}, "a", ""},
		{"one of another commit supersedes a retry", request("b", 2, retry), siblings{request("a", 1, started), request("c", 3, other)}, "a", "c"},
		{"one that retries too supersedes", request("b", 2, retry), siblings{request("a", 1, started), request("c", 3, retry)}, "a", "c"},
		{"a dry run is not superseded", request("b", 2, dryRun), siblings{request("a", 1, started), request("c", 3)}, "a", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ahead, by := queue(&tt.me, tt.siblings)
			if ahead != tt.ahead || by != tt.supersededBy {
				t.Errorf("ahead %q, superseded by %q; want %q, %q", ahead, by, tt.ahead, tt.supersededBy)
			}
			for i, j := 0, len(tt.siblings)-1; i < j; i, j = i+1, j-1 {
				tt.siblings[i], tt.siblings[j] = tt.siblings[j], tt.siblings[i]
			}
			if again, byAgain := queue(&tt.me, tt.siblings); again != ahead || byAgain != by {
				t.Errorf("the order of the list matters: %q, %q", again, byAgain)
			}
		})
	}
}

func TestClaim(t *testing.T) {
	var r UpdateRequestReconciler
	r.init()
	a, b, dry := request("a", 1), request("b", 2), request("c", 3, dryRun)
	other := request("d", 4)
	other.Spec.ApplicationRef.Name = "blog"
	if _, ok := r.claim(&a, "/opt/shop"); !ok {
		t.Fatal("the first is refused")
	}
	if _, ok := r.claim(&a, "/opt/shop"); !ok {
		t.Error("the holder is refused the second time")
	}
	if holder, ok := r.claim(&b, "/opt/shop"); ok || holder != "a" {
		t.Errorf("the second got the application (holder %q)", holder)
	}
	if _, ok := r.claim(&dry, "/opt/shop"); !ok {
		t.Error("a dry run has to wait")
	}
	if _, ok := r.claim(&other, "/opt/blog"); !ok {
		t.Error("a request in another directory has to wait")
	}
	r.release(types.NamespacedName{Namespace: "ns", Name: "b"})
	if _, ok := r.claim(&b, "/opt/shop"); ok {
		t.Error("one that never held it gave it back")
	}
	woken := make(chan string, 1)
	go func() { woken <- (<-r.wake).Object.Name }()
	r.release(types.NamespacedName{Namespace: "ns", Name: "a"})
	if name := <-woken; name != "b" {
		t.Errorf("%s is woken, which did not wait", name)
	}
	if _, ok := r.claim(&b, "/opt/shop"); !ok {
		t.Error("the application is not free after its release")
	}
}

// Applications move one working tree at a time, by whatever directory they name it.
func TestClaimedDirectory(t *testing.T) {
	base := t.TempDir()
	top := filepath.Join(base, "mono")
	for _, dir := range []string{filepath.Join(top, ".git"), filepath.Join(top, "apps", "shop"), filepath.Join(base, "plain")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(top, ".git", "HEAD"), []byte("ref: refs/heads/main\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(top, filepath.Join(base, "current")); err != nil {
		t.Fatal(err)
	}
	at := func(elem ...string) string {
		var app v1alpha1.Application
		app.Spec.Compose.Directory = filepath.Join(append([]string{base}, elem...)...)
		return scope{app: &app}.directory(&v1alpha1.UpdateRequest{})
	}
	top = at("mono")
	for _, elem := range [][]string{{"mono", "apps", "shop"}, {"mono", "apps"}, {"current"}, {"current", "apps", "shop"}} {
		if got := at(elem...); got != top {
			t.Errorf("%v is claimed as %s, not as %s", elem, got, top)
		}
	}
	if plain := at("plain"); plain == top || plain != filepath.Join(base, "plain") {
		t.Errorf("a directory without a clone is claimed as %s", plain)
	}
}

func TestEndedPredicate(t *testing.T) {
	p := endedPredicate()
	update := func(was, is v1alpha1.UpdateRequest) bool {
		return p.Update(event.UpdateEvent{ObjectOld: &was, ObjectNew: &is})
	}
	again := func(ur v1alpha1.UpdateRequest) v1alpha1.UpdateRequest { ur.Generation++; return ur }
	a := request("a", 1)
	for name, got := range map[string]struct{ got, want bool }{
		"created":                {p.Create(event.CreateEvent{Object: &a}), false},
		"deleted":                {p.Delete(event.DeleteEvent{Object: &a}), true},
		"first seen":             {update(request("a", 1), request("a", 1, seen("7"))), true},
		"ended":                  {update(request("a", 1, started), request("a", 1, ended)), true},
		"went on":                {update(request("a", 1), request("a", 1, started)), false},
		"its wish changed":       {update(a, again(a)), true},
		"ended, and cleans up":   {update(request("a", 1, started), request("a", 1, ended, cleaning)), false},
		"has cleaned up":         {update(request("a", 1, ended, cleaning), request("a", 1, ended)), true},
		"let go of by force":     {update(request("a", 1, ended, cleaning), request("a", 1, ended, cleaning, letGo)), true},
		"an ended one is pruned": {update(request("a", 1, ended), request("a", 1, ended, deleting)), false},
	} {
		if got.got != got.want {
			t.Errorf("%s: passes %t, want %t", name, got.got, got.want)
		}
	}
}

// putOff records what is added to a queue later.
type putOff struct {
	workqueue
	added []string
}

func (q *putOff) AddAfter(req reconcile.Request, pause time.Duration) {
	q.added = append(q.added, req.Name+" "+pause.String())
}

func (q *putOff) Add(req reconcile.Request) { q.added = append(q.added, req.Name) }

func TestWhoWaitsStandsBack(t *testing.T) {
	other := func(ur *v1alpha1.UpdateRequest) { ur.Spec.ApplicationRef.Name = "blog" }
	created := request("c", 3)
	for name, tt := range map[string]struct {
		there   []v1alpha1.UpdateRequest
		initial bool
		atOnce  bool
		later   []string
	}{
		"one works":            {[]v1alpha1.UpdateRequest{request("a", 1, started), request("b", 2)}, false, false, []string{"a 30ms", "b 30ms", "c 30ms"}},
		"none works":           {[]v1alpha1.UpdateRequest{request("b", 2)}, false, true, []string{"b 0s", "c 0s"}},
		"one has ended":        {[]v1alpha1.UpdateRequest{request("a", 1, ended)}, false, true, []string{"c 0s"}},
		"one works elsewhere":  {[]v1alpha1.UpdateRequest{request("a", 1, started, other)}, false, true, []string{"c 0s"}},
		"only a dry run works": {[]v1alpha1.UpdateRequest{request("a", 1, started, dryRun)}, false, true, []string{"a 0s", "c 0s"}},
		"it was there before":  {[]v1alpha1.UpdateRequest{request("a", 1, started)}, true, true, []string{"c"}},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []client.Object{&created}
			for i := range tt.there {
				objects = append(objects, &tt.there[i])
			}
			r := &UpdateRequestReconciler{Client: fakeAPI(t, objects...)}
			e := event.CreateEvent{Object: created.DeepCopy(), IsInInitialList: tt.initial}
			if got := r.turnPredicate(t.Context()).Create(e); got != tt.atOnce {
				t.Errorf("looked at once: %t, want %t", got, tt.atOnce)
			}
			var q putOff
			r.cameLater().Create(t.Context(), e, &q)
			if slices.Sort(q.added); !slices.Equal(slices.Compact(q.added), tt.later) {
				t.Errorf("later: %v, want %v", q.added, tt.later)
			}
		})
	}
}

func TestApplicationOf(t *testing.T) {
	ur := request("a", 1)
	rel := v1alpha1.Release{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}, Spec: v1alpha1.ReleaseSpec{ApplicationRef: v1alpha1.LocalReference{Name: "shop"}}}
	for _, got := range []string{
		fmt.Sprint(applicationOf(t.Context(), &ur)), fmt.Sprint(applicationOf(t.Context(), &rel)),
	} {
		if got != "[ns/shop]" {
			t.Errorf("got %s", got)
		}
	}
	if got := applicationOf(t.Context(), &v1alpha1.Backup{}); len(got) != 0 {
		t.Errorf("a Backup wakes %v", got)
	}
}
