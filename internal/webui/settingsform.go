// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// setting is a field of the spec that the form has.
type setting struct {
	// Path below spec.
	Path string
	Kind kind
	// Choices of kindChoice and kindToggle.
	Choices []string
}

// kind says what a field holds, and how it is edited.
type kind string

const (
	kindText     kind = "text"
	kindList     kind = "list"
	kindNumber   kind = "number"
	kindDuration kind = "duration"
	kindSize     kind = "size"
	kindBool     kind = "bool"
	kindChoice   kind = "choice"
	// kindToggle is true, false, or the default, which may be either.
	kindToggle kind = "toggle"
	// kindPresent is an object that need not hold anything to have a meaning.
	kindPresent kind = "present"
	// kindFixed is what cannot be changed.
	kindFixed kind = "fixed"
)

// traffic are the settings of a gateway which single services may have of their own.
var traffic = []setting{
	{"gateway.balance", kindChoice, []string{"LeastConnections", "RoundRobin", "RandomTwo", "Source"}},
	{"gateway.holdTimeout", kindDuration, nil}, {"gateway.holdRequests", kindNumber, nil}, {"gateway.holdBytes", kindSize, nil},
	{"gateway.transferTimeout", kindDuration, nil}, {"gateway.longLivedTimeout", kindDuration, nil},
	{"gateway.acceptProxyProtocol", kindToggle, []string{"true", "false"}}, {"gateway.sendProxyProtocol", kindChoice, []string{"Off", "V1", "V2"}},
	{"gateway.probe", kindPresent, nil}, {"gateway.probe.path", kindText, nil}, {"gateway.probe.port", kindNumber, nil},
	{"gateway.probe.interval", kindDuration, nil}, {"gateway.probe.timeout", kindDuration, nil},
	{"gateway.probe.failing", kindNumber, nil}, {"gateway.probe.passing", kindNumber, nil},
}

// gatewayGroup is the group with settings of single services.
const gatewayGroup = "gateway"

// settings are those of the form; the others are in the YAML.
var settings = []struct {
	key    string
	fields []setting
}{
	{"compose", []setting{
		{"compose.directory", kindFixed, nil}, {"compose.files", kindList, nil}, {"compose.envFiles", kindList, nil},
		{"compose.profiles", kindList, nil}, {"compose.project", kindText, nil},
	}},
	{"source", []setting{{"source.url", kindText, nil}, {"source.ref", kindText, nil}, {"source.secretRef.name", kindText, nil}}},
	{"update", []setting{{"update.policy", kindChoice, []string{"Manual", "Automatic"}}, {"update.interval", kindDuration, nil}, {"suspend", kindBool, nil}}},
	{"rollout", []setting{
		{"rollout.order", kindChoice, []string{"Auto", "StartFirst", "StopFirst"}}, {"rollout.healthTimeout", kindDuration, nil},
		{"rollout.minHealthy", kindDuration, nil}, {"rollout.drainTimeout", kindDuration, nil}, {"rollout.soak", kindDuration, nil},
		{"verify.attempts", kindNumber, nil}, {"verify.interval", kindDuration, nil},
	}},
	{gatewayGroup, append([]setting{{"gateway.mode", kindChoice, []string{"Off", "Auto"}}, {"gateway.trustedProxies", kindList, nil}}, traffic...)},
	{"backup", []setting{
		{"backup.databases", kindText, nil}, {"backup.volumes", kindText, nil}, {"backup.paths", kindList, nil},
		{"retention.backups.count", kindNumber, nil}, {"retention.backups.age", kindDuration, nil}, {"retention.releases", kindNumber, nil},
	}},
	{"preflight", []setting{{"preflight.minFreeDisk", kindSize, nil}, {"preflight.minFreeMemory", kindSize, nil}}},
}

// servicesPath is where single services have settings of the gateway.
var servicesPath = []string{"gateway", "services"}

type settingsGroup struct {
	Key    string
	Fields []*settingsField
	// Services have the same settings of their own, as far as those are set.
	Services []*serviceSettings
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
	// Service that it is about; empty if it is about the application.
	Service string
	Value   string
	Error   string
	// number of the service in the form.
	number int
}

// Name of the input.
func (f *settingsField) Name() string {
	if f.Service == "" {
		return f.Path
	}
	return strings.Join(servicesPath, ".") + "[" + f.Service + "]" + strings.TrimPrefix(f.Path, servicesPath[0])
}

// ID of the input.
func (f *settingsField) ID() string {
	id := strings.ReplaceAll(f.Path, ".", "-")
	if f.Service != "" {
		id = fmt.Sprintf("service-%d-%s", f.number, id)
	}
	return id
}

// path is where the value is in what holds it: the spec, or the settings of a service.
func (f *settingsField) path() []string {
	path := strings.Split(f.Path, ".")
	if f.Service != "" {
		return path[1:]
	}
	return path
}

// fill puts the values of a spec into the form.
func (p *settingsPage) fill(spec map[string]any) {
	for _, g := range settings {
		group := settingsGroup{Key: g.key, Fields: fieldsOf(g.fields, "", 0, spec)}
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
				service.Fields = fieldsOf(traffic, name, i, values)
				group.Services = append(group.Services, service)
			}
		}
		p.Groups = append(p.Groups, group)
	}
}

func fieldsOf(list []setting, service string, n int, values map[string]any) []*settingsField {
	var fields []*settingsField
	for _, one := range list {
		f := &settingsField{setting: one, Service: service, number: n}
		value, found, _ := unstructured.NestedFieldNoCopy(values, f.path()...)
		if f.Kind == kindPresent {
			value = found
		}
		f.Value = valueText(value)
		fields = append(fields, f)
	}
	return fields
}

// serviceMaps are the settings of single services in a spec.
func serviceMaps(spec map[string]any) []map[string]any {
	list, _, _ := unstructured.NestedFieldNoCopy(spec, servicesPath...)
	items, _ := list.([]any)
	var out []map[string]any
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

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
	p.written = nil
	for _, m := range all {
		if len(m) > 1 {
			kept, p.written = append(kept, m), append(p.written, nameIn(m))
		}
	}
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
		if f.Kind != kindFixed {
			f.Value = strings.TrimSpace(strings.ReplaceAll(form(f.Name()), "\r\n", "\n"))
		}
		switch f.Kind {
		case kindFixed:
		case kindPresent:
			// What is in it decides, unless it was there and was taken away.
			if f.Value == "true" || before == "true" {
				objects = append(objects, f)
			}
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
			return "settings.duration"
		}
	case kindSize:
		if _, err := resource.ParseQuantity(f.Value); err != nil {
			return "settings.size"
		}
	case kindList:
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

// ofService finds the place of a service in the location of an error.
var ofService = regexp.MustCompile(`^gateway\.services\[(\d+)\]\.?`)

func (p *settingsPage) placeOne(location, message string) bool {
	service := ""
	if m := ofService.FindStringSubmatch(location); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil || n >= len(p.written) {
			return false
		}
		service, location = p.written[n], strings.TrimSuffix("gateway."+location[len(m[0]):], ".")
	}
	fields := p.fields()
	about := func(f *settingsField) bool {
		return location == f.Path || strings.HasPrefix(location, f.Path+"[") || strings.HasPrefix(location, f.Path+".")
	}
	// A rule of an object names the field.
	named := func(f *settingsField) bool {
		path := f.path()
		return strings.HasPrefix(f.Path, location+".") && strings.Contains(message, path[len(path)-1])
	}
	for _, fits := range []func(*settingsField) bool{about, named} {
		// The longest path is the closest one.
		var found *settingsField
		for _, f := range fields {
			if f.Service == service && fits(f) && (found == nil || len(f.Path) > len(found.Path)) {
				found = f
			}
		}
		if found != nil {
			found.Error = message
			return true
		}
	}
	return false
}

// fields are all of the form.
func (p *settingsPage) fields() []*settingsField {
	var all []*settingsField
	for _, g := range p.Groups {
		all = append(all, g.Fields...)
		for _, s := range g.Services {
			all = append(all, s.Fields...)
		}
	}
	return all
}

// Wrong says that something is not accepted.
func (p *settingsPage) Wrong() bool {
	return p.Error != "" || len(p.Errors) > 0 || slices.ContainsFunc(p.fields(), func(f *settingsField) bool { return f.Error != "" })
}
