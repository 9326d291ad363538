// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// tokensPage is the tokens of a namespace.
type tokensPage struct {
	Namespace string
	// Namespaces that can be chosen.
	Namespaces []string
	Tokens     []tokenRow
	MayCreate  bool
	// Made is the token that was just made, told once.
	Made *tokenRow
	// What was typed, and what is wrong with it.
	Name, Role, Life string
	Everywhere       bool
	Error            string
}

type tokenRow struct {
	Name       string     `json:"name"`
	Role       string     `json:"role"`
	Everywhere bool       `json:"everywhere"`
	Created    time.Time  `json:"created"`
	Expires    *time.Time `json:"expires"`
	Expired    bool       `json:"expired"`
	Secret     string     `json:"token"`
}

// Roles that a token can have.
func (*tokensPage) Roles() []string { return []string{"viewer", "operator", "admin"} }

// Lives are the lengths of time that are offered.
func (*tokensPage) Lives() []string { return []string{"1h", "24h", "168h", "720h", "2160h", "8760h"} }

func (c *call) tokensPage() (*tokensPage, error) {
	page := &tokensPage{Role: "viewer", Life: "720h"}
	var err error
	if page.Namespace, page.Namespaces, err = c.chosen("list", "serviceaccounts"); err != nil {
		return nil, err
	}
	page.MayCreate = c.May(page.Namespace, "create", "serviceaccounts")
	var list struct{ Items []tokenRow }
	err = c.Get(inNamespace(page.Namespace, "tokens"), &list)
	page.Tokens = list.Items
	return page, err
}

// tokens is GET /ui/tokens.
func (s *Server) tokens(c *call) error {
	page, err := c.tokensPage()
	if err != nil {
		return err
	}
	return c.render("tokens", page)
}

// createToken is POST /ui/tokens. The page that it answers with is the only one that
// ever has the token.
func (s *Server) createToken(c *call) error {
	f := c.r.PostForm
	namespace, _, err := c.chosen("list", "serviceaccounts")
	if err != nil {
		return err
	}
	wish := map[string]any{
		"name": strings.TrimSpace(f.Get("name")), "role": f.Get("role"), "lifetime": f.Get("life"), "everywhere": f.Get("everywhere") != "",
	}
	made := &tokenRow{}
	err = c.Post(inNamespace(namespace, "tokens"), wish, made)
	var problem *Problem
	if errors.As(err, &problem) && (problem.Status == http.StatusUnprocessableEntity || problem.Status == http.StatusConflict) {
		page, err := c.tokensPage()
		if err != nil {
			return err
		}
		page.Error, page.Name, page.Role, page.Life, page.Everywhere = problem.Text(), f.Get("name"), f.Get("role"), f.Get("life"), f.Get("everywhere") != ""
		c.renderStatus(problem.Status, "tokens", page)
		return nil
	}
	if err != nil {
		return err
	}
	page, err := c.tokensPage()
	if err != nil {
		return err
	}
	page.Made = made
	return c.render("tokens", page)
}

// revokeToken is POST /ui/tokens/NAME/revoke.
func (s *Server) revokeToken(c *call) error {
	namespace, _, err := c.chosen("list", "serviceaccounts")
	if err != nil {
		return err
	}
	err = c.Do(http.MethodDelete, inNamespace(namespace, "tokens", c.r.PathValue("name")), nil, nil)
	if err != nil && !isStatus(err, http.StatusNotFound) {
		return err
	}
	return c.redirect(Prefix + "tokens?" + url.Values{"namespace": {namespace}}.Encode())
}
