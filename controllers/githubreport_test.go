// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/github"
	ghclient "github.com/fairlead-dev/fairlead/internal/github/client"
	"github.com/fairlead-dev/fairlead/internal/github/githubtest"
)

// busyAPI stands for an API that lists requests and cannot write.
type busyAPI struct {
	client.Client
	requests []v1alpha1.UpdateRequest
}

var errBusyAPI = errors.New("the API is busy")

func (b *busyAPI) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha1.UpdateRequestList).Items = b.requests
	return nil
}

func (b *busyAPI) Patch(context.Context, client.Object, client.Patch, ...client.PatchOption) error {
	return errBusyAPI
}

type oneSecret struct{}

func (oneSecret) Secret(context.Context, string, string) (map[string][]byte, error) {
	return map[string][]byte{"token": []byte("good")}, nil
}

// The end of a request that was deleted is in memory alone: an error about another
// one must not lose it.
func TestDeletedRequestsOutliveErrors(t *testing.T) {
	sha := "c0de00000000000000000000000000000000c0de"
	fake := githubtest.New("/api/v3/")
	fake.Permit("good", true)
	fake.Repo("acme/shop", true).Push("heads/main", githubtest.Commit{SHA: sha, Message: "x"})
	ended := func(name string, sequence int, phase v1alpha1.Phase, ago time.Duration) *v1alpha1.UpdateRequest {
		ur := request(name, sequence, func(ur *v1alpha1.UpdateRequest) {
			end := metav1.NewTime(epoch.Add(-ago))
			ur.UID, ur.Spec.ApplicationRef.Name = types.UID(name), "shop"
			ur.Status.Phase, ur.Status.Commit, ur.Status.FinishedAt = phase, sha, &end
			ur.Status.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepBackup, State: v1alpha1.StepSucceeded}}
		})
		return &ur
	}
	app := &v1alpha1.Application{}
	app.Namespace, app.Name = "ns", "shop"
	app.Spec.GitHub = &v1alpha1.GitHubSpec{
		Owner: "acme", Repository: "shop", APIURL: "https://github.example.com/api/v3/", CommitStatuses: true,
		SecretRef: &v1alpha1.LocalReference{Name: "gh"},
	}
	for name, ago := range map[string]time.Duration{"a record is not saved": 0, "one that is given up is not saved": 2 * reportFor} {
		api := &busyAPI{requests: []v1alpha1.UpdateRequest{*ended("one", 1, v1alpha1.PhaseSucceeded, ago)}}
		origin := func(context.Context, string) (string, error) { return "", errors.New("no clone here") }
		r := &GitHubReportReconciler{
			Client: api, Clock: testclock.NewFakePassiveClock(epoch), Events: events.NewFakeRecorder(10), known: map[types.NamespacedName]*reported{},
			GitHub: github.NewResolver(oneSecret{}, origin, ghclient.NewPool(ghclient.Options{Transport: fake})),
		}
		k := r.of(client.ObjectKeyFromObject(app))
		k.tried["one"] = true
		r.deleted(ended("two", 2, v1alpha1.PhaseRollingOut, 0))
		if _, err := r.tell(t.Context(), app); !errors.Is(err, errBusyAPI) {
			t.Fatalf("%s: %v", name, err)
		}
		if len(k.gone) != 1 || k.gone[0].Name != "two" {
			t.Errorf("%s: of the deleted requests there are left %d", name, len(k.gone))
		}
	}
}
