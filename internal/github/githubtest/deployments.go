// SPDX-License-Identifier: Apache-2.0

package githubtest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (r *Repo) deployment(w http.ResponseWriter, req *http.Request, rest string) {
	if rest == "" {
		if req.Method == http.MethodPost {
			r.createDeployment(w, req)
		} else {
			r.listDeployments(w, req)
		}
		return
	}
	id, tail, _ := strings.Cut(rest, "/")
	i := slices.IndexFunc(r.deployments, func(d *Deployment) bool { return strconv.FormatInt(d.ID, 10) == id })
	if i < 0 || tail != "statuses" {
		notFound(w)
		return
	}
	if req.Method == http.MethodPost {
		r.deploymentStatus(w, req, r.deployments[i])
		return
	}
	out := []object{}
	for _, s := range slices.Backward(r.deployments[i].Statuses) {
		out = append(out, r.statusBody(s))
	}
	write(w, http.StatusOK, out)
}

func (r *Repo) listDeployments(w http.ResponseWriter, req *http.Request) {
	q := req.URL.Query()
	out := []object{}
	for _, d := range slices.Backward(r.deployments) {
		if want := q.Get("sha"); want != "" && want != d.SHA {
			continue
		}
		if want := q.Get("environment"); want != "" && want != d.Environment {
			continue
		}
		if want := q.Get("task"); want != "" && want != d.Task {
			continue
		}
		out = append(out, r.deploymentBody(d))
	}
	write(w, http.StatusOK, out)
}

func (r *Repo) deploymentBody(d *Deployment) object {
	now := time.Now().UTC().Format(time.RFC3339)
	return object{
		"url": r.api("deployments/" + strconv.FormatInt(d.ID, 10)), "id": d.ID, "sha": d.SHA, "ref": d.SHA, "task": d.Task,
		"payload": json.RawMessage(d.Payload), "environment": d.Environment, "original_environment": d.Environment,
		"created_at": now, "updated_at": now, "creator": object{"login": "fake", "id": 1, "type": "User"},
		"transient_environment": false, "production_environment": d.Environment == "production",
	}
}

func (r *Repo) createDeployment(w http.ResponseWriter, req *http.Request) {
	in := struct {
		Ref              string          `json:"ref"`
		Task             string          `json:"task"`
		Environment      string          `json:"environment"`
		Description      string          `json:"description"`
		Payload          json.RawMessage `json:"payload"`
		RequiredContexts *[]string       `json:"required_contexts"`
	}{Task: "deploy", Environment: "production", Payload: json.RawMessage(`""`)}
	if err := json.NewDecoder(req.Body).Decode(&in); err != nil {
		write(w, http.StatusBadRequest, problem("Problems parsing JSON", "https://docs.github.com/rest", http.StatusBadRequest))
		return
	}
	c, ok := r.resolve(in.Ref)
	if !ok {
		invalid(w, "No ref found for: %s", in.Ref)
		return
	}
	// Unless told otherwise, GitHub wants every status of the commit to be good.
	last := map[string]string{}
	for _, s := range r.statuses[c.SHA] {
		last[s.Context] = s.State
	}
	for context, state := range last {
		if state != "success" && (in.RequiredContexts == nil || slices.Contains(*in.RequiredContexts, context)) {
			write(w, http.StatusConflict, problem("Conflict: Commit status checks failed for "+in.Ref+".", "https://docs.github.com/rest", http.StatusConflict))
			return
		}
	}
	r.fake.nextID++
	d := &Deployment{ID: r.fake.nextID, SHA: c.SHA, Environment: in.Environment, Task: in.Task, Payload: string(in.Payload)}
	r.deployments = append(r.deployments, d)
	r.fake.written()
	write(w, http.StatusCreated, r.deploymentBody(d))
}

func (r *Repo) deploymentStatus(w http.ResponseWriter, req *http.Request, d *Deployment) {
	in := struct {
		State        string `json:"state"`
		Description  string `json:"description"`
		LogURL       string `json:"log_url"`
		AutoInactive bool   `json:"auto_inactive"`
	}{AutoInactive: true}
	if err := json.NewDecoder(req.Body).Decode(&in); err != nil {
		write(w, http.StatusBadRequest, problem("Problems parsing JSON", "https://docs.github.com/rest", http.StatusBadRequest))
		return
	}
	s := Status{State: in.State, Description: in.Description, URL: in.LogURL}
	if !validStatus(w, s, "error", "failure", "inactive", "in_progress", "queued", "pending", "success") {
		return
	}
	d.Statuses = append(d.Statuses, s)
	if in.State == "success" && in.AutoInactive {
		for _, other := range r.deployments {
			if other != d && other.Environment == d.Environment && other.State() == "success" {
				other.Statuses = append(other.Statuses, Status{State: "inactive"})
			}
		}
	}
	r.fake.written()
	write(w, http.StatusCreated, r.statusBody(s))
}
