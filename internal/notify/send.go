// SPDX-License-Identifier: Apache-2.0

// Package notify tells people of updates: what is worth telling, in which words,
// to whom it was told already, and the sending itself. It decides nothing about
// an update and never holds one up; the controller that uses it works beside them.
package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/redact"
	"github.com/fairlead-dev/fairlead/internal/webcall"
)

// Timeout of one delivery.
const Timeout = 10 * time.Second

// maxAnswer is how much of an answer is read; it is quoted in errors.
const maxAnswer = 512

// Keys of Secrets.
const (
	keyURL  = "url"
	keyHMAC = "hmac-key"
)

// Secrets reads Secrets. The error says what to do.
type Secrets interface {
	Secret(ctx context.Context, namespace, name string) (map[string][]byte, error)
}

// Sender delivers messages. It may be used by several goroutines.
type Sender struct {
	Secrets Secrets
	// Timeout of one delivery; 0: 10 s.
	Timeout time.Duration

	mu   sync.Mutex
	busy map[string]bool // services whose library call has not returned
}

// Retry is an error after which the receiver asks to wait.
type Retry struct {
	Err   error
	After time.Duration
}

func (e *Retry) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Retry) Unwrap() error { return e.Err }

// Send delivers one event of a request to one receiver, once, and returns when the
// receiver has taken it, at most after the timeout. Errors hold no URL and no
// secret.
func (s *Sender) Send(ctx context.Context, n *v1alpha1.Notification, e v1alpha1.NotificationEvent, ur *v1alpha1.UpdateRequest) error {
	timeout := Timeout
	if s.Timeout > 0 {
		timeout = s.Timeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	switch {
	case n.Webhook != nil:
		return s.webhook(ctx, n.Webhook, e, ur)
	case n.ServiceRef != nil:
		return s.service(ctx, n, e, ur)
	}
	return errors.New("the notification says neither webhook nor serviceRef")
}

// Body is what a webhook gets.
type Body struct {
	Message string `json:"message"`
	Status  string `json:"status"`
}

func (s *Sender) webhook(ctx context.Context, w *v1alpha1.WebhookNotification, e v1alpha1.NotificationEvent, ur *v1alpha1.UpdateRequest) error {
	call := webcall.Call{
		Method: http.MethodPost, URL: w.URL, MaxAnswer: maxAnswer,
		Headers: map[string]string{
			"X-Fairlead-Event":       string(e),
			"X-Fairlead-Application": ur.Namespace + "/" + ur.Spec.ApplicationRef.Name,
			"X-Fairlead-Request":     ur.Name,
			webcall.DeliveryHeader:   string(ur.UID) + "/" + string(e),
		},
	}
	if w.SecretRef != nil {
		data, err := s.Secrets.Secret(ctx, ur.Namespace, w.SecretRef.Name)
		if err != nil {
			return err
		}
		call.HMACKey = data[keyHMAC]
		if call.URL == "" {
			if call.URL = strings.TrimSpace(string(data[keyURL])); call.URL == "" {
				return fmt.Errorf("the Secret %s has no key %s, and the webhook no url", w.SecretRef.Name, keyURL)
			}
		}
	}
	var err error
	if call.Body, err = body(Body{Message: Message(e, ur), Status: Status(e)}); err != nil {
		return err
	}
	mask := redact.New(append(webcall.Secrets(call.URL), string(call.HMACKey))...)
	answer, err := webcall.Client{}.Do(ctx, call)
	if err != nil {
		return errors.New(mask.Text(err.Error()))
	}
	if answer.OK() {
		return nil
	}
	refused := fmt.Errorf("HTTP %d, expected 200 to 299%s", answer.Status, quote(mask.Text(string(answer.Body))))
	if answer.RetryAfter > 0 {
		return &Retry{Err: refused, After: answer.RetryAfter}
	}
	return refused
}

// body leaves <, > and & as they are, which people read.
func body(b Body) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(b)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

// titled are the services that show a title, and would show the library's own.
var titled = regexp.MustCompile(`^(smtp|gotify|ntfy|pushover|pushbullet|bark|join)$`)

// service delivers through Shoutrrr, which cannot be told to stop: a call that does
// not return in time is left behind, and no other begins for the same receiver
// until it has.
func (s *Sender) service(ctx context.Context, n *v1alpha1.Notification, e v1alpha1.NotificationEvent, ur *v1alpha1.UpdateRequest) error {
	data, err := s.Secrets.Secret(ctx, ur.Namespace, n.ServiceRef.Name)
	if err != nil {
		return err
	}
	raw, err := serviceURL(data[keyURL], n.ServiceRef.Name)
	if err != nil {
		return err
	}
	mask := redact.New(append(webcall.Secrets(raw), raw, hostSecret(raw))...)
	var library router.ServiceRouter
	service, err := library.Locate(raw)
	if err != nil {
		return fmt.Errorf("the Secret %s has no usable Shoutrrr URL: %s", n.ServiceRef.Name, plain(mask, err))
	}
	key := strings.Join([]string{ur.Namespace, ur.Spec.ApplicationRef.Name, n.Name}, "/")
	if !s.begin(key) {
		return fmt.Errorf("%s does not answer: an earlier call has not returned", service.GetID())
	}
	params := types.Params{}
	if titled.MatchString(service.GetID()) {
		params.SetTitle(Title(e, ur))
	}
	text := Message(e, ur)
	done := make(chan error, 1)
	go func() {
		defer s.end(key)
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("panic in the library: %v", p)
			}
		}()
		done <- service.Send(text, &params)
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", service.GetID(), context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("%s: %s", service.GetID(), plain(mask, err))
	}
	return nil
}

func (s *Sender) begin(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[key] {
		return false
	}
	if s.busy == nil {
		s.busy = map[string]bool{}
	}
	s.busy[key] = true
	return true
}

func (s *Sender) end(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, key)
}

// serviceURL takes the one URL out of a Secret. The error does not quote it.
func serviceURL(value []byte, secret string) (string, error) {
	lines := slices.DeleteFunc(strings.Split(string(value), "\n"), func(l string) bool { return strings.TrimSpace(l) == "" })
	if len(lines) == 0 {
		return "", fmt.Errorf("the Secret %s has no key %s: put a Shoutrrr URL there, such as slack://… or smtp://…", secret, keyURL)
	}
	if len(lines) > 1 {
		return "", fmt.Errorf("the key %s of the Secret %s has %d lines: one receiver has one URL, add a notification for each other one", keyURL, secret, len(lines))
	}
	raw := strings.TrimSpace(lines[0])
	if _, err := url.Parse(raw); err != nil {
		return "", fmt.Errorf("the key %s of the Secret %s is no URL", keyURL, secret)
	}
	return raw, nil
}

// hostSecret returns what stands in the place of the host if that is no host but a
// token, as some services of the library have it.
func hostSecret(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || strings.Contains(u.Host, ".") && u.Scheme != "pushbullet" || u.Hostname() == "localhost" {
		return ""
	}
	return u.Hostname()
}

// anyURL matches URLs in errors: the library builds some of its own, with tokens in
// them, out of the one that it is given.
var anyURL = regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://[^\s"'<>]+`)

// plain is an error of the library without URLs and secrets.
func plain(mask *redact.Redactor, err error) string {
	text := anyURL.ReplaceAllStringFunc(err.Error(), func(found string) string {
		if u, err := url.Parse(found); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
			return u.Scheme + "://" + u.Hostname() + "/" + redact.Mask
		}
		return redact.Mask
	})
	return oneLine(mask.Text(text))
}

// quote appends what was answered, if anything.
func quote(s string) string {
	if s = oneLine(s); s == "" {
		return ""
	}
	return ": " + s
}
