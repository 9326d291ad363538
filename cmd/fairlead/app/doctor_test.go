// SPDX-License-Identifier: Apache-2.0

package app

import "testing"

// In a container that listens elsewhere, it must not be told that nobody answers.
func TestDoctorAsksWhereTheDaemonListens(t *testing.T) {
	for name, tt := range map[string]struct {
		env       map[string]string
		container bool
		want      string
	}{
		"a host":                      {nil, false, "127.0.0.1:8765"},
		"a port of something else":    {map[string]string{"PORT": "9001"}, false, "127.0.0.1:8765"},
		"a daemon that was told":      {map[string]string{"FAIRLEAD_LISTEN": "127.0.0.1:9002", "WORKSPACE": "/workspace", "PORT": "9001"}, false, "127.0.0.1:9002"},
		"an updater":                  {map[string]string{"WORKSPACE": "/workspace", "UPDATER_TOKEN": "t"}, false, "0.0.0.0:8765"},
		"an updater on a port":        {map[string]string{"WORKSPACE": "/workspace", "UPDATER_TOKEN": "t", "PORT": "9001"}, false, "0.0.0.0:9001"},
		"an updater without a token":  {map[string]string{"WORKSPACE": "/workspace", "PORT": "9001"}, false, "0.0.0.0:9001"},
		"an updater with a bad port":  {map[string]string{"WORKSPACE": "/workspace", "UPDATER_TOKEN": "t", "PORT": "many"}, false, "0.0.0.0:8765"},
		"an updater, told to listen":  {map[string]string{"UPDATE_LOG_DIR": "/logs", "FAIRLEAD_LISTEN": "[::1]:9003"}, false, "[::1]:9003"},
		"a token on a host":           {map[string]string{"UPDATER_TOKEN": "t", "PORT": "9001"}, false, "127.0.0.1:8765"},
		"a token in a container":      {map[string]string{"UPDATER_TOKEN": "t", "PORT": "9001"}, true, "0.0.0.0:9001"},
		"an updater by its logs only": {map[string]string{"UPDATE_LOG_DIR": "/logs", "PORT": "9001"}, false, "0.0.0.0:9001"},
	} {
		got := listenAddress(func(name string) (string, bool) { value, ok := tt.env[name]; return value, ok }, tt.container)
		if got != tt.want {
			t.Errorf("%s: it asks %s, want %s", name, got, tt.want)
		}
	}
}
