// SPDX-License-Identifier: Apache-2.0

package app

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestEnvironmentSetsFlags(t *testing.T) {
	t.Setenv("FAIRLEAD_DATA_DIR", "/srv/fairlead")
	t.Setenv("FAIRLEAD_SECURE_PORT", "7443")
	t.Setenv("FAIRLEAD_LISTEN", "")
	t.Setenv("FAIRLEAD_LOG_LEVEL", "debug")
	flags := newServeCommand(nil, nil).Flags()
	if err := flags.Parse([]string{"--log-level", "warn"}); err != nil {
		t.Fatal(err)
	}
	if err := applyEnv(flags); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"data-dir": "/srv/fairlead", "secure-port": "7443",
		"log-level": "warn",           // the command line wins
		"listen":    "127.0.0.1:8765", // empty is not set
	} {
		if got := flags.Lookup(name).Value.String(); got != want {
			t.Errorf("--%s is %q, want %q", name, got, want)
		}
	}
	t.Setenv("FAIRLEAD_SECURE_PORT", "many")
	if err := applyEnv(newServeCommand(nil, nil).Flags()); err == nil || !strings.Contains(err.Error(), "FAIRLEAD_SECURE_PORT") {
		t.Errorf("got %v, want an error that names the variable", err)
	}
}

// Nothing listens for other hosts unless somebody says so: neither the API nor the web page nor the metrics.
func TestListensOnLoopbackAlone(t *testing.T) {
	flags := newServeCommand(nil, nil).Flags()
	for _, name := range []string{"bind-address", "listen", "metrics-bind-address"} {
		host := flags.Lookup(name).DefValue
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
			t.Errorf("--%s is %s by default", name, flags.Lookup(name).DefValue)
		}
	}
}

func TestEveryServeFlagNamesItsVariable(t *testing.T) {
	usage := newServeCommand(nil, nil).Flags().FlagUsages()
	for _, name := range []string{"FAIRLEAD_DATA_DIR", "FAIRLEAD_SECURE_PORT", "FAIRLEAD_LISTEN", "FAIRLEAD_METRICS_BIND_ADDRESS",
		"FAIRLEAD_KUBECONFIG", "FAIRLEAD_DOCKER_HOST", "FAIRLEAD_LOG_LEVEL", "FAIRLEAD_LOG_FORMAT", "FAIRLEAD_READY_FILE", "FAIRLEAD_HANDOVER_TIMEOUT"} {
		if !strings.Contains(usage, "$"+name) {
			t.Errorf("%s is not in the help", name)
		}
	}
}

func TestUpdaterTokenIsTrimmed(t *testing.T) {
	for value, want := range map[string]string{"": "", "secret": "secret", " secret\r": "secret", " \r\n": ""} {
		t.Setenv("UPDATER_TOKEN", value)
		if got := updaterToken(); got != want {
			t.Errorf("%q is the token %q, want %q", value, got, want)
		}
	}
}
