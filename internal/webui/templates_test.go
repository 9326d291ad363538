// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"regexp"
	"strings"
	"testing"
	"text/template/parse"

	"github.com/fairlead-dev/fairlead/internal/webui/i18n"
)

// Every key that a template uses is in the catalogs, and no text of a page stands
// in a template itself.
func TestTemplatesUseTheCatalog(t *testing.T) {
	a, err := loadAssets()
	if err != nil {
		t.Fatal(err)
	}
	p, err := loadPages(a)
	if err != nil {
		t.Fatal(err)
	}
	used := 0
	words := regexp.MustCompile(`>[^<>]*[A-Za-z]{2,}[^<>]*<`)
	for name, page := range p.byLang[i18n.Languages()[0]] {
		for _, tmpl := range page.Templates() {
			if tmpl.Tree == nil {
				continue
			}
			walk(tmpl.Tree.Root, func(n parse.Node) {
				switch n := n.(type) {
				case *parse.CommandNode:
					ident, ok := n.Args[0].(*parse.IdentifierNode)
					if !ok || ident.Ident != "t" {
						return
					}
					used++
					if key, ok := n.Args[1].(*parse.StringNode); ok && !i18n.Languages()[0].Has(key.Text) {
						t.Errorf("%s: there is no text %q", name, key.Text)
					}
				case *parse.TextNode:
					text := words.FindString(string(n.Text))
					if text != "" && !strings.Contains(text, "Fairlead") && !strings.Contains(text, "fairlead ") {
						t.Errorf("%s: %q is in no catalog", name, text)
					}
				}
			})
		}
	}
	if used < 20 {
		t.Errorf("only %d keys were found", used)
	}
}

func walk(n parse.Node, f func(parse.Node)) {
	f(n)
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, c := range n.Nodes {
				walk(c, f)
			}
		}
	case *parse.ActionNode:
		walkPipe(n.Pipe, f)
	case *parse.IfNode:
		walkBranch(&n.BranchNode, f)
	case *parse.RangeNode:
		walkBranch(&n.BranchNode, f)
	case *parse.WithNode:
		walkBranch(&n.BranchNode, f)
	case *parse.TemplateNode:
		walkPipe(n.Pipe, f)
	}
}

func walkBranch(n *parse.BranchNode, f func(parse.Node)) {
	walkPipe(n.Pipe, f)
	walk(n.List, f)
	if n.ElseList != nil {
		walk(n.ElseList, f)
	}
}

func walkPipe(p *parse.PipeNode, f func(parse.Node)) {
	if p == nil {
		return
	}
	for _, c := range p.Cmds {
		f(c)
		for _, arg := range c.Args {
			if sub, ok := arg.(*parse.PipeNode); ok {
				walkPipe(sub, f)
			}
		}
	}
}
