// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tmaxmax/go-sse"
	"go.uber.org/zap"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/httpapi/audit"
	"github.com/fairlead-dev/fairlead/internal/httpapi/guard"
	"github.com/fairlead-dev/fairlead/internal/identity"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// hermetic is an API before an API server in memory that knows the token "good"
// and lets its bearer read, as long as readable says so.
type hermetic struct {
	url string
	log *updatelog.Log

	mu       sync.Mutex
	readable bool
	asked    int // how often the API server was asked for rights
}

func newHermetic(t *testing.T, change func(*Options)) *hermetic {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web"}}
	app.Spec.Compose.Directory = dir
	ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "r"}}
	ur.Spec.ApplicationRef.Name = "web"
	ur.Status.Phase, ur.Status.LogFile = v1alpha1.PhaseBuilding, updatelog.Path(dir, "20260304_050607")
	log, err := updatelog.Open(ur.Status.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	h := &hermetic{log: log, readable: true}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(app, ur).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
			if caller, _ := identity.Of(ctx); caller.Token != "good" {
				return apierrors.NewUnauthorized("who?")
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			switch o := o.(type) {
			case *authenticationv1.SelfSubjectReview:
				o.Status.UserInfo.Username = "jo"
			case *authorizationv1.SelfSubjectAccessReview:
				h.asked++
				o.Status.Allowed = h.readable
			default:
				return fmt.Errorf("unexpected %T", o)
			}
			return nil
		},
	}).Build()
	o := Options{Audit: audit.Open(zap.NewNop(), ""), Guard: guard.New(guard.Options{Rate: 1e6, Burst: 1e6}), Recheck: 20 * time.Millisecond}
	if change != nil {
		change(&o)
	}
	a := New(o)
	ctx, stop := context.WithCancel(context.Background())
	a.Connect(ctx, c)
	server := httptest.NewServer(a)
	t.Cleanup(func() { stop(); server.CloseClientConnections(); server.Close() })
	h.url = server.URL + "/api/v1/namespaces/prod/requests/r/log"
	return h
}

func (h *hermetic) open(t *testing.T, path, lastID string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer good")
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// TestLogStreamLosesAndDoublesNothing breaks the connection after every few lines.
func TestLogStreamLosesAndDoublesNothing(t *testing.T) {
	const lines = 60
	h := newHermetic(t, nil)
	go func() {
		for i := range lines {
			h.log.Printf("Build", "line %d: ünïcödé", i)
		}
		_ = h.log.Summary(updatelog.Summary{})
	}()
	got, id, complete := 0, "", false
	for !complete {
		response := h.open(t, "/events", id)
		if response.StatusCode != http.StatusOK {
			t.Fatal(response.Status)
		}
		n := 0
		for e, err := range sse.Read(response.Body, nil) {
			if err != nil {
				t.Fatal(err)
			}
			id = e.LastEventID
			if complete = e.Type == eventEnd; complete {
				break
			}
			if line := updatelog.ParseLine(e.Data); line.Step == "Build" {
				if want := fmt.Sprintf("line %d: ünïcödé", got); line.Message != want {
					t.Fatalf("got %q, want %q", line.Message, want)
				}
				got++
			}
			if n++; n == 7 {
				break
			}
		}
		_ = response.Body.Close()
	}
	if got != lines {
		t.Errorf("%d lines of %d", got, lines)
	}
}

// A client that asks and never reads is cut off, and its place is free again.
func TestSlowFollowerIsCutOff(t *testing.T) {
	h := newHermetic(t, func(o *Options) { o.Streams, o.WriteTimeout = 1, 100*time.Millisecond })
	for range 8 << 10 { // more than the buffers of a connection hold
		h.log.Printf("Build", "%s", strings.Repeat("x", 2000))
	}
	slow, err := net.Dial("tcp", strings.Split(h.url, "/")[2])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slow.Close() }()
	_, path, _ := strings.Cut(strings.TrimPrefix(h.url, "http://"), "/")
	path = "/" + path
	if _, err := fmt.Fprintf(slow, "GET %s/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Read(make([]byte, 100)); err != nil { // it has its place
		t.Fatal(err)
	}
	if other := h.open(t, "/events?tail=0", ""); other.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("beyond the bound: %s", other.Status)
	}
	ticker, deadline := time.NewTicker(20*time.Millisecond), time.After(30*time.Second)
	defer ticker.Stop()
	for h.open(t, "/events?tail=0", "").StatusCode != http.StatusOK {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatal("a client that does not read keeps its place")
		}
	}
}

func TestFiveHundredFollowers(t *testing.T) {
	const followers, lines = 500, 100
	h := newHermetic(t, nil)
	responses := make([]*http.Response, followers)
	for i := range responses {
		responses[i] = h.open(t, "/events", "")
		if responses[i].StatusCode != http.StatusOK {
			t.Fatalf("follower %d: %s", i, responses[i].Status)
		}
	}
	h.mu.Lock()
	if h.asked > followers/5 {
		t.Errorf("the API server was asked %d times for the rights of one caller", h.asked)
	}
	h.mu.Unlock()
	go func() {
		for i := range lines {
			h.log.Printf("Build", "line %d %s", i, strings.Repeat("x", 100))
		}
		_ = h.log.Summary(updatelog.Summary{})
	}()
	var wg sync.WaitGroup
	for _, response := range responses {
		wg.Go(func() {
			n := 0
			for e, err := range sse.Read(response.Body, nil) {
				if err != nil {
					t.Error(err)
					return
				}
				if updatelog.ParseLine(e.Data).Step == "Build" {
					n++
				}
				if e.Type == eventEnd {
					break
				}
			}
			if n != lines {
				t.Errorf("%d lines of %d", n, lines)
			}
		})
	}
	wg.Wait()
}

func TestStreamEndsWithTheRight(t *testing.T) {
	h := newHermetic(t, nil)
	h.log.Printf("Build", "one")
	response := h.open(t, "/events", "")
	h.mu.Lock()
	h.readable = false
	h.mu.Unlock()
	var last error
	for e, err := range sse.Read(response.Body, nil) {
		if last = err; e.Type == eventEnd {
			t.Error("it says that the log is complete")
		}
	}
	if last == nil {
		t.Error("the stream ended as if it were complete")
	}
	if again := h.open(t, "", ""); again.StatusCode != http.StatusForbidden {
		t.Errorf("afterwards: %s", again.Status)
	}
}
