// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
	"github.com/fairlead-dev/fairlead/internal/updatelog/logserver"
)

const (
	newSHA = "abc1234def5678900000000000000000000000aa"
	oldSHA = "0123456789abcdef0123456789abcdef01234567"
	logID  = "20260304_050607"
)

var testTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// world is an API server in memory with its log subresource, and a place for the
// output of commands.
type world struct {
	t       *testing.T
	client  client.WithWatch
	logs    *httptest.Server
	dir     string
	created chan *v1alpha1.UpdateRequest // requests that commands made
	watched chan struct{}                // gets a value for every watch
	width   int                          // of the terminal; 0 for none

	mu       sync.Mutex
	down     error // every call fails with it
	stopped  []watch.Interface
	out, err bytes.Buffer
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	scheme, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: t.TempDir(), created: make(chan *v1alpha1.UpdateRequest, 10), watched: make(chan struct{}, 100)}
	shop := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shop", CreationTimestamp: metav1.NewTime(testTime.Add(-72 * time.Hour))}}
	shop.Spec.Compose.Directory = w.dir
	objects = append(objects, shop)
	byApplication := func(o client.Object) []string {
		switch o := o.(type) {
		case *v1alpha1.UpdateRequest:
			return []string{o.Spec.ApplicationRef.Name}
		case *v1alpha1.Release:
			return []string{o.Spec.ApplicationRef.Name}
		case *v1alpha1.Backup:
			return []string{o.Spec.ApplicationRef.Name}
		case *unstructured.Unstructured:
			name, _, _ := unstructured.NestedString(o.Object, "spec", "applicationRef", "name")
			return []string{name}
		}
		return nil
	}
	builder := fake.NewClientBuilder().WithScheme(scheme).WithRESTMapper(newMapper()).WithObjects(objects...).
		WithStatusSubresource(&v1alpha1.UpdateRequest{}, &v1alpha1.Application{})
	for _, kind := range []client.Object{&v1alpha1.UpdateRequest{}, &v1alpha1.Release{}, &v1alpha1.Backup{}} {
		builder = builder.WithIndex(kind, "spec.applicationRef.name", byApplication)
	}
	w.client = builder.WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if err := w.broken(); err != nil {
				return err
			}
			return c.Get(ctx, key, obj, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if err := w.broken(); err != nil {
				return err
			}
			return c.List(ctx, list, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			if err := w.broken(); err != nil {
				return err
			}
			err := c.Create(ctx, obj, opts...)
			if ur, ok := obj.(*v1alpha1.UpdateRequest); ok && err == nil {
				w.created <- ur.DeepCopy()
			}
			return err
		},
		Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
			if err := w.broken(); err != nil {
				return nil, err
			}
			wi, err := c.Watch(ctx, list, opts...)
			if err == nil {
				w.mu.Lock()
				w.stopped = append(w.stopped, wi)
				w.mu.Unlock()
				w.watched <- struct{}{}
			}
			return wi, err
		},
	}).Build()
	handle := logserver.Handler(func() requestwatch.Reader { return w.client })
	mux := http.NewServeMux()
	mux.HandleFunc("GET /apis/fairlead.dev/v1alpha1/namespaces/{ns}/updaterequests/{name}/log", func(rw http.ResponseWriter, r *http.Request) {
		if w.broken() != nil {
			panic(http.ErrAbortHandler)
		}
		handle(rw, r, r.PathValue("ns"), r.PathValue("name"))
	})
	w.logs = httptest.NewServer(mux)
	t.Cleanup(w.logs.Close)
	return w
}

// broken is the error that the server gives now.
func (w *world) broken() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.down
}

// setDown breaks all connections, or brings the server back.
func (w *world) setDown(err error) {
	w.mu.Lock()
	w.down = err
	watches := w.stopped
	w.stopped = nil
	w.mu.Unlock()
	if err != nil {
		w.logs.CloseClientConnections()
		for _, wi := range watches {
			wi.Stop()
		}
	}
}

func (w *world) options() Options {
	return Options{
		Out: &lockedWriter{w: w, b: &w.out}, Err: &lockedWriter{w: w, b: &w.err},
		Now: func() time.Time { return testTime },
		terminal: func() (int, int, bool) {
			return w.width, 24, w.width > 0
		},
		connect: func(a *app) (*session, error) {
			scheme, err := newScheme()
			if err != nil {
				return nil, err
			}
			base, err := url.Parse(w.logs.URL)
			if err != nil {
				return nil, err
			}
			namespace := orElse(a.namespace, "default")
			return &session{
				WithWatch: w.client, scheme: scheme, namespace: namespace, server: "https://127.0.0.1:6443", from: "/test/kubeconfig",
				logs: &httpLogs{client: w.logs.Client(), base: base},
			}, nil
		},
	}
}

type lockedWriter struct {
	w *world
	b *bytes.Buffer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.b.Write(p)
}

// run runs a command line to its end.
func (w *world) run(ctx context.Context, args ...string) error {
	root := &cobra.Command{Use: "fairlead", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(Commands(w.options())...)
	root.SetArgs(args)
	root.SetOut(&lockedWriter{w: w, b: &w.out})
	root.SetErr(&lockedWriter{w: w, b: &w.err})
	return root.ExecuteContext(ctx)
}

// start runs a command line in the background.
func (w *world) start(ctx context.Context, args ...string) <-chan error {
	result := make(chan error, 1)
	go func() { result <- w.run(ctx, args...) }()
	return result
}

func (w *world) stdout() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.String()
}

func (w *world) stderr() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err.String()
}

// request makes an UpdateRequest of shop.
func request(name string, change func(*v1alpha1.UpdateRequest)) *v1alpha1.UpdateRequest {
	ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, CreationTimestamp: metav1.NewTime(testTime.Add(-time.Minute))}}
	ur.Spec.ApplicationRef.Name = "shop"
	if change != nil {
		change(ur)
	}
	return ur
}

// set changes the status of a request, as the controller would.
func (w *world) set(ur *v1alpha1.UpdateRequest, change func(*v1alpha1.UpdateRequestStatus)) {
	w.t.Helper()
	var now v1alpha1.UpdateRequest
	if err := w.client.Get(w.t.Context(), client.ObjectKeyFromObject(ur), &now); err != nil {
		w.t.Fatal(err)
	}
	change(&now.Status)
	if err := w.client.Status().Update(w.t.Context(), &now); err != nil {
		w.t.Fatal(err)
	}
}

// log writes the log file that requests of this world name.
func (w *world) log(lines ...string) *updatelog.Log {
	w.t.Helper()
	l, err := updatelog.Open(w.logPath(), updatelog.WithClock(func() time.Time { return testTime }))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	for _, line := range lines {
		l.Printf("Build", "%s", line)
	}
	return l
}

func (w *world) logPath() string { return filepath.Join(w.dir, ".update/logs/update_"+logID+".log") }

// eventually waits until the output contains text.
func (w *world) eventually(text string) {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	for !strings.Contains(w.stdout()+w.stderr(), text) {
		select {
		case <-deadline:
			w.t.Fatalf("%q did not appear in\n%s\n%s", text, w.stdout(), w.stderr())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (w *world) says(text ...string) {
	w.t.Helper()
	all := w.stdout() + w.stderr()
	for _, want := range text {
		if !strings.Contains(all, want) {
			w.t.Errorf("%q is missing in\n%s", want, all)
		}
	}
}

func exits(t *testing.T, err error, code int, says ...string) {
	t.Helper()
	if got := ExitCode(err); got != code {
		t.Errorf("exit code %d (%v), want %d", got, err, code)
	}
	for _, text := range says {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %q lacks %q", err, text)
		}
	}
}
