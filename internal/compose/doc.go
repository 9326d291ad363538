// SPDX-License-Identifier: Apache-2.0

// Package compose is the one door to Docker Compose: it loads the model of an
// application as of a commit, gives a rollout planner a plain view of its
// services, and creates containers exactly as `docker compose` would.
//
// The model is read from an exported tree (the commit) but computed as if that
// tree lay in the deployment directory, so that configuration hashes and bind
// mount paths equal those of the `docker compose` command run there.
//
// Start, health, stop and removal of containers are not done here.
package compose
