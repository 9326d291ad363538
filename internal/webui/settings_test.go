// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/webui/i18n"
)

// form has the values that a browser would send for a spec, with changes.
func form(t *testing.T, spec map[string]any, changes map[string]string) func(string) string {
	t.Helper()
	var shown settingsPage
	shown.fill(spec)
	values := map[string]string{}
	for _, f := range shown.fields() {
		values[f.Name()] = strings.ReplaceAll(f.Value, "\n", "\r\n") // as browsers do
	}
	maps.Copy(values, changes)
	return func(name string) string { return values[name] }
}

func specOf(t *testing.T, text string) map[string]any {
	t.Helper()
	spec := map[string]any{}
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestSettingsFormKeepsWhatItDoesNotHave(t *testing.T) {
	const text = `{"compose":{"directory":"/opt/shop","envFiles":[".env",".env.more"],"variables":{"A":"b"}},"hooks":[{"name":"x"}],
		"retention":{"backups":{"count":7},"requests":50},"source":{"secretRef":{"name":"git"}},"suspend":true,"verify":{"attempts":30}}`
	spec := specOf(t, text)
	var page settingsPage
	if !page.read(form(t, spec, nil), spec) {
		t.Fatalf("%+v", page.Groups)
	}
	if got, want := marshal(t, spec), marshal(t, specOf(t, text)); got != want {
		t.Errorf("unchanged, it became\n%s\nwant\n%s", got, want)
	}
	page = settingsPage{}
	ok := page.read(form(t, spec, map[string]string{
		"source.secretRef.name": "", "suspend": "", "compose.envFiles": " .env \r\n\r\n", "retention.backups.count": "3", "update.policy": "Automatic",
	}), spec)
	want := `{"compose":{"directory":"/opt/shop","envFiles":[".env"],"variables":{"A":"b"}},"hooks":[{"name":"x"}],` +
		`"retention":{"backups":{"count":3},"requests":50},"update":{"policy":"Automatic"},"verify":{"attempts":30}}`
	if got := marshal(t, spec); !ok || got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	page = settingsPage{}
	if page.read(form(t, spec, map[string]string{"verify.attempts": "many"}), spec) || !page.Wrong() {
		t.Error("words were taken for a number")
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestErrorsStandBesideTheirFields(t *testing.T) {
	var page settingsPage
	page.fill(specOf(t, `{"compose":{"directory":"x"}}`))
	problem := &Problem{Detail: "all of it"}
	add := func(location, message string) {
		problem.Errors = append(problem.Errors, struct {
			Message  string `json:"message"`
			Location string `json:"location"`
		}{message, location})
	}
	add("spec.compose.directory", "not absolute")
	add("spec.compose.envFiles[1]", "empty")
	add("spec.hooks[0].name", "taken")
	page.place(problem)
	found := map[string]string{}
	for _, f := range page.fields() {
		if f.Error != "" {
			found[f.Name()] = f.Error
		}
	}
	if len(found) != 2 || found["compose.directory"] != "not absolute" || found["compose.envFiles"] != "empty" {
		t.Errorf("beside fields: %v", found)
	}
	if len(page.Errors) != 1 || !strings.Contains(page.Errors[0], "hooks[0].name: taken") || page.Error != "" || !page.Wrong() {
		t.Errorf("elsewhere: %v, %q", page.Errors, page.Error)
	}
}

// The gateway has settings for all services and for single ones, and objects that mean
// something when they are empty.
func TestSettingsOfTheGateway(t *testing.T) {
	const text = `{"compose":{"directory":"/opt/shop"},"gateway":{"acceptProxyProtocol":true,"holdBytes":"16Mi","mode":"Auto","probe":{},"services":[` +
		`{"acceptProxyProtocol":false,"name":"web"},{"name":"api.v2","probe":{"path":"/health","port":8080}}],"trustedProxies":["10.0.0.0/8"]}}`
	changed := func(changes map[string]string) (settingsPage, map[string]any, bool) {
		spec := specOf(t, text)
		page := settingsPage{services: []string{"db", "web"}}
		values := form(t, spec, nil)
		ok := page.read(func(name string) string {
			if v, there := changes[name]; there {
				return v
			}
			return values(name)
		}, spec)
		return page, spec, ok
	}
	if _, spec, ok := changed(nil); !ok || marshal(t, spec) != text {
		t.Errorf("unchanged, it became\n%s\nwant\n%s", marshal(t, spec), text)
	}
	page, spec, ok := changed(map[string]string{
		"gateway.probe": "", "gateway.holdBytes": "", "gateway.services[web].acceptProxyProtocol": "", "gateway.services[db].holdTimeout": "90s",
		"gateway.services[api.v2].probe.port": "", "gateway.services[db].probe.failing": "5", "gateway.acceptProxyProtocol": "false",
	})
	want := `{"compose":{"directory":"/opt/shop"},"gateway":{"acceptProxyProtocol":false,"mode":"Auto","services":[` +
		`{"name":"api.v2","probe":{"path":"/health"}},{"holdTimeout":"90s","name":"db","probe":{"failing":5}}],"trustedProxies":["10.0.0.0/8"]}}`
	if got := marshal(t, spec); !ok || got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// What the API server says of the second one is about that.
	if !page.placeOne("gateway.services[1].probe.failing", "too many") || page.placeOne("gateway.services[2].probe.failing", "too many") {
		t.Error("an error of a service was not placed, or one of a service that was not sent")
	}
	if !page.placeOne("gateway", "acceptProxyProtocol needs trustedProxies") {
		t.Error("the error of a rule was not placed")
	}
	errors := map[string]string{}
	for _, f := range page.fields() {
		if f.Error != "" {
			errors[f.Name()] = f.Error
		}
	}
	if len(errors) != 2 || errors["gateway.services[db].probe.failing"] != "too many" || !strings.Contains(errors["gateway.trustedProxies"]+errors["gateway.acceptProxyProtocol"], "needs") {
		t.Errorf("beside fields: %v", errors)
	}
	for field, value := range map[string]string{
		"gateway.holdTimeout": "a while", "gateway.services[web].holdBytes": "much", "gateway.services[web].probe.port": "http",
	} {
		page, _, ok := changed(map[string]string{field: value})
		if ok || !page.Wrong() {
			t.Errorf("%s was taken to be %s", field, value)
		}
	}
	// Without any, nothing is left of them.
	_, spec, _ = changed(map[string]string{"gateway.services[web].acceptProxyProtocol": "", "gateway.services[api.v2].probe": ""})
	if got := marshal(t, spec); strings.Contains(got, "services") {
		t.Errorf("what is left is %s", got)
	}
}

func TestNameOf(t *testing.T) {
	for from, want := range map[string]string{
		"shop": "shop", "My_Shop 2": "my-shop-2", "--x--": "x", "": "", "店": "", strings.Repeat("a", 60): strings.Repeat("a", 52),
		strings.Repeat("a", 51) + "-b": strings.Repeat("a", 51),
	} {
		if got := nameOf(from); got != want {
			t.Errorf("%q becomes %q, want %q", from, got, want)
		}
	}
}

func TestScales(t *testing.T) {
	for most, want := range map[float64]float64{0: 1, 0.7: 1, 7: 10, 12: 20, 45: 50, 61: 100} {
		if got := scale(most); got != want {
			t.Errorf("scale of %v: %v, want %v", most, got, want)
		}
	}
	for _, lang := range i18n.Languages() {
		for _, most := range []float64{0, 0.001, 0.03, 0.4, 1, 3, 70} {
			var marks []string
			for _, g := range grid(downtimeScale(most), func(s float64) string { return shortText(lang, s) }) {
				marks = append(marks, g.Text)
			}
			if len(slices.Compact(marks)) != 3 {
				t.Errorf("marks for %v s are %v", most, marks)
			}
		}
	}
	if got := binaryScale(3 << 20); got != 5<<20 {
		t.Errorf("%v", got)
	}
	from := time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)
	if got := line([]point{{from, 0}, {from.Add(time.Hour), 10}}, from, from.Add(time.Hour), 10); got != "104.0,166.0 640.0,14.0" {
		t.Errorf("line %q", got)
	}
}
