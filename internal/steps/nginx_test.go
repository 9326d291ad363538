// SPDX-License-Identifier: Apache-2.0

package steps

import "testing"

// Only an nginx is sent the signal that has it reload: others end on it.
func TestWhatIsNginx(t *testing.T) {
	const master = "nginx: master process nginx -g daemon off;"
	for name, tt := range map[string]struct {
		processes []process
		want      bool
	}{
		"nginx":                {[]process{{"100", "90", master}, {"101", "100", "nginx: worker process"}}, true},
		"by an init":           {[]process{{"100", "90", "/sbin/docker-init -- nginx"}, {"101", "100", master}}, true},
		"by tini":              {[]process{{"100", "90", "/usr/bin/tini -g -- nginx"}, {"101", "100", master}}, true},
		"below a shell":        {[]process{{"100", "90", "/bin/sh -c nginx; tail -f /dev/null"}, {"101", "100", master}}, false},
		"below a supervisor":   {[]process{{"100", "90", "/usr/bin/tini -- supervisord"}, {"101", "100", "supervisord"}, {"102", "101", master}}, false},
		"it waits for nginx":   {[]process{{"100", "90", "/app/worker nginx"}}, false},
		"it reads nginx's log": {[]process{{"100", "90", "filebeat --path /var/log/nginx"}}, false},
		"nothing is seen":      {nil, false},
	} {
		if got := masters(tt.processes, "100"); got != tt.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	for _, tt := range []struct {
		command []string
		want    bool
	}{
		{[]string{"nginx", "-g", "daemon off;"}, true},
		{[]string{"/docker-entrypoint.sh", "nginx", "-g", "daemon off;"}, true},
		{[]string{"/usr/sbin/nginx"}, true},
		{[]string{"./wait-for-it.sh", "nginx", "--", "/app/worker"}, false},
		{[]string{"filebeat", "--path", "/var/log/nginx"}, false},
		{[]string{"curl", "http://nginx"}, false},
		{[]string{"docker-entrypoint.sh", "postgres"}, false},
		{nil, false},
	} {
		if got := startsNginx(tt.command); got != tt.want {
			t.Errorf("%q: got %v", tt.command, got)
		}
	}
}
