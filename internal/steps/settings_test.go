// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

func newRun(change ...func(*v1alpha1.Application, *v1alpha1.UpdateRequest)) *run {
	s := &run{sights: &sights{}, engineRoot: new(atomic.Pointer[string]), endings: &endings{}, Work: Work{Application: &v1alpha1.Application{}, Request: &v1alpha1.UpdateRequest{}}}
	s.Application.Name, s.Application.Namespace, s.Request.Name = "shop", "prod", "u1"
	for _, c := range change {
		c(s.Application, s.Request)
	}
	return s
}

func seconds(n int) *metav1.Duration {
	return &metav1.Duration{Duration: time.Duration(n) * time.Second}
}

func TestOrderOfSettings(t *testing.T) {
	const start, stop, auto = v1alpha1.OrderStartFirst, v1alpha1.OrderStopFirst, v1alpha1.OrderAuto
	app := func(all, web v1alpha1.RolloutOrder) *run {
		return newRun(func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) {
			a.Spec.Rollout.Order = all
			a.Spec.Rollout.Services = []v1alpha1.ServiceRollout{{Name: "other", Order: start}, {Name: "web", Order: web}}
		})
	}
	update := func(order string) *compose.UpdateConfig { return &compose.UpdateConfig{Order: order} }
	tests := []struct {
		name   string
		run    *run
		svc    compose.Service
		want   v1alpha1.RolloutOrder
		source string
		yields bool
	}{
		{"nothing is set", app("", ""), compose.Service{}, "", "rollout.order of the Application", false},
		{"of all", app(stop, ""), compose.Service{}, stop, "rollout.order of the Application", false},
		{"of the service", app(stop, start), compose.Service{}, start, "rollout.services of the Application", false},
		{"of the service, Auto", app(stop, auto), compose.Service{}, auto, "rollout.services of the Application", false},
		{"deploy.update_config", app(stop, stop), compose.Service{UpdateConfig: update("start-first")}, start, "deploy.update_config.order of the Compose file", true},
		{"deploy.update_config stop-first", app(start, start), compose.Service{UpdateConfig: update("stop-first")}, stop, "deploy.update_config.order of the Compose file", true},
		{"deploy.update_config without an order", app(stop, ""), compose.Service{UpdateConfig: update("")}, stop, "rollout.order of the Application", false},
		{"x-fairlead", app(stop, stop), compose.Service{UpdateConfig: update("stop-first"), Extension: compose.Extension{Order: "StartFirst"}}, start, "x-fairlead of the Compose file", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.svc.Name = "web"
			if got, source, yields := tt.run.order(tt.svc); got != tt.want || source != tt.source || yields != tt.yields {
				t.Errorf("got %q by %q (yields %t), want %q by %q (yields %t)", got, source, yields, tt.want, tt.source, tt.yields)
			}
		})
	}
}

func TestPullPolicy(t *testing.T) {
	for _, tt := range []struct {
		app  v1alpha1.PullPolicy
		file string
		want v1alpha1.PullPolicy
	}{
		{"", "", v1alpha1.PullMissing}, {v1alpha1.PullAuto, "", v1alpha1.PullMissing}, {v1alpha1.PullAuto, "missing", v1alpha1.PullMissing},
		{v1alpha1.PullAuto, "if_not_present", v1alpha1.PullMissing}, {v1alpha1.PullAuto, "build", v1alpha1.PullMissing},
		{v1alpha1.PullAuto, "always", v1alpha1.PullAlways}, {v1alpha1.PullAuto, "daily", v1alpha1.PullAlways}, {v1alpha1.PullAuto, "weekly", v1alpha1.PullAlways},
		{v1alpha1.PullAuto, "every_12h", v1alpha1.PullAlways}, {v1alpha1.PullAuto, "never", v1alpha1.PullNever},
		{v1alpha1.PullNever, "always", v1alpha1.PullNever}, {v1alpha1.PullMissing, "always", v1alpha1.PullMissing}, {v1alpha1.PullMissing, "never", v1alpha1.PullMissing},
		{v1alpha1.PullAlways, "", v1alpha1.PullAlways}, {v1alpha1.PullAlways, "daily", v1alpha1.PullAlways},
		// What the file says of one service is more than what is said of all.
		{v1alpha1.PullAlways, "never", v1alpha1.PullNever}, {v1alpha1.PullAlways, "missing", v1alpha1.PullMissing},
		{v1alpha1.PullAlways, "if_not_present", v1alpha1.PullMissing},
	} {
		s := newRun(func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) { a.Spec.Build.Pull = tt.app })
		if got := s.pullPolicy(compose.Service{PullPolicy: tt.file}); got != tt.want {
			t.Errorf("%q with %q in the file is %s, want %s", tt.app, tt.file, got, tt.want)
		}
	}
}

// project loads a Compose file.
func project(t *testing.T, file string) *compose.Project {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shop")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := compose.Load(t.Context(), compose.Options{DeployDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTimings(t *testing.T) {
	p := project(t, `
services:
  plain: {image: a}
  grace: {image: a, stop_grace_period: 42s}
  file:
    image: a
    stop_grace_period: 42s
    x-fairlead: {healthTimeout: 3m, minHealthy: 7s, drainTimeout: 8s, stopTimeout: 9s}
`)
	all := v1alpha1.RolloutTimings{HealthTimeout: seconds(60), MinHealthy: seconds(0), DrainTimeout: seconds(2), StopTimeout: seconds(3)}
	own := v1alpha1.RolloutTimings{HealthTimeout: seconds(61), MinHealthy: seconds(5), DrainTimeout: seconds(0), StopTimeout: seconds(1)}
	type want struct {
		health, drain, stop time.Duration
		minHealthy          string
		set                 bool
	}
	tests := []struct {
		name, service string
		all           v1alpha1.RolloutTimings
		services      []v1alpha1.ServiceRollout
		want          want
	}{
		{"defaults", "plain", v1alpha1.RolloutTimings{}, nil, want{2 * time.Minute, 0, 10 * time.Second, "none", false}},
		{"the file's grace period", "grace", v1alpha1.RolloutTimings{}, nil, want{2 * time.Minute, 0, 42 * time.Second, "none", false}},
		{"the Application's for all", "plain", all, nil, want{time.Minute, 2 * time.Second, 3 * time.Second, "0s", true}},
		{"goes before the grace period", "grace", all, nil, want{time.Minute, 2 * time.Second, 3 * time.Second, "0s", true}},
		{"x-fairlead goes before that", "file", all, nil, want{3 * time.Minute, 8 * time.Second, 9 * time.Second, "7s", true}},
		{"the Application's for the service goes first", "file", all, []v1alpha1.ServiceRollout{{Name: "file", RolloutTimings: own}},
			want{61 * time.Second, 0, time.Second, "5s", true}},
		{"another service's do not count", "plain", v1alpha1.RolloutTimings{}, []v1alpha1.ServiceRollout{{Name: "file", RolloutTimings: own}},
			want{2 * time.Minute, 0, 10 * time.Second, "none", false}},
		{"a service that is not in the file", "gone", all, nil, want{time.Minute, 2 * time.Second, 3 * time.Second, "0s", true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := &executor{project: p, run: newRun(func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) {
				a.Spec.Rollout.RolloutTimings, a.Spec.Rollout.Services = tt.all, tt.services
			})}
			got := e.timings(tt.service)
			minHealthy := "none"
			if got.minHealthy != nil {
				minHealthy = got.minHealthy.String()
			}
			if w := (want{got.health, got.drain, got.stop, minHealthy, got.healthSet}); w != tt.want {
				t.Errorf("got %+v, want %+v", w, tt.want)
			}
		})
	}
}

func TestOrNever(t *testing.T) {
	zero, five := time.Duration(0), 5*time.Second
	for _, tt := range []struct {
		set             *time.Duration
		otherwise, want time.Duration
	}{{nil, five, five}, {nil, 0, -1}, {&zero, five, -1}, {&five, 0, five}} {
		if got := orNever(tt.set, tt.otherwise); got != tt.want {
			t.Errorf("%v or %s: got %s, want %s", tt.set, tt.otherwise, got, tt.want)
		}
	}
}

func TestRevisionIsUnknownWithoutAnImage(t *testing.T) {
	w := wanted{definition: "d", files: "f"}
	if got := w.revision(); got != "" {
		t.Errorf("got %q", got)
	}
	w.image = docker.Image{ID: "sha256:1", Content: "c"}
	first := w.revision()
	w.image.ID = "sha256:2" // the same content under another ID, as after a build without cache
	if first == "" || w.revision() != first {
		t.Errorf("%q became %q", first, w.revision())
	}
	w.files = "g"
	if w.revision() == first {
		t.Error("mounted files do not count")
	}
}

func TestShares(t *testing.T) {
	for name, tt := range map[string]struct {
		svc  compose.Service
		want []string
	}{
		"nothing": {compose.Service{NetworkMode: "host", PidMode: "host"}, nil},
		"network": {compose.Service{NetworkMode: "service:vpn"}, []string{"vpn"}},
		"all of one": {compose.Service{NetworkMode: "service:vpn", PidMode: "service:vpn", IpcMode: "service:db"},
			[]string{"vpn", "db"}},
	} {
		if got := shares(tt.svc); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

func TestVolumesFrom(t *testing.T) {
	svc := compose.Service{VolumesFrom: []string{"app:ro", "data", "container:other", "app"}}
	if got := volumesFrom(svc); !slices.Equal(got, []string{"app", "data"}) {
		t.Errorf("got %v", got)
	}
}

func TestFindRelease(t *testing.T) {
	releases := []v1alpha1.Release{
		{ObjectMeta: metav1.ObjectMeta{Name: "shop-2"}, Status: v1alpha1.ReleaseStatus{State: v1alpha1.ReleaseCurrent}},
		{ObjectMeta: metav1.ObjectMeta{Name: "shop-1"}, Status: v1alpha1.ReleaseStatus{State: v1alpha1.ReleaseExpired, Message: "the image of web was removed from the host"}},
	}
	for name, want := range map[string]string{
		"shop-2": "", "shop-3": "the Application has no release shop-3; it has: shop-2, shop-1",
		"shop-1": "the release shop-1 cannot be gone back to any more: the image of web was removed from the host",
	} {
		r, err := findRelease(releases, name)
		if want == "" && (err != nil || r.Name != name) || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	if _, err := findRelease(nil, "x"); err == nil || !strings.HasSuffix(err.Error(), "it has: none") {
		t.Errorf("got %v", err)
	}
}

func TestServiceUpdates(t *testing.T) {
	plans := []v1alpha1.ServicePlan{
		{Name: "web", Action: v1alpha1.ActionReplace, Reason: "its image changed", Order: v1alpha1.OrderStartFirst, Recreate: true},
		{Name: "gone", Action: v1alpha1.ActionRemove, Reason: "the Compose file does not have it any more"},
	}
	want := []wanted{{Service: compose.Service{Name: "web", ImageName: "shop/web"}, definition: "d", image: docker.Image{ID: "sha256:1", Content: "c"}}}
	containers := []docker.Container{
		{ID: "0123456789abcdef", Service: "web", State: docker.StateRunning, RestartPolicy: docker.RestartPolicy{Name: "always"}},
		{ID: "fedcba9876543210", Service: "web", State: docker.StateExited, RestartPolicy: docker.RestartPolicy{Name: "on-failure"}},
		{ID: "aaaabbbbccccdddd", Service: "gone", State: docker.StatePaused, RestartPolicy: docker.RestartPolicy{Name: "on-failure", MaximumRetryCount: 2}}, {ID: "other", Service: "other", State: docker.StateRunning},
	}
	got := serviceUpdates(plans, want, containers)
	expected := []v1alpha1.ServiceUpdate{
		{Name: "web", Action: v1alpha1.ActionReplace, Reason: "its image changed", Order: v1alpha1.OrderStartFirst, Recreate: true,
			Image: "shop/web", ImageID: "sha256:1", Revision: want[0].revision(), OldContainers: []string{"0123456789ab"}, OldRestart: "always"},
		{Name: "gone", Action: v1alpha1.ActionRemove, Reason: "the Compose file does not have it any more", OldContainers: []string{"aaaabbbbcccc"},
			OldRestart: "on-failure:2"},
	}
	if !reflect.DeepEqual(got, expected) {
		t.Errorf("got  %+v\nwant %+v", got, expected)
	}
}

func TestSmallWords(t *testing.T) {
	if Short("0123456789") != "0123456" || Short("ab") != "ab" || Short12("0123456789abcdef") != "0123456789ab" || Short12("") != "" {
		t.Error("short")
	}
	if got := contentRef("shop-web", "sha256:0123456789abcdef"); got != "shop-web:0123456789ab" || !ownTag.MatchString(got) {
		t.Errorf("content: %s", got)
	}
	for tag, own := range map[string]bool{"shop-web:latest": false, "shop-web:0123456789ab": true, "shop-web:0123456789abc": false, "shop-web:0123456789aG": false} {
		if ownTag.MatchString(tag) != own {
			t.Errorf("%s is ours: %t", tag, !own)
		}
	}
	if got := limitTo(strings.Repeat("ä", 10), 5); got != "ää…" {
		t.Errorf("limit: %q", got)
	}
	if got := orderNote(v1alpha1.ServicePlan{Order: v1alpha1.OrderStopFirst, OrderReason: "runs a database image"}); got != "; StopFirst (runs a database image)" {
		t.Errorf("order: %q", got)
	}
	if got := applicationLabel(newRun().Application); got != "prod.shop" {
		t.Errorf("label: %q", got)
	}
}

func TestTerminalIf(t *testing.T) {
	known, other := errors.New("no such commit"), errors.New("connection refused")
	if err := terminalIf(fmt.Errorf("fetch: %w", known), "FetchFailed", known); !isTerminal(err) || !errors.Is(err, known) || err.Error() != "fetch: no such commit" {
		t.Errorf("got %v", err)
	}
	if err := terminalIf(other, "FetchFailed", known); isTerminal(err) {
		t.Errorf("a disturbance is terminal: %v", err)
	}
}

func TestModelWarnings(t *testing.T) {
	differs := []compose.Divergence{{Message: "the network back differs"}}
	unset := []compose.UnsetVariable{{Name: "A"}, {Name: "B"}}
	const empty = "variables without a value, taken as empty: A, B"
	for _, tt := range []struct {
		differs []compose.Divergence
		unset   []compose.UnsetVariable
		want    []string
	}{
		{nil, nil, nil},
		{differs, nil, []string{"the network back differs"}},
		{nil, unset, []string{empty}},
		{differs, unset, []string{"the network back differs", empty}},
	} {
		if got := modelWarnings(tt.differs, tt.unset); !slices.Equal(got, tt.want) {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestVariablesOfRequests(t *testing.T) {
	for _, tt := range []struct {
		name      string
		variables []string
		allowed   []string
		want      string
	}{
		{"none", nil, nil, ""},
		{"listed", []string{"HTTP_PORT"}, []string{"DB_PORT", "HTTP_PORT"}, ""},
		{"not listed", []string{"HTTP_PORT", "DATA_DIR", "IMAGE"}, []string{"HTTP_PORT"}, "requests may not set DATA_DIR, IMAGE"},
		{"nothing is listed", []string{"HTTP_PORT"}, nil, "compose.requestVariables"},
		// Those that were stored before the API refused them.
		{"another Compose file", []string{"COMPOSE_FILE", "PWD", "DOCKER_HOST"}, []string{"COMPOSE_FILE", "PWD", "DOCKER_HOST"}, "no request may set COMPOSE_FILE, DOCKER_HOST, PWD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newRun(func(a *v1alpha1.Application, r *v1alpha1.UpdateRequest) {
				a.Spec.Compose.RequestVariables = tt.allowed
				r.Spec.Variables = map[string]string{}
				for _, name := range tt.variables {
					r.Spec.Variables[name] = "x"
				}
			})
			err := s.variablesAllowed()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}
