// SPDX-License-Identifier: Apache-2.0

// Package plan decides and does nothing. From facts that others observed and
// the wish in the spec it says what comes next, and why in words a person
// understands. It has no clients, no clock and no memory: the same facts give
// the same answer, so a daemon that was killed goes on by looking again.
//
// There are three questions:
//
//   - Next: what is the next step of an UpdateRequest?
//   - Services: what is to be done with each service of the application?
//   - Rollout: which actions on containers are possible now?
package plan
