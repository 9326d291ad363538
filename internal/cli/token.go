// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/internal/tokens"
)

func newTokenCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke bearer tokens for the HTTP API and for kubectl",
		Long: `A token is a service account of the API server with one of Fairlead's roles, and expires.
It is good for the HTTP API and for kubectl alike. Only an administrator may use this command.`,
	}
	cmd.AddCommand(newTokenCreateCommand(a), newTokenListCommand(a), newTokenRevokeCommand(a))
	return cmd
}

func newTokenCreateCommand(a *app) *cobra.Command {
	var r tokens.Request
	cmd := &cobra.Command{
		Use:   "create [NAME]",
		Short: "Make a token and print it, once",
		Long: `Makes a service account with a role and prints a token for it on standard output. The token
is kept nowhere: it cannot be shown again. Without NAME one is made up.`,
		Example: `  fairlead token create --role operator --for 24h
  fairlead token create ci-bot --role operator --for 720h -n production > ci-bot.token
  fairlead token create web --role viewer --for 8760h --all-namespaces`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Name = first(args)
			if r.Role == "" {
				return usageError(fmt.Errorf("--role is missing: one of %s", strings.Join(tokens.Roles, ", ")))
			}
			s, err := a.start()
			if err != nil {
				return err
			}
			r.Namespace = s.namespace
			t, secret, err := tokens.Create(cmd.Context(), s, r)
			if refused := (*tokens.RefusedError)(nil); errors.As(err, &refused) && !refused.Taken {
				return usageError(err)
			}
			if err != nil {
				return s.explainAdmin(err)
			}
			fmt.Fprintf(a.Err, "Token %s: role %s in %s, expires %s\nIt is shown only now. End it with: fairlead token revoke %s -n %s\n",
				t.Name, t.Role, scope(t), t.Expires.Format(time.RFC3339), t.Name, t.Namespace)
			_, err = fmt.Fprintln(a.Out, secret)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&r.Role, "role", "", "admin, operator or viewer")
	flags.DurationVar(&r.Life, "for", 24*time.Hour, "how long it is valid, such as 24h; at least 10m")
	flags.BoolVarP(&r.Everywhere, "all-namespaces", "A", false, "good for all namespaces, and for what has none (DockerHosts)")
	return cmd
}

func scope(t tokens.Token) string {
	if t.Everywhere {
		return "all namespaces"
	}
	return "namespace " + t.Namespace
}

// explainAdmin is explain for what only administrators may do.
func (s *session) explainAdmin(err error) error {
	explained := s.explain(err, false)
	if err == nil || errors.Is(explained, err) && explained.Error() == err.Error() {
		return err
	}
	return errors.New(strings.ReplaceAll(explained.Error(), "fairlead-viewer", "fairlead-admin"))
}

func newTokenListCommand(a *app) *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tokens, expired ones too",
		Long: `Lists the tokens with their roles and when they expire; the tokens themselves are kept
nowhere. Those that expired more than a week ago are removed by the daemon.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.listTokens(cmd.Context(), &flags) },
	}
	flags.add(cmd)
	cmd.Flag("output").Usage = "json, or wide"
	return cmd
}

// tokenItem is a token as -o json prints it.
type tokenItem struct {
	Namespace     string       `json:"namespace"`
	Name          string       `json:"name"`
	Role          string       `json:"role"`
	AllNamespaces bool         `json:"allNamespaces"`
	Created       metav1.Time  `json:"created"`
	Expires       *metav1.Time `json:"expires,omitempty"`
	Expired       bool         `json:"expired"`
	Account       string       `json:"account"`
}

func (a *app) listTokens(ctx context.Context, flags *listFlags) error {
	switch flags.output {
	case "", outputWide, outputJSON:
	default:
		return usageError(fmt.Errorf("--output=%s: json or wide", flags.output))
	}
	s, err := a.start()
	if err != nil {
		return err
	}
	namespace := s.namespace
	if flags.all {
		namespace = ""
	}
	found, err := tokens.List(ctx, s, namespace)
	if err != nil {
		return s.explainAdmin(err)
	}
	now := a.Now()
	if flags.output == outputJSON {
		items := make([]tokenItem, 0, len(found))
		for _, t := range found {
			item := tokenItem{Namespace: t.Namespace, Name: t.Name, Role: t.Role, AllNamespaces: t.Everywhere,
				Created: metav1.NewTime(t.Created), Expired: t.Expired(now), Account: t.Account}
			if !t.Expires.IsZero() {
				at := metav1.NewTime(t.Expires)
				item.Expires = &at
			}
			items = append(items, item)
		}
		e := json.NewEncoder(a.Out)
		e.SetIndent("", "  ")
		return e.Encode(items)
	}
	if len(found) == 0 {
		fmt.Fprintln(a.Err, "There are no tokens; make one with: fairlead token create --role operator --for 24h")
		return nil
	}
	l := &listing[tokens.Token]{
		meta: func(t *tokens.Token) *metav1.ObjectMeta {
			return &metav1.ObjectMeta{Namespace: t.Namespace, Name: t.Name}
		},
		columns: []column[tokens.Token]{
			{name: "Name", cell: func(t *tokens.Token) string { return t.Name }},
			{name: "Role", cell: func(t *tokens.Token) string { return t.Role }},
			{name: "In", cell: func(t *tokens.Token) string { return scope(*t) }},
			{name: "Created", cell: func(t *tokens.Token) string { return t.Created.UTC().Format(time.RFC3339) }},
			{name: "Expires", cell: func(t *tokens.Token) string { return expiry(*t, now) }},
			{name: "Account", wide: true, cell: func(t *tokens.Token) string { return t.Account }},
		},
	}
	return l.printTable(a.Out, found, flags)
}

func expiry(t tokens.Token, now time.Time) string {
	switch at := t.Expires.UTC().Format(time.RFC3339); {
	case t.Expires.IsZero():
		return "unknown"
	case t.Expired(now):
		return at + " (expired)"
	default:
		return at
	}
}

func newTokenRevokeCommand(a *app) *cobra.Command {
	var expired bool
	cmd := &cobra.Command{
		Use:   "revoke NAME…",
		Short: "End tokens at once",
		Long: `Deletes the service accounts of tokens, which ends them at once, and what gave them their
roles. With --expired those go that have expired already.`,
		Example: "  fairlead token revoke ci-bot -n production\n  fairlead token revoke --expired",
		Args: func(_ *cobra.Command, args []string) error {
			if expired == (len(args) > 0) {
				return errors.New("name the tokens, or use --expired")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.start()
			if err != nil {
				return err
			}
			if expired {
				swept, err := tokens.Sweep(cmd.Context(), s, s.namespace, a.Now())
				for _, name := range swept {
					fmt.Fprintf(a.Err, "Removed expired token %s\n", name)
				}
				return s.explainAdmin(err)
			}
			var errs []error
			for _, name := range args {
				switch err := tokens.Revoke(cmd.Context(), s, s.namespace, name); {
				case errors.Is(err, tokens.ErrUnknown):
					errs = append(errs, fmt.Errorf("there is no token %q in namespace %s; list them with: fairlead token list -A", name, s.namespace))
				case err != nil:
					errs = append(errs, s.explainAdmin(err))
				default:
					fmt.Fprintf(a.Err, "Revoked token %s\n", name)
				}
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVar(&expired, "expired", false, "remove those that have expired")
	return cmd
}
