// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

type scripted struct {
	name    string
	answers []error // the last one repeats
	took    time.Duration
	runs    int
}

func (s *scripted) Name() string { return s.name }

func (s *scripted) Run(ctx context.Context) error {
	select {
	case <-time.After(s.took):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	err := s.answers[min(s.runs, len(s.answers)-1)]
	s.runs++
	return err
}

func TestVerify(t *testing.T) {
	refused := errors.New("connection refused")
	tests := []struct {
		name   string
		checks []*scripted
		want   string
		runs   []int
		took   time.Duration
	}{
		{name: "no checks"},
		{name: "all pass at once, in parallel", checks: []*scripted{{name: "a", answers: []error{nil}, took: time.Second}, {name: "b", answers: []error{nil}, took: time.Second}}, runs: []int{1, 1}, took: time.Second},
		{name: "only what failed is repeated", checks: []*scripted{{name: "a", answers: []error{nil}}, {name: "b", answers: []error{refused, refused, nil}}}, runs: []int{1, 3}, took: 4 * time.Second},
		{
			name: "attempts used up", checks: []*scripted{{name: "a", answers: []error{refused}}, {name: "b", answers: []error{nil}}, {name: "c", answers: []error{refused, errors.New("HTTP 500")}}},
			want: `check "a" failed (attempt 3 of 3): connection refused; check "c" failed (attempt 3 of 3): HTTP 500`, runs: []int{3, 1, 3}, took: 4 * time.Second,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var checks []Check
				for _, c := range tt.checks {
					checks = append(checks, c)
				}
				began, reports := time.Now(), 0
				err := Verify(t.Context(), checks, 3, 2*time.Second, func(r Result) { reports++ })
				if (err == nil) != (tt.want == "") || (err != nil && err.Error() != tt.want) {
					t.Errorf("err %v", err)
				}
				total := 0
				for i, c := range tt.checks {
					total += c.runs
					if c.runs != tt.runs[i] {
						t.Errorf("%s ran %d times, want %d", c.name, c.runs, tt.runs[i])
					}
				}
				if reports != total || time.Since(began) != tt.took {
					t.Errorf("%d reports of %d runs in %v", reports, total, time.Since(began))
				}
			})
		})
	}
}

func TestVerifyCancelled(t *testing.T) {
	for _, at := range []time.Duration{time.Second, 90 * time.Second} { // in the pause, in a run
		synctest.Test(t, func(t *testing.T) {
			why := errors.New("cancelled by a person")
			ctx, cancel := context.WithCancelCause(t.Context())
			after(at, func() { cancel(why) })
			c := &scripted{name: "a", answers: []error{errors.New("no"), errors.New("no")}}
			if at > time.Minute {
				c.took = time.Hour
			}
			began := time.Now()
			if err := Verify(ctx, []Check{c}, 0, 2*time.Second, nil); !errors.Is(err, why) || time.Since(began) != at {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		})
	}
}

func TestHTTPCheck(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			fmt.Fprintf(w, "host=%s method=%s key=%s", r.Host, r.Method, r.Header.Get("X-Key"))
		case "/moved":
			http.Redirect(w, r, "/broken", http.StatusFound)
		case "/broken":
			http.Error(w, "database\nis down", http.StatusInternalServerError)
		case "/slow":
			<-r.Context().Done()
		}
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	// An environment that would send requests elsewhere must not matter.
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("NO_PROXY", "")

	tests := []struct {
		name string
		o    HTTPOptions
		want string
	}{
		{"ok", HTTPOptions{URL: plain.URL + "/ok"}, ""},
		{"host, method, header and body", HTTPOptions{URL: plain.URL + "/ok", Host: "example.org", Method: "post", Headers: map[string]string{"X-Key": "k"}, BodyContains: "host=example.org method=POST key=k"}, ""},
		{"body", HTTPOptions{URL: plain.URL + "/ok", BodyContains: "ready"}, `HTTP 200, but the body does not contain "ready": host=`},
		{"error", HTTPOptions{URL: plain.URL + "/broken"}, "HTTP 500: database is down, expected 200 to 399"},
		{"wanted error", HTTPOptions{URL: plain.URL + "/broken", Status: []int{401, 500}}, ""},
		{"unwanted success", HTTPOptions{URL: plain.URL + "/ok", Status: []int{401, 403}}, "expected 401 or 403"},
		{"redirect is an answer", HTTPOptions{URL: plain.URL + "/moved"}, ""},
		{"redirect followed", HTTPOptions{URL: plain.URL + "/moved", FollowRedirects: true}, "HTTP 500"},
		{"timeout", HTTPOptions{URL: plain.URL + "/slow", Timeout: 50 * time.Millisecond}, "no answer within 50 ms"},
		{"unknown certificate", HTTPOptions{URL: secure.URL + "/ok"}, "certificate"},
		{"certificate not looked at", HTTPOptions{URL: secure.URL + "/ok", SkipTLSVerify: true}, ""},
		{"refused", HTTPOptions{URL: "http://user:secret@127.0.0.1:1/?token=secret"}, "connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := HTTP("web", tt.o)
			if err != nil {
				t.Fatal(err)
			}
			err = c.Run(t.Context())
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("err %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("a secret in the answer: %v", err)
			}
		})
	}
	for _, bad := range []string{"", "127.0.0.1:80", "ftp://x", "http://", "http://%zz"} {
		if _, err := HTTP("web", HTTPOptions{URL: bad}); err == nil {
			t.Errorf("URL %q is accepted", bad)
		}
	}
}

func TestTCPCheck(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := TCP("db", l.Addr().String(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); err != nil {
		t.Error(err)
	}
	_ = l.Close()
	if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("err %v", err)
	}
	if _, err := TCP("db", "localhost", 0); err == nil {
		t.Error("an address without a port is accepted")
	}
}

func TestExecCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newFake()
		id := e.create("app", nil, docker.RestartPolicy{Name: "no"})
		e.start(id)
		gone := errors.New("service backend has no running container")
		for _, tt := range []struct {
			command []string
			err     error
			want    string
		}{
			{[]string{"x", "say", "ok"}, nil, ""},
			{[]string{"x", "complain", "schema", "is", "old"}, nil, "exit 3: schema is old"},
			{[]string{"x", "hang"}, nil, "no answer within 5 s"},
			{[]string{"x", "say"}, gone, gone.Error()},
		} {
			c, err := Exec("own", e, func(context.Context) (string, error) { return id, tt.err }, tt.command, 0)
			if err != nil {
				t.Fatal(err)
			}
			err = c.Run(t.Context())
			if (err == nil) != (tt.want == "") || (err != nil && err.Error() != tt.want) {
				t.Errorf("%v: %v", tt.command, err)
			}
		}
		if _, err := Exec("own", e, nil, nil, 0); err == nil {
			t.Error("a check without a command is accepted")
		}
	})
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   "",
		" a\n\tb\x00\x1b c ":                 "a b c",
		"bad \xff":                           "bad \uFFFD",
		strings.Repeat("é", reasonRunes+100): strings.Repeat("é", reasonRunes) + "…",
	} {
		if got := oneLine(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
