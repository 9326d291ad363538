// SPDX-License-Identifier: Apache-2.0

// Package auditlog reads the two audit logs of the daemon as one: the writes that
// the API server had, and the writes and failed authentications that the HTTP API
// had. The newest lines come first, page by page.
package auditlog

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
)

// Ways in which a write came.
const (
	ViaKubernetes = "kubernetes"
	ViaHTTP       = "http"
)

// Entry is one line.
type Entry struct {
	Time time.Time `json:"time"`
	// ID is the same in both logs.
	ID string `json:"id"`
	// Via is "kubernetes" or "http".
	Via string `json:"via"`
	// Who as the API server authenticated them; From is their address.
	Who  string `json:"who,omitempty"`
	From string `json:"from,omitempty"`
	// Verb, Resource, Namespace and Name in the words of RBAC.
	Verb      string `json:"verb,omitempty"`
	Resource  string `json:"resource,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	// Status of the answer.
	Status int    `json:"status"`
	Reason string `json:"reason,omitempty"`
}

// Query says which lines are wanted. Empty fields mean any.
type Query struct {
	// Before leaves out what is not older.
	Before time.Time
	// Limit is how many lines a page has; a few more where they are of the same
	// time. Default 100.
	Limit int
	// Who is a part of the name; the others must be equal.
	Who, Verb, Resource, Namespace, Name string
	// Refused leaves out what was done.
	Refused bool
	// People leaves out what the daemon wrote in the course of its work, such as the
	// releases and backups that it records. What gives somebody rights stays.
	People bool
}

// Page of lines, newest first.
type Page struct {
	Entries []Entry `json:"entries"`
	// Next is what Before of the next page is; zero after the last one.
	Next time.Time `json:"-"`
}

// Log reads the files.
type Log struct {
	// Kubernetes and HTTP are the paths of the two logs; rotated files lie beside
	// them. An empty one is not read.
	Kubernetes, HTTP string
}

const defaultLimit = 100

// Read returns a page.
func (l Log) Read(ctx context.Context, q Query) (Page, error) {
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	http, kubernetes := newSource(l.HTTP, parseHTTP), newSource(l.Kubernetes, parseKubernetes)
	defer http.close()
	defer kubernetes.close()
	page := Page{Entries: []Entry{}}
	// What came over HTTP is in the log of the API server too, a moment earlier.
	seen := map[string]string{} // who, by ID
	for {
		if err := ctx.Err(); err != nil {
			return Page{}, err
		}
		h, err := http.peek()
		if err != nil {
			return Page{}, err
		}
		k, err := kubernetes.peek()
		if err != nil {
			return Page{}, err
		}
		var e *Entry
		switch {
		case h == nil && k == nil:
			return page, nil
		case k == nil || h != nil && !h.Time.Before(k.Time):
			e = http.take()
			seen[e.ID] = e.Who
		default:
			e = kubernetes.take()
			if who, ok := seen[e.ID]; ok && who == e.Who {
				continue
			}
		}
		if !q.matches(e) {
			continue
		}
		if n := len(page.Entries); n >= q.Limit && e.Time.Before(page.Entries[n-1].Time) {
			page.Next = page.Entries[n-1].Time
			return page, nil
		}
		page.Entries = append(page.Entries, *e)
	}
}

func (q Query) matches(e *Entry) bool {
	same := func(want, got string) bool { return want == "" || want == got }
	return (q.Before.IsZero() || e.Time.Before(q.Before)) && (!q.Refused || e.Status >= 400) &&
		!(q.People && routine(e)) && strings.Contains(e.Who, q.Who) && same(q.Verb, e.Verb) && same(q.Resource, e.Resource) &&
		same(q.Namespace, e.Namespace) && same(q.Name, e.Name)
}

// routine reports whether an entry is of the daemon's own work.
func routine(e *Entry) bool {
	resource, _, _ := strings.Cut(e.Resource, "/")
	return e.Who == user.APIServerUser && slices.Contains([]string{"applications", "updaterequests", "releases", "backups"}, resource)
}

func parseHTTP(line []byte) (Entry, bool) {
	var l struct {
		Time                                  time.Time
		AuditID, Who, From, Verb, Resource    string
		Namespace, Name, Method, Path, Reason string
		Status, More                          int
	}
	if json.Unmarshal(line, &l) != nil || l.Time.IsZero() {
		return Entry{}, false
	}
	l.Reason = withMore(l.Reason, l.More)
	return Entry{
		Time: l.Time, ID: l.AuditID, Via: ViaHTTP, Who: l.Who, From: l.From, Verb: l.Verb, Resource: l.Resource,
		Namespace: l.Namespace, Name: l.Name, Status: l.Status, Reason: l.Reason,
	}, true
}

func parseKubernetes(line []byte) (Entry, bool) {
	var l struct {
		AuditID, Verb  string
		StageTimestamp time.Time
		SourceIPs      []string
		User           struct{ Username string }
		Impersonated   *struct{ Username string }                              `json:"impersonatedUser"`
		Object         struct{ Resource, Subresource, Namespace, Name string } `json:"objectRef"`
		Response       struct {
			Code    int
			Message string
		} `json:"responseStatus"`
		Annotations struct {
			More int    `json:"fairlead.dev/more,string"`
			Name string `json:"fairlead.dev/name"`
		}
	}
	if json.Unmarshal(line, &l) != nil || l.StageTimestamp.IsZero() {
		return Entry{}, false
	}
	e := Entry{
		Time: l.StageTimestamp, ID: l.AuditID, Via: ViaKubernetes, Who: l.User.Username, Verb: l.Verb, Resource: l.Object.Resource,
		Namespace: l.Object.Namespace, Name: cmp.Or(l.Object.Name, l.Annotations.Name), Status: l.Response.Code, Reason: withMore(l.Response.Message, l.Annotations.More),
	}
	if l.Impersonated != nil {
		e.Who = l.Impersonated.Username
	}
	if l.Object.Subresource != "" {
		e.Resource += "/" + l.Object.Subresource
	}
	if len(l.SourceIPs) > 0 {
		e.From = l.SourceIPs[0]
	}
	return e, true
}

// withMore tells how many others a line stands for.
func withMore(reason string, more int) string {
	if more <= 0 {
		return reason
	}
	return strings.TrimPrefix(fmt.Sprintf("%s; %d more of this client have no line", reason, more), "; ")
}

// Resources that lines may be about, for a choice.
func Resources() []string {
	return slices.Clone([]string{"applications", "updaterequests", "backups/download", "releases", "backups", "manifestsources", "serviceaccounts", "serviceaccounts/token",
		"rolebindings", "clusterrolebindings", "secrets"})
}
