// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// mostRows is how many rows of a list a form may have: as many as the longest list of
// the API.
const mostRows = 256

// settingsList is a list of objects in the form. Rows are added and removed by buttons
// that send the form, so that it needs no scripts.
type settingsList struct {
	*settingList
	Rows []*settingsRow
}

// settingsRow is one of them.
type settingsRow struct {
	// In names it in the form, such as hooks[0].
	In string
	// ID of its element.
	ID string
	// Title is its name, or what it is about; empty for one that is new.
	Title string
	// From is its place in the spec that was shown; -1 if it is new.
	From int
	// Variant that it has, of those of its list.
	Variant string
	Error   string
	// New says that it was added just now.
	New    bool
	Fields []*settingsField
	list   *settingList
}

// sentList is a list as it is sent: what its items are in the form, and the path of
// their fields.
type sentList struct {
	base string
	in   []string
}

func (p *settingsPage) sent(path, base string, in []string) {
	if p.written == nil {
		p.written = map[string]sentList{}
	}
	p.written[path] = sentList{base, in}
}

// ID of the list's element.
func (l *settingsList) ID() string { return strings.ReplaceAll(l.Path, ".", "-") }

// Next is the ID of the row that is added next.
func (l *settingsList) Next() string { return rowID(l.Path, len(l.Rows)) }

// Wrong says that something is not accepted.
func (r *settingsRow) Wrong() bool {
	return r.Error != "" || slices.ContainsFunc(r.Fields, func(f *settingsField) bool { return f.Error != "" })
}

// VariantName is the name of the input that chooses one.
func (r *settingsRow) VariantName() string { return r.In + ".variant" }

func rowID(path string, n int) string {
	return fmt.Sprintf("%s-%d", strings.ReplaceAll(path, ".", "-"), n)
}

// listOf is a list as a spec has it.
func listOf(l *settingList, spec map[string]any) *settingsList {
	list := &settingsList{settingList: l}
	for n, values := range objectsAt(spec, strings.Split(l.Path, ".")) {
		row := &settingsRow{From: n, list: l}
		row.fill(values)
		row.number(n)
		list.Rows = append(list.Rows, row)
	}
	return list
}

// objectsAt are the objects of a list in a spec.
func objectsAt(spec map[string]any, path []string) []map[string]any {
	list, _, _ := unstructured.NestedFieldNoCopy(spec, path...)
	items, _ := list.([]any)
	var out []map[string]any
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// fill puts the values of an object into a row.
func (r *settingsRow) fill(values map[string]any) {
	r.Fields = fieldsOf(r.list.Fields, r.In, r.list.Path, "", values)
	for _, f := range r.Fields {
		if first := f.path()[0]; slices.Contains(r.list.Variants, first) {
			f.Variant = first
		}
	}
	for _, variant := range r.list.Variants {
		if _, there := values[variant]; there {
			r.Variant = variant
		}
	}
	if r.Variant == "" && len(r.list.Variants) > 0 {
		r.Variant = r.list.Variants[0]
	}
	r.Title = r.name()
}

// name is what tells a row from others: its name, or the hours of a window.
func (r *settingsRow) name() string {
	var parts []string
	for _, f := range r.Fields {
		switch f.path()[0] {
		case "name":
			return f.Value
		case "start", "end":
			parts = append(parts, f.Value)
		}
	}
	return strings.Trim(strings.Join(parts, "–"), "–")
}

// number gives a row its place in the form.
func (r *settingsRow) number(n int) {
	r.In, r.ID = fmt.Sprintf("%s[%d]", r.list.Path, n), rowID(r.list.Path, n)
	for _, f := range r.Fields {
		f.In, f.prefix = r.In, fmt.Sprintf("row-%d-", n)
	}
}

// readList takes the rows of a list into a spec. A row with nothing in it is left out;
// a form without the list leaves it as it is.
func (p *settingsPage) readList(l *settingsList, form func(string) string, spec map[string]any) bool {
	count, err := strconv.Atoi(form(l.Path + ".rows"))
	if err != nil {
		return true
	}
	path := strings.Split(l.Path, ".")
	before := objectsAt(spec, path)
	ok := true
	var kept []any
	var written []string
	l.Rows = nil
	for n := range min(count, mostRows) {
		row := &settingsRow{From: -1, list: l.settingList}
		row.number(n)
		values := map[string]any{}
		if from, err := strconv.Atoi(form(row.In + ".from")); err == nil && from >= 0 && from < len(before) {
			row.From, values = from, runtime.DeepCopyJSON(before[from])
		}
		row.fill(values)
		row.number(n)
		ok = row.read(form, values) && ok
		l.Rows = append(l.Rows, row)
		if len(values) > 0 || row.From >= 0 {
			row.choose(values)
			kept, written = append(kept, values), append(written, row.In)
			ok = row.required() && ok
		}
	}
	p.sent(l.Path, l.Path, written)
	if len(kept) == 0 {
		unstructured.RemoveNestedField(spec, path...)
		prune(spec, path[:len(path)-1])
		return ok
	}
	// What is there is an object, or nothing.
	return unstructured.SetNestedField(spec, kept, path...) == nil && ok
}

// read takes what was typed into a row. What belongs to a variant that was not chosen
// does not count.
func (r *settingsRow) read(form func(string) string, values map[string]any) bool {
	if chosen := form(r.VariantName()); slices.Contains(r.list.Variants, chosen) {
		r.Variant = chosen
	}
	for _, variant := range r.list.Variants {
		if variant != r.Variant {
			delete(values, variant)
		}
	}
	ok := readFields(slices.DeleteFunc(slices.Clone(r.Fields), func(f *settingsField) bool {
		other := f.Variant != "" && f.Variant != r.Variant
		if other {
			f.Value = strings.ReplaceAll(form(f.Name()), "\r\n", "\n")
		}
		return other
	}), form, values)
	r.Title = r.name()
	return ok
}

// choose sees to it that the object of the chosen variant is there, so that the API
// server says what it lacks.
func (r *settingsRow) choose(values map[string]any) {
	if r.Variant == "" {
		return
	}
	if _, there := values[r.Variant]; !there {
		values[r.Variant] = map[string]any{}
	}
}

// required says beside the name that it is missing: the API server tells rows apart by
// it.
func (r *settingsRow) required() bool {
	for _, f := range r.Fields {
		if f.path()[0] == "name" && f.Value == "" {
			f.Error = "settings.required"
			return false
		}
	}
	return true
}

// placeRow puts what the API server said beside the row that it is about.
func (p *settingsPage) placeRow(in, message string) bool {
	for _, g := range p.Groups {
		if g.List == nil {
			continue
		}
		for _, row := range g.List.Rows {
			if in != "" && row.In == in {
				row.Error = message
				return true
			}
		}
	}
	return false
}

// edit adds or removes a row if that is what the form was sent for, and says so. What
// was typed stays, and what is wrong with it is told when it is to be saved.
func (p *settingsPage) edit(do string) bool {
	verb, what, _ := strings.Cut(do, " ")
	if verb != "add" && verb != "remove" {
		return false
	}
	p.Edited = true
	for _, f := range p.fields() {
		f.Error = ""
	}
	for _, g := range p.Groups {
		l := g.List
		switch {
		case l == nil:
		case verb == "add" && l.Path == what && len(l.Rows) < mostRows:
			row := &settingsRow{From: -1, New: true, list: l.settingList}
			row.fill(nil)
			l.Rows = append(l.Rows, row)
		case verb == "remove":
			l.Rows = slices.DeleteFunc(l.Rows, func(r *settingsRow) bool { return r.In == what })
		}
		if l != nil {
			for n, row := range l.Rows {
				row.number(n)
			}
		}
	}
	return true
}
