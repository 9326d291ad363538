// SPDX-License-Identifier: Apache-2.0

package auditlog

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var epoch = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func httpLine(second int, id, who, verb string, status int) string {
	return fmt.Sprintf(`{"time":%q,"auditID":%q,"who":%q,"from":"10.0.0.1","verb":%q,"resource":"updaterequests","namespace":"prod","name":"r","status":%d}`,
		epoch.Add(time.Duration(second)*time.Second).Format(time.RFC3339Nano), id, who, verb, status)
}

func apiLine(second int, id, who string) string {
	return fmt.Sprintf(`{"kind":"Event","auditID":%q,"verb":"create","user":{"username":%q},"sourceIPs":["10.0.0.2"],"objectRef":{"resource":"serviceaccounts","subresource":"token","namespace":"prod","name":"a"},"responseStatus":{"code":201},"stageTimestamp":%q}`,
		id, who, epoch.Add(time.Duration(second)*time.Second).Format(time.RFC3339Nano))
}

func write(t *testing.T, path string, lines ...string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func ids(p Page) (out []string) {
	for _, e := range p.Entries {
		out = append(out, e.ID)
	}
	return out
}

func TestReadMergesNewestFirst(t *testing.T) {
	dir := t.TempDir()
	l := Log{Kubernetes: filepath.Join(dir, "audit.log"), HTTP: filepath.Join(dir, "audit-http.log")}
	if p, err := l.Read(t.Context(), Query{}); err != nil || len(p.Entries) != 0 || !p.Next.IsZero() {
		t.Errorf("of nothing: %+v, %v", p, err)
	}
	write(t, filepath.Join(dir, "audit-http-2026-03-04T05-00-00.000.log"), httpLine(0, "h0", "ann", "create", 201), httpLine(1, "h1", "ann", "delete", 403))
	write(t, l.HTTP, httpLine(4, "both", "ben", "patch", 200), httpLine(6, "h6", "", "authenticate", 401), `{"time":"2026-03-0`)
	write(t, l.Kubernetes, apiLine(2, "k2", "cat"), apiLine(4, "both", "ben"), apiLine(5, "k5", "cat"), strings.Repeat("x", 3*chunk))

	p, err := l.Read(t.Context(), Query{})
	if err != nil || !slices.Equal(ids(p), []string{"h6", "k5", "both", "k2", "h1", "h0"}) || !p.Next.IsZero() {
		t.Fatalf("%v, %v", ids(p), err)
	}
	if e := p.Entries[1]; e.Via != ViaKubernetes || e.Who != "cat" || e.Resource != "serviceaccounts/token" || e.From != "10.0.0.2" || e.Status != 201 {
		t.Errorf("%+v", e)
	}
	if e := p.Entries[2]; e.Via != ViaHTTP || e.Verb != "patch" || e.Namespace != "prod" || e.Status != 200 {
		t.Errorf("%+v", e)
	}
	for what, c := range map[string]struct {
		q    Query
		want []string
	}{
		"refused":       {Query{Refused: true}, []string{"h6", "h1"}},
		"part of who":   {Query{Who: "a"}, []string{"k5", "k2", "h1", "h0"}},
		"verb":          {Query{Verb: "create"}, []string{"k5", "k2", "h0"}},
		"resource":      {Query{Resource: "updaterequests"}, []string{"h6", "both", "h1", "h0"}},
		"no namespace":  {Query{Namespace: "other"}, nil},
		"before":        {Query{Before: epoch.Add(2 * time.Second)}, []string{"h1", "h0"}},
		"not this name": {Query{Name: "x"}, nil},
	} {
		if p, err := l.Read(t.Context(), c.q); err != nil || !slices.Equal(ids(p), c.want) {
			t.Errorf("%s: %v, %v", what, ids(p), err)
		}
	}
}

// What the daemon does in the course of its work can be left out; what people do, and
// whatever gives somebody rights, is always there.
func TestReadOfPeople(t *testing.T) {
	l := Log{Kubernetes: filepath.Join(t.TempDir(), "audit.log")}
	line := func(second int, id, who, resource, subresource string) string {
		return fmt.Sprintf(`{"auditID":%q,"verb":"update","user":{"username":%q},"objectRef":{"resource":%q,"subresource":%q,"namespace":"prod"},"responseStatus":{"code":200},"stageTimestamp":%q}`,
			id, who, resource, subresource, epoch.Add(time.Duration(second)*time.Second).Format(time.RFC3339Nano))
	}
	const daemon = "system:apiserver"
	write(t, l.Kubernetes,
		line(0, "person", "ann", "updaterequests", ""), line(1, "request", daemon, "updaterequests", ""), line(2, "release", daemon, "releases", ""),
		line(3, "backup", daemon, "backups", "status"), line(4, "application", daemon, "applications", ""),
		line(5, "account", daemon, "serviceaccounts", ""), line(6, "token", daemon, "serviceaccounts", "token"), line(7, "binding", daemon, "rolebindings", ""),
		strings.Replace(line(8, "updater", daemon, "updaterequests", ""), `"verb"`, `"impersonatedUser":{"username":"system:serviceaccount:fairlead-system:fairlead-updater"},"verb"`, 1))
	for people, want := range map[bool][]string{
		true:  {"updater", "binding", "token", "account", "person"},
		false: {"updater", "binding", "token", "account", "application", "backup", "release", "request", "person"},
	} {
		if p, err := l.Read(t.Context(), Query{People: people}); err != nil || !slices.Equal(ids(p), want) {
			t.Errorf("people %v: %v, %v", people, ids(p), err)
		}
	}
}

func TestReadPages(t *testing.T) {
	dir := t.TempDir()
	l := Log{HTTP: filepath.Join(dir, "audit-http.log")}
	var lines, want []string
	for i := range 2500 {
		id := fmt.Sprint(i)
		lines = append(lines, httpLine(i/3, id, "ann", "create", 201)) // three of each time
		want = append(want, id)
	}
	write(t, l.HTTP, lines...)
	slices.Reverse(want)
	var got []string
	pages := 0
	for q := (Query{Limit: 100}); ; pages++ {
		p, err := l.Read(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ids(p)...)
		if p.Next.IsZero() {
			break
		}
		q.Before = p.Next
	}
	if !slices.Equal(got, want) || pages < 20 {
		t.Errorf("%d of %d lines on %d pages", len(got), len(want), pages)
	}
}

// Somebody who sends the audit ID of another's line does not hide his own.
func TestSameIDOfAnotherIsShown(t *testing.T) {
	dir := t.TempDir()
	l := Log{Kubernetes: filepath.Join(dir, "audit.log"), HTTP: filepath.Join(dir, "audit-http.log")}
	write(t, l.HTTP, httpLine(4, "both", "ben", "patch", 200))
	write(t, l.Kubernetes, apiLine(1, "both", "mallory"), apiLine(3, "both", "ben"))
	p, err := l.Read(t.Context(), Query{})
	if err != nil || len(p.Entries) != 2 || p.Entries[0].Who != "ben" || p.Entries[1].Who != "mallory" {
		t.Errorf("%+v, %v", p, err)
	}
}

// A request that left its name to the server has it in an annotation.
func TestNamesThatTheServerChose(t *testing.T) {
	l := Log{Kubernetes: filepath.Join(t.TempDir(), "audit.log")}
	write(t, l.Kubernetes, strings.Replace(strings.Replace(apiLine(1, "k", "jo"), `,"name":"a"`, "", 1), `"verb"`, `"annotations":{"fairlead.dev/name":"shop-x7k2p"},"verb"`, 1))
	p, err := l.Read(t.Context(), Query{Name: "shop-x7k2p"})
	if err != nil || len(p.Entries) != 1 || p.Entries[0].Name != "shop-x7k2p" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestLinesThatStandForMore(t *testing.T) {
	dir := t.TempDir()
	l := Log{Kubernetes: filepath.Join(dir, "audit.log"), HTTP: filepath.Join(dir, "audit-http.log")}
	write(t, l.HTTP, strings.Replace(httpLine(4, "h", "", "authenticate", 401), `"status"`, `"reason":"no token","more":7,"status"`, 1))
	write(t, l.Kubernetes, strings.Replace(apiLine(1, "k", "system:anonymous"), `"verb"`, `"annotations":{"fairlead.dev/more":"12","other":"x"},"verb"`, 1))
	p, err := l.Read(t.Context(), Query{})
	if err != nil || len(p.Entries) != 2 || !strings.HasPrefix(p.Entries[0].Reason, "no token; 7 more") || !strings.HasPrefix(p.Entries[1].Reason, "12 more") {
		t.Errorf("%+v, %v", p, err)
	}
}
