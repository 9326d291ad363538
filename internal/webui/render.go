// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"bytes"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"regexp"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/webui/i18n"
)

// layoutTemplate is the frame of every page.
const layoutTemplate = "layout.html"

// pages are the templates, by language and name. templates/NAME.html defines the
// template "main" of the page NAME; files in templates/parts define templates that
// all pages may use.
type pages struct {
	byLang map[*i18n.Lang]map[string]*template.Template
}

func loadPages(a *assets) (*pages, error) {
	p := &pages{byLang: map[*i18n.Lang]map[string]*template.Template{}}
	names, err := fs.Glob(embedded, "templates/*.html")
	if err != nil {
		return nil, err
	}
	for _, lang := range i18n.Languages() {
		base, err := template.New(layoutTemplate).Funcs(funcs(lang, a)).Option("missingkey=error").
			ParseFS(embedded, "templates/"+layoutTemplate, "templates/parts/*.html")
		if err != nil {
			return nil, fmt.Errorf("templates of the web UI: %w", err)
		}
		set := map[string]*template.Template{}
		for _, file := range names {
			name := strings.TrimSuffix(path.Base(file), ".html")
			if path.Base(file) == layoutTemplate {
				continue
			}
			clone, err := base.Clone()
			if err == nil {
				set[name], err = clone.ParseFS(embedded, file)
			}
			if err != nil {
				return nil, fmt.Errorf("template %s of the web UI: %w", name, err)
			}
		}
		p.byLang[lang] = set
	}
	return p, nil
}

// view is what the layout gets. Data is the page's own, and is "." in "main".
type view struct {
	Lang      *i18n.Lang
	Languages []*i18n.Lang
	Theme     string
	Title     string
	Path      string // of this page, to come back to
	Username  string
	CSRF      string
	Version   string
	Nav       []navLink
	Crumbs    []crumb
	Live      string // path of the stream that this page is kept up to date by
	Refresh   int    // seconds after which it is loaded anew without scripts; 0: it is not
	Data      any
}

// Titled pages say what stands in the title of the window.
type titled interface{ Title(*call) string }

// live pages name the stream that they are kept up to date by: the elements of the
// page are fetched again and put in place after each event.
type livePage interface{ Stream() string }

// passing pages show what comes to an end by itself, and have nothing to type into:
// without scripts they are loaded anew.
type passingPage interface {
	// Refresh is after how many seconds; 0 once it has ended.
	Refresh() int
}

// crumbed pages say what lies above them.
type crumbed interface{ Crumbs(*call) []crumb }

// crumb is a link to a page above.
type crumb struct{ Text, URL string }

// navLink is an entry of the navigation.
type navLink struct {
	URL, Text, Icon string
	Current         bool
}

// render answers with a page.
func (c *call) render(name string, data any) error {
	c.renderStatus(http.StatusOK, name, data)
	return nil
}

func (c *call) renderStatus(status int, name string, data any) {
	body, err := c.page(name, data)
	if err != nil {
		c.s.log.Error(err, "a page of the web UI could not be made", "page", name)
		http.Error(c.w, "the page could not be made; the daemon's log says why", http.StatusInternalServerError)
		return
	}
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	c.w.Header().Set("Vary", "Accept-Language, Cookie")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // the browser is gone if this fails
}

// page is a page as HTML.
func (c *call) page(name string, data any) ([]byte, error) {
	t := c.s.pages.byLang[c.Lang][name]
	if t == nil {
		return nil, fmt.Errorf("there is no template %s.html", name)
	}
	v := view{
		Lang: c.Lang, Languages: i18n.Languages(), Theme: theme(c.s.cookie(c.r, themeCookie)), Path: c.r.URL.RequestURI(),
		Version: c.s.opts.Version, Data: data, Title: c.Lang.Or("title."+name, ""),
	}
	if c.r.Method != http.MethodGet {
		v.Path = Prefix
	}
	if p, ok := data.(titled); ok {
		v.Title = p.Title(c)
	}
	if p, ok := data.(livePage); ok {
		v.Live = p.Stream()
	}
	if p, ok := data.(passingPage); ok {
		v.Refresh = p.Refresh()
	}
	if p, ok := data.(crumbed); ok {
		v.Crumbs = p.Crumbs(c)
	}
	if c.Session != nil {
		v.Username, v.CSRF, v.Nav = person(c.Session.Username), c.Session.CSRF, c.navigation()
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, layoutTemplate, v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// theme is a theme that exists; empty for the one of the system.
func theme(s string) string {
	if s == "light" || s == "dark" {
		return s
	}
	return ""
}

// funcs are the functions of templates, in a language.
func funcs(lang *i18n.Lang, a *assets) template.FuncMap {
	f := template.FuncMap{
		"t": lang.T, "tor": lang.Or, "say": func(s string) template.HTML { return sayHTML(lang, s) },
		"sentence": func(s string) template.HTML { return sentenceHTML(lang, s) }, "path": pathHTML,
		"problem": func(s string) template.HTML { return problemHTML(lang, s) }, "asset": a.url, "firstline": firstLine,
	}
	maps.Copy(f, formatFuncs(lang))
	return f
}

// sayHTML is what the API says, in a language as far as that is known. What other
// programs said is told as such, and in which language it is.
func sayHTML(lang *i18n.Lang, english string) template.HTML {
	var b strings.Builder
	for _, part := range lang.Parts(english) {
		text := template.HTMLEscapeString(part.Text)
		if !part.Said {
			b.WriteString(paths.ReplaceAllStringFunc(text, inParts))
			continue
		}
		class := "said"
		if strings.Contains(text, "\n") {
			class = "said lines"
		}
		fmt.Fprintf(&b, `<samp class="%s" lang="en">%s</samp>`, class, text)
	}
	//nolint:gosec // it is escaped
	return template.HTML(b.String())
}

// paths are those of files in an escaped text.
var paths = regexp.MustCompile(`(?:/[\w.@+~-]+){2,}/?`)

// pathHTML is a path, or the name of an image. Lines end between its parts and not at
// the hyphens in them, where browsers would end them.
func pathHTML(s string) template.HTML {
	//nolint:gosec // it is escaped
	return template.HTML(inParts(template.HTMLEscapeString(s)))
}

// inParts has each part of an escaped path in an element.
func inParts(escaped string) string {
	var b strings.Builder
	b.WriteString(`<span class="path">`)
	for _, part := range pathParts.FindAllString(escaped, -1) {
		b.WriteString("<span>" + part + "</span>")
	}
	b.WriteString("</span>")
	return b.String()
}

// pathParts are parts of a path with the slash after them, and the tag of an image with
// the colon before it.
var pathParts = regexp.MustCompile(`^/?[^/:]*/?|:?[^/:]*/?`)

// sentenceHTML is sayHTML where it stands alone: an English sentence begins with a
// capital letter, unless it begins with a name.
func sentenceHTML(lang *i18n.Lang, english string) template.HTML {
	said := sayHTML(lang, english)
	if !beginnings.MatchString(string(said)) {
		return said
	}
	//nolint:gosec // it is escaped
	return template.HTML(strings.ToUpper(string(said[:1]))) + said[1:]
}

// beginnings are words that sentences begin with, and that are no names.
var beginnings = regexp.MustCompile(`^(a|all|an|build of|cancelled|check|it|no|not|nothing|preflight|the|there|this|what)\b`)

// problemHTML is what is wrong: the text of a key, or what the API said.
func problemHTML(lang *i18n.Lang, s string) template.HTML {
	if lang.Has(s) {
		//nolint:gosec // it is escaped
		return template.HTML(template.HTMLEscapeString(lang.T(s)))
	}
	return sayHTML(lang, s)
}
