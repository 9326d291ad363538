// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// settingsPage is the spec of an Application, as a form or as YAML.
type settingsPage struct {
	Namespace, App string
	May            bool
	YAML           bool
	Groups         []settingsGroup
	Text           string // the YAML
	// Generation is that of the spec that was shown: it changes with the spec only,
	// while the object's version also changes with every look at what runs.
	Generation int64
	// Error is what is wrong in all, Errors what is in no field of the form.
	Error  string
	Errors []string
	// Conflict says that somebody else changed the settings meanwhile, Checked that
	// they would be accepted, Saved that they were.
	Conflict, Checked, Saved bool
}

type settingsGroup struct {
	Key    string
	Fields []settingsField
}

// settingsField is one field of the form.
type settingsField struct {
	setting
	Value string
	Error string
}

// setting is a field of the spec that the form has. Path is below spec.
type setting struct {
	Path    string
	Kind    string // text, list, number, bool, choice, or fixed for what cannot be changed
	Choices []string
}

// ID of the input.
func (s setting) ID() string { return strings.ReplaceAll(s.Path, ".", "-") }

// settings are those of the form; the others are in the YAML.
var settings = []struct {
	key    string
	fields []setting
}{
	{"compose", []setting{
		{"compose.directory", "fixed", nil}, {"compose.files", "list", nil}, {"compose.envFiles", "list", nil},
		{"compose.profiles", "list", nil}, {"compose.project", "text", nil},
	}},
	{"source", []setting{{"source.url", "text", nil}, {"source.ref", "text", nil}, {"source.secretRef.name", "text", nil}}},
	{"update", []setting{{"update.policy", "choice", []string{"Manual", "Automatic"}}, {"update.interval", "text", nil}, {"suspend", "bool", nil}}},
	{"rollout", []setting{
		{"rollout.order", "choice", []string{"Auto", "StartFirst", "StopFirst"}}, {"rollout.healthTimeout", "text", nil},
		{"rollout.minHealthy", "text", nil}, {"rollout.drainTimeout", "text", nil}, {"rollout.soak", "text", nil},
		{"verify.attempts", "number", nil}, {"verify.interval", "text", nil},
	}},
	{"backup", []setting{
		{"backup.databases", "text", nil}, {"backup.volumes", "text", nil}, {"backup.paths", "list", nil},
		{"retention.backups.count", "number", nil}, {"retention.backups.age", "text", nil}, {"retention.releases", "number", nil},
	}},
	{"preflight", []setting{{"preflight.minFreeDisk", "text", nil}, {"preflight.minFreeMemory", "text", nil}}},
}

func (p *settingsPage) Title(c *call) string { return c.T("settings.title") + " · " + p.App }

func (p *settingsPage) Crumbs(c *call) []crumb { return c.ofApp(p.Namespace, p.App) }

// URL of the page.
func (p *settingsPage) URL() string { return appURL(p.Namespace, p.App) + "/settings" }

// object is an Application as the API has it.
type object map[string]any

func (o object) spec() map[string]any {
	spec, _ := o["spec"].(map[string]any)
	return spec
}

func (o object) generation() int64 {
	meta, _ := o["metadata"].(map[string]any)
	n, _ := meta["generation"].(float64)
	return int64(n)
}

func (c *call) settingsOf() (*settingsPage, object, error) {
	ns, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	page := &settingsPage{Namespace: ns, App: name, May: c.May(ns, "update", "applications")}
	var o object
	if err := c.Get(inNamespace(ns, "applications", name), &o); err != nil {
		return nil, nil, err
	}
	page.Generation = o.generation()
	return page, o, nil
}

// settings is GET …/applications/NAME/settings.
func (s *Server) settings(c *call) error {
	page, o, err := c.settingsOf()
	if err != nil {
		return err
	}
	page.Saved = c.r.URL.Query().Get("saved") != ""
	if page.YAML = c.r.URL.Query().Get("as") == "yaml"; page.YAML {
		page.Text, err = textOf(o)
	} else {
		page.fill(o.spec())
	}
	if err != nil {
		return err
	}
	return c.render("settings", page)
}

// textOf is the part of an object that people write, as YAML.
func textOf(o object) (string, error) {
	text, err := yaml.Marshal(map[string]any{"spec": o.spec()})
	return string(text), err
}

// fill puts the values of a spec into the form.
func (p *settingsPage) fill(spec map[string]any) {
	for _, g := range settings {
		group := settingsGroup{Key: g.key}
		for _, f := range g.fields {
			value, _, _ := unstructured.NestedFieldNoCopy(spec, strings.Split(f.Path, ".")...)
			group.Fields = append(group.Fields, settingsField{setting: f, Value: valueText(value)})
		}
		p.Groups = append(p.Groups, group)
	}
}

func valueText(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		var lines []string
		for _, item := range v {
			lines = append(lines, valueText(item))
		}
		return strings.Join(lines, "\n")
	default:
		data, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return string(data)
	}
}

// read takes the form into a spec. Fields that it does not have stay.
func (p *settingsPage) read(form func(string) string, spec map[string]any) (ok bool) {
	p.fill(spec)
	ok = true
	for i := range p.Groups {
		for j := range p.Groups[i].Fields {
			f := &p.Groups[i].Fields[j]
			if f.Kind == "fixed" {
				continue
			}
			f.Value = strings.TrimSpace(strings.ReplaceAll(form(f.Path), "\r\n", "\n"))
			path := strings.Split(f.Path, ".")
			if f.Value == "" || f.Kind == "bool" && f.Value != "true" {
				unstructured.RemoveNestedField(spec, path...)
				prune(spec, path[:len(path)-1])
				continue
			}
			var value any = f.Value
			switch f.Kind {
			case "bool":
				value = true
			case "number":
				n, err := strconv.ParseInt(f.Value, 10, 64)
				if err != nil {
					f.Error, ok = "settings.number", false
					continue
				}
				value = float64(n)
			case "list":
				var items []any
				for _, line := range strings.Split(f.Value, "\n") {
					if line = strings.TrimSpace(line); line != "" {
						items = append(items, line)
					}
				}
				value = items
			}
			if err := unstructured.SetNestedField(spec, value, path...); err != nil {
				f.Error, ok = err.Error(), false
			}
		}
	}
	return ok
}

// prune removes objects that have become empty, from the inside out.
func prune(spec map[string]any, path []string) {
	for ; len(path) > 0; path = path[:len(path)-1] {
		if m, found, err := unstructured.NestedMap(spec, path...); err != nil || !found || len(m) > 0 {
			return
		}
		unstructured.RemoveNestedField(spec, path...)
	}
}

// saveSettings is POST …/applications/NAME/settings: with "check", a trial.
func (s *Server) saveSettings(c *call) error {
	page, o, err := c.settingsOf()
	if err != nil {
		return err
	}
	f := c.r.PostForm
	shown, _ := strconv.ParseInt(f.Get("generation"), 10, 64)
	page.YAML = f.Get("as") == "yaml"
	fits := true
	if page.YAML {
		page.Text = strings.ReplaceAll(f.Get("text"), "\r\n", "\n")
		var typed struct {
			Spec map[string]any `json:"spec"`
		}
		if err := yaml.UnmarshalStrict([]byte(page.Text), &typed); err != nil {
			page.Error, fits = err.Error(), false
		} else if typed.Spec == nil {
			page.Error, fits = c.T("settings.nospec"), false
		}
		o["spec"] = typed.Spec
	} else {
		fits = page.read(f.Get, o.spec())
	}
	status := http.StatusOK
	switch {
	case !fits:
		status = http.StatusUnprocessableEntity
	case shown != page.Generation:
		// What was typed is shown again; the version stays that which it was typed for.
		page.Conflict, page.Generation, status = true, shown, http.StatusConflict
	default:
		delete(o, "status")
		trial := f.Get("do") == "check"
		path := inNamespace(page.Namespace, "applications", page.App)
		if trial {
			path += "?dryRun=true"
		}
		err := c.replace(path, o)
		var problem *Problem
		switch {
		case errors.As(err, &problem) && (problem.Status == http.StatusUnprocessableEntity || problem.Status == http.StatusBadRequest):
			page.place(problem)
			status = http.StatusUnprocessableEntity
		case isStatus(err, http.StatusConflict):
			page.Conflict, status = true, http.StatusConflict
		case err != nil:
			return err
		case trial:
			page.Checked = true
		default:
			to := page.URL() + "?saved=1"
			if page.YAML {
				to += "&as=yaml"
			}
			return c.redirect(to)
		}
	}
	c.renderStatus(status, "settings", page)
	return nil
}

// replace puts an object in the place of one with the same settings. The object's
// version also changes with every look at what runs, which is no conflict: then it
// is tried again.
func (c *call) replace(path string, o object) error {
	const tries = 5
	for i := 1; ; i++ {
		err := c.Do(http.MethodPut, path, o, nil)
		if i == tries || !isStatus(err, http.StatusConflict) {
			return err
		}
		var now object
		if err := c.Get(strings.TrimSuffix(path, "?dryRun=true"), &now); err != nil {
			return err
		}
		if now.generation() != o.generation() {
			return err
		}
		o["metadata"] = now["metadata"]
	}
}

// place puts what the API server said beside the fields that it is about.
func (p *settingsPage) place(problem *Problem) {
	p.Error = problem.Text()
	for _, e := range problem.Errors {
		if !p.placeOne(strings.TrimPrefix(e.Location, "spec."), e.Message) {
			p.Errors = append(p.Errors, strings.TrimPrefix(e.Location+": "+e.Message, ": "))
		}
	}
	if len(problem.Errors) > 0 {
		p.Error = ""
	}
}

func (p *settingsPage) placeOne(location, message string) bool {
	for i := range p.Groups {
		for j := range p.Groups[i].Fields {
			f := &p.Groups[i].Fields[j]
			if location == f.Path || strings.HasPrefix(location, f.Path+"[") || strings.HasPrefix(location, f.Path+".") {
				f.Error = message
				return true
			}
		}
	}
	return false
}

// Wrong says that something is not accepted.
func (p *settingsPage) Wrong() bool {
	if p.Error != "" || len(p.Errors) > 0 {
		return true
	}
	for _, g := range p.Groups {
		for _, f := range g.Fields {
			if f.Error != "" {
				return true
			}
		}
	}
	return false
}
