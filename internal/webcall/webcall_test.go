// SPDX-License-Identifier: Apache-2.0

package webcall

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCall(t *testing.T) {
	var got *http.Request
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, strings.Repeat("x", 100))
	}))
	defer server.Close()
	call := Call{
		Method: http.MethodPost, URL: server.URL + "/hook", Body: []byte(`{"a":1}`), Token: "tok", HMACKey: []byte("key"),
		Headers: map[string]string{"X-Own": "1"}, MaxAnswer: 10,
	}
	answer, err := Client{}.Do(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	if answer.OK() || answer.Status != 429 || string(answer.Body) != strings.Repeat("x", 10) || answer.RetryAfter != 7*time.Second {
		t.Errorf("the answer is %+v", answer)
	}
	mac := hmac.New(sha256.New, []byte("key"))
	mac.Write(body)
	if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); got.Header.Get("X-Fairlead-Signature-256") != want {
		t.Errorf("the signature is %q, want %q", got.Header.Get("X-Fairlead-Signature-256"), want)
	}
	if got.Header.Get("Authorization") != "Bearer tok" || got.Header.Get("X-Own") != "1" || got.Header.Get("Content-Type") != "application/json" ||
		string(body) != `{"a":1}` || got.URL.Path != "/hook" {
		t.Errorf("sent %v %s %q", got.Header, got.URL, body)
	}

	call.Method = http.MethodGet
	if _, err := (Client{}).Do(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	if len(body) > 0 || got.Header.Get("X-Fairlead-Signature-256") != "" {
		t.Errorf("a GET has the body %q and the signature %q", body, got.Header.Get("X-Fairlead-Signature-256"))
	}
}

// A token must not go where nobody asked for it to go.
func TestNoRedirect(t *testing.T) {
	asked := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	answer, err := Client{}.Do(t.Context(), Call{Method: http.MethodPost, URL: server.URL, Token: "tok"})
	if err != nil || answer.Status != http.StatusTemporaryRedirect || answer.OK() || asked {
		t.Errorf("%+v, %v; asked the other: %v", answer, err, asked)
	}
}

func TestErrorsHoldNoURL(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	_, err = Client{}.Do(t.Context(), Call{Method: http.MethodPost, URL: "http://user:hushhush@" + address + "/secretpath?key=secretquery"})
	if err == nil || !NotConnected(err) {
		t.Fatalf("%v", err)
	}
	for _, secret := range []string{"hushhush", "secretpath", "secretquery"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error tells %s: %v", secret, err)
		}
	}
	for _, url := range []string{"", "ftp://h/x", "https://", "http://a b/", "://"} {
		if _, err := (Client{}).Do(t.Context(), Call{Method: http.MethodPost, URL: url}); err == nil || NotConnected(err) {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestCallEndsWithItsContext(t *testing.T) {
	block := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-block }))
	defer server.Close()
	defer close(block)
	cause := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, cause)
	defer cancel()
	if _, err := (Client{}).Do(ctx, Call{Method: http.MethodPost, URL: server.URL}); !errors.Is(err, cause) || NotConnected(err) {
		t.Errorf("%v", err)
	}
}

func TestSecrets(t *testing.T) {
	got := Secrets("https://somebody:pass%2Fword@hooks.example.com/services/T0000000/x/abc?token=se%3Dcret&short=1")
	for _, want := range []string{"somebody", "pass/word", "pass%2Fword", "services", "T0000000", "se=cret", "se%3Dcret"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not among %q", want, got)
		}
	}
	for _, harmless := range []string{"x", "1", "abc"} {
		if slices.Contains(got, harmless) {
			t.Errorf("%q would garble the log", harmless)
		}
	}
}
