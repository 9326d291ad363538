// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// bearerScheme is the name of the security scheme.
const bearerScheme = "bearer"

// document is the OpenAPI document. It is made when somebody asks for it: it is
// large, and most daemons are never asked.
type document struct {
	api         huma.API
	definitions [][]byte

	once sync.Once
	text []byte
	err  error
}

func (d *document) serve(w http.ResponseWriter, _ *http.Request) {
	text, err := d.bytes()
	if err != nil {
		writeProblem(w, problem(http.StatusInternalServerError, "", err.Error()), nil)
		return
	}
	w.Header().Set("Content-Type", jsonType)
	_, _ = w.Write(text) // the client is gone if this fails
}

// bytes is the document as JSON.
func (d *document) bytes() ([]byte, error) {
	d.once.Do(func() { d.text, d.err = d.make() })
	return d.text, d.err
}

func (d *document) make() ([]byte, error) {
	doc := d.api.OpenAPI()
	doc.Info.Description = "Updates of Docker Compose applications. Objects are those of the Kubernetes API fairlead.dev/v1alpha1; " +
		"its RBAC decides about every call. Errors are problems of RFC 9457."
	doc.Components.SecuritySchemes = map[string]*huma.SecurityScheme{bearerScheme: {
		Type: "http", Scheme: "bearer", Description: "A token of the API server, see `fairlead token create`, or UPDATER_TOKEN of the daemon",
	}}
	schemas := doc.Components.Schemas.Map()
	for _, definition := range d.definitions {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(definition, &crd); err != nil {
			return nil, fmt.Errorf("OpenAPI document: %w", err)
		}
		kind := crd.Spec.Names.Kind
		for _, version := range crd.Spec.Versions {
			if !version.Storage || version.Schema == nil {
				continue
			}
			s, err := schemaOf(version.Schema.OpenAPIV3Schema)
			if err != nil {
				return nil, fmt.Errorf("OpenAPI document: %s: %w", kind, err)
			}
			schemas[kind] = s
			schemas[kind+"List"] = listSchema(kind)
		}
	}
	return json.MarshalIndent(doc, "", "  ")
}

// listSchema is the schema of a list of a kind.
func listSchema(kind string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Required: []string{"items"}, Properties: map[string]*huma.Schema{
		"apiVersion": {Type: huma.TypeString}, "kind": {Type: huma.TypeString},
		"metadata": {Type: huma.TypeObject, AdditionalProperties: true, Properties: map[string]*huma.Schema{
			"resourceVersion": {Type: huma.TypeString},
			"continue":        {Type: huma.TypeString, Description: "Leads to the rest, if there is more"},
		}},
		"items": {Type: huma.TypeArray, Items: schemaRef(kind)},
	}}
}

// schemaOf makes a JSON Schema of a structural schema. The latter is a subset of
// OpenAPI 3.0, and differs only in a few words.
func schemaOf(props *apiextensionsv1.JSONSchemaProps) (*huma.Schema, error) {
	data, err := json.Marshal(props)
	if err != nil {
		return nil, err
	}
	var schema map[string]any
	if err := json.Unmarshal(data, &schema); err != nil {
		return nil, err
	}
	modernize(schema)
	return &huma.Schema{Extensions: schema}, nil
}

// modernize rewrites, in place, what JSON Schema 2020-12 says differently.
func modernize(schema map[string]any) {
	if nullable, _ := schema["nullable"].(bool); nullable {
		schema["type"] = []any{schema["type"], "null"}
	}
	delete(schema, "nullable")
	if both, _ := schema["x-kubernetes-int-or-string"].(bool); both {
		schema["type"] = []any{"integer", "string"}
		delete(schema, "anyOf")
	}
	for key := range schema {
		if len(key) > 2 && key[:2] == "x-" {
			delete(schema, key) // for the API server
		}
	}
	for _, key := range []string{"items", "additionalProperties", "not"} {
		if sub, ok := schema[key].(map[string]any); ok {
			modernize(sub)
		}
	}
	for _, key := range []string{"allOf", "anyOf", "oneOf"} {
		subs, _ := schema[key].([]any)
		for _, sub := range subs {
			if s, ok := sub.(map[string]any); ok {
				modernize(s)
			}
		}
	}
	if properties, ok := schema["properties"].(map[string]any); ok {
		for _, sub := range properties {
			if s, ok := sub.(map[string]any); ok {
				modernize(s)
			}
		}
	}
}
