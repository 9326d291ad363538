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
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/observe"
)

const (
	// hostInterval is how often the engine is looked at.
	hostInterval = time.Minute
	// usageInterval is how often its disk usage is added up, which costs the engine
	// a walk through all its data, and usagePatience how long that may take.
	usageInterval = 30 * time.Minute
	usagePatience = 2 * time.Minute
)

// HostObserver looks at the engine and its host.
type HostObserver interface {
	Host(ctx context.Context) (observe.Host, error)
	// Usage adds up what the engine's objects take. It can take long.
	Usage(ctx context.Context) (docker.Usage, error)
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
	if u := host.Status.Usage; err == nil && (u == nil || now.Sub(u.MeasuredAt.Time) >= usageInterval) {
		r.measure(ctx, &host, now)
	}
	if !equality.Semantic.DeepEqual(before.Status, host.Status) {
		if err := r.Client.Status().Update(ctx, &host); err != nil && !apierrors.IsConflict(err) {
			return ctrl.Result{}, fmt.Errorf("write status: %w", err)
		}
	}
	return ctrl.Result{RequeueAfter: hostInterval}, nil
}

// measure adds up the disk usage. Without an answer, what was measured before
// stays.
func (r *DockerHostReconciler) measure(ctx context.Context, host *v1alpha1.DockerHost, now time.Time) {
	ask, cancel := context.WithTimeout(ctx, usagePatience)
	defer cancel()
	usage, err := r.Observer.Usage(ask)
	if err != nil {
		logf.FromContext(ctx).Info("the engine's disk usage could not be added up", "reason", err.Error())
		return
	}
	writeUsage(host, usage, now)
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
