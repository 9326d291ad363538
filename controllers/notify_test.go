// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"testing"

	"k8s.io/client-go/tools/events"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/notify"
)

// fullAPI stands for an API that can write nothing as long as it is full.
type fullAPI struct {
	client.Client
	full bool
}

func (f *fullAPI) Patch(context.Context, client.Object, client.Patch, ...client.PatchOption) error {
	if f.full {
		return errBusyAPI
	}
	return nil
}

// countingSender stands for a receiver that takes everything.
type countingSender struct{ sent int }

func (c *countingSender) Send(context.Context, *v1alpha1.Notification, v1alpha1.NotificationEvent, *v1alpha1.UpdateRequest) error {
	c.sent++
	return nil
}

// What was delivered is not delivered again because it could not be written down.
func TestNotificationIsSentOnce(t *testing.T) {
	api, sender := &fullAPI{full: true}, &countingSender{}
	r := &NotifyReconciler{
		Client: api, Sender: sender, Events: events.NewFakeRecorder(10), Clock: testclock.NewFakePassiveClock(epoch),
		failed: map[tried]bool{}, sent: map[tried]bool{},
	}
	app := &v1alpha1.Application{}
	app.Namespace, app.Name = "ns", "shop"
	ur := request("one", 1)
	n := &v1alpha1.Notification{Name: "chat"}
	tell := func(event v1alpha1.NotificationEvent) error {
		return r.tell(t.Context(), app, n, notify.Occurrence{Event: event, Time: epoch}, ur.DeepCopy())
	}
	for range 3 {
		if err := tell(v1alpha1.NotifyStarted); !errors.Is(err, errBusyAPI) {
			t.Fatalf("a ledger that cannot be written: %v", err)
		}
	}
	api.full = false
	if err := tell(v1alpha1.NotifyStarted); err != nil || sender.sent != 1 || len(r.sent) != 0 {
		t.Errorf("sent %d times, %d are not written down, %v", sender.sent, len(r.sent), err)
	}
	if err := tell(v1alpha1.NotifySucceeded); err != nil || sender.sent != 2 {
		t.Errorf("the next event: sent %d times in all, %v", sender.sent, err)
	}
	api.full = true
	if err := tell(v1alpha1.NotifyFailed); err == nil || len(r.sent) != 1 {
		t.Errorf("%d are not written down, %v", len(r.sent), err)
	}
	r.forget(Delivery{client.ObjectKeyFromObject(app), "chat"}, nil)
	if len(r.sent) != 0 {
		t.Error("what is known of a request that is gone is kept")
	}
}
