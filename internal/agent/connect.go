// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// Connect makes a client of the API server itself, with the manager's identity, for
// what its cache is too late for or must not hold.
func Connect(mgr manager.Manager) (client.WithWatch, error) {
	c, err := client.NewWithWatch(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper()})
	if err != nil {
		return nil, fmt.Errorf("connect to the API: %w", err)
	}
	return c, nil
}

// reconciler is one of the controllers.
type reconciler interface {
	SetupWithManager(mgr manager.Manager) error
}

// setUp adds controllers, by what they are of, to the manager.
func setUp(mgr manager.Manager, of string, r reconciler) error {
	if err := r.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up the controller of %s: %w", of, err)
	}
	return nil
}
