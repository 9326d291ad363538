// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/template"
	"go.yaml.in/yaml/v3"
)

// What the scan finds missing is what makes the loader fail.
func TestVariablesAgreeWithTheLoader(t *testing.T) {
	pieces := []string{"$A", "${A}", "${A:?x}", "${N:?x}", "${N?}", "${E:?x}", "${E?x}", "${N:-d}", "${A:-${N:?x}}", "${N:-${N:?x}}",
		"${N-$A}", "${E-${N:?x}}", "${E:-${N:?x}}", "${A+${N:?x}}", "${N+${N:?x}}", "${E+${N:?x}}", "${E:+${N:?x}}", "$$A", "$${N:?x}", "$$$${N:?x}",
		"text", " ", "}", "{", ":", "${A:-}", "${N:-a}}", "${N:?a ${A} b}"}
	lookup := func(name string) (string, bool) {
		value, ok := map[string]string{"A": "a", "E": ""}[name]
		return value, ok
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		var text strings.Builder
		for range 1 + random.IntN(4) {
			text.WriteString(pieces[random.IntN(len(pieces))])
		}
		_, err := template.SubstituteWithOptions(text.String(), lookup, template.WithoutLogging)
		var required *template.MissingRequiredError
		var invalid *template.InvalidTemplateError
		if errors.As(err, &invalid) {
			continue
		}
		var missing []string
		variables{lookup: lookup, missing: func(name, _ string) { missing = append(missing, name) }, unset: func(string) {}}.scan(text.String())
		if errors.As(err, &required) != (len(missing) > 0) || required != nil && !slices.Contains(missing, required.Variable) {
			t.Fatalf("%q: the loader says %v, the scan %v", text.String(), err, missing)
		}
	}
}

// Whatever a service looks like, it reads back from its stored form the same.
func TestRenderPropertyHashesStay(t *testing.T) {
	nasty := []string{"", " ", "yes", "on", "null", "~", "0123", "0o17", "1e3", "1.0", "1_000", "12:30:45", "2001-01-01", "a: b", "- a", "#x", "a #b", "'", `"`, `\`, `\n`,
		"a\nb", "a\n", "\n", "\ta", "é", "日本", "$", "$$", "${X:?y}", "%x", "@a", "`a`", "*a", "&a", "!a", "!!str a", "{a}", "[a]", "|", ">", "?", "true", "0x1F", ".5", ".inf", "=", "<<", "\u0085", "\u2028", "a\r\nb", "\x7f"}
	attributes := []string{"privileged: true", "read_only: true", "init: false", "init: true", "tty: true", "stdin_open: true", "scale: 3", "cpus: 0.5", "cpu_shares: 7",
		"mem_limit: 64m", "memswap_limit: -1", "shm_size: 1gb", "oom_score_adj: -5", "pids_limit: 9", "ulimits: {nofile: 5, nproc: {soft: 1, hard: 2}}", "healthcheck: {disable: true}",
		"healthcheck: {test: [NONE]}", "healthcheck: {test: x, interval: 1m30s, timeout: 1s, retries: 3, start_period: 1h}", "stop_grace_period: 1h2m3s", "restart: \"on-failure:3\"",
		"ports: [\"80\", \"127.0.0.1:81:81\", \"90-92:90-92/udp\", {target: 5, published: \"6\", mode: host, name: n, app_protocol: http}]", "expose: [\"1\", \"2-3\"]",
		"cap_add: [ALL]", "security_opt: [no-new-privileges]", "devices: [\"/dev/null:/dev/null:r\"]", "dns: 1.1.1.1", "dns_search: [a, b]", "extra_hosts: {a: 1.1.1.1, b: \"::1\"}",
		"networks: {default: {aliases: [x], ipv4_address: 1.2.3.4, mac_address: \"02:42:ac:11:00:02\", priority: 5, gw_priority: 1, driver_opts: {a: b}}, extra: }",
		"volumes: [\"./a:/a:ro,z\", \"vol:/b:nocopy\", /c, {type: tmpfs, target: /d, tmpfs: {size: 5, mode: 0o1777}}, {type: bind, source: ./e, target: /e, bind: {create_host_path: false}}]",
		"tmpfs: /x:size=5", "logging: {driver: none, options: {a: \"1\"}}", "sysctls: [a=1]", "userns_mode: host", "user: \"1:2\"", "working_dir: /x", "hostname: h", "domainname: d",
		"platform: linux/amd64", "runtime: runc", "group_add: [a, \"5\"]", "storage_opt: {size: 1G}", "blkio_config: {weight: 5, weight_device: [{path: /dev/sda, weight: 400}], device_read_bps: [{path: /dev/sda, rate: 12mb}]}",
		"deploy: {mode: replicated, replicas: 2, resources: {limits: {cpus: \"0.25\", memory: 5M, pids: 3}, reservations: {devices: [{capabilities: [gpu], count: 1, driver: nvidia}]}}, labels: {a: b}, endpoint_mode: vip, placement: {constraints: [a], max_replicas_per_node: 2}, restart_policy: {condition: any, delay: 5s, window: 1s}}",
		"gpus: all", "annotations: {a: b}", "post_start: [{command: [a, b], user: u, environment: {A: b}}]", "pre_stop: [{command: a b}]", "attach: false", "labels: [a=b, c]", "secrets: [s]", "configs: [{source: c, target: /t, uid: \"1\", mode: 0o444}]",
		"develop: {watch: [{action: rebuild, path: ./a, ignore: [b]}]}", "command: []", "entrypoint: []", "command: ", "ipc: host", "pid: host", "cgroup: host", "mac_address: \"02:42:ac:11:00:03\"", "x-other: {a: [1, 2]}", "x-fairlead: {drainTimeout: 5s}"}
	random := rand.New(rand.NewPCG(3, 4))
	pick := func() string { return nasty[random.IntN(len(nasty))] }
	compared := 0
	for i := range 200 {
		service := map[string]any{"image": "a"}
		for range random.IntN(14) {
			var attribute map[string]any
			if err := yaml.Unmarshal([]byte(attributes[random.IntN(len(attributes))]), &attribute); err != nil {
				t.Fatal(err)
			}
			maps.Copy(service, attribute)
		}
		if service["scale"] != nil {
			delete(service, "deploy")
		}
		escape := func(s string) string { return strings.ReplaceAll(s, "$", "$$") }
		service["environment"] = map[string]any{"A": escape(pick()), "B": escape(pick()), "C": nil}
		if _, ok := service["command"]; !ok {
			service["command"] = []string{escape(pick()), escape(pick())}
		}
		if _, ok := service["labels"]; !ok {
			service["labels"] = map[string]string{"l": escape(pick())}
		}
		document := map[string]any{
			"services": map[string]any{"a": service},
			"networks": map[string]any{"extra": map[string]any{"labels": map[string]string{"l": escape(pick())}}},
			"volumes":  map[string]any{"vol": map[string]any{"driver_opts": map[string]string{"o": escape(pick())}}},
			"configs":  map[string]any{"c": map[string]any{"content": "x" + escape(pick())}},
			"secrets":  map[string]any{"s": map[string]any{"environment": "S"}},
		}
		content, err := yaml.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		deployDir, treeDir := deployment(t, nil, map[string]string{"compose.yml": string(content)})
		p, err := Load(t.Context(), Options{DeployDir: deployDir, TreeDir: treeDir, Env: map[string]string{"S": pick()}})
		var conflicting *ModelError
		if errors.As(err, &conflicting) {
			continue // attributes that exclude each other
		}
		if err != nil {
			t.Fatalf("%d: %v\n%s", i, err, content)
		}
		compared++
		data, err := Render(p)
		if err != nil {
			t.Fatalf("%d: %v\n%s", i, err, content)
		}
		back, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := p.Service("a")
		b, _ := back.Service("a")
		if fmt.Sprintf("%+v %v", a.Environment, a.Mounts) != fmt.Sprintf("%+v %v", b.Environment, b.Mounts) {
			t.Fatalf("%d: reads back as %+v, was %+v", i, b, a)
		}
	}
	if compared < 100 {
		t.Errorf("only %d models were compared", compared)
	}
}
