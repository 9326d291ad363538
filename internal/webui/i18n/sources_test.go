// SPDX-License-Identifier: Apache-2.0

package i18n

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// top of the repository.
var top = filepath.Join("..", "..", "..")

// said is one string of the program.
type said struct {
	file string // from the top of the repository
	line int
	decl string // function, method or variable that it stands in
	call string // innermost call that it is an argument of, or key that it is the value of
	text string
}

// stringsOf are the strings in the files of the program below dirs, but for tags of
// fields. What is joined by + is one.
func stringsOf(t *testing.T, dirs ...string) []said {
	t.Helper()
	var all []said
	files := token.NewFileSet()
	for _, dir := range dirs {
		err := filepath.WalkDir(filepath.Join(top, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			rel, err := filepath.Rel(top, path)
			if err != nil {
				return err
			}
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, decl := range file.Decls {
				w := &walker{files: files, file: filepath.ToSlash(rel), decl: declName(decl)}
				ast.Inspect(decl, w.visit)
				all = append(all, w.found...)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func declName(d ast.Decl) string {
	switch d := d.(type) {
	case *ast.FuncDecl:
		return d.Name.Name
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.ValueSpec:
				return spec.Names[0].Name
			case *ast.TypeSpec:
				return spec.Name.Name
			}
		}
	}
	return ""
}

type walker struct {
	files      *token.FileSet
	file, decl string
	above      []ast.Node
	found      []said
}

func (w *walker) visit(n ast.Node) bool {
	switch n := n.(type) {
	case nil:
		w.above = w.above[:len(w.above)-1]
		return true
	case *ast.ImportSpec:
		return false
	case ast.Expr:
		text, ok := literal(n)
		if !ok {
			break
		}
		if _, tag := w.parent().(*ast.Field); !tag {
			at := w.files.Position(n.Pos())
			w.found = append(w.found, said{w.file, at.Line, w.decl, w.context(), text})
		}
		return false
	}
	w.above = append(w.above, n)
	return true
}

func (w *walker) parent() ast.Node {
	if len(w.above) == 0 {
		return nil
	}
	return w.above[len(w.above)-1]
}

func (w *walker) context() string {
	for i := len(w.above) - 1; i >= 0; i-- {
		switch n := w.above[i].(type) {
		case *ast.CallExpr:
			return nameOf(n.Fun)
		case *ast.KeyValueExpr:
			return nameOf(n.Key) + ":"
		}
	}
	return ""
}

// literal is the text of a string, or of several ones that are joined; what is not
// written there is a parameter.
func literal(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return "", false
		}
		s, err := strconv.Unquote(e.Value)
		return s, err == nil
	case *ast.ParenExpr:
		return literal(e.X)
	case *ast.BinaryExpr:
		if e.Op != token.ADD {
			return "", false
		}
		x, isX := literal(e.X)
		y, isY := literal(e.Y)
		if !isX {
			x = "%s"
		}
		if !isY {
			y = "%s"
		}
		return x + y, isX || isY
	}
	return "", false
}

func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return nameOf(e.X) + "." + e.Sel.Name
	case *ast.CallExpr:
		return nameOf(e.Fun) + "()"
	case *ast.BasicLit:
		return e.Value
	}
	return "?"
}
