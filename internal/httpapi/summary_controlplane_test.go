// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package httpapi

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/tokens"
)

// remember gives the API a cache like the daemon's.
func (w *world) remember() {
	w.Helper()
	c, err := cache.New(env.Config, cache.Options{Scheme: w.admin.Scheme()})
	w.must(err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Start(ctx) }()
	w.Cleanup(func() {
		stop()
		w.must(<-ended)
	})
	w.api.UseCache(c)
	w.must(w.api.Warm(ctx))
}

func (w *world) summary(who string) summary {
	w.Helper()
	a := w.do(who, "GET", "/summary", "")
	var s summary
	if err := json.Unmarshal([]byte(a.body), &s); err != nil || a.code != 200 {
		w.Fatalf("%d %s (%v)", a.code, a.body, err)
	}
	return s
}

// What is in the daemon's memory is told to those only who may read it.
func TestSummary(t *testing.T) {
	w := newWorld(t, nil)
	w.byRole(t, "GET", "/summary", "", map[string]int{"viewer": 503})
	w.remember()
	w.byRole(t, "GET", "/summary", "", map[string]int{"viewer": 200, "operator": 200, "admin": 200, "updater": 200})
	stranger := w.stranger()
	for _, path := range []string{"/summary", "/summary/events"} {
		if a := w.do(stranger, "GET", path, ""); a.code != 403 || !strings.Contains(a.problem(t), "fairlead-viewer") {
			t.Errorf("%s for a stranger: %d %s", path, a.code, a.body)
		}
	}
	// Who may look into one namespace alone is told that one, also if nothing is in it yet.
	if a := w.do("viewer", "GET", "//namespaces", ""); a.code != 200 || a.body != `{"namespaces":["`+w.namespace+`"]}`+"\n" {
		t.Errorf("the namespaces for a viewer of one: %d %s", a.code, a.body)
	}
	var who struct{ Username string }
	w.must(json.Unmarshal([]byte(w.do(stranger, "GET", "//whoami", "").body), &who))
	own := strings.Split(who.Username, ":")[2]
	w.until("somebody in another namespace is told that one", func() bool {
		a := w.do(stranger, "GET", "//namespaces", "")
		return a.code == 200 && a.body == `{"namespaces":["`+own+`"]}`+"\n"
	})
	before := w.summary("viewer")
	if len(before.Applications) != 1 || before.Applications[0].Name != "web" || before.Version == "" {
		t.Fatalf("%+v", before)
	}

	// Who has everything hears of what comes; who has something older, of that at once.
	stream := w.follow("viewer", "/summary/events?version="+before.Version, "")
	old := w.follow("viewer", "/summary/events?version=old", "")
	old.want(t, eventChange)
	ur := w.create("web-1", ended(v1alpha1.PhaseBuilding))
	stream.want(t, eventChange)
	old.want(t, eventChange)

	var app v1alpha1.Application
	w.must(w.admin.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "web"}, &app))
	now := metav1.Now()
	app.Status.ActiveRequest, app.Status.Commit = ur.Name, strings.Repeat("a", 40)
	app.Status.Services = []v1alpha1.ServiceStatus{{Name: "db", State: "Running", Health: "Healthy", Image: "postgres"}}
	app.Status.Update = &v1alpha1.UpdateStatus{Commit: strings.Repeat("b", 40), Available: true, Behind: 2}
	app.Status.LastRequest = &v1alpha1.RequestSummary{Name: "web-0", Phase: v1alpha1.PhaseFailed, FinishedAt: &now}
	app.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionHealthy, Status: metav1.ConditionFalse, Reason: "X", Message: "the database is down", LastTransitionTime: now}}
	w.must(w.admin.Status().Update(t.Context(), &app))
	b := &v1alpha1.Backup{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "web-1"}}
	b.Spec.ApplicationRef.Name, b.Spec.ID = "web", "backup_20260304_050607"
	w.must(w.admin.Create(t.Context(), b))
	b.Status.CompletedAt = &now
	w.must(w.admin.Status().Update(t.Context(), b))
	w.until("the summary has it all", func() bool {
		s := w.summary("viewer").Applications[0]
		return s.Running != nil && s.LastBackup != nil
	})
	after := w.summary("viewer")
	one := after.Applications[0]
	if after.Version == before.Version || one.Update == nil || one.Update.Behind != 2 || len(one.Services) != 1 || one.Services[0].Health != "Healthy" ||
		len(one.Problems) != 1 || one.Last == nil || one.Last.Name != "web-0" || one.Commit != app.Status.Commit {
		t.Errorf("%+v", after)
	}

	// A revoked token ends the stream.
	token := w.token("short", "viewer")
	w.until("the token", func() bool { return w.do(token, "GET", "/summary", "").code == 200 })
	short := w.follow(token, "/summary/events?version="+w.summary("viewer").Version, "")
	w.must(tokens.Revoke(t.Context(), w.admin, w.namespace, "short"))
	for {
		if _, err, ok := short.next(); !ok || err != nil {
			break
		}
	}
	w.must(w.admin.Delete(t.Context(), b))
	stream.want(t, eventChange)
}
