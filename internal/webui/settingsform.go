// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// servicesPath is where single services have settings of the gateway.
var servicesPath = []string{"gateway", "services"}

type settingsGroup struct {
	Key    string
	Fields []*settingsField
	// Services have the same settings of their own, as far as those are set.
	Services []*serviceSettings
	// List is one of objects that belongs to the group, if there is one.
	List *settingsList
}

// serviceSettings are those of the gateway for one service.
type serviceSettings struct {
	Name string
	// Set says that there are any.
	Set    bool
	Fields []*settingsField
}

// Wrong says that something is not accepted.
func (s *serviceSettings) Wrong() bool {
	return slices.ContainsFunc(s.Fields, func(f *settingsField) bool { return f.Error != "" })
}

// settingsField is one field of the form.
type settingsField struct {
	setting
	// In names what it belongs to in the form, such as hooks[0] or
	// gateway.services[web]; empty if that is the application.
	In string
	// Variant is the object of a row that it is a part of, if it is one of those of
	// which a row has exactly one.
	Variant string
	Value   string
	Error   string
	// base is the part of Path that In stands for, and prefix what its ID begins with.
	base, prefix string
}

// What is wrong with a length of time and with an amount.
const (
	problemDuration = "settings.duration"
	problemSize     = "settings.size"
)

// Exemplified reports whether the error has examples, as the hint has.
func (f *settingsField) Exemplified() bool {
	return f.Error == problemDuration || f.Error == problemSize
}

// Name of the input.
func (f *settingsField) Name() string {
	if f.In == "" {
		return f.Path
	}
	return f.In + strings.TrimPrefix(f.Path, f.base)
}

// ID of the input.
func (f *settingsField) ID() string { return f.prefix + strings.ReplaceAll(f.Path, ".", "-") }

// path is where the value is in what holds it: the spec, the settings of a service, or
// a row.
func (f *settingsField) path() []string {
	return strings.Split(strings.TrimPrefix(f.Path, f.base+"."), ".")
}

// NameOf is the name of the input of one of several choices.
func (f *settingsField) NameOf(choice string) string { return f.Name() + "." + choice }

// Has says that a choice is among several.
func (f *settingsField) Has(choice string) bool {
	return slices.Contains(strings.Split(f.Value, "\n"), choice)
}

// Chosen are those choices of several that are made.
func (f *settingsField) Chosen() []string {
	if f.Kind != kindSet {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(f.Choices), func(choice string) bool { return !f.Has(choice) })
}

// ChoiceKey is the key of the text of a choice.
func (f *settingsField) ChoiceKey(choice string) string {
	if prefix, ok := choiceTexts[f.Path]; ok {
		return prefix + choice
	}
	return "choice." + f.Path + "." + choice
}

// fill puts the values of a spec into the form.
func (p *settingsPage) fill(spec map[string]any) {
	for _, g := range settings {
		group := settingsGroup{Key: g.key, Fields: fieldsOf(g.fields, "", "", "", spec)}
		if g.list != nil {
			group.List = listOf(g.list, spec)
		}
		if g.key == gatewayGroup {
			own := serviceMaps(spec)
			names := slices.Clone(p.services)
			for _, o := range own {
				names = append(names, nameIn(o))
			}
			slices.Sort(names)
			for i, name := range slices.Compact(names) {
				service := &serviceSettings{Name: name}
				at := slices.IndexFunc(own, func(o map[string]any) bool { return nameIn(o) == name })
				var values map[string]any
				if service.Set = at >= 0; service.Set {
					values = own[at]
				}
				service.Fields = fieldsOf(traffic, inService(name), gatewayGroup, fmt.Sprintf("service-%d-", i), values)
				group.Services = append(group.Services, service)
			}
		}
		p.Groups = append(p.Groups, group)
	}
}

// inService names the settings of the gateway of a service in the form.
func inService(name string) string { return strings.Join(servicesPath, ".") + "[" + name + "]" }

func fieldsOf(list []setting, in, base, prefix string, values map[string]any) []*settingsField {
	var fields []*settingsField
	for _, one := range list {
		f := &settingsField{setting: one, In: in, base: base, prefix: prefix}
		value, found, _ := unstructured.NestedFieldNoCopy(values, f.path()...)
		if f.Kind == kindPresent {
			value = found
		}
		if f.Kind == kindList && !inLines(value) {
			f.Kind = kindLocked
		}
		f.Value = valueText(value)
		fields = append(fields, f)
	}
	return fields
}

// inLines says that a list can be written with an item in each line.
func inLines(value any) bool {
	items, _ := value.([]any)
	return !slices.ContainsFunc(items, func(item any) bool {
		text, ok := item.(string)
		return ok && (text != strings.TrimSpace(text) || strings.Contains(text, "\n") || text == "")
	})
}

// serviceMaps are the settings of single services in a spec.
func serviceMaps(spec map[string]any) []map[string]any { return objectsAt(spec, servicesPath) }

func nameIn(service map[string]any) string {
	name, _ := service["name"].(string)
	return name
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
	case map[string]any:
		var lines []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			lines = append(lines, name+"="+valueText(v[name]))
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
	for _, g := range p.Groups {
		ok = readFields(g.Fields, form, spec) && ok
		if g.Key == gatewayGroup {
			ok = p.readServices(g.Services, form, spec) && ok
		}
		if g.List != nil {
			ok = p.readList(g.List, form, spec) && ok
		}
	}
	return ok
}

// readServices takes the settings of single services into a spec. Who has none any
// more is left out.
func (p *settingsPage) readServices(services []*serviceSettings, form func(string) string, spec map[string]any) bool {
	ok := true
	all := serviceMaps(spec)
	for _, s := range services {
		at := slices.IndexFunc(all, func(m map[string]any) bool { return nameIn(m) == s.Name })
		if at < 0 {
			at, all = len(all), append(all, map[string]any{"name": s.Name})
		}
		ok = readFields(s.Fields, form, all[at]) && ok
		s.Set = len(all[at]) > 1
	}
	var kept []any
	var written []string
	for _, m := range all {
		if len(m) > 1 {
			kept, written = append(kept, m), append(written, inService(nameIn(m)))
		}
	}
	p.sent(strings.Join(servicesPath, "."), gatewayGroup, written)
	if len(kept) == 0 {
		unstructured.RemoveNestedField(spec, servicesPath...)
		prune(spec, servicesPath[:1])
		return ok
	}
	// What is there is an object, or nothing.
	return unstructured.SetNestedField(spec, kept, servicesPath...) == nil && ok
}

// readFields takes fields of the form into what holds their values.
func readFields(fields []*settingsField, form func(string) string, into map[string]any) bool {
	ok := true
	var objects []*settingsField
	for _, f := range fields {
		before := f.Value
		switch f.Kind {
		case kindFixed, kindLocked:
		case kindSet:
			f.Value = strings.Join(slices.DeleteFunc(slices.Clone(f.Choices), func(choice string) bool { return form(f.NameOf(choice)) != "true" }), "\n")
		default:
			f.Value = strings.TrimSpace(strings.ReplaceAll(form(f.Name()), "\r\n", "\n"))
		}
		switch {
		case f.Kind == kindPresent:
			// What is in it decides, unless it was there and was taken away.
			if f.Value == "true" || before == "true" {
				objects = append(objects, f)
			}
		case f.Value == strings.TrimSpace(before):
		default:
			if err := f.put(into); err != "" {
				f.Error, ok = err, false
			}
		}
	}
	for _, f := range objects {
		path := f.path()
		_, there, _ := unstructured.NestedFieldNoCopy(into, path...)
		switch {
		case f.Value != "true":
			unstructured.RemoveNestedField(into, path...)
			prune(into, path[:len(path)-1])
		case !there:
			if err := unstructured.SetNestedMap(into, map[string]any{}, path...); err != nil {
				f.Error, ok = err.Error(), false
			}
		}
	}
	return ok
}

// durations are how the API has them.
var durations = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`)

// put puts what was typed into an object; else it says what is wrong, by its key or in
// words.
func (f *settingsField) put(into map[string]any) (wrong string) {
	path := f.path()
	if f.Value == "" || f.Kind == kindBool && f.Value != "true" {
		unstructured.RemoveNestedField(into, path...)
		prune(into, path[:len(path)-1])
		return ""
	}
	var value any = f.Value
	switch f.Kind {
	case kindBool, kindToggle:
		value = f.Value == "true"
	case kindNumber:
		n, err := strconv.ParseInt(f.Value, 10, 64)
		if err != nil {
			return "settings.number"
		}
		value = float64(n)
	case kindDuration:
		if !durations.MatchString(f.Value) {
			return problemDuration
		}
	case kindSize:
		if _, err := resource.ParseQuantity(f.Value); err != nil {
			return problemSize
		}
	case kindVariables:
		variables, err := variablesIn(f.Value)
		if err != nil {
			return "error.variables"
		}
		items := map[string]any{}
		for name, text := range variables {
			items[name] = text
		}
		value = items
	case kindList, kindSet:
		var items []any
		for _, line := range strings.Split(f.Value, "\n") {
			if line = strings.TrimSpace(line); line != "" {
				items = append(items, line)
			}
		}
		value = items
	}
	if err := unstructured.SetNestedField(into, value, path...); err != nil {
		return err.Error()
	}
	return ""
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

var words = regexp.MustCompile(`\w+`)

// item finds the place in a list in the location of an error.
var item = regexp.MustCompile(`^([A-Za-z.]+)\[(\d+)\]\.?`)

func (p *settingsPage) placeOne(location, message string) bool {
	in := ""
	if m := item.FindStringSubmatch(location); m != nil {
		if list, ok := p.written[m[1]]; ok {
			n, err := strconv.Atoi(m[2])
			if err != nil || n >= len(list.in) {
				return false
			}
			in, location = list.in[n], strings.TrimSuffix(list.base+"."+location[len(m[0]):], ".")
		}
	}
	about := func(f *settingsField) bool {
		return location == f.Path || strings.HasPrefix(location, f.Path+"[") || strings.HasPrefix(location, f.Path+".")
	}
	// A rule of an object names the field.
	named := func(f *settingsField) bool {
		path := f.path()
		return strings.HasPrefix(f.Path, location+".") && slices.Contains(words.FindAllString(message, -1), path[len(path)-1])
	}
	for _, fits := range []func(*settingsField) bool{about, named} {
		// The longest path is the closest one.
		var found *settingsField
		for _, f := range p.fields() {
			if f.In == in && fits(f) && (found == nil || len(f.Path) > len(found.Path)) {
				found = f
			}
		}
		if found != nil {
			found.Error = message
			return true
		}
	}
	return p.placeRow(in, message)
}

// fields are all of the form.
func (p *settingsPage) fields() []*settingsField {
	var all []*settingsField
	for _, g := range p.Groups {
		all = append(all, g.all()...)
	}
	return all
}

// all are the fields of a group, of what is in it too.
func (g settingsGroup) all() []*settingsField {
	all := slices.Clone(g.Fields)
	for _, s := range g.Services {
		all = append(all, s.Fields...)
	}
	if g.List != nil {
		for _, row := range g.List.Rows {
			all = append(all, row.Fields...)
		}
	}
	return all
}

// Wrong says that something in the group is not accepted.
func (g settingsGroup) Wrong() bool {
	return slices.ContainsFunc(g.all(), func(f *settingsField) bool { return f.Error != "" }) ||
		g.List != nil && slices.ContainsFunc(g.List.Rows, (*settingsRow).Wrong)
}

// Wrong says that something is not accepted.
func (p *settingsPage) Wrong() bool {
	return p.Error != "" || len(p.Errors) > 0 || slices.ContainsFunc(p.Groups, settingsGroup.Wrong)
}
