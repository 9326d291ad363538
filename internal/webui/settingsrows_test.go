// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-dev/fairlead/config"
	"github.com/fairlead-dev/fairlead/internal/webui/i18n"
)

// The form has every field of the spec, with a text in it, and no other.
func TestTheFormHasAllOfTheSpec(t *testing.T) {
	form := map[string]bool{}
	add := func(fields []setting) {
		for _, f := range fields {
			form[f.Path] = true
			if !i18n.Languages()[0].Has("setting." + f.Path) {
				t.Errorf("there is no text for %s", f.Path)
			}
			for _, choice := range f.Choices {
				if key := (&settingsField{setting: f}).ChoiceKey(choice); !i18n.Languages()[0].Has(key) && !i18n.Languages()[0].Has("choice."+choice) && f.Path != "hooks.http.method" {
					t.Errorf("there is no text for the choice %s of %s", choice, f.Path)
				}
			}
		}
	}
	for _, g := range settings {
		add(g.fields)
		if g.list != nil {
			add(g.list.Fields)
		}
	}
	for _, f := range traffic {
		form[strings.Join(servicesPath, ".")+strings.TrimPrefix(f.Path, gatewayGroup)] = true
	}
	form["gateway.services.name"] = true // by it they are told apart

	var spec map[string]bool
	crds, err := config.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range crds {
		var crd apiextensions.CustomResourceDefinition
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatal(err)
		}
		if crd.Spec.Names.Kind == "Application" {
			spec = map[string]bool{}
			schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
			leaves(&schema, "", spec)
		}
	}
	if len(spec) < 100 {
		t.Fatalf("the spec has only %d fields", len(spec))
	}
	for _, path := range slices.Sorted(maps.Keys(spec)) {
		if !form[path] {
			t.Errorf("spec.%s is not in the form", path)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(form)) {
		if !spec[path] && path != "gateway.probe" && path != "gateway.services.probe" && path != "github" {
			t.Errorf("the form has %s, which the spec has not", path)
		}
	}
}

// leaves are the fields of a schema which hold no other fields.
func leaves(schema *apiextensions.JSONSchemaProps, path string, into map[string]bool) {
	if schema.Items != nil && len(schema.Items.Schema.Properties) > 0 {
		schema = schema.Items.Schema
	}
	if len(schema.Properties) == 0 {
		into[path] = true
		return
	}
	for name, below := range schema.Properties {
		leaves(&below, strings.TrimPrefix(path+"."+name, "."), into)
	}
}

// sent are the values that a browser would send for the rows of a page.
func sent(page *settingsPage) map[string]string {
	values := map[string]string{}
	for _, f := range page.fields() {
		switch f.Kind {
		case kindSet:
			for _, choice := range f.Choices {
				if f.Has(choice) {
					values[f.NameOf(choice)] = "true"
				}
			}
		default:
			values[f.Name()] = strings.ReplaceAll(f.Value, "\n", "\r\n")
		}
	}
	for _, g := range page.Groups {
		if g.List == nil {
			continue
		}
		values[g.List.Path+".rows"] = strconv.Itoa(len(g.List.Rows))
		for _, row := range g.List.Rows {
			values[row.In+".from"], values[row.VariantName()] = strconv.Itoa(row.From), row.Variant
		}
	}
	return values
}

const lists = `{"compose":{"directory":"/opt/shop","variables":{"A":"b","C":"d=e"}},` +
	`"hooks":[{"at":["Success","Failure"],"exec":{"command":["sh","-c","echo a\necho b"],"service":"web"},"name":"tell","onFailure":"Continue","timeout":"1m"},` +
	`{"at":["Preflight"],"http":{"method":"POST","url":"http://127.0.0.1/"},"name":"ask"}],` +
	`"notifications":[{"name":"chat","serviceRef":{"name":"slack"}}],` +
	`"rollout":{"services":[{"name":"web","order":"StopFirst","parallelism":0}]},` +
	`"update":{"windows":[{"days":["Mon","Tue"],"end":"04:00","start":"22:00"}]},` +
	`"verify":{"checks":[{"name":"page","http":{"url":"http://127.0.0.1/","status":200,"insecureSkipTLSVerify":true}}]}}`

// Nothing changes in lists that are sent as they were shown.
func TestListsStayAsTheyAre(t *testing.T) {
	var shown settingsPage
	shown.fill(specOf(t, lists))
	values := sent(&shown)
	spec := specOf(t, lists)
	var page settingsPage
	if !page.read(func(name string) string { return values[name] }, spec) || page.Wrong() {
		t.Fatalf("%+v", page.Groups)
	}
	if got, want := marshal(t, spec), marshal(t, specOf(t, lists)); got != want {
		t.Errorf("it became\n%s\nwant\n%s", got, want)
	}
	// A command that has no place in lines is shown, and kept.
	for _, f := range page.fields() {
		if f.Name() == "hooks[0].exec.command" && (f.Kind != kindLocked || !strings.Contains(f.Value, "echo b")) {
			t.Errorf("the command is %s %q", f.Kind, f.Value)
		}
	}
}

// Rows are added, filled, turned into another variant, and removed.
func TestRowsOfTheForm(t *testing.T) {
	spec := specOf(t, lists)
	step := func(do string, changes map[string]string) *settingsPage {
		t.Helper()
		shown := &settingsPage{}
		shown.fill(spec)
		values := sent(shown)
		maps.Copy(values, changes)
		page := &settingsPage{}
		copied := specOf(t, marshal(t, spec))
		page.read(func(name string) string { return values[name] }, copied)
		if page.edit(do) != (do == "add hooks" || strings.HasPrefix(do, "remove")) {
			t.Errorf("%q is taken for something else", do)
		}
		if do == "save" {
			spec = copied
		}
		return page
	}
	hooks := func(p *settingsPage) *settingsList {
		return p.Groups[slices.IndexFunc(p.Groups, func(g settingsGroup) bool { return g.Key == "hooks" })].List
	}
	// What is typed elsewhere stays, what is wrong is not told yet, nothing is written.
	page := step("add hooks", map[string]string{"rollout.soak": "soon", "hooks[1].name": "asked"})
	rows := hooks(page).Rows
	if len(rows) != 3 || !rows[2].New || rows[2].From != -1 || rows[2].In != "hooks[2]" || rows[1].Title != "asked" || page.Wrong() || !page.Edited {
		t.Errorf("rows are %+v, wrong: %v", rows, page.Wrong())
	}
	page = step("remove hooks[0]", nil)
	if rows = hooks(page).Rows; len(rows) != 1 || rows[0].From != 1 || rows[0].Fields[0].Name() != "hooks[0].name" || rows[0].Fields[0].Value != "ask" {
		t.Errorf("rows are %+v", rows)
	}
	// Sent after that: the first is gone, the second calls no URL any more.
	page = step("save", map[string]string{
		"hooks.rows": "2", "hooks[0].from": "1", "hooks[0].variant": "exec", "hooks[0].name": "ask", "hooks[0].at.Success": "true", "hooks[0].at.Failure": "",
		"hooks[0].at.Preflight": "", "hooks[0].exec.service": "web", "hooks[0].exec.command": "reload\r\n--now", "hooks[0].http.url": "http://127.0.0.1/", "hooks[0].onFailure": "",
		"hooks[0].timeout": "", "hooks[1].from": "-1", "hooks[1].variant": "exec", "hooks[1].name": "", "hooks[1].exec.service": "", "hooks[1].exec.command": "",
		"hooks[1].at.Preflight": "", "hooks[1].timeout": "", "hooks[1].onFailure": "", "hooks[1].http.url": "", "hooks[1].http.method": "",
	})
	want := `[{"at":["Success"],"exec":{"command":["reload","--now"],"service":"web"},"name":"ask"}]`
	if got := marshal(t, spec["hooks"]); got != want || page.Wrong() {
		t.Errorf("got %s, want %s; wrong: %v", got, want, page.Wrong())
	}
	// Errors of the API server stand in their rows.
	if !page.placeOne("hooks[0].exec.command", "too long") || !page.placeOne("hooks[0]", "a duplicate") || page.placeOne("hooks[1].name", "there is none") {
		t.Error("an error was not placed, or one of a row that was not sent")
	}
	row := hooks(page).Rows[0]
	if chosen := row.Fields[1].Chosen(); !slices.Equal(chosen, []string{"Success"}) || row.Fields[0].Chosen() != nil {
		t.Errorf("the choices of the row are %v", chosen)
	}
	for _, g := range page.Groups {
		if g.Wrong() != (g.Key == "hooks") {
			t.Errorf("%s is told to be wrong: %v", g.Key, g.Wrong())
		}
	}
	if row.Error != "a duplicate" || !page.Wrong() || !slices.ContainsFunc(row.Fields, func(f *settingsField) bool { return f.Error == "too long" }) {
		t.Errorf("the row is %+v", row)
	}
	// A row needs a name, and is told so.
	page = step("check", map[string]string{"notifications[0].name": ""})
	if !page.Wrong() {
		t.Error("a row without a name was taken")
	}
	// Without rows the list is gone, and what held it if that is empty.
	step("save", map[string]string{"notifications.rows": "0", "update.windows.rows": "0"})
	if got := marshal(t, spec); strings.Contains(got, "notifications") || strings.Contains(got, "windows") || strings.Contains(got, `"update"`) {
		t.Errorf("what is left is %s", got)
	}
	// Numbers that nobody was shown are no reason to hang or fail.
	for _, rows := range []string{"999999999", "-5", "x"} {
		if page := step("check", map[string]string{"hooks.rows": rows}); len(hooks(page).Rows) > mostRows {
			t.Errorf("%s rows became %d", rows, len(hooks(page).Rows))
		}
	}
}
