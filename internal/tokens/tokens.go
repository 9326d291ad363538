// SPDX-License-Identifier: Apache-2.0

// Package tokens makes bearer tokens for people and programs: a service account
// of its own for each, bound to one of Fairlead's roles, and a token for it that
// expires. All of that are ordinary objects of the API server; the token itself is
// kept nowhere. To revoke a token is to delete its service account, which ends it
// at once.
package tokens

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// MinLife is the shortest life of a token that an API server gives.
	MinLife = 10 * time.Minute

	// LabelName is, on a service account and its bindings, the name of the token.
	LabelName = "fairlead.dev/token"
	// LabelRole is the role it has, without the "fairlead-".
	LabelRole = "fairlead.dev/role"
	// LabelNamespace is, on a ClusterRoleBinding, where its service account is.
	LabelNamespace = "fairlead.dev/token-namespace"
	// AnnotationExpires is, on a service account, when its token expires, in
	// RFC 3339.
	AnnotationExpires = "fairlead.dev/token-expires"

	// AccountPrefix begins the name of the service account of a token.
	AccountPrefix = "fairlead-token-"

	rolePrefix = "fairlead-"
	// cleanUp bounds what is taken back after a failure.
	cleanUp = 10 * time.Second
)

// Roles that a token may have.
var Roles = []string{"admin", "operator", "viewer"}

// Request says what token is wanted.
type Request struct {
	// Namespace of the service account, and where the token is good for.
	Namespace string
	// Name of the token; one is made up if it is empty.
	Name string
	// Role: admin, operator or viewer.
	Role string
	// Life is how long it is valid, at least MinLife.
	Life time.Duration
	// Everywhere makes it good for all namespaces.
	Everywhere bool
}

// Token is what is known of a token.
type Token struct {
	Namespace, Name, Role string
	// Everywhere says that it is good for all namespaces.
	Everywhere bool
	Created    time.Time
	// Expires is zero if it is not known: the creation broke off.
	Expires time.Time
	// Account is the name by which the API server knows its bearer.
	Account string
}

// Expired reports whether the token is of no use any more.
func (t Token) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// Create makes a token, and returns what is known of it and the secret. After a
// failure nothing is left of it.
func Create(ctx context.Context, c client.Client, r Request) (_ Token, secret string, err error) {
	if err := r.check(); err != nil {
		return Token{}, "", err
	}
	if r.Name == "" {
		r.Name = r.Role + "-" + rand.String(5)
	}
	labels := map[string]string{LabelName: r.Name, LabelRole: r.Role}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: AccountPrefix + r.Name, Labels: labels}}
	if err := c.Create(ctx, account); err != nil {
		if apierrors.IsAlreadyExists(err) {
			return Token{}, "", &RefusedError{fmt.Sprintf("there is a token %s already: choose another name, or revoke it first", r.Name), true}
		}
		return Token{}, "", err
	}
	defer func() {
		if err == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
		defer cancel()
		if undo := Revoke(ctx, c, r.Namespace, r.Name); undo != nil {
			err = errors.Join(err, fmt.Errorf("and what was made so far could not be removed: %w; try: fairlead token revoke %s", undo, r.Name))
		}
	}()
	if err := c.Create(ctx, r.binding(account)); err != nil {
		return Token{}, "", err
	}
	seconds := int64(r.Life / time.Second)
	issued := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	if err := c.SubResource("token").Create(ctx, account, issued); err != nil {
		return Token{}, "", err
	}
	// Some API servers give less than was asked for.
	expires := issued.Status.ExpirationTimestamp.UTC()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, AnnotationExpires, expires.Format(time.RFC3339))
	if err := c.Patch(ctx, account, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return Token{}, "", err
	}
	t := of(account)
	t.Everywhere = r.Everywhere
	return t, issued.Status.Token, nil
}

// RefusedError says why no token is made of a request.
type RefusedError struct {
	Message string
	// Taken says that the name is another token's.
	Taken bool
}

func (e *RefusedError) Error() string { return e.Message }

func refused(format string, args ...any) error {
	return &RefusedError{Message: fmt.Sprintf(format, args...)}
}

func (r Request) check() error {
	if !slices.Contains(Roles, r.Role) {
		return refused("role %q: one of %s", r.Role, strings.Join(Roles, ", "))
	}
	if r.Life < MinLife {
		return refused("a token lives for %s at least", MinLife)
	}
	if r.Name == "" {
		return nil
	}
	if msgs := validation.IsDNS1123Label(r.Name); len(msgs) > 0 {
		return refused("name %q: %s", r.Name, strings.Join(msgs, "; "))
	}
	return nil
}

// binding gives account its role.
func (r Request) binding(account *corev1.ServiceAccount) client.Object {
	meta := metav1.ObjectMeta{Namespace: r.Namespace, Name: account.Name, Labels: account.Labels}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: rolePrefix + r.Role}
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: account.Namespace, Name: account.Name}}
	if !r.Everywhere {
		return &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}
	}
	meta.Namespace, meta.Name = "", AccountPrefix+r.Namespace+"-"+r.Name
	meta.Labels = map[string]string{LabelName: r.Name, LabelRole: r.Role, LabelNamespace: r.Namespace}
	return &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}
}

// of is the token of a service account.
func of(account *corev1.ServiceAccount) Token {
	t := Token{Namespace: account.Namespace, Name: account.Labels[LabelName], Role: account.Labels[LabelRole],
		Created: account.CreationTimestamp.Time, Account: "system:serviceaccount:" + account.Namespace + ":" + account.Name}
	if at, err := time.Parse(time.RFC3339, account.Annotations[AnnotationExpires]); err == nil {
		t.Expires = at
	}
	return t
}

// List returns the tokens of a namespace, or of all if it is empty, in the order
// of namespace and name; expired ones too.
func List(ctx context.Context, c client.Client, namespace string) ([]Token, error) {
	var accounts corev1.ServiceAccountList
	if err := c.List(ctx, &accounts, client.InNamespace(namespace), client.HasLabels{LabelName}); err != nil {
		return nil, err
	}
	var everywhere rbacv1.ClusterRoleBindingList
	if err := c.List(ctx, &everywhere, client.HasLabels{LabelName}); err != nil && !apierrors.IsForbidden(err) {
		return nil, err
	}
	found := make([]Token, 0, len(accounts.Items))
	for i := range accounts.Items {
		t := of(&accounts.Items[i])
		t.Everywhere = slices.ContainsFunc(everywhere.Items, func(b rbacv1.ClusterRoleBinding) bool {
			return b.Labels[LabelName] == t.Name && b.Labels[LabelNamespace] == t.Namespace
		})
		found = append(found, t)
	}
	slices.SortFunc(found, func(a, b Token) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return found, nil
}

// ErrUnknown says that there is no token of that name.
var ErrUnknown = errors.New("there is no such token")

// Revoke ends a token and removes all that was made for it. What a revocation that
// broke off has left is removed too. ErrUnknown if there is nothing.
func Revoke(ctx context.Context, c client.Client, namespace, name string) error {
	labels := client.MatchingLabels{LabelName: name}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: AccountPrefix + name}}
	err := c.Get(ctx, client.ObjectKeyFromObject(account), account)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	removed := false
	remove := func(o client.Object) error {
		err := c.Delete(ctx, o)
		removed = removed || err == nil
		return client.IgnoreNotFound(err)
	}
	// The account first: that ends the token, whatever happens afterwards.
	if err == nil && account.Labels[LabelName] == name {
		if err := remove(account); err != nil {
			return err
		}
	}
	var here rbacv1.RoleBindingList
	if err := c.List(ctx, &here, client.InNamespace(namespace), labels); err != nil {
		return err
	}
	for i := range here.Items {
		if err := remove(&here.Items[i]); err != nil {
			return err
		}
	}
	var everywhere rbacv1.ClusterRoleBindingList
	labels[LabelNamespace] = namespace
	// Whoever may only act in one namespace cannot have made such a one.
	if err := c.List(ctx, &everywhere, labels); err != nil && !apierrors.IsForbidden(err) {
		return err
	}
	for i := range everywhere.Items {
		if err := remove(&everywhere.Items[i]); err != nil {
			return err
		}
	}
	if !removed {
		return ErrUnknown
	}
	return nil
}

// Sweep revokes the tokens of a namespace, or of all if it is empty, that expired
// before the time given, and returns their names.
func Sweep(ctx context.Context, c client.Client, namespace string, before time.Time) ([]string, error) {
	all, err := List(ctx, c, namespace)
	if err != nil {
		return nil, err
	}
	var swept []string
	var errs []error
	for _, t := range all {
		if t.Expires.IsZero() || !t.Expires.Before(before) {
			continue
		}
		if err := Revoke(ctx, c, t.Namespace, t.Name); err != nil && !errors.Is(err, ErrUnknown) {
			errs = append(errs, fmt.Errorf("token %s/%s: %w", t.Namespace, t.Name, err))
			continue
		}
		swept = append(swept, t.Namespace+"/"+t.Name)
	}
	return swept, errors.Join(errs...)
}
