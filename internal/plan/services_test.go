// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

func describe(plans []v1alpha1.ServicePlan) string {
	var b strings.Builder
	for _, p := range plans {
		fmt.Fprintf(&b, "%d %s %s", p.Wave, p.Name, p.Action)
		if p.Order != "" {
			fmt.Fprintf(&b, " %s (%s)", p.Order, p.OrderReason)
		}
		if p.Recreate {
			fmt.Fprintf(&b, " recreate")
		}
		fmt.Fprintf(&b, ": %s\n", p.Reason)
	}
	return b.String()
}

func TestServices(t *testing.T) {
	svc := func(name, revision string, change ...func(*Service)) Service {
		s := Service{Name: name, Revision: revision, Replicas: 1}
		for _, c := range change {
			c(&s)
		}
		return s
	}
	oneShot := func(s *Service) { s.OneShot = true }
	stopped := running("web", "v1", 1)
	stopped.State = StateExited
	failedOnce := ranOnce("migrate", "v1")
	failedOnce.ExitCode = 1
	tests := []struct {
		name string
		in   SelectInput
		want string
	}{
		{"nothing changed", SelectInput{Services: []Service{svc("web", "v1")}, Containers: []Container{running("web", "v1", 1)}},
			"1 web Keep: did not change\n"},
		{"changed", SelectInput{Services: []Service{svc("web", "v2", func(s *Service) { s.Changed = "its image changed" })}, Containers: []Container{running("web", "v1", 1)}},
			"1 web Replace StartFirst (two copies can run side by side): its image changed\n"},
		{"not built yet", SelectInput{Services: []Service{svc("web", "")}, Containers: []Container{running("web", "v1", 1)}},
			"1 web Replace StartFirst (two copies can run side by side): changed\n"},
		{"finds a name no more", SelectInput{Services: []Service{svc("web", "v1", func(s *Service) { s.Lost = "its container looks for db elsewhere" })}, Containers: []Container{running("web", "v1", 1)}},
			"1 web Replace StartFirst (two copies can run side by side) recreate: its container looks for db elsewhere\n"},
		{"new", SelectInput{Services: []Service{svc("web", "v1")}}, "1 web Create: is new\n"},
		{"stopped by somebody", SelectInput{Services: []Service{svc("web", "v1")}, Containers: []Container{stopped}}, "1 web Create: is not running\n"},
		{"no replicas", SelectInput{Services: []Service{svc("web", "v1", func(s *Service) { s.Replicas = 0 })}}, "1 web Keep: has no replicas\n"},
		{"one replica too few", SelectInput{Services: []Service{svc("web", "v1", func(s *Service) { s.Replicas = 2 })}, Containers: []Container{running("web", "v1", 1)}},
			"1 web Replace StartFirst (two copies can run side by side): runs 1 replica instead of 2\n"},
		{"exclusive", SelectInput{Services: []Service{svc("db", "v2", func(s *Service) { s.Exclusive = []string{"runs a database image", "writes to the volume data"} })}, Containers: []Container{running("db", "v1", 1)}},
			"1 db Replace StopFirst (runs a database image; writes to the volume data): changed\n"},
		{"a setting for others yields to a port that is held", SelectInput{Services: []Service{svc("web", "v2", func(s *Service) {
			s.Order, s.OrderSource, s.OrderYields, s.HeldPort = v1alpha1.OrderStartFirst, "deploy.update_config.order", true, "127.0.0.1:80"
		})}, Containers: []Container{running("web", "v1", 1)}},
			"1 web Replace StopFirst (deploy.update_config.order says StartFirst, but two containers cannot publish the host port 127.0.0.1:80 at once): changed\n"},
		{"a setting for others holds without one", SelectInput{Services: []Service{svc("web", "v2", func(s *Service) {
			s.Order, s.OrderSource, s.OrderYields = v1alpha1.OrderStartFirst, "deploy.update_config.order", true
		})}, Containers: []Container{running("web", "v1", 1)}},
			"1 web Replace StartFirst (set by deploy.update_config.order): changed\n"},
		{"the daemon's own, whatever is set", SelectInput{Services: []Service{svc("updater", "v2", func(s *Service) {
			s.Order, s.OrderSource = v1alpha1.OrderStartFirst, "rollout.order"
		})}, Containers: []Container{self(running("updater", "v1", 1))}},
			"1 updater Replace StopFirst (Fairlead itself runs in it: a helper container replaces it when all else is done): changed\n"},
		{"the daemon's own is dropped", SelectInput{Services: []Service{svc("web", "v1")}, Previous: []string{"web", "updater", "old"},
			Containers: []Container{running("web", "v1", 1), self(running("updater", "v1", 1)), running("old", "v1", 1)}},
			"0 updater Keep: the Compose file does not have it any more, but Fairlead itself runs in it: remove its container by hand\n" +
				"1 web Keep: did not change\n2 old Remove: the Compose file does not have it any more\n"},
		{"a setting goes before what is found", SelectInput{Services: []Service{svc("db", "v2", func(s *Service) {
			s.Exclusive, s.Order, s.OrderSource = []string{"runs a database image"}, v1alpha1.OrderStartFirst, "rollout.order"
		})}, Containers: []Container{running("db", "v1", 1)}},
			"1 db Replace StartFirst (set by rollout.order): changed\n"},
		{"migration of the same revision", SelectInput{Services: []Service{svc("migrate", "v1", oneShot)}, Containers: []Container{ranOnce("migrate", "v1")}},
			"1 migrate Keep: ran to its end already and did not change\n"},
		{"migration that failed", SelectInput{Services: []Service{svc("migrate", "v1", oneShot)}, Containers: []Container{failedOnce}},
			"1 migrate Run: runs to its end before the services that depend on it\n"},
		{"migration known from the release", SelectInput{Services: []Service{svc("migrate", "v1", oneShot, func(s *Service) { s.Completed = true })}},
			"1 migrate Keep: ran to its end already and did not change\n"},
		{"waves", SelectInput{Services: []Service{
			svc("web", "v1", func(s *Service) { s.DependsOn = []Dependency{{Service: "migrate"}} }),
			svc("migrate", "v1", oneShot, func(s *Service) { s.DependsOn = []Dependency{{Service: "db"}} }),
			svc("db", "v1"),
		}}, "1 db Create: is new\n2 migrate Run: runs to its end before the services that depend on it\n3 web Create: is new\n"},
		{"removed, and a profile that is not active", SelectInput{
			Services: []Service{svc("web", "v1")}, Previous: []string{"web", "old", "agent"}, Model: []string{"web", "agent"},
			Containers: []Container{running("web", "v1", 1), running("old", "v1", 1), running("agent", "v1", 1)},
		}, "1 web Keep: did not change\n2 old Remove: the Compose file does not have it any more\n"},
		{"shared network", SelectInput{Services: []Service{
			svc("vpn", "v2"), svc("app", "v1", func(s *Service) { s.Shares = []string{"vpn"} }),
		}, Containers: []Container{running("vpn", "v1", 1), running("app", "v1", 1)}},
			"1 vpn Replace StartFirst (two copies can run side by side): changed\n" +
				"2 app Replace StopFirst (shares the namespaces of vpn) recreate: uses the network or process space of vpn, which is replaced\n"},
		{"volumes of another", SelectInput{Services: []Service{
			svc("app", "v2"), svc("web", "v1", func(s *Service) { s.VolumesFrom = []string{"app"} }),
		}, Containers: []Container{running("app", "v1", 1), running("web", "v1", 1)}},
			"1 app Replace StartFirst (two copies can run side by side): changed\n" +
				"2 web Replace StartFirst (two copies can run side by side) recreate: mounts the volumes of app, which is replaced\n"},
		{"shared network of a stopped service", SelectInput{Services: []Service{
			svc("web", "v1"), svc("app", "v1", func(s *Service) { s.Shares = []string{"web"} }),
		}, Containers: []Container{stopped, ended1(running("app", "v1", 1))}},
			"1 web Create: is not running\n2 app Create recreate: is not running\n"},
		{"depends_on.restart", SelectInput{Services: []Service{
			svc("db", "v2"), svc("app", "v1", func(s *Service) { s.DependsOn = []Dependency{{Service: "db", Restart: true}} }),
		}, Containers: []Container{running("db", "v1", 1), running("app", "v1", 1)}},
			"1 db Replace StartFirst (two copies can run side by side): changed\n" +
				"2 app Replace StartFirst (two copies can run side by side) recreate: asks for a restart when db is replaced (depends_on.restart)\n"},
		{"force", SelectInput{Force: true, Services: []Service{svc("web", "v1")}, Containers: []Container{running("web", "v1", 1)}},
			"1 web Replace StartFirst (two copies can run side by side) recreate: force was asked for\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(Services(tt.in)); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}
