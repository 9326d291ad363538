// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

const (
	outputJSON = "json"
	outputYAML = "yaml"
	outputName = "name"
	outputWide = "wide"
)

// printer prints API objects in the ways that kubectl does.
func printer(output string) (printers.ResourcePrinter, error) {
	switch output {
	case outputJSON:
		return &printers.OmitManagedFieldsPrinter{Delegate: &printers.JSONPrinter{}}, nil
	case outputYAML:
		return &printers.OmitManagedFieldsPrinter{Delegate: &printers.YAMLPrinter{}}, nil
	case outputName:
		return &printers.NamePrinter{}, nil
	default:
		return nil, usageError(fmt.Errorf("--output=%s: json, yaml, name or wide", output))
	}
}

func (s *session) printObject(w io.Writer, obj client.Object, output string) error {
	p, err := printer(output)
	if err != nil {
		return err
	}
	gvk, err := apiutil.GVKForObject(obj, s.scheme)
	if err != nil {
		return err
	}
	kind := obj.DeepCopyObject()
	kind.GetObjectKind().SetGroupVersionKind(gvk)
	return p.PrintObj(kind, w)
}

// listFlags are what the listing commands have in common.
type listFlags struct {
	output    string
	all       bool
	noHeaders bool
}

func (f *listFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.output, "output", "o", "", "json, yaml, name or wide")
	flags.BoolVarP(&f.all, "all-namespaces", "A", false, "list those of all namespaces")
	flags.BoolVar(&f.noHeaders, "no-headers", false, "print no header line")
}

// column of a table; a wide one is shown with -o wide only.
type column[T any] struct {
	name string
	wide bool
	cell func(*T) string
}

// listing is a command that lists the objects of one kind.
type listing[T any] struct {
	list    client.ObjectList
	kind    string // plural, for people
	columns []column[T]
	items   func() []T // of list
	meta    func(*T) *metav1.ObjectMeta
	order   func(a, b *T) int
}

func (l *listing[T]) run(ctx context.Context, a *app, flags *listFlags, application string) error {
	switch flags.output {
	case "", outputWide, outputJSON, outputYAML, outputName:
	default:
		return usageError(fmt.Errorf("--output=%s: json, yaml, name or wide", flags.output))
	}
	if flags.all && application != "" {
		return usageError(errors.New("name an application, or use --all-namespaces, not both"))
	}
	s, err := a.start()
	if err != nil {
		return err
	}
	var options []client.ListOption
	if !flags.all {
		options = append(options, client.InNamespace(s.namespace))
	}
	if application != "" {
		options = append(options, ofApplication(application))
	}
	if flags.output != "" && flags.output != outputWide {
		return l.printObjects(ctx, a, s, options, flags.output)
	}
	if err := s.List(ctx, l.list, options...); err != nil {
		return s.explain(err, false)
	}
	items := l.items()
	if len(items) == 0 {
		if application != "" {
			// An empty list may be a wrong name.
			if _, err := s.application(ctx, application); err != nil {
				return err
			}
			fmt.Fprintf(a.Err, "%s has no %s\n", application, l.kind)
			return nil
		}
		where := "in namespace " + s.namespace
		if flags.all {
			where = "in any namespace"
		}
		fmt.Fprintf(a.Err, "There are no %s %s\n", l.kind, where)
		return nil
	}
	slices.SortStableFunc(items, func(x, y T) int { return l.order(&x, &y) })
	return l.printTable(a.Out, items, flags)
}

// printObjects prints what the server has, untouched by what this binary knows of
// the objects, as a list of kind List.
func (l *listing[T]) printObjects(ctx context.Context, a *app, s *session, options []client.ListOption, output string) error {
	p, err := printer(output)
	if err != nil {
		return err
	}
	gvk, err := apiutil.GVKForObject(l.list, s.scheme)
	if err != nil {
		return err
	}
	var found unstructured.UnstructuredList
	found.SetGroupVersionKind(gvk)
	if err := s.List(ctx, &found, options...); err != nil {
		return s.explain(err, false)
	}
	kind := gvk.GroupVersion().WithKind(strings.TrimSuffix(gvk.Kind, "List"))
	for i := range found.Items {
		found.Items[i].SetGroupVersionKind(kind)
		found.Items[i].SetManagedFields(nil)
	}
	if output == outputName {
		for i := range found.Items {
			if err := p.PrintObj(&found.Items[i], a.Out); err != nil {
				return err
			}
		}
		return nil
	}
	list := &unstructured.UnstructuredList{Object: map[string]any{
		"apiVersion": "v1", "kind": "List", "metadata": map[string]any{"resourceVersion": ""},
	}, Items: found.Items}
	if list.Items == nil {
		list.Items = []unstructured.Unstructured{}
	}
	return p.PrintObj(list, a.Out)
}

func (l *listing[T]) printTable(w io.Writer, items []T, flags *listFlags) error {
	table := &metav1.Table{}
	for _, c := range l.columns {
		priority := int32(0)
		if c.wide {
			priority = 1
		}
		table.ColumnDefinitions = append(table.ColumnDefinitions, metav1.TableColumnDefinition{Name: c.name, Type: "string", Priority: priority})
	}
	for i := range items {
		var cells []any
		for _, c := range l.columns {
			cells = append(cells, orElse(c.cell(&items[i]), "-"))
		}
		object := &metav1.PartialObjectMetadata{ObjectMeta: *l.meta(&items[i])}
		table.Rows = append(table.Rows, metav1.TableRow{Cells: cells, Object: runtime.RawExtension{Object: object}})
	}
	p := printers.NewTablePrinter(printers.PrintOptions{
		NoHeaders: flags.noHeaders, WithNamespace: flags.all, Wide: flags.output == outputWide,
	})
	return p.PrintObj(table, w)
}

// newestFirst orders by time of creation, then by name.
func newestFirst(a, b *metav1.ObjectMeta) int {
	if c := b.CreationTimestamp.Compare(a.CreationTimestamp.Time); c != 0 {
		return c
	}
	return strings.Compare(b.Name, a.Name)
}
