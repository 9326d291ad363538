// SPDX-License-Identifier: Apache-2.0

package githubtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Commit of a repository.
type Commit struct {
	SHA     string
	Parents []string
	Message string
	Author  string
	// Login is the author's account; empty if GitHub knows none.
	Login string
	Time  time.Time
}

// Status is a commit status, or one of a deployment, that was written.
type Status struct {
	State, Context, Description, URL string
}

// Deployment that was created.
type Deployment struct {
	ID                              int64
	SHA, Environment, Task, Payload string
	// Statuses in the order in which they were written, also those that GitHub
	// writes by itself.
	Statuses []Status
}

// State is that of the last status; empty before the first.
func (d Deployment) State() string {
	if len(d.Statuses) == 0 {
		return ""
	}
	return d.Statuses[len(d.Statuses)-1].State
}

// Repo is a repository of a Fake.
type Repo struct {
	fake    *Fake
	name    string
	private bool

	commits     map[string]Commit
	refs        map[string]string // heads/main -> SHA
	statuses    map[string][]Status
	deployments []*Deployment
}

// Repo makes a repository, called OWNER/NAME.
func (f *Fake) Repo(name string, private bool) *Repo {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &Repo{fake: f, name: name, private: private, commits: map[string]Commit{}, refs: map[string]string{}, statuses: map[string][]Status{}}
	f.repos[strings.ToLower(name)] = r
	return r
}

// Push adds commits and sets a ref, such as heads/main, to the last of them. One
// without parents follows the one before it, or what the ref was at.
func (r *Repo) Push(ref string, commits ...Commit) {
	r.fake.mu.Lock()
	defer r.fake.mu.Unlock()
	for _, c := range commits {
		if head := r.refs[ref]; len(c.Parents) == 0 && head != "" {
			c.Parents = []string{head}
		}
		if c.Time.IsZero() {
			c.Time = time.Date(2026, 3, 1, 12, 0, len(r.commits), 0, time.UTC)
		}
		r.commits[c.SHA] = c
		r.refs[ref] = c.SHA
	}
}

// Reset sets a ref to a commit.
func (r *Repo) Reset(ref, sha string) {
	r.fake.mu.Lock()
	defer r.fake.mu.Unlock()
	r.refs[ref] = sha
}

// Statuses of a commit, in the order in which they were written.
func (r *Repo) Statuses(sha string) []Status {
	r.fake.mu.Lock()
	defer r.fake.mu.Unlock()
	return slices.Clone(r.statuses[sha])
}

// Deployments in the order of their creation.
func (r *Repo) Deployments() []Deployment {
	r.fake.mu.Lock()
	defer r.fake.mu.Unlock()
	var out []Deployment
	for _, d := range r.deployments {
		c := *d
		c.Statuses = slices.Clone(d.Statuses)
		out = append(out, c)
	}
	return out
}

// serve answers for what is below repos/OWNER/NAME/.
func (r *Repo) serve(w http.ResponseWriter, req *http.Request, path string) {
	head, rest, _ := strings.Cut(path, "/")
	switch {
	case req.Method == http.MethodGet && head == "commits" && strings.HasSuffix(rest, "/statuses"):
		r.listStatuses(w, strings.TrimSuffix(rest, "/statuses"))
	case req.Method == http.MethodGet && head == "commits" && rest != "":
		r.commit(w, req, rest)
	case req.Method == http.MethodGet && head == "git" && strings.HasPrefix(rest, "commits/"):
		r.gitCommit(w, strings.TrimPrefix(rest, "commits/"))
	case req.Method == http.MethodGet && head == "compare":
		r.compare(w, req, rest)
	case req.Method == http.MethodPost && head == "statuses":
		r.createStatus(w, req, rest)
	case head == "deployments":
		r.deployment(w, req, rest)
	default:
		notFound(w)
	}
}

// resolve finds a SHA, branch or tag.
func (r *Repo) resolve(ref string) (Commit, bool) {
	for _, name := range []string{ref, r.refs[ref], r.refs["heads/"+ref], r.refs["tags/"+ref]} {
		if c, ok := r.commits[name]; ok {
			return c, true
		}
	}
	return Commit{}, false
}

func (r *Repo) commit(w http.ResponseWriter, req *http.Request, ref string) {
	c, ok := r.resolve(ref)
	if !ok {
		invalid(w, "No commit found for SHA: %s", ref)
		return
	}
	if strings.HasSuffix(req.Header.Get("Accept"), ".sha") {
		w.Header().Set("Content-Type", "application/vnd.github.v3.sha; charset=utf-8")
		w.Header().Set("ETag", `"`+c.SHA+`"`)
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write([]byte(c.SHA))
		return
	}
	write(w, http.StatusOK, r.describe(c))
}

func (r *Repo) web(c Commit) string { return "https://github.com/" + r.name + "/commit/" + c.SHA }

func (r *Repo) api(path string) string {
	return "https://api.github.com/repos/" + r.name + "/" + path
}

func parents(c Commit) []object {
	out := []object{}
	for _, p := range c.Parents {
		out = append(out, object{"sha": p})
	}
	return out
}

// bare is a commit as Git has it.
func bare(c Commit) object {
	who := object{"name": c.Author, "email": "author@example.com", "date": c.Time.UTC().Format(time.RFC3339)}
	return object{
		"author": who, "committer": who, "message": c.Message, "comment_count": 0,
		"tree":         object{"sha": c.SHA},
		"verification": object{"verified": false, "reason": "unsigned", "signature": nil, "payload": nil},
	}
}

// describe is a commit as GitHub has it.
func (r *Repo) describe(c Commit) object {
	var account any
	if c.Login != "" {
		account = object{"login": c.Login, "id": 1, "type": "User", "html_url": "https://github.com/" + c.Login}
	}
	return object{
		"sha": c.SHA, "node_id": "C_" + c.SHA, "commit": bare(c), "url": r.api("commits/" + c.SHA), "html_url": r.web(c),
		"comments_url": r.api("commits/" + c.SHA + "/comments"), "author": account, "committer": account, "parents": parents(c),
	}
}

func (r *Repo) gitCommit(w http.ResponseWriter, sha string) {
	c, ok := r.commits[sha]
	if !ok {
		notFound(w)
		return
	}
	out := bare(c)
	out["sha"], out["url"], out["html_url"], out["parents"] = c.SHA, r.api("git/commits/"+c.SHA), r.web(c), parents(c)
	write(w, http.StatusOK, out)
}

// ancestors of a commit and itself.
func (r *Repo) ancestors(sha string) map[string]bool {
	seen := map[string]bool{}
	todo := []string{sha}
	for len(todo) > 0 {
		next := todo[0]
		todo = todo[1:]
		if !seen[next] {
			seen[next] = true
			todo = append(todo, r.commits[next].Parents...)
		}
	}
	return seen
}

func (r *Repo) compare(w http.ResponseWriter, req *http.Request, basehead string) {
	baseRef, headRef, _ := strings.Cut(basehead, "...")
	base, ok1 := r.resolve(baseRef)
	head, ok2 := r.resolve(headRef)
	if !ok1 || !ok2 {
		notFound(w)
		return
	}
	inBase, inHead := r.ancestors(base.SHA), r.ancestors(head.SHA)
	var ahead []Commit
	behind := 0
	for sha := range inHead {
		if !inBase[sha] {
			ahead = append(ahead, r.commits[sha])
		}
	}
	for sha := range inBase {
		if !inHead[sha] {
			behind++
		}
	}
	slices.SortFunc(ahead, func(a, b Commit) int { return a.Time.Compare(b.Time) })
	relation := "diverged"
	switch {
	case len(ahead) == 0 && behind == 0:
		relation = "identical"
	case behind == 0:
		relation = "ahead"
	case len(ahead) == 0:
		relation = "behind"
	}
	page, size := number(req, "page", 1), number(req, "per_page", 250)
	from := min(len(ahead), (page-1)*size)
	commits := []object{}
	for _, c := range ahead[from:min(len(ahead), from+size)] {
		commits = append(commits, r.describe(c))
	}
	files := []object{}
	if page == 1 {
		files = append(files, object{"sha": head.SHA, "filename": "README.md", "status": "modified", "additions": 1, "deletions": 1, "changes": 2, "patch": "@@ -1 +1 @@"})
	}
	web := fmt.Sprintf("https://github.com/%s/compare/%s...%s", r.name, baseRef, headRef)
	write(w, http.StatusOK, object{
		"url": r.api("compare/" + basehead), "html_url": web, "permalink_url": web, "diff_url": web + ".diff", "patch_url": web + ".patch",
		"base_commit": r.describe(base), "status": relation, "ahead_by": len(ahead), "behind_by": behind, "total_commits": len(ahead),
		"commits": commits, "files": files,
	})
}

func number(req *http.Request, name string, otherwise int) int {
	if n, err := strconv.Atoi(req.URL.Query().Get(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// validStatus refuses what GitHub refuses.
func validStatus(w http.ResponseWriter, s Status, states ...string) bool {
	switch {
	case !slices.Contains(states, s.State):
		invalid(w, "Validation Failed: state is not one of %v", states)
	case utf8.RuneCountInString(s.Description) > 140:
		invalid(w, "Validation Failed: description is too long (maximum is 140 characters)")
	default:
		return true
	}
	return false
}

func (r *Repo) createStatus(w http.ResponseWriter, req *http.Request, sha string) {
	var in struct {
		State       string `json:"state"`
		Context     string `json:"context"`
		Description string `json:"description"`
		TargetURL   string `json:"target_url"`
	}
	if err := json.NewDecoder(req.Body).Decode(&in); err != nil {
		write(w, http.StatusBadRequest, problem("Problems parsing JSON", "https://docs.github.com/rest", http.StatusBadRequest))
		return
	}
	s := Status{State: in.State, Context: in.Context, Description: in.Description, URL: in.TargetURL}
	if !validStatus(w, s, "error", "failure", "pending", "success") {
		return
	}
	if _, ok := r.commits[sha]; !ok {
		invalid(w, "No commit found for SHA: %s", sha)
		return
	}
	r.statuses[sha] = append(r.statuses[sha], s)
	r.fake.written()
	write(w, http.StatusCreated, r.statusBody(s))
}

func (r *Repo) statusBody(s Status) object {
	r.fake.nextID++
	now := time.Now().UTC().Format(time.RFC3339)
	return object{
		"id": r.fake.nextID, "state": s.State, "description": s.Description, "target_url": s.URL, "context": s.Context,
		"created_at": now, "updated_at": now, "creator": object{"login": "fake", "id": 1, "type": "User"},
	}
}

func (r *Repo) listStatuses(w http.ResponseWriter, ref string) {
	c, ok := r.resolve(ref)
	if !ok {
		notFound(w)
		return
	}
	out := []object{}
	for _, s := range slices.Backward(r.statuses[c.SHA]) {
		out = append(out, r.statusBody(s))
	}
	write(w, http.StatusOK, out)
}
