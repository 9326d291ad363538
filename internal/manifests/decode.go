// SPDX-License-Identifier: Apache-2.0

// Package manifests reads Applications and UpdateRequests from a directory in
// Git: what lies there (decode.go), what is to be done with it (plan.go), and
// where it comes from (git.go).
package manifests

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// Kinds that may lie in Git.
const (
	KindApplication   = "Application"
	KindUpdateRequest = "UpdateRequest"
)

// MaxObjects is how many objects one directory may hold.
const MaxObjects = 500

// File is a file of a commit.
type File struct {
	// Path relative to the top of the repository.
	Path string
	Data []byte
}

// Object is one object, and where it lies.
type Object struct {
	*unstructured.Unstructured
	File string
	Line int
	// Digest of what an UpdateRequest asks for, without what may be changed
	// later; empty for other kinds.
	Digest string
}

// At says where the object lies, as file:line.
func (o Object) At() string { return fmt.Sprintf("%s:%d", o.File, o.Line) }

// InvalidError is a manifest that cannot be used.
type InvalidError struct {
	File string
	// Line in the file, from 1.
	Line int
	Err  error
}

func (e *InvalidError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

// Unwrap returns what is wrong.
func (e *InvalidError) Unwrap() error { return e.Err }

// Decode reads all objects of the files, in their order. Objects without a
// namespace get the given one; none may have another. The error is an
// *InvalidError for the first thing that is wrong.
func Decode(files []File, namespace string) ([]Object, error) {
	var out []Object
	seen := map[string]Object{}
	for _, f := range files {
		for _, d := range documents(f.Data) {
			o, err := decode(d, namespace)
			var syntax *syntaxError
			switch {
			case errors.As(err, &syntax):
				return nil, &InvalidError{File: f.Path, Line: d.line + syntax.line - 1, Err: err}
			case err != nil:
				return nil, &InvalidError{File: f.Path, Line: d.first, Err: err}
			case o == nil:
				continue // comments
			}
			o.File, o.Line = f.Path, d.first
			key := o.GetKind() + "/" + o.GetName()
			if other, ok := seen[key]; ok {
				return nil, &InvalidError{File: f.Path, Line: d.first, Err: fmt.Errorf("the %s %s is in %s already", o.GetKind(), o.GetName(), other.At())}
			}
			seen[key] = *o
			out = append(out, *o)
			if len(out) > MaxObjects {
				return nil, &InvalidError{File: f.Path, Line: d.first, Err: fmt.Errorf("there are more than %d objects: remove old UpdateRequests, or use several directories", MaxObjects)}
			}
		}
	}
	return out, nil
}

// document is one of the documents in a file.
type document struct {
	text []byte
	// line of its first byte, first of its first line that is no comment; from 1.
	line, first int
}

func documents(data []byte) []document {
	var out []document
	d := document{line: 1}
	end := func(next int) {
		out = append(out, d)
		d = document{line: next}
	}
	line := 0
	for text := range bytes.Lines(data) {
		line++
		bare := strings.TrimRight(string(text), " \t\r\n")
		if bare == "---" || strings.HasPrefix(bare, "--- ") || bare == "..." {
			end(line + 1)
			continue
		}
		if d.first == 0 && bare != "" && !strings.HasPrefix(strings.TrimLeft(bare, " \t"), "#") {
			d.first = line
		}
		d.text = append(d.text, text...)
	}
	end(0)
	kept := out[:0]
	for _, d := range out {
		if d.first > 0 {
			kept = append(kept, d)
		}
	}
	return kept
}

// syntaxError is one with a line, counted from the begin of the document.
type syntaxError struct {
	line int
	err  error
}

func (e *syntaxError) Error() string { return e.err.Error() }

var lineText = regexp.MustCompile(`line (\d+): ?`)

// located finds the line in an error of the YAML parser, and takes it out.
func located(err error) error {
	text := err.Error()
	m := lineText.FindStringSubmatch(text)
	if m == nil {
		return err
	}
	line, convErr := strconv.Atoi(m[1])
	if convErr != nil {
		return err
	}
	return &syntaxError{line: line, err: errors.New(lineText.ReplaceAllString(text, ""))}
}

func decode(d document, namespace string) (*Object, error) {
	var content map[string]any
	if err := yaml.UnmarshalStrict(d.text, &content); err != nil {
		return nil, located(err)
	}
	if len(content) == 0 {
		return nil, nil
	}
	u := &unstructured.Unstructured{Object: content}
	o := &Object{Unstructured: u}
	switch kind := u.GetKind(); {
	case u.GetAPIVersion() == "" || kind == "":
		return nil, errors.New("this is no manifest: apiVersion or kind is missing; keep other files out of this directory")
	case kind == "Secret":
		return nil, errors.New("a Secret does not belong into Git: create it with kubectl, and name it in the Application")
	case u.GroupVersionKind().Group != v1alpha1.GroupVersion.Group || kind != KindApplication && kind != KindUpdateRequest:
		return nil, fmt.Errorf("%s of %s is not applied from Git: only Application and UpdateRequest of %s are", kind, u.GetAPIVersion(), v1alpha1.GroupVersion)
	case u.GetAPIVersion() != v1alpha1.GroupVersion.String():
		return nil, fmt.Errorf("apiVersion must be %s", v1alpha1.GroupVersion)
	}
	switch {
	case u.GetName() == "":
		return nil, errors.New("metadata.name is missing: what lies in Git needs a name of its own")
	case len(validation.IsDNS1123Subdomain(u.GetName())) > 0:
		return nil, fmt.Errorf("metadata.name %q is no name: lower case letters, digits, dashes and dots", u.GetName())
	case u.GetNamespace() != "" && u.GetNamespace() != namespace:
		return nil, fmt.Errorf("metadata.namespace must be %s, as the ManifestSource's, or be left out", namespace)
	case content["status"] != nil:
		return nil, errors.New("status does not belong into a manifest: remove it")
	}
	u.SetNamespace(namespace)
	if u.GetKind() == KindApplication {
		return o, strict(d.text, &v1alpha1.Application{})
	}
	var ur v1alpha1.UpdateRequest
	if err := strict(d.text, &ur); err != nil {
		return nil, err
	}
	var err error
	o.Digest, err = digest(ur.Spec)
	return o, err
}

// strict finds fields that there are not, and values of a wrong type.
func strict(text []byte, into any) error {
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		text := strings.TrimPrefix(err.Error(), "error unmarshaling JSON: while decoding JSON: ")
		return located(errors.New(strings.TrimPrefix(text, "json: ")))
	}
	return nil
}

// digest identifies a wish. What may be changed while it is carried out is not
// part of it.
func digest(spec v1alpha1.UpdateRequestSpec) (string, error) {
	spec.Retry, spec.Suspend, spec.Cancel = false, false, false
	data, err := json.Marshal(spec)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])[:32], nil
}
