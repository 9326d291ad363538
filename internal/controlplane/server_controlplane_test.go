// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package controlplane

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/fairlead-dev/fairlead/internal/controlplane/options"
	"github.com/fairlead-dev/fairlead/internal/controlplane/subresource"
	"github.com/fairlead-dev/fairlead/internal/datadir"
)

const logPath = "/apis/fairlead.dev/v1alpha1/namespaces/default/updaterequests/web-1/log"

// TestSubresource streams a log through the whole chain, as somebody who may,
// and is refused as somebody who may not.
func TestSubresource(t *testing.T) {
	dir, err := datadir.Open(filepath.Join(t.TempDir(), "data"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	more, ended := make(chan struct{}), make(chan struct{}, 1)
	server, err := Start(t.Context(), options.Options{DataDir: dir, BindAddress: "127.0.0.1", Subresources: []subresource.Route{{
		GroupVersion: schema.GroupVersion{Group: "fairlead.dev", Version: "v1alpha1"}, Resource: "updaterequests", Subresource: "log",
		Handler: func(w http.ResponseWriter, r *http.Request, namespace, name string) {
			_, _ = fmt.Fprintf(w, "log of %s/%s\n", namespace, name)
			w.(http.Flusher).Flush()
			<-more
			_, _ = fmt.Fprintln(w, "second line")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			ended <- struct{}{}
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		t.Helper()
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)

	client, err := kubernetes.NewForConfig(server.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	reader, stranger := tokenClient(t, server, client, "reader"), tokenClient(t, server, client, "stranger")
	if _, err := client.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "log-reader"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"fairlead.dev"}, Resources: []string{"updaterequests/log"}, Verbs: []string{"get"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.RbacV1().RoleBindings("default").Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "log-reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "log-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: "reader"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	var body io.ReadCloser
	// The authorizer learns of the binding from a watch.
	for deadline := time.Now().Add(30 * time.Second); ; {
		code, b := fetch(t, reader, server.URL()+logPath)
		if code == http.StatusOK {
			body = b
			break
		}
		_ = b.Close()
		if code != http.StatusForbidden || time.Now().After(deadline) {
			t.Fatalf("the reader gets %d", code)
		}
	}
	defer func() { _ = body.Close() }()
	lines := bufio.NewScanner(body)
	if !lines.Scan() || lines.Text() != "log of default/web-1" {
		t.Fatalf("first line %q, %v", lines.Text(), lines.Err())
	}
	close(more)
	if !lines.Scan() || lines.Text() != "second line" {
		t.Fatalf("second line %q, %v", lines.Text(), lines.Err())
	}
	code, refusal := fetch(t, stranger, server.URL()+logPath)
	defer func() { _ = refusal.Close() }()
	text, err := io.ReadAll(refusal)
	if err != nil {
		t.Fatal(err)
	}
	if code != http.StatusForbidden || !strings.Contains(string(text), "updaterequests/log") {
		t.Errorf("the stranger gets %d %s", code, text)
	}
	if code, b := fetch(t, http.DefaultClient, strings.Replace(server.URL(), "https", "http", 1)+logPath); code == http.StatusOK {
		t.Errorf("without TLS: %d", code)
	} else {
		_ = b.Close()
	}
	stop() // while the stream is open
	<-ended
	select {
	case <-server.Done():
	default:
		t.Error("Done is open after Stop")
	}
	if err := server.Err(); err != nil {
		t.Errorf("after an orderly stop: %v", err)
	}
}

func fetch(t *testing.T, client *http.Client, url string) (int, io.ReadCloser) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Body
}

// tokenClient is an HTTP client of a new service account.
func tokenClient(t *testing.T, server *Server, client kubernetes.Interface, name string) *http.Client {
	t.Helper()
	accounts := client.CoreV1().ServiceAccounts("default")
	if _, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	seconds := int64(600)
	token, err := accounts.CreateToken(t.Context(), name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(token.Status.ExpirationTimestamp.Time); left > 10*time.Minute+time.Second {
		t.Errorf("a token for 10 minutes lives for %s", left)
	}
	c, err := rest.HTTPClientFor(&rest.Config{Host: server.URL(), BearerToken: token.Status.Token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: server.pki.CACert()}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
