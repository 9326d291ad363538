// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/observe"
)

// hostInterval is how often the engine is looked at.
const hostInterval = time.Minute

// HostObserver looks at the engine and its host.
type HostObserver interface {
	Host(ctx context.Context) (observe.Host, error)
}

// DockerHostReconciler keeps the DockerHost object of the engine that this
// daemon works with.
type DockerHostReconciler struct {
	Client   client.Client
	Observer HostObserver
	Clock    clock.PassiveClock
	// Name of the object. Default: the host's name.
	Name string
	// Endpoint of the engine and Version of the daemon, for the object.
	Endpoint, Version string
}

// SetupWithManager registers the reconciler and makes the object at the start.
func (r *DockerHostReconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	if r.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("find out the host's name: %w", err)
		}
		r.Name = objectName(host)
	}
	if err := mgr.Add(&hostMaker{r}); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).For(&v1alpha1.DockerHost{}).Complete(r)
}

// objectName makes a name that the API accepts of a host's name.
func objectName(host string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '.':
			return r
		}
		return '-'
	}, strings.ToLower(host))
	name = strings.Trim(name, "-.")
	if name == "" {
		return "host"
	}
	return name[:min(len(name), 253)]
}

// Reconcile looks at the engine and writes what it saw. Objects of other hosts
// belong to their own daemons.
func (r *DockerHostReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if req.Name != r.Name {
		return ctrl.Result{}, nil
	}
	var host v1alpha1.DockerHost
	if err := r.Client.Get(ctx, req.NamespacedName, &host); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	now := r.Clock.Now()
	if last := host.Status.LastSeen; last != nil && now.Sub(last.Time) < hostInterval/2 && host.Status.FairleadVersion == r.Version {
		// Our own write woke us.
		return ctrl.Result{RequeueAfter: hostInterval - now.Sub(last.Time)}, nil
	}
	before := host.DeepCopy()
	seen, err := r.Observer.Host(ctx)
	writeHostStatus(&host, seen, err, r.Version, now)
	if !equality.Semantic.DeepEqual(before.Status, host.Status) {
		if err := r.Client.Status().Update(ctx, &host); err != nil && !apierrors.IsConflict(err) {
			return ctrl.Result{}, fmt.Errorf("write status: %w", err)
		}
	}
	return ctrl.Result{RequeueAfter: hostInterval}, nil
}

// hostMaker creates the object of this host.
type hostMaker struct{ r *DockerHostReconciler }

// Start runs once.
func (m *hostMaker) Start(ctx context.Context) error {
	host := &v1alpha1.DockerHost{ObjectMeta: metav1.ObjectMeta{Name: m.r.Name}, Spec: v1alpha1.DockerHostSpec{Endpoint: m.r.Endpoint}}
	if err := m.r.Client.Create(ctx, host); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make the DockerHost %s: %w", m.r.Name, err)
	}
	return nil
}
