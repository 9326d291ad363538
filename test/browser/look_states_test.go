// SPDX-License-Identifier: Apache-2.0

//go:build browser

package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
	s.looksAtConflicts(b, alert)
	s.Patch(s.App(s.name), `{"spec":{"suspend":true}}`)
	s.looks(b,
		look{name: "suspended", path: s.app(), ready: heading},
		look{name: "overview-suspended", path: "/ui/", ready: heading},
	)
	s.Patch(s.App(s.name), `{"spec":{"suspend":false}}`)
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

// looksAtConflicts looks at settings that somebody else has saved meanwhile.
func (s *site) looksAtConflicts(b *tab, alert string) {
	s.t.Helper()
	soak := 10
	meanwhile := func(selector, text string) func(*tab) {
		return func(b *tab) {
			b.typed(selector, text)
			soak++
			s.Patch(s.App(s.name), fmt.Sprintf(`{"spec":{"rollout":{"soak":"%ds"}}}`, soak))
			b.click("button[value=save]")
		}
	}
	s.looks(b,
		look{name: "settings-conflict", path: s.app() + "/settings", ready: alert, before: meanwhile("#rollout-soak", "5s")},
		look{name: "settings-yaml-conflict", path: s.app() + "/settings?as=yaml", ready: alert, before: meanwhile("#text", "spec:\n  rollout:\n    soak: 5s\n")},
	)
	s.Patch(s.App(s.name), `{"spec":{"rollout":{"soak":"1s"}}}`)
}

// looksAtRestore looks at an application that goes back to a backup, and whose own
// checks fail then, after a while: nothing answers where they ask.
func (s *site) looksAtRestore(b *tab) {
	s.t.Helper()
	s.Patch(s.App(s.name), `{"spec":{"verify":{"attempts":60}}}`)
	made := s.WantEnd(s.Update(s.name, "", harness.BackupOnly).Name, v1alpha1.PhaseSucceeded)
	var backups v1alpha1.BackupList
	if err := s.Client.List(s.t.Context(), &backups, client.InNamespace(s.Namespace)); err != nil {
		s.t.Fatal(err)
	}
	at := slices.IndexFunc(backups.Items, func(b v1alpha1.Backup) bool { return b.Spec.ID == made.Status.Backup })
	if at < 0 {
		s.t.Fatalf("there is no backup %q", made.Status.Backup)
	}
	restore := s.Update(s.name, "", harness.RestoreFrom(backups.Items[at].Name)).Name
	s.WaitStep(restore, v1alpha1.StepRestore)
	page := "/ui/namespaces/" + s.Namespace + "/updates/" + restore
	s.looks(b,
		look{name: "restore-runs", path: page, ready: `document.querySelectorAll(".logline").length > 3 && document.getElementById("service-web") !== null`},
		look{name: "application-restore", path: s.app(), ready: `document.getElementById("active") !== null`},
	)
	s.WantEnd(restore, v1alpha1.PhaseFailed)
	s.looks(b, look{name: "restore-failed", path: page, ready: `document.getElementById("outcome") !== null && document.querySelector(".logline") !== null`})
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

// unstuck has what stays in view stand where it belongs, until what is returned is
// called: it hides a part of what can be scrolled to, such as half of a button.
func (b *tab) unstuck() (undo func()) {
	b.t.Helper()
	place := func(position string) {
		eval[any](b, fmt.Sprintf(`document.querySelectorAll(".stays").forEach((e) => { e.style.position = %q; })`, position))
	}
	place("static")
	return func() { place("") }
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
