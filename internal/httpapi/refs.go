// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/hostaccess"
)

type refList struct {
	Items []hostaccess.Ref `json:"items" nullable:"false"`
}

type refsOutput struct{ Body refList }

func (a *API) registerRefs(h huma.API) {
	handle(a, h, huma.Operation{
		OperationID: "listRefs", Method: http.MethodGet, Path: inNamespace + "applications/{name}/refs", Tags: []string{tagApplications}, Errors: []int{http.StatusBadGateway},
		Summary: "List the branches and tags that an Application can be brought to",
		Description: "As the Git server has them now; it is asked for that, with the Application's credentials. Branches by name, then tags, the highest " +
			"version first. Needs create on updaterequests. 502 where the server does not answer or refuses.",
	}, a.refs)
}

func (a *API) refs(ctx context.Context, in *struct {
	NamespacePath
	NamePath
}) (*refsOutput, error) {
	// Whoever may ask for an update may know to what; others have no business with
	// what is not rolled out.
	err := a.require(ctx, right{verb: "create", resource: "updaterequests", namespace: in.Namespace}, "see branches and tags", "fairlead-operator")
	if err != nil {
		return nil, err
	}
	if a.opts.Sources == nil {
		return nil, errNoHost
	}
	var app v1alpha1.Application
	if err := a.kube().Get(ctx, client.ObjectKey{Namespace: in.Namespace, Name: in.Name}, &app); err != nil {
		return nil, err
	}
	items, err := a.opts.Sources.Refs(ctx, &app)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, problem(http.StatusBadGateway, metav1.StatusReasonServiceUnavailable, err.Error())
	}
	if items == nil {
		items = []hostaccess.Ref{}
	}
	return &refsOutput{refList{items}}, nil
}
