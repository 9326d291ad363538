// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/sirupsen/logrus"
)

func TestOnlyAdditionsAreAllowed(t *testing.T) {
	for request, want := range map[string]bool{
		"GET /v1.41/containers/json":           true,
		"HEAD /_ping":                          true,
		"POST /v1.41/containers/create":        true,
		"POST /containers/create":              true,
		"PUT /v1.41/containers/abc/archive":    true,
		"DELETE /v1.41/containers/abc":         true,
		"POST /v1.41/networks/create":          true,
		"POST /v1.41/networks/n/connect":       true,
		"POST /v1.41/volumes/create":           true,
		"POST /v1.41/containers/abc/start":     false,
		"POST /v1.41/containers/abc/stop":      false,
		"POST /v1.41/containers/abc/kill":      false,
		"POST /v1.41/containers/abc/rename":    false,
		"POST /v1.41/containers/prune":         false,
		"POST /v1.41/containers/create/start":  false,
		"DELETE /v1.41/networks/n":             false,
		"POST /v1.41/networks/n/disconnect":    false,
		"DELETE /v1.41/volumes/v":              false,
		"POST /v1.41/images/create":            false,
		"DELETE /v1.41/images/i":               false,
		"POST /v1.41/build":                    false,
		"POST /v1.41/containers/abc/exec":      false,
		"DELETE /v1.41/containers/abc/archive": false,
		"POST /evil/v1.41/containers/create":   false,
		"POST /v1.41/containers/abc/update":    false,
		"POST /v1.41/swarm/init":               false,
	} {
		method, path, _ := strings.Cut(request, " ")
		r, err := http.NewRequestWithContext(t.Context(), method, "http://docker"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = allowRequest(r)
		if (err == nil) != want || err != nil && !errors.Is(err, errRefused) {
			t.Errorf("%s: %v", request, err)
		}
	}
}

func TestContainerNumberAndReplica(t *testing.T) {
	for text, want := range map[string]int{"3": 3, "": 0, "x": 0, "-1": 0, "0": 0} {
		if got := ContainerNumber(map[string]string{LabelNumber: text}); got != want {
			t.Errorf("%q: %d", text, got)
		}
	}
	for _, tc := range []struct {
		labels map[string]string
		want   bool
	}{
		{map[string]string{LabelService: "a", LabelOneOff: "False"}, true},
		{map[string]string{LabelService: "a", LabelOneOff: "True"}, false},
		{map[string]string{LabelService: "a", "com.docker.compose.hook": "pre_start"}, false},
		{map[string]string{}, false},
	} {
		if got := IsReplica(tc.labels); got != tc.want {
			t.Errorf("%v: %t", tc.labels, got)
		}
	}
}

func TestCaptureLogs(t *testing.T) {
	var lines []string
	restore := CaptureLogs(funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{}))
	logrus.Warn("one")
	logrus.Error("two")
	restore()
	if len(lines) != 2 {
		t.Errorf("lines %v", lines)
	}
	if logrus.StandardLogger().Out == nil || len(logrus.StandardLogger().Hooks) != 0 {
		t.Error("not restored")
	}
}
