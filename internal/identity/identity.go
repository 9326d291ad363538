// SPDX-License-Identifier: Apache-2.0

// Package identity makes clients of the Kubernetes API that act as somebody: as
// the caller of an HTTP request, with the caller's own token, or as the updater,
// the named identity that stands for UPDATER_TOKEN. What serves HTTP has no
// powers of its own and uses these clients only.
package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// UpdaterNamespace is where the service account is that a request with
	// UPDATER_TOKEN acts as.
	UpdaterNamespace = "fairlead-system"
	// UpdaterAccount is that service account.
	UpdaterAccount = "fairlead-updater"

	// UpdaterRole is its ClusterRole.
	UpdaterRole = "fairlead-operator"
)

// UpdaterName is the name of the updater as the API server and its audit log
// have it.
const UpdaterName = "system:serviceaccount:" + UpdaterNamespace + ":" + UpdaterAccount

// Caller is who a request is made for. The zero value is nobody, and requests
// made for nobody fail.
type Caller struct {
	// Token is the caller's bearer token of the API server.
	Token string
	// Updater says that the caller is the updater. Token is not used then.
	Updater bool
	// Address the caller speaks from; the API server's audit log shows it. May be
	// empty.
	Address string
	// AuditID is the ID under which the API server's audit log has the requests.
	// May be empty.
	AuditID string
}

type callerKey struct{}

// With returns a context whose requests, by clients of New, are made for c.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// Of returns the caller of a context.
func Of(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// errNobody says that a request was about to be made for nobody.
var errNobody = errors.New("identity: the request has no caller")

// New makes a client of the API server that config names. Each of its requests is
// made for the Caller of its context, with nothing of the identity in config,
// which is used to impersonate the updater only. Connections are shared by all
// callers.
func New(config *rest.Config, scheme *runtime.Scheme, mapper meta.RESTMapper) (client.WithWatch, error) {
	anonymous := rest.AnonymousClientConfig(config)
	anonymous.QPS = -1 // each caller is limited where requests come in
	asCaller, err := rest.TransportFor(anonymous)
	if err != nil {
		return nil, fmt.Errorf("connect to the API as its callers: %w", err)
	}
	asUpdater, err := rest.TransportFor(updaterConfig(config))
	if err != nil {
		return nil, fmt.Errorf("connect to the API as %s: %w", UpdaterName, err)
	}
	return client.NewWithWatch(anonymous, client.Options{
		Scheme: scheme, Mapper: mapper,
		HTTPClient: &http.Client{Transport: &transport{caller: asCaller, updater: asUpdater}},
	})
}

func updaterConfig(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	c.QPS = -1
	// The API server adds the groups of a service account by itself.
	c.Impersonate = rest.ImpersonationConfig{UserName: UpdaterName}
	return c
}

// transport sends each request as the caller of its context.
type transport struct{ caller, updater http.RoundTripper }

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c, ok := Of(r.Context())
	if !ok || c.Token == "" && !c.Updater {
		return nil, errNobody
	}
	r = r.Clone(r.Context())
	if c.Address != "" {
		r.Header.Set("X-Forwarded-For", c.Address)
	}
	if c.AuditID != "" {
		r.Header.Set("Audit-ID", c.AuditID)
	}
	if c.Updater {
		return t.updater.RoundTrip(r)
	}
	r.Header.Set("Authorization", "Bearer "+c.Token)
	return t.caller.RoundTrip(r)
}

// Whoami asks the API server who the caller of ctx is.
func Whoami(ctx context.Context, c client.Client) (authenticationv1.UserInfo, error) {
	review := &authenticationv1.SelfSubjectReview{}
	if err := c.Create(ctx, review); err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return review.Status.UserInfo, nil
}

// EnsureUpdater makes the updater's service account and gives it its role in
// namespace, where the updater's Application is. c acts as the daemon itself. What
// exists is left as it is, so that an administrator may give it another one; but
// for the binding to all namespaces that earlier versions made, which is removed.
func EnsureUpdater(ctx context.Context, c client.Client, namespace string) error {
	role := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: UpdaterRole}
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: UpdaterAccount, Namespace: UpdaterNamespace}}
	objects := []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: UpdaterNamespace}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: UpdaterAccount, Namespace: UpdaterNamespace}},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: UpdaterAccount, Namespace: namespace}, RoleRef: role, Subjects: subjects},
	}
	for _, o := range objects {
		key := client.ObjectKeyFromObject(o)
		err := c.Create(ctx, o)
		if err == nil || apierrors.IsAlreadyExists(err) {
			continue
		}
		// An agent may not create it, but an administrator may have done so.
		if apierrors.IsForbidden(err) && (c.Get(ctx, key, o) == nil || boundEverywhere(ctx, c, o)) {
			continue
		}
		return fmt.Errorf("the identity %s of UPDATER_TOKEN: %w; an administrator can make it: see docs/guides/kubernetes.md", UpdaterName, err)
	}
	return removeEverywhere(ctx, c, role, subjects)
}

// boundEverywhere reports whether an administrator has bound the account in all
// namespaces instead of by o in one, as the guide said before.
func boundEverywhere(ctx context.Context, c client.Client, o client.Object) bool {
	_, binding := o.(*rbacv1.RoleBinding)
	return binding && c.Get(ctx, client.ObjectKey{Name: UpdaterAccount}, &rbacv1.ClusterRoleBinding{}) == nil
}

// removeEverywhere removes the binding to all namespaces, if it is as it was made.
func removeEverywhere(ctx context.Context, c client.Client, role rbacv1.RoleRef, subjects []rbacv1.Subject) error {
	old := &rbacv1.ClusterRoleBinding{}
	err := c.Get(ctx, client.ObjectKey{Name: UpdaterAccount}, old)
	if err == nil && old.RoleRef == role && slices.Equal(old.Subjects, subjects) {
		err = c.Delete(ctx, old, client.Preconditions{UID: &old.UID})
	}
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil // it is gone, or the business of the cluster's administrator
	}
	return fmt.Errorf("the ClusterRoleBinding %s of an earlier version: %w", UpdaterAccount, err)
}
