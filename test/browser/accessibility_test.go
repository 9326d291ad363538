// SPDX-License-Identifier: Apache-2.0

//go:build browser

package browser

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/chromedp"
)

var (
	// controls are the roles of what people operate.
	controls = []string{"button", "link", "textbox", "searchbox", "combobox", "checkbox", "radio", "listbox", "slider", "spinbutton", "DisclosureTriangle", "menuitem"}
	// named are the roles of what says nothing without a name.
	named = []string{"navigation", "region", "log", "dialog", "progressbar", "img", "image", "search"}
)

// mostSpoken is how many words may be read out when a live region changes.
const mostSpoken = 120

// axTree is what the browser tells a screen reader of a page.
type axTree struct {
	// nodes in the order in which they are read
	nodes []*accessibility.Node
	byID  map[accessibility.NodeID]*accessibility.Node
}

// tree is that of the page as it is now.
func (b *tab) tree() axTree {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	found, err := chromedp.Call(ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		b.t.Fatal(err)
	}
	tree := axTree{byID: map[accessibility.NodeID]*accessibility.Node{}}
	for _, n := range found.Nodes {
		tree.byID[n.NodeID] = n
	}
	for _, n := range found.Nodes {
		if n.ParentID == "" {
			tree.read(n)
		}
	}
	return tree
}

// read takes what is told of a node and of what is in it.
func (tree *axTree) read(n *accessibility.Node) {
	if n == nil {
		return
	}
	if !n.Ignored {
		tree.nodes = append(tree.nodes, n)
	}
	for _, id := range n.ChildIDs {
		tree.read(tree.byID[id])
	}
}

func axText(v *accessibility.Value) string {
	var s string
	if v == nil || json.Unmarshal(v.Value, &s) != nil {
		return ""
	}
	return strings.TrimSpace(s)
}

// property of a node, as JSON has it; empty if it has none.
func property(n *accessibility.Node, name accessibility.PropertyName) string {
	for _, p := range n.Properties {
		if p.Name == name && p.Value != nil {
			return strings.Trim(string(p.Value.Value), `"`)
		}
	}
	return ""
}

// live is how a node speaks by itself: polite, assertive, or not at all.
func live(n *accessibility.Node) string {
	if n == nil {
		return ""
	}
	if how := property(n, accessibility.PropertyNameLive); how != "off" {
		return how
	}
	return ""
}

// said is what is read out of a node and all that is in it, and the roles of those.
func (tree axTree) said(n *accessibility.Node) (words []string, roles map[string]int) {
	roles = map[string]int{}
	for todo := []accessibility.NodeID{n.NodeID}; len(todo) > 0; todo = todo[1:] {
		next := tree.byID[todo[0]]
		if next == nil {
			continue
		}
		todo = append(todo, next.ChildIDs...)
		role := axText(next.Role)
		roles[role]++
		if role == "StaticText" {
			words = append(words, strings.Fields(axText(next.Name))...)
		}
	}
	return words, roles
}

// spoken checks what a screen reader is told: landmarks, headings in their order, a
// name for each control, chart, meter and region, and that what speaks by itself is
// short, and no log or table.
func (b *tab) spoken(name string) {
	b.t.Helper()
	tree := b.tree()
	roles := map[string]int{}
	level, operated, speaks := 0, 0, 0
	for _, n := range tree.nodes {
		role, called := axText(n.Role), axText(n.Name)
		roles[role]++
		if slices.Contains(controls, role) {
			operated++
		}
		if called == "" && (slices.Contains(controls, role) || slices.Contains(named, role)) {
			b.t.Errorf("%s: a %s has no name: %s", name, role, b.outer(n))
		}
		if role == "heading" {
			if called == "" {
				b.t.Errorf("%s: a heading is empty", name)
			}
			next, err := strconv.Atoi(property(n, accessibility.PropertyNameLevel))
			if err != nil {
				b.t.Fatalf("%s: the level of the heading %q: %v", name, called, err)
			}
			if level == 0 && next != 1 || next > level+1 {
				b.t.Errorf("%s: the heading %q of level %d follows one of level %d", name, called, next, level)
			}
			level = next
		}
		if live(n) == "" || live(tree.byID[n.ParentID]) != "" {
			continue
		}
		speaks++
		words, in := tree.said(n)
		if len(words) > mostSpoken || in["log"]+in["table"] > 0 {
			b.t.Errorf("%s: a %s speaks %d words by itself, of %v: %s", name, role, len(words), in, strings.Join(words[:min(len(words), 20)], " "))
		}
	}
	if roles["dialog"] == 1 {
		if roles["main"]+roles["banner"] > 0 {
			b.t.Errorf("%s: what is behind the dialog is read, too: %v", name, roles)
		}
		return
	}
	if roles["main"] != 1 || roles["banner"] != 1 || roles["contentinfo"] != 1 || level == 0 || operated == 0 {
		b.t.Errorf("%s: the roles are %v, with %d controls", name, roles, operated)
	}
	// Who cannot see the page hears that its connection is lost: that must be a region
	// before it has a text.
	if speaks == 0 {
		b.t.Errorf("%s: nothing tells by itself that the connection is lost", name)
	}
	charts := eval[int](b, `document.querySelectorAll("figure.chart svg").length`)
	if roles["img"]+roles["image"] < charts {
		b.t.Errorf("%s: of %d charts, %v are told", name, charts, roles)
	}
}

// outer is how the element of a node is written.
func (b *tab) outer(n *accessibility.Node) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	found, err := chromedp.Call(ctx, dom.GetOuterHTML, dom.GetOuterHTMLParams{BackendNodeID: n.BackendDOMNodeID})
	if err != nil {
		return err.Error()
	}
	return found.OuterHTML[:min(len(found.OuterHTML), 300)]
}
