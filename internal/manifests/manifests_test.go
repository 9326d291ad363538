// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

const head = "apiVersion: fairlead.dev/v1alpha1\n"

func wish(name, commit string, more ...string) string {
	return head + "kind: UpdateRequest\nmetadata: {name: " + name + "}\nspec:\n  applicationRef: {name: shop}\n  commit: " + commit + "\n" + strings.Join(more, "")
}

func app(name string) string {
	return head + "kind: Application\nmetadata: {name: " + name + "}\nspec: {compose: {directory: /opt/" + name + "}}\n"
}

func TestDecode(t *testing.T) {
	tests := []struct {
		name, text string
		want       string // objects as kind/name:line, or the error
	}{
		{"one", app("shop"), "Application/shop:1"},
		{"several, with comments", "# Ours.\n---\n# The shop.\n" + app("shop") + "---\n\n" + wish("shop-1", "abcd") + "...\n", "Application/shop:4 UpdateRequest/shop-1:10"},
		{"JSON", `{"apiVersion":"fairlead.dev/v1alpha1","kind":"Application","metadata":{"name":"shop"},"spec":{"compose":{"directory":"/opt/shop"}}}`, "Application/shop:1"},
		{"nothing", "# nothing yet\n---\n", ""},
		{"its namespace", strings.Replace(app("shop"), "{name: shop}", "{name: shop, namespace: here}", 1), "Application/shop:1"},
		{"another namespace", strings.Replace(app("shop"), "{name: shop}", "{name: shop, namespace: there}", 1), "f.yaml:1: metadata.namespace must be here"},
		{"a syntax error", app("shop") + "---\n" + head + "kind: [\n", "f.yaml:"},
		{"a field that there is not", "---\n" + wish("a", "abcd", "  comit: x\n"), `f.yaml:2: unknown field "comit"`},
		{"a key twice", "---\n" + wish("a", "abcd", "  commit: x\n"), `f.yaml:8: `},
		{"a value of a wrong type", "---\n" + wish("a", "abcd", "  dryRun: maybe\n"), "f.yaml:2: "},
		{"a Secret", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n", "f.yaml:1: a Secret does not belong into Git"},
		{"something else", "\n\napiVersion: v1\nkind: Pod\nmetadata: {name: s}\n", "f.yaml:3: Pod of v1 is not applied from Git"},
		{"another kind of ours", head + "kind: ManifestSource\nmetadata: {name: s}\n", "f.yaml:1: ManifestSource of fairlead.dev/v1alpha1 is not applied from Git"},
		{"a release", head + "kind: Release\nmetadata: {name: s}\n", "is not applied from Git"},
		{"another version", strings.Replace(app("shop"), "v1alpha1", "v1", 1), "apiVersion must be fairlead.dev/v1alpha1"},
		{"no manifest", "a: 1\n", "this is no manifest"},
		{"no map", "- a\n", "f.yaml:1: "},
		{"no name", strings.Replace(app("shop"), "name: shop", "generateName: shop-", 1), "metadata.name is missing"},
		{"a bad name", strings.Replace(app("shop"), "name: shop", "name: Shop_1", 1), "is no name"},
		{"a status", app("shop") + "status: {commit: x}\n", "status does not belong"},
		{"twice", app("shop") + "---\n" + app("shop"), "f.yaml:6: the Application shop is in f.yaml:1 already"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			objects, err := Decode([]File{{Path: "f.yaml", Data: []byte(tt.text)}}, "here")
			var got []string
			for _, o := range objects {
				got = append(got, fmt.Sprintf("%s/%s:%d", o.GetKind(), o.GetName(), o.Line))
				if o.GetNamespace() != "here" || (o.Digest != "") != (o.GetKind() == KindUpdateRequest) {
					t.Errorf("got %+v", o)
				}
			}
			text := strings.Join(got, " ")
			if err != nil {
				text = err.Error()
				var invalid *InvalidError
				if !errors.As(err, &invalid) || invalid.Line < 1 {
					t.Errorf("it says no line: %#v", err)
				}
			}
			if err == nil && text != tt.want || err != nil && !strings.Contains(text, tt.want) || err != nil && tt.want == "" {
				t.Errorf("got %q, want %q", text, tt.want)
			}
		})
	}
	var many strings.Builder
	for i := range MaxObjects + 1 {
		many.WriteString("---\n" + wish(fmt.Sprintf("r%d", i), "abcd"))
	}
	if _, err := Decode([]File{{Path: "f.yaml", Data: []byte(many.String())}}, "here"); err == nil || !strings.Contains(err.Error(), "more than 500") {
		t.Errorf("too many: %v", err)
	}
}

func TestMake(t *testing.T) {
	read := func(texts ...string) []Object {
		objects, err := Decode([]File{{Path: "f.yaml", Data: []byte(strings.Join(texts, "---\n"))}}, "here")
		if err != nil {
			t.Fatal(err)
		}
		return objects
	}
	// known is what the status says after texts were applied.
	known := func(first bool, texts ...string) []v1alpha1.AppliedManifest {
		p, err := Make(read(texts...), nil, first, false)
		if err != nil {
			t.Fatal(err)
		}
		return p.Applied
	}
	tests := []struct {
		name         string
		texts        []string
		known        []v1alpha1.AppliedManifest
		first, prune bool
		want         string // steps; then what the status says; then what is deleted
	}{
		{"the first look", []string{wish("r1", "aaaa"), app("shop")}, nil, true, false, "Apply shop, Leave r1; shop Applied, r1 Recorded; "},
		{"later, a new one", []string{app("shop"), wish("r1", "aaaa"), wish("r2", "bbbb")}, known(true, app("shop"), wish("r1", "aaaa")), false, false,
			"Apply shop, Leave r1, Apply r2; shop Applied, r1 Recorded, r2 Applied; "},
		{"the same again", []string{wish("r1", "aaaa")}, known(false, wish("r1", "aaaa")), false, false, "Renew r1; r1 Applied; "},
		{"what may change did", []string{wish("r1", "aaaa", "  cancel: true\n")}, known(false, wish("r1", "aaaa")), false, false, "Renew r1; r1 Applied; "},
		{"another wish", []string{wish("r1", "bbbb")}, known(false, wish("r1", "aaaa")), false, false, "f.yaml:1: the UpdateRequest r1 was applied before"},
		{"force is another wish", []string{wish("r1", "aaaa", "  force: true\n")}, known(false, wish("r1", "aaaa")), false, false, "was applied before"},
		{"another wish than one that was never carried out", []string{wish("r1", "bbbb")}, known(true, wish("r1", "aaaa")), false, false, "Apply r1; r1 Applied; "},
		{"another directory: its requests are not carried out", []string{wish("r9", "aaaa")}, known(false, wish("r1", "aaaa")), true, false, "Leave r9; r9 Recorded, r1 Gone; "},
		{"removed and back again", []string{wish("r1", "aaaa")}, gone(known(false, wish("r1", "aaaa"))), false, false, "Renew r1; r1 Applied; "},
		{"removed, and back as another wish", []string{wish("r1", "bbbb")}, gone(known(false, wish("r1", "aaaa"))), false, false, "was applied before"},
		{"an Application is gone", nil, known(false, app("shop")), false, false, "; shop Gone; "},
		{"and deleted, if that is wanted", nil, known(false, app("shop"), wish("r1", "aaaa")), false, true, "; r1 Gone; shop"},
		{"also later", nil, gone(known(false, app("shop"))), false, true, "; ; shop"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Make(read(tt.texts...), tt.known, tt.first, tt.prune)
			var steps, applied []string
			for _, s := range p.Steps {
				steps = append(steps, string(s.Action)+" "+s.GetName())
			}
			for _, a := range p.Applied {
				applied = append(applied, a.Name+" "+string(a.State))
			}
			got := strings.Join(steps, ", ") + "; " + strings.Join(applied, ", ") + "; " + strings.Join(p.Prune, ", ")
			if err != nil {
				if got = err.Error(); strings.Contains(got, tt.want) {
					return
				}
			}
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func gone(all []v1alpha1.AppliedManifest) []v1alpha1.AppliedManifest {
	for i := range all {
		all[i].State = v1alpha1.ManifestGone
	}
	return all
}

// Requests that are gone from Git are remembered, but not without end.
func TestMemoryIsBounded(t *testing.T) {
	var known []v1alpha1.AppliedManifest
	for i := range 3 * maxGone {
		p, err := Make([]Object{one(t, fmt.Sprintf("r%d", i))}, known, false, false)
		if err != nil {
			t.Fatal(err)
		}
		known = p.Applied
	}
	if len(known) != maxGone+1 || known[1].Name != fmt.Sprintf("r%d", 3*maxGone-2) {
		t.Errorf("%d are remembered, the newest %s", len(known), known[1].Name)
	}
}

func one(t *testing.T, name string) Object {
	t.Helper()
	objects, err := Decode([]File{{Path: "f.yaml", Data: []byte(wish(name, "aaaa"))}}, "here")
	if err != nil {
		t.Fatal(err)
	}
	return objects[0]
}
