// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/redact"
)

func TestSecretDoesNotPrint(t *testing.T) {
	s := Spec{Secrets: []Secret{{ID: "id", Value: []byte("hidden")}}}
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	hidden := fmt.Sprint([]byte("hidden"))
	for _, text := range []string{fmt.Sprintf("%v", s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), string(encoded)} {
		if strings.Contains(text, "hidden") || strings.Contains(text, hidden[1:len(hidden)-1]) || strings.Contains(text, "aGlkZGVu") {
			t.Errorf("printed: %s", text)
		}
	}
}

func TestOutputPlain(t *testing.T) {
	var log bytes.Buffer
	o := newOutput(&log, redact.New("secret"))
	for _, line := range []string{
		"\x1b[1;31mred\x1b[0m", "10%\r50%\r100%", "a\x07\tb\x00", "bad \xff utf8", "se\x1b[0mcret", "title \x1b]0;x\x07end",
	} {
		o.line("> ", line)
	}
	const want = "> red\n> 100%\n> a\tb\n> bad \uFFFD utf8\n> ***\n> title end\n"
	if log.String() != want {
		t.Errorf("%q, want %q", log.String(), want)
	}
}

func TestClassify(t *testing.T) {
	for _, tc := range []struct {
		text   string
		exit   int
		remote bool
		want   Kind
	}{
		{`executor failed running [/bin/sh -c npm ci]: exit code: 1`, 1, false, KindBuild},
		{`process "/bin/sh -c curl x" did not complete successfully: exit code: 6: could not resolve host`, 6, false, KindBuild},
		{`failed to copy: write /var/lib/docker/x: no space left on device`, 0, false, KindNoSpace},
		{`failed to do request: Head "https://registry-1.docker.io/v2/x": dial tcp: lookup registry-1.docker.io: no such host`, 0, true, KindUnreachable},
		{`Get "https://r/v2/": net/http: TLS handshake timeout`, 0, true, KindUnreachable},
		{`toomanyrequests: You have reached your pull rate limit`, 0, true, KindUnreachable},
		{`pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed`, 0, true, KindUnauthorized},
		{`executor failed running [/app]: failed to create endpoint x on network bridge: could not find bridge docker0`, 0, false, KindEngine},
		{`failed to load LLB: rpc error: code = Unavailable desc = error reading from server: EOF`, 0, false, KindEngine},
		{`no active session for 7ql2x: context deadline exceeded`, 0, false, KindEngine},
		{`failed to run Build function: rpc error: code = Unknown desc = no such job 7ql2x`, 0, false, KindEngine},
		{`executor failed running [/bin/sh -c make]: exit code: 1: transport is closing`, 1, false, KindBuild},
		{`failed to write layer: write /var/lib/docker/tmp/x: disk quota exceeded`, 0, false, KindNoSpace},
		{`docker.io/library/nope:9: not found`, 0, true, KindNotFound},
		{`"/missing": not found`, 0, false, KindBuild},
		{`dockerfile parse error line 3: unknown instruction: COPIE`, 0, false, KindBuild},
	} {
		if got := classifyBuild(tc.text, tc.exit, tc.remote, nil); got != tc.want {
			t.Errorf("%q is %s, want %s", tc.text, got, tc.want)
		}
		if tc.exit != exitCodeOf(tc.text) {
			t.Errorf("%q: exit code %d", tc.text, exitCodeOf(tc.text))
		}
	}
	if got := classifyBuild("exit code: 1", 1, false, []string{"cp: No space left on device"}); got != KindNoSpace {
		t.Errorf("a command on a full disk is %s", got)
	}
}

func TestErrorText(t *testing.T) {
	e := &Error{Service: "web", Kind: KindBuild, Instruction: "[2/3] RUN npm ci", ExitCode: 1, Message: "x", Tail: []string{"npm ERR!", "bye"}}
	if got, want := e.Error(), "build of web: [2/3] RUN npm ci failed with exit code 1; its last lines:\n  npm ERR!\n  bye"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if strings.Contains(e.Summary(), "\n") {
		t.Error("the summary has several lines")
	}
	for err, want := range map[error]bool{
		e:                              false,
		&Error{Kind: KindEngine}:       true,
		&Error{Kind: KindUnreachable}:  true,
		&Error{Kind: KindNotFound}:     false,
		&Error{Kind: KindUnauthorized}: false,
		&Error{Kind: KindNoSpace}:      false,
		errors.New("x"):                false,
		fmt.Errorf("read: %w", io.EOF): true,
		fmt.Errorf("w: %w", &Error{Kind: KindUnreachable}): true,
	} {
		if Retryable(err) != want {
			t.Errorf("Retryable(%v) = %v", err, !want)
		}
	}
}

func TestSpecCheck(t *testing.T) {
	good := base()
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Spec){
		"no name":     func(s *Spec) { s.Name = "" },
		"no context":  func(s *Spec) { s.Context = "" },
		"absolute":    func(s *Spec) { s.Context = "web" },
		"exclude":     func(s *Spec) { s.Dockerfile, s.DockerfileInline = "a", "b" },
		"platform":    func(s *Spec) { s.Platforms = []string{"a", "b"} },
		"secret":      func(s *Spec) { s.Secrets[1].ID = "b" },
		"extra_hosts": func(s *Spec) { s.ExtraHosts = []string{"a"} },
		"NOT/Valid":   func(s *Spec) { s.Tags = []string{"NOT/Valid"} },
		"digest":      func(s *Spec) { s.Tags = []string{"a@sha256:" + strings.Repeat("a", 64)} },
	} {
		s := base()
		change(&s)
		var e *Error
		if err := s.check(); !errors.As(err, &e) || e.Kind != KindInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	s := Spec{Tags: []string{"web", "web:latest", "r:5000/web:1"}}
	if tags, err := s.tags(); err != nil || fmt.Sprint(tags) != "[docker.io/library/web:latest r:5000/web:1]" {
		t.Errorf("%v %v", tags, err)
	}
	for entry, want := range map[string]string{"a=1.2.3.4": "a 1.2.3.4", "a:1.2.3.4": "a 1.2.3.4", "a=[::1]": "a ::1", "a:::1": "a ::1"} {
		if h, ip, ok := splitHost(entry); !ok || h+" "+ip != want {
			t.Errorf("%s: %s %s %v", entry, h, ip, ok)
		}
	}
}

func TestParseCache(t *testing.T) {
	for in, want := range map[string]string{
		"r/x:cache":                        "registry map[ref:r/x:cache]",
		"type=registry,ref=r/x:1,mode=max": "registry map[mode:max ref:r/x:1]",
		"type=inline":                      "inline map[]",
	} {
		got, err := parseCache(in, "registry")
		if err != nil || got.Type+" "+fmt.Sprint(got.Attrs) != want {
			t.Errorf("%s: %+v %v", in, got, err)
		}
	}
	for _, in := range []string{"ref=x", "type=a,b"} {
		if _, err := parseCache(in, "registry"); err == nil {
			t.Errorf("%s is taken", in)
		}
	}
}

func TestGroup(t *testing.T) {
	spec := func(name, key string) Spec {
		return Spec{Name: name, Key: key, Tags: []string{name + ":1"}, Labels: map[string]string{LabelService: name, LabelApplication: "a", "own": "x"}}
	}
	groups, err := group([]Spec{spec("d", ""), spec("b", "k"), spec("c", ""), spec("a", "k")})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range groups {
		got = append(got, fmt.Sprint(g.names, g.spec.Tags, g.spec.Labels))
	}
	want := []string{
		"[a b] [a:1 b:1] map[fairlead.dev/application:a own:x]",
		"[c] [c:1] map[fairlead.dev/application:a fairlead.dev/service:c own:x]",
		"[d] [d:1] map[fairlead.dev/application:a fairlead.dev/service:d own:x]",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := group([]Spec{spec("a", ""), spec("a", "")}); err == nil {
		t.Error("two builds of one name are taken")
	}
}
