// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package v1alpha1_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

func TestNamesAndCategories(t *testing.T) {
	d, err := discovery.NewDiscoveryClientForConfig(env.Config)
	must(t, err)
	list, err := d.ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
	must(t, err)
	want := map[string]struct {
		short      string
		namespaced bool
	}{
		"applications": {"app", true}, "updaterequests": {"ur", true}, "releases": {"rel", true}, "backups": {"bk", true}, "dockerhosts": {"host", false},
		"manifestsources": {"ms", true},
	}
	subresources := map[string]bool{}
	for _, r := range list.APIResources {
		if name, sub, ok := strings.Cut(r.Name, "/"); ok {
			subresources[name+"/"+sub] = true
			continue
		}
		w, ok := want[r.Name]
		if !ok {
			t.Errorf("there is a resource %s", r.Name)
			continue
		}
		if !slices.Contains(r.ShortNames, w.short) || r.Namespaced != w.namespaced {
			t.Errorf("%s: short names %v, namespaced %t", r.Name, r.ShortNames, r.Namespaced)
		}
		if !slices.Contains(r.Categories, "all") || !slices.Contains(r.Categories, "fairlead") {
			t.Errorf("%s: categories %v", r.Name, r.Categories)
		}
	}
	for name := range want {
		if !subresources[name+"/status"] {
			t.Errorf("%s have no status of their own", name)
		}
	}
}

func TestPrinterColumns(t *testing.T) {
	c, ns := newClient(t), env.Namespace(t, "columns")
	create := func(kind, name, spec, status string) {
		t.Helper()
		o := object(t, ns, kind, name, spec)
		if kind == "DockerHost" {
			o.SetNamespace("")
		}
		must(t, c.Create(t.Context(), o))
		must(t, c.Status().Patch(t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(`{"status":`+status+`}`))))
		if kind == "DockerHost" {
			t.Cleanup(func() { must(t, c.Delete(t.Context(), o)) })
		}
	}
	ready := func(typ string) string {
		return `"conditions":[{"type":"` + typ + `","status":"True","reason":"R","message":"m","lastTransitionTime":"2026-03-01T12:00:00Z"}]`
	}
	create("Application", "shop", `{"compose":{"directory":"/opt/shop"}}`,
		`{"project":"shop","commit":"c0de","release":"shop-2","healthy":"3/4","activeRequest":"u1",`+ready("Ready")+`}`)
	create("UpdateRequest", "u1", `{`+commit+`}`, `{"commit":"c0de","phase":"Building","step":"Build","duration":"12s","message":"step Build runs"}`)
	create("Release", "shop-2", `{`+commit+`,"number":2,"project":"shop","commit":"c0de","subject":"Add it"}`, `{"state":"Current","verified":true}`)
	create("Backup", "b1", `{`+commit+`,"id":"backup_20260301_120000","commit":"c0de"}`, `{"size":"1.2 MiB","verified":"Checksums","path":"/opt/shop/.update/backups/b1"}`)

	tests := []struct {
		resource string
		columns  []string // those of -o wide in brackets
		row      map[string]any
	}{
		{"applications", []string{"Name", "Project", "Commit", "Release", "Healthy", "Ready", "Request", "Age", "[Directory]"},
			map[string]any{"Name": "shop", "Project": "shop", "Commit": "c0de", "Release": "shop-2", "Healthy": "3/4", "Ready": "True", "Request": "u1", "Directory": "/opt/shop"}},
		{"updaterequests", []string{"Name", "Application", "Commit", "Phase", "Step", "Duration", "Age", "[Message]"},
			map[string]any{"Name": "u1", "Application": "shop", "Commit": "c0de", "Phase": "Building", "Step": "Build", "Duration": "12s", "Message": "step Build runs"}},
		{"releases", []string{"Name", "Application", "Number", "Commit", "State", "Verified", "Age", "[Subject]"},
			map[string]any{"Name": "shop-2", "Application": "shop", "Number": float64(2), "State": "Current", "Verified": true, "Subject": "Add it"}},
		{"backups", []string{"Name", "Application", "ID", "Commit", "Size", "Verified", "Age", "[Path]"},
			map[string]any{"Name": "b1", "ID": "backup_20260301_120000", "Size": "1.2 MiB", "Verified": "Checksums", "Path": "/opt/shop/.update/backups/b1"}},
	}
	d, err := discovery.NewDiscoveryClientForConfig(env.Config)
	must(t, err)
	for _, tt := range tests {
		t.Run(tt.resource, func(t *testing.T) {
			data, err := d.RESTClient().Get().AbsPath("/apis", v1alpha1.GroupVersion.String(), "namespaces", ns, tt.resource).
				SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
			must(t, err)
			var table metav1.Table
			must(t, json.Unmarshal(data, &table))
			var columns []string
			row := map[string]any{}
			for i, col := range table.ColumnDefinitions {
				name := col.Name
				if col.Priority > 0 {
					name = "[" + name + "]"
				}
				columns = append(columns, name)
				row[col.Name] = table.Rows[0].Cells[i]
			}
			if !slices.Equal(columns, tt.columns) {
				t.Errorf("columns %q, want %q", columns, tt.columns)
			}
			for name, want := range tt.row {
				if row[name] != want {
					t.Errorf("%s is %v, want %v", name, row[name], want)
				}
			}
		})
	}
}

// TestEveryFieldIsExplained walks what `kubectl explain --recursive` shows.
func TestEveryFieldIsExplained(t *testing.T) {
	scheme := runtime.NewScheme()
	must(t, apiextensionsv1.AddToScheme(scheme))
	c, err := client.New(env.Config, client.Options{Scheme: scheme})
	must(t, err)
	for _, plural := range []string{"applications", "updaterequests", "releases", "backups", "dockerhosts"} {
		t.Run(plural, func(t *testing.T) {
			var crd apiextensionsv1.CustomResourceDefinition
			must(t, c.Get(t.Context(), client.ObjectKey{Name: plural + ".fairlead.dev"}, &crd))
			schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
			if len(schema.Description) < 20 {
				t.Errorf("the kind is explained as %q", schema.Description)
			}
			fields := 0
			walk(schema, "", func(path string, p apiextensionsv1.JSONSchemaProps) {
				fields++
				switch {
				case path == ".metadata": // kubectl explains it by itself
				case strings.TrimSpace(p.Description) == "":
					t.Errorf("%s has no description", path)
				case strings.Contains(p.Description, "TODO") || strings.Contains(p.Description, "+kubebuilder"):
					t.Errorf("%s: %s", path, p.Description)
				}
			})
			if fields < 5 {
				t.Errorf("only %d fields were found", fields)
			}
			for _, condition := range crd.Status.Conditions {
				if condition.Type == apiextensionsv1.NonStructuralSchema {
					t.Errorf("the schema is not structural: %s", condition.Message)
				}
			}
		})
	}
}

func walk(s *apiextensionsv1.JSONSchemaProps, path string, visit func(string, apiextensionsv1.JSONSchemaProps)) {
	for name, p := range s.Properties {
		visit(path+"."+name, p)
		walk(&p, path+"."+name, visit)
	}
	if s.Items != nil && s.Items.Schema != nil {
		walk(s.Items.Schema, path+"[]", visit)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		walk(s.AdditionalProperties.Schema, path+"{}", visit)
	}
}
