// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"fmt"
	"strings"
	"testing"
)

func TestRedactor(t *testing.T) {
	r := New("abc", "abcdef\n", "", "-----BEGIN KEY-----\nMIIB\n}\n", URLPassword("https://u:pw1@h/x.git"), URLPassword("https://tok@h/x"))
	for in, want := range map[string]string{
		"x abcdef y abc z":                   "x *** y *** z",
		"a MIIB }":                           "a *** }",
		"fetch https://u:pw1@h and tok@h":    "fetch https://u:***@h and ***@h",
		"-----BEGIN KEY-----\nMIIB\n}":       "***",
		"nothing":                            "nothing",
		"git@github.com:x is not a password": "git@github.com:x is not a password",
	} {
		if got := r.Text(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	if URLPassword("ssh://git@host/x") != "" {
		t.Error("the user of an SSH URL is taken for a password")
	}
	var none *Redactor
	if none.Text("text") != "text" || none.Longest() != 0 {
		t.Error("the nil Redactor changes text")
	}
}

func TestLines(t *testing.T) {
	var got []string
	r := New("0123456789")
	l := &Lines{Redact: r, Emit: func(line string) { got = append(got, r.Text(line)) }}
	for _, c := range []string{"on", "e\ntwo\nthr", "ee", "\n", "\nend"} {
		if n, err := l.Write([]byte(c)); n != len(c) || err != nil {
			t.Fatal(n, err)
		}
	}
	l.Flush()
	if fmt.Sprint(got) != "[one two three  end]" {
		t.Errorf("%q", got)
	}
	// A secret over the place where an endless line is cut.
	for shift := range 12 {
		got = nil
		_, _ = l.Write([]byte(strings.Repeat("x", MaxLine-shift) + "0123456789" + strings.Repeat("y", 30) + "\n"))
		all := strings.Join(got, "")
		if strings.Count(all, Mask) != 1 || strings.ContainsAny(all, "0123456789") || strings.Count(all, "x") != MaxLine-shift || strings.Count(all, "y") != 30 {
			t.Errorf("shift %d: %d parts, %q", shift, len(got), all[max(0, len(all)-60):])
		}
	}
}
