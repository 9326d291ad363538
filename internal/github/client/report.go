// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/go-github/v60/github"
)

// MaxDescription is how long GitHub lets descriptions be, in characters.
const MaxDescription = 140

// State is the state of a commit status or of a deployment. Commit statuses have
// pending, success, failure and error, deployments all but pending.
type State string

// States.
const (
	StatePending    State = "pending"
	StateInProgress State = "in_progress"
	StateSuccess    State = "success"
	StateFailure    State = "failure"
	StateError      State = "error"
	StateInactive   State = "inactive"
)

// Status is a commit status, or one of a deployment.
type Status struct {
	State State
	// Context tells the commit statuses of different systems apart.
	Context string
	// Description is at most MaxDescription characters; longer ones are cut.
	Description string
	// URL of a page with more about it. May be empty.
	URL string
}

// SetCommitStatus writes a status to a commit. Writing it again does no harm:
// GitHub shows the last one of each context.
func (c *Client) SetCommitStatus(ctx context.Context, r Repo, sha string, s Status) error {
	return missing(c.call("write a commit status to "+r.String(), func() error {
		_, _, err := c.api.Repositories.CreateStatus(ctx, r.Owner, r.Name, sha, &github.RepoStatus{
			State: github.String(string(s.State)), Context: &s.Context, Description: optional(Line(s.Description, MaxDescription)), TargetURL: optional(s.URL),
		})
		return err
	}))
}

// Deployment asks GitHub to record that a commit is brought to an environment.
type Deployment struct {
	Commit, Environment, Description string
	// ID tells this deployment from others of the same commit.
	ID string
}

// payload is what a deployment is found again by.
type payload struct {
	Fairlead string `json:"fairlead"`
}

// task keeps our deployments apart from those of others.
const task = "deploy:fairlead"

// EnsureDeployment creates a deployment, unless it is there from an earlier
// try, and returns GitHub's ID for it.
func (c *Client) EnsureDeployment(ctx context.Context, r Repo, d Deployment) (int64, error) {
	var found []*github.Deployment
	err := c.call("list the deployments of "+r.String(), func() error {
		var err error
		found, _, err = c.api.Repositories.ListDeployments(ctx, r.Owner, r.Name, &github.DeploymentsListOptions{
			SHA: d.Commit, Environment: d.Environment, Task: task, ListOptions: github.ListOptions{PerPage: 100},
		})
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, one := range found {
		if deploymentID(one.Payload) == d.ID {
			return one.GetID(), nil
		}
	}
	var id int64
	err = c.call(fmt.Sprintf("create a deployment of %s in %s", Line(d.Commit, 64), r), func() error {
		made, _, err := c.api.Repositories.CreateDeployment(ctx, r.Owner, r.Name, &github.DeploymentRequest{
			Ref: &d.Commit, Task: github.String(task), Environment: &d.Environment, Description: optional(Line(d.Description, MaxDescription)),
			Payload: payload{d.ID},
			// The very commit, whatever the branch and other systems have come to.
			AutoMerge: github.Bool(false), RequiredContexts: &[]string{},
		})
		id = made.GetID()
		return err
	})
	return id, missing(err)
}

// deploymentID reads a payload, which GitHub gives back as it was sent or as a
// string.
func deploymentID(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		raw = json.RawMessage(text)
	}
	var p payload
	if json.Unmarshal(raw, &p) != nil {
		return ""
	}
	return p.Fairlead
}

// SetDeploymentStatus writes what has become of a deployment. On success GitHub
// makes the earlier ones of the environment inactive.
func (c *Client) SetDeploymentStatus(ctx context.Context, r Repo, id int64, s Status) error {
	return c.call(fmt.Sprintf("write a status to the deployment %d of %s", id, r), func() error {
		_, _, err := c.api.Repositories.CreateDeploymentStatus(ctx, r.Owner, r.Name, id, &github.DeploymentStatusRequest{
			State: github.String(string(s.State)), Description: optional(Line(s.Description, MaxDescription)), LogURL: optional(s.URL),
		})
		return err
	})
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
