// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
)

// publishesMore has the backend publish ports that the updater's container reaches, on all addresses of the host and on
// one, beside that of 127.0.0.1, which it does not.
func (m *monitor) publishesMore() {
	const line = "      - \"127.0.0.1:${BACKEND_PORT:?}:3001\"\n"
	data, err := os.ReadFile(filepath.Join(m.repo.Work, "docker-compose.yml"))
	if err != nil {
		m.t.Fatal(err)
	}
	m.reached = []string{"", hostAddress(m.t) + ":"}
	more := line
	for i := range m.reached {
		port, err := apps.FreePort(m.t.Context())
		if err != nil {
			m.t.Fatal(err)
		}
		m.reached[i] += strconv.Itoa(port)
		more += fmt.Sprintf("      - \"%s:3001\"\n", m.reached[i])
	}
	text := strings.Replace(string(data), line, more, 1)
	if text == string(data) {
		m.t.Fatalf("docker-compose.yml has no line %q", line)
	}
	m.publish("More ports", map[string]string{"docker-compose.yml": text})
	m.git("pull", "--quiet", "--ff-only", m.repo.Origin, "main")
}

// wantSeen checks what the updater saw from inside its container of an update that replaced the backend.
func (m *monitor) wantSeen(job string) {
	m.t.Helper()
	var st v1alpha1.UpdateRequestStatus
	if err := json.Unmarshal([]byte(m.kubectl("get", "updaterequest", "update-"+job, "-o", "jsonpath={.status}")), &st); err != nil {
		m.t.Fatal(err)
	}
	d := st.Downtime
	if d == nil || d.Probes == 0 || d.Failed == 0 || d.LongestGap == "0s" {
		m.t.Fatalf("the backend was replaced, and this was seen: %+v, and not: %+v", d, st.Unmeasured)
	}
	m.t.Logf("seen from the container: %+v, and not: %+v", *d, st.Unmeasured)
	_, port, err := net.SplitHostPort(d.Target)
	if err != nil || !slices.ContainsFunc(m.reached, func(p string) bool { return strings.HasSuffix(p, port) }) {
		m.t.Errorf("seen was %s, which is none of %v", d.Target, m.reached)
	}
	for service, port := range map[string]string{"backend": m.env["BACKEND_PORT"], "database": m.env["DB_PORT"], "frontend": m.env["FRONTEND_PORT"], "updater": m.env["UPDATER_PORT"]} {
		if !slices.ContainsFunc(st.Unmeasured, func(u v1alpha1.UnmeasuredPorts) bool {
			return u.Service == service && u.Ports == "127.0.0.1:"+port+"/tcp"
		}) {
			m.t.Errorf("%s at 127.0.0.1:%s is not said to be unmeasured, only %+v", service, port, st.Unmeasured)
		}
	}
	if len(st.Unmeasured) != 4 {
		m.t.Errorf("not seen is %+v", st.Unmeasured)
	}
}
