// SPDX-License-Identifier: Apache-2.0

//go:build browser

package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/docker/api/types/container"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// unbuilt is an update that failed before it changed anything: its image cannot be built.
func (s *site) unbuilt() string {
	s.t.Helper()
	const file = "web/Dockerfile"
	content, err := os.ReadFile(filepath.Join(s.repo.Work, file))
	if err != nil {
		s.t.Fatal(err)
	}
	was := string(content)
	if _, err := s.repo.Publish(s.t.Context(), "Compress the pictures", map[string]string{file: was + "RUN [\"/app\", \"no-such-command\"]\n"}); err != nil {
		s.t.Fatal(err)
	}
	name := s.Update(s.name, "").Name
	s.WantEnd(name, v1alpha1.PhaseFailed)
	if _, err := s.repo.Publish(s.t.Context(), "Compress no pictures", map[string]string{file: was}); err != nil {
		s.t.Fatal(err)
	}
	return name
}

// looksAtStates looks at pages in states that they are seldom in, and at what is folded up in
// them.
func (s *site) looksAtStates(b *tab, restore string) {
	s.t.Helper()
	const heading, alert = `document.querySelector("main h1") !== null`, `document.querySelector("main [role=alert]") !== null`
	s.looks(b,
		look{name: "options", path: s.app(), ready: heading, before: opened},
		look{name: "backups-open", path: s.app() + "/backups", ready: heading, before: opened},
		look{name: "figures-open", path: s.app() + "/figures", ready: heading, before: opened},
		look{name: "restore-plan", path: restore, ready: `document.querySelector("ul.plan") !== null`, before: func(b *tab) { b.click("form[action$='/plan'] button") }},
		look{name: "restore-wrong", path: restore, ready: alert, before: func(b *tab) {
			b.typed("#confirm", "no")
			b.click("form .danger")
		}},
		look{name: "plan-failed", path: s.app(), ready: `document.querySelector("dialog[open] [role=alert]") !== null`, before: func(b *tab) {
			b.typed("#commit", "no-such-branch")
			b.click("#versions details form button")
		}},
		look{name: "new-wrong", path: "/ui/new", ready: alert, before: func(b *tab) {
			b.typed("#directory", "/no/such/directory")
			b.click("button[value=check]")
		}},
		look{name: "settings-yaml-wrong", path: s.app() + "/settings?as=yaml", ready: alert, before: func(b *tab) {
			b.typed("#text", "spec:\n  rollout:\n    order: Sideways\n    maxFailureRatio: 7\n  update:\n    colour: blue\n")
			b.click("button[value=save]")
		}},
		look{name: "audit-refused", path: "/ui/audit?refused=true", ready: `document.querySelector("table.audit .bad") !== null`},
		look{name: "audit-none", path: "/ui/audit?name=no-such-name", ready: heading},
		look{name: "no-application", path: s.app() + "-not", ready: heading},
	)
	stranger := s.tab()
	stranger.open("/ui/sign-in")
	s.looks(stranger, look{name: "sign-in-wrong", path: "/ui/sign-in", ready: alert, before: func(b *tab) {
		b.typed("input[name=token]", "no.such.token")
		b.click("form.stack button")
	}})
	for _, c := range harness.Containers(s.t, s.repo.Project)["worker"] {
		if err := harness.Engine(s.t).ContainerStop(s.t.Context(), c.ID, container.StopOptions{}); err != nil {
			s.t.Fatal(err)
		}
	}
	if _, errOut, code := s.Fairlead("check", s.name, "-n", s.Namespace); code != 0 {
		s.t.Fatal(errOut)
	}
	s.looks(b,
		look{name: "drift", path: s.app(), ready: `document.querySelector("li.note.warn") !== null`},
		look{name: "overview-drift", path: "/ui/", ready: heading},
	)
}

// looksOut looks at a page whose session has ended meanwhile.
func (s *site) looksOut() {
	s.t.Helper()
	for _, language := range languages {
		name := "gone-" + strings.ToLower(language)
		out, errOut, code := s.Fairlead("token", "create", name, "--role", "viewer", "--for", "1h", "-n", s.Namespace)
		if code != 0 {
			s.t.Fatal(errOut)
		}
		b := s.tab()
		b.signIn(strings.TrimSpace(out))
		b.speak(language)
		b.open(s.app())
		b.until("the page is there", `document.readyState === "complete" && document.querySelector("main h1") !== null`)
		if _, errOut, code := s.Fairlead("token", "revoke", name, "-n", s.Namespace); code != 0 {
			s.t.Fatal(errOut)
		}
		b.until("the end of the session is told", `document.documentElement.dataset.connection === "out"`)
		b.look("out-"+language, false)
	}
}

// punctuated checks that Chinese has the punctuation of Chinese, and no space after it.
func (b *tab) punctuated(name string) {
	b.t.Helper()
	odd := eval[[]string](b, `document.documentElement.lang.startsWith("zh")
		? document.body.innerText.match(/.{0,12}(\p{Script=Han} ?[:;,!?(](?=\s|\p{Script=Han}|$)|\p{Script=Han} ?"|[。；：，、！？] +\p{Script=Han}).{0,12}/gmu) ?? [] : []`)
	if len(odd) > 0 {
		b.t.Errorf("%s has odd punctuation: %s", name, fmt.Sprintf("%q", odd))
	}
}

// unrolled shows the whole of a dialog, if one is open, until what is returned is called.
func (b *tab) unrolled() (undo func()) {
	b.t.Helper()
	size := eval[[]int64](b, `(() => { const dialog = document.querySelector("dialog[open]");
		return [innerWidth, innerHeight, dialog === null || dialog.scrollHeight <= dialog.clientHeight ? 0 : dialog.scrollHeight + 80]; })()`)
	if size[2] == 0 {
		return func() {}
	}
	b.view(size[0], size[2])
	return func() { b.view(size[0], size[1]) }
}
