// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/webcall"
)

type secrets map[string]map[string][]byte

func (s secrets) Secret(_ context.Context, namespace, name string) (map[string][]byte, error) {
	if data, ok := s[namespace+"/"+name]; ok {
		return data, nil
	}
	return nil, fmt.Errorf("there is no Secret %s", name)
}

func ref(name string) *v1alpha1.LocalReference { return &v1alpha1.LocalReference{Name: name} }

func TestWebhook(t *testing.T) {
	var body []byte
	var header http.Header
	answer := http.StatusNoContent
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		header = r.Header
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(answer)
		_, _ = io.WriteString(w, "not you, secretpath\n"+strings.Repeat("z", 2000))
	}))
	defer server.Close()
	s := &Sender{Secrets: secrets{
		"prod/signed": {"hmac-key": []byte("hmackey")},
		"prod/all":    {"url": []byte(server.URL + "/secretpath\n"), "hmac-key": []byte("other")},
		"prod/empty":  {},
	}}
	ur := request(v1alpha1.PhaseBackingUp)
	n := &v1alpha1.Notification{Name: "hook", Webhook: &v1alpha1.WebhookNotification{URL: server.URL}}
	if err := s.Send(t.Context(), n, v1alpha1.NotifyStarted, ur); err != nil {
		t.Fatal(err)
	}
	const want = `{"message":"prod/shop: the update to 0123456 \"Fix <the> \\\"login\\\"\" has started (5 commits)","status":"started"}`
	if string(body) != want {
		t.Errorf("the body is %s, want %s", body, want)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "X-Fairlead-Event": "Started", "X-Fairlead-Application": "prod/shop",
		"X-Fairlead-Request": "shop-0123456", webcall.DeliveryHeader: "uid-1/Started", webcall.SignatureHeader: "",
	} {
		if header.Get(name) != value {
			t.Errorf("%s is %q, want %q", name, header.Get(name), value)
		}
	}

	n.Webhook.SecretRef = ref("signed")
	if err := s.Send(t.Context(), n, v1alpha1.NotifyStarted, ur); err != nil || header.Get(webcall.SignatureHeader) != webcall.Sign([]byte("hmackey"), body) {
		t.Errorf("%v, signed %q", err, header.Get(webcall.SignatureHeader))
	}
	n.Webhook = &v1alpha1.WebhookNotification{SecretRef: ref("all")}
	if err := s.Send(t.Context(), n, v1alpha1.NotifyStarted, ur); err != nil || header.Get(webcall.SignatureHeader) != webcall.Sign([]byte("other"), body) {
		t.Errorf("%v, signed %q", err, header.Get(webcall.SignatureHeader))
	}

	answer = http.StatusTooManyRequests
	err := s.Send(t.Context(), n, v1alpha1.NotifyStarted, ur)
	var later *Retry
	if !errors.As(err, &later) || later.After != 3*time.Second || !strings.Contains(err.Error(), "HTTP 429, expected 200 to 299: not you, ***") ||
		len(err.Error()) > 500 {
		t.Errorf("%v", err)
	}
	for name, problem := range map[string]string{"empty": "no key url", "none": "no Secret none"} {
		n.Webhook.SecretRef = ref(name)
		if err := s.Send(t.Context(), n, v1alpha1.NotifyStarted, ur); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%v, want %s", err, problem)
		}
	}
}

// The library delivers over HTTP, and its errors do not give the URL away.
func TestService(t *testing.T) {
	var mu sync.Mutex
	var got []string
	answer := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.URL.Path+" "+string(body))
		w.WriteHeader(answer)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	store := secrets{
		"prod/good":    {"url": []byte("\ngeneric://" + host + "/secrettoken/x?disabletls=yes\n")},
		"prod/two":     {"url": []byte("generic://a\ngeneric://b")},
		"prod/none":    {},
		"prod/unknown": {"url": []byte("nosuch://secrettoken@h")},
		"prod/nourl":   {"url": []byte("://secrettoken")},
	}
	s := &Sender{Secrets: store}
	n := &v1alpha1.Notification{Name: "chat", ServiceRef: ref("good")}
	ur := request(v1alpha1.PhaseSucceeded)
	if err := s.Send(t.Context(), n, v1alpha1.NotifySucceeded, ur); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0] != "/secrettoken/x "+Message(v1alpha1.NotifySucceeded, ur) {
		t.Errorf("the server got %q", got)
	}
	answer = http.StatusInternalServerError
	problems := map[string]string{"good": "500", "two": "2 lines", "none": "has no key url", "unknown": "unknown service", "nourl": "is no URL"}
	server2 := httptest.NewServer(http.NotFoundHandler())
	server2.Close() // nobody listens there any more
	store["prod/dead"] = map[string][]byte{"url": []byte("generic://user:secretpass@" + strings.TrimPrefix(server2.URL, "http://") + "/secrettoken?disabletls=yes&@x=secretquery")}
	problems["dead"] = "connection refused"
	for name, problem := range problems {
		n.ServiceRef = ref(name)
		err := s.Send(t.Context(), n, v1alpha1.NotifySucceeded, ur)
		if err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v, want %s", name, err, problem)
			continue
		}
		for _, secret := range []string{"secrettoken", "secretpass", "secretquery"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error tells %s: %v", name, secret, err)
			}
		}
	}
}

// A service that hangs is left behind, once: no second call begins before the first
// has returned.
func TestServiceThatHangs(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{}, 10)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-release
	}))
	defer server.Close()
	s := &Sender{Timeout: 200 * time.Millisecond, Secrets: secrets{
		"prod/slow": {"url": []byte("generic://" + strings.TrimPrefix(server.URL, "http://") + "/?disabletls=yes")},
	}}
	n := &v1alpha1.Notification{Name: "chat", ServiceRef: ref("slow")}
	if err := s.Send(t.Context(), n, v1alpha1.NotifyStarted, request(v1alpha1.PhaseBuilding)); err == nil || !strings.Contains(err.Error(), "no answer within 200ms") {
		t.Errorf("%v", err)
	}
	<-entered
	if err := s.Send(t.Context(), n, v1alpha1.NotifyStarted, request(v1alpha1.PhaseBuilding)); err == nil || !strings.Contains(err.Error(), "an earlier call has not returned") {
		t.Errorf("%v", err)
	}
	close(release)
	deadline := time.Now().Add(10 * time.Second)
	for {
		if err := s.Send(t.Context(), n, v1alpha1.NotifyStarted, request(v1alpha1.PhaseBuilding)); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// smtpServer takes mail for one connection after another. It is a stand-in for a
// mail server, as none can be had here: it knows no more than a client says.
func smtpServer(t *testing.T) (address string, mails <-chan string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	out := make(chan string, 10)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serveMail(conn, out)
		}
	}()
	return listener.Addr().String(), out
}

func serveMail(conn net.Conn, out chan<- string) {
	defer conn.Close()
	say := func(line string) { _, _ = io.WriteString(conn, line+"\r\n") }
	in := textproto.NewReader(bufio.NewReader(conn))
	say("220 mail ready")
	var mail strings.Builder
	for {
		line, err := in.ReadLine()
		if err != nil {
			return
		}
		mail.WriteString(line + "\n")
		switch verb, _, _ := strings.Cut(strings.ToUpper(line), " "); verb {
		case "DATA":
			say("354 go on")
			text, err := in.ReadDotLines()
			if err != nil {
				return
			}
			mail.WriteString(strings.Join(text, "\n"))
			out <- mail.String()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func TestMail(t *testing.T) {
	address, mails := smtpServer(t)
	s := &Sender{Secrets: secrets{
		"prod/mail": {"url": []byte("smtp://" + address + "/?from=fairlead@example.com&to=ops@example.com&starttls=no&encryption=None")},
	}}
	n := &v1alpha1.Notification{Name: "mail", ServiceRef: ref("mail")}
	ur := request(v1alpha1.PhaseFailed, failure(v1alpha1.StepBackup, "BackupFailed", "the disk is full"))
	if err := s.Send(t.Context(), n, v1alpha1.NotifyBackupFailed, ur); err != nil {
		t.Fatal(err)
	}
	mail := <-mails
	for _, want := range []string{"FROM:<fairlead@example.com>", "TO:<ops@example.com>", "Subject: shop: backup failure", Message(v1alpha1.NotifyBackupFailed, ur)} {
		if !strings.Contains(mail, want) {
			t.Errorf("the mail has no %q:\n%s", want, mail)
		}
	}
}
