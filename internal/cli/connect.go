// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/clientconfig"
)

// session is a connection to an API server.
type session struct {
	client.WithWatch
	logs      logSource
	scheme    *runtime.Scheme
	namespace string
	server    string // its address
	from      string // the kubeconfig files
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme, rbacv1.AddToScheme, authenticationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return scheme, nil
}

// newMapper knows the kinds that the commands use, so that no command has to ask the server for them.
func newMapper() meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []string{"Application", "UpdateRequest", "Release", "Backup"} {
		mapper.Add(v1alpha1.GroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	mapper.Add(v1alpha1.GroupVersion.WithKind("DockerHost"), meta.RESTScopeRoot)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("ServiceAccount"), meta.RESTScopeNamespace)
	mapper.Add(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), meta.RESTScopeNamespace)
	mapper.Add(rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"), meta.RESTScopeRoot)
	return mapper
}

// connect makes the clients; the server is not asked anything yet.
func connect(a *app) (*session, error) {
	config, namespace, err := a.Load(a.kubeconfig, a.namespace)
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.UserAgent = strings.TrimSuffix("fairlead-cli/"+a.Version, "/")
	// One person's commands need no limit of their own.
	config.QPS = -1
	// What the server has to say belongs to answers, not in between the lines of a
	// live view.
	config.WarningHandler = rest.NoWarnings{}
	config.WarningHandlerWithContext = nil
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme, Mapper: newMapper(), HTTPClient: httpClient})
	if err != nil {
		return nil, err
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	s := &session{
		WithWatch: c, logs: &httpLogs{client: httpClient, base: base, userAgent: config.UserAgent}, scheme: scheme, namespace: namespace,
		server: config.Host,
	}
	if paths, err := clientconfig.Locate(a.kubeconfig, clientconfig.DataDir()); err == nil {
		s.from = strings.Join(paths, ", ")
	}
	return s, nil
}

// start connects for a command.
func (a *app) start() (*session, error) { return a.connect(a) }

// explain turns an error of the API into one that says what to do. write says that
// the command wanted to change something.
func (s *session) explain(err error, write bool) error {
	var coded *Error
	if err == nil || errors.As(err, &coded) || errors.Is(err, context.Canceled) {
		return err
	}
	role := "fairlead-viewer"
	if write {
		role = "fairlead-operator"
	}
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("you may not do this: %w\nThe role %s allows it. An administrator grants it with: "+
			"fairlead kubectl create rolebinding NAME -n %s --clusterrole=%s --user=YOU", err, role, s.namespace, role)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the API server at %s does not accept the credentials in %s: %w\nAsk for a new kubeconfig, or name another one with --kubeconfig",
			s.server, s.kubeconfig(), err)
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err) && strings.Contains(err.Error(), "could not find the requested resource"):
		return fmt.Errorf("the API server at %s (kubeconfig %s) does not know Fairlead's objects: %w\n"+
			"Is it the right cluster? `fairlead serve --kubeconfig FILE` installs them", s.server, s.kubeconfig(), err)
	case s.isForeign(err):
		return fmt.Errorf("the API server at %s is not the one that %s was made for: %w\n"+
			"If the daemon's data directory is new, use its new kubeconfig", s.server, s.kubeconfig(), err)
	case isUnreachable(err):
		return &Error{Code: ExitUnknown, Err: fmt.Errorf("cannot reach the API server at %s (kubeconfig %s): %w\n"+
			"Does the daemon run? Start it with `fairlead serve` or `systemctl start fairlead`, or name another server with --kubeconfig",
			s.server, s.kubeconfig(), shortNetError(err))}
	}
	return err
}

func (s *session) kubeconfig() string {
	if s.from == "" {
		return "unknown"
	}
	return s.from
}

func (s *session) isForeign(err error) bool {
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	return errors.As(err, &authority) || errors.As(err, &invalid) || errors.As(err, &host)
}

// isUnreachable reports whether the server could not be spoken to, or is just
// starting or stopping.
func isUnreachable(err error) bool {
	var netErr net.Error
	var urlErr *url.Error
	var api apierrors.APIStatus
	if errors.As(err, &api) {
		return apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err)
	}
	return errors.As(err, &netErr) || errors.As(err, &urlErr)
}

// shortNetError leaves the URL out, which says nothing that people want to know.
func shortNetError(err error) error {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		return urlErr.Err
	}
	return err
}

// application gets an Application; an unknown name is answered with the known ones.
func (s *session) application(ctx context.Context, name string) (*v1alpha1.Application, error) {
	var found v1alpha1.Application
	err := s.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, &found)
	if err == nil {
		return &found, nil
	}
	if !apierrors.IsNotFound(err) || strings.Contains(err.Error(), "could not find the requested resource") {
		return nil, s.explain(err, false)
	}
	return nil, &notFoundError{fmt.Sprintf("there is no application %q in namespace %s; %s", name, s.namespace, s.known(ctx))}
}

// notFoundError says that an object that the command line names does not exist.
type notFoundError struct{ message string }

func (e *notFoundError) Error() string { return e.message }

func (s *session) known(ctx context.Context) string {
	var all v1alpha1.ApplicationList
	if err := s.List(ctx, &all); err != nil {
		// Perhaps a right in this namespace only.
		if err := s.List(ctx, &all, client.InNamespace(s.namespace)); err != nil {
			return "the existing ones cannot be listed: " + err.Error()
		}
	}
	var here, elsewhere []string
	for i := range all.Items {
		if all.Items[i].Namespace == s.namespace {
			here = append(here, all.Items[i].Name)
		} else {
			elsewhere = append(elsewhere, all.Items[i].Name+" (-n "+all.Items[i].Namespace+")")
		}
	}
	slices.Sort(here)
	slices.Sort(elsewhere)
	if names := slices.Concat(here, elsewhere); len(names) > 0 {
		return "there are: " + strings.Join(names, ", ")
	}
	return "there are none yet: tell Fairlead of one with `fairlead adopt NAME --directory DIR`"
}

// request gets an UpdateRequest by name, with or without "ur/" before it.
func (s *session) request(ctx context.Context, name string) (*v1alpha1.UpdateRequest, error) {
	var found v1alpha1.UpdateRequest
	name = requestName(name)
	err := s.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, &found)
	if apierrors.IsNotFound(err) && !strings.Contains(err.Error(), "could not find the requested resource") {
		return nil, &notFoundError{fmt.Sprintf("there is no update request %q in namespace %s; list them with: fairlead requests -n %s", name, s.namespace, s.namespace)}
	}
	if err != nil {
		return nil, s.explain(err, false)
	}
	return &found, nil
}

func requestName(arg string) string {
	name, _ := cutRequest(arg)
	return name
}

// cutRequest removes the kind before the name of an UpdateRequest.
func cutRequest(arg string) (name string, hadKind bool) {
	for _, kind := range []string{"ur/", "updaterequest/", "updaterequests/", "request/"} {
		if name, found := strings.CutPrefix(arg, kind); found {
			return name, true
		}
	}
	return arg, false
}

// ofApplication selects the objects that belong to an Application.
func ofApplication(name string) client.ListOption {
	return client.MatchingFields{"spec.applicationRef.name": name}
}

// requests lists the UpdateRequests of an Application, newest first.
func (s *session) requests(ctx context.Context, application string) ([]v1alpha1.UpdateRequest, error) {
	var list v1alpha1.UpdateRequestList
	if err := s.List(ctx, &list, client.InNamespace(s.namespace), ofApplication(application)); err != nil {
		return nil, s.explain(err, false)
	}
	slices.SortStableFunc(list.Items, func(a, b v1alpha1.UpdateRequest) int {
		return newestFirst(&a.ObjectMeta, &b.ObjectMeta)
	})
	return list.Items, nil
}
