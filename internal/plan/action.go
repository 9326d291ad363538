// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/fairlead-dev/fairlead/api/v1alpha1"

// Verb is what is to be done with a container, or for a service.
type Verb string

// Verbs, in the order in which a replacement uses them.
const (
	// VerbCreate makes Count new containers of the service, not started.
	VerbCreate Verb = "Create"
	// VerbRename gives the container the name NewName.
	VerbRename Verb = "Rename"
	// VerbStart starts the container with the restart policy of its service.
	VerbStart Verb = "Start"
	// VerbGate waits until the container is ready.
	VerbGate Verb = "Gate"
	// VerbComplete waits until a one-shot container ended.
	VerbComplete Verb = "Complete"
	// VerbRetire sends new work elsewhere, drains and stops the container,
	// and keeps it for a rollback.
	VerbRetire Verb = "Retire"
	// VerbRemove removes the container.
	VerbRemove Verb = "Remove"
	// VerbOpen makes and starts a gateway, in the place of one that was made
	// otherwise.
	VerbOpen Verb = "Open"
	// VerbClose ends and removes a gateway.
	VerbClose Verb = "Close"
	// VerbHold has new requests to the service wait at the gateway, and waits
	// until those that began have ended.
	VerbHold Verb = "Hold"
	// VerbSwitch has the gateway send what is new for Services to their ready
	// containers, all at once, and what is held too.
	VerbSwitch Verb = "Switch"
	// VerbSettle watches the new containers of the service for a while, before the
	// next ones are replaced.
	VerbSettle Verb = "Settle"
	// VerbHandOver lets the container take the place of the one that the
	// deciding daemon itself runs in, which ends the daemon.
	VerbHandOver Verb = "HandOver"
)

// Action is one thing that can be done now.
type Action struct {
	Verb    Verb
	Service string
	// Container that the action is about; zero for VerbCreate.
	Container Container
	// Count of containers to create.
	Count int
	// NewName for VerbRename.
	NewName string
	// Services for VerbSwitch, and the IDs of the containers that serve each of them
	// from then on; for VerbSettle, those that are watched.
	Services []string
	Serve    map[string][]string
	// Gateway for VerbOpen and VerbClose.
	Gateway string
	// Reason in words.
	Reason string
}

// Key names the action: the same action has the same key as long as it is not
// done.
func (a Action) Key() string {
	return string(a.Verb) + "/" + a.Service + a.Gateway + "/" + a.Container.ID
}

// Target is one service that the rollout brings to a revision.
type Target struct {
	Service
	Action v1alpha1.ServiceAction
	// Order is StartFirst or StopFirst.
	Order v1alpha1.RolloutOrder
	// Displaces are services that go away and whose containers must be down
	// before this one starts, as both want the same port, data or address.
	Displaces []string
	// Batch is how many of its containers are replaced at once, 0 for all; Settled
	// are the new ones that were watched long enough.
	Batch, Settled int
	// Tolerate is how many of its new containers may fail.
	Tolerate int
	// BlockedBy are gateways that have ports of the host which its containers are
	// to publish themselves.
	BlockedBy []string
}

// RolloutInput is what Rollout decides from.
type RolloutInput struct {
	// Targets are all services of the application, also those that are kept,
	// as others depend on them.
	Targets []Target
	// Containers of the project. Ready and Failed are what the gates said.
	Containers []Container
	// Undo goes back: one-shot services are not run again, and what the
	// request made is removed instead of kept. Containers that the way back
	// makes are not Mine.
	Undo bool
	// Fresh says that a container fits only if the request made it, as with
	// force. Keyed by service.
	Fresh map[string]bool
	// Broken says, going back, why no container of a service can be made. The
	// others are brought back all the same. Keyed by service.
	Broken map[string]string
	// Gateways of the application, in order of their names.
	Gateways []Gateway
	// Held are the services whose requests wait at the gateway.
	Held map[string]bool
	// Unsettled are the services about whose traffic the gateways do not agree, as after a crash in the
	// middle of a switch.
	Unsettled map[string]bool
	// Warm keeps old containers running that can take the traffic back at once.
	// Another rollout without it ends them.
	Warm bool
	// Serial replaces one service after another, as there is not room for old and
	// new containers of all of them.
	Serial bool
}

// RolloutDecision is the answer of Rollout.
type RolloutDecision struct {
	// Actions that can be done now, at the same time.
	Actions []Action
	// Done says that nothing is left to do.
	Done bool
	// Failed names the container that did not become ready, and why.
	Failed *Container
	// Stuck says, when there is nothing to do and it is not done, what is
	// waited for.
	Stuck string
}
