// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// Cache is what the daemon has in memory of the API server's objects: summaries are
// made of it, for callers whom the API server allows to read these objects.
type Cache interface {
	client.Reader
	GetInformer(ctx context.Context, o client.Object, opts ...cache.InformerGetOption) (cache.Informer, error)
}

// eventChange says that a summary is not what it was.
const eventChange = "change"

// summary is what there is to say at a glance of all Applications of a namespace.
type summary struct {
	Version      string               `json:"version" doc:"Changes with what the summary is made of; for the stream of its changes"`
	Applications []applicationSummary `json:"applications" nullable:"false"`
}

type applicationSummary struct {
	Name       string                  `json:"name"`
	Suspended  bool                    `json:"suspended,omitempty"`
	Commit     string                  `json:"commit,omitempty" doc:"Commit that runs"`
	Branch     string                  `json:"branch,omitempty"`
	Update     *updateSummary          `json:"update,omitempty"`
	Services   []serviceSummary        `json:"services,omitempty"`
	Problems   []string                `json:"problems,omitempty" doc:"Messages of the conditions Ready and Healthy that are false"`
	Last       *requestSummary         `json:"last,omitempty" doc:"UpdateRequest that ended last"`
	Running    *object[updateRequests] `json:"running,omitempty" doc:"UpdateRequest that runs"`
	LastBackup *time.Time              `json:"lastBackup,omitempty" doc:"When the newest Backup was complete"`
}

type updateSummary struct {
	Commit    string `json:"commit,omitempty" doc:"Newest commit"`
	Available bool   `json:"available"`
	Behind    int32  `json:"behind,omitempty" doc:"Commits between the one that runs and the newest"`
	Message   string `json:"message,omitempty" doc:"Why the newest commit is not known"`
}

type serviceSummary struct {
	Name   string `json:"name"`
	State  string `json:"state,omitempty"`
	Health string `json:"health,omitempty"`
}

type requestSummary struct {
	Name       string         `json:"name"`
	Phase      v1alpha1.Phase `json:"phase,omitempty"`
	FinishedAt *time.Time     `json:"finishedAt,omitempty"`
}

type (
	summaryOutput struct{ Body summary }
	summaryEvents struct {
		NamespacePath
		Version string `query:"version" maxLength:"64" doc:"version of the summary that the caller has: if it is not that any more, the stream begins with a change"`
	}
)

func (a *API) registerSummary(h huma.API) {
	handle(a, h, huma.Operation{
		OperationID: "getSummary", Method: http.MethodGet, Path: inNamespace + "summary", Tags: []string{tagApplications},
		Summary: "Summarise the Applications of a namespace",
		Description: "From the daemon's memory, which may be some milliseconds behind the API server. Needs list on applications; running is there for " +
			"those who may get updaterequests, and lastBackup for those who may list backups.",
	}, a.getSummary)
	handle(a, h, huma.Operation{
		OperationID: "followSummary", Method: http.MethodGet, Path: inNamespace + "summary/events", Tags: []string{tagApplications},
		Summary:     "Follow the summary of a namespace",
		Description: "Server-sent events. `change`: the summary may be another one now. Needs watch on applications.",
		Responses:   eventResponses(),
	}, a.followSummary)
}

// UseCache has summaries made of c; without one they are answered with 503.
func (a *API) UseCache(c Cache) { a.cache.Store(&c) }

// summarised is what a summary is made of.
func summarised() []client.Object {
	return []client.Object{&v1alpha1.Application{}, &v1alpha1.UpdateRequest{}, &v1alpha1.Backup{}}
}

// Warm has the cache read what is asked of it, so that the first who asks does not wait
// for that. It returns when all is there, or with the first error.
func (a *API) Warm(ctx context.Context) error {
	c, err := a.cached()
	if err != nil {
		return err
	}
	for _, o := range append(summarised(), namespaceNames()) {
		if _, err := c.GetInformer(ctx, o); err != nil {
			return fmt.Errorf("read %T: %w", o, err)
		}
	}
	return nil
}

// namespaceNames are namespaces without what is in them: the scheme may lack the type.
func namespaceNames() *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return o
}

func (a *API) cached() (Cache, error) {
	c := a.cache.Load()
	if c == nil {
		return nil, retryable(problem(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "the daemon has no summaries"), reconnectAfter)
	}
	return *c, nil
}

func (a *API) getSummary(ctx context.Context, in *NamespacePath) (*summaryOutput, error) {
	// What is in memory was read by the daemon: the API server is asked, as the
	// caller, whether they may read it too.
	var requests, backups bool
	g, asking := errgroup.WithContext(ctx)
	g.Go(func() error {
		return a.require(asking, right{verb: "list", resource: "applications", namespace: in.Namespace}, "list applications", "fairlead-viewer")
	})
	g.Go(func() (err error) {
		requests, err = a.allowed(asking, right{verb: "get", resource: "updaterequests", namespace: in.Namespace})
		return err
	})
	g.Go(func() (err error) {
		backups, err = a.allowed(asking, right{verb: "list", resource: "backups", namespace: in.Namespace})
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	s, err := a.summarise(ctx, in.Namespace)
	if err != nil {
		return nil, err
	}
	for i := range s.Applications {
		if !requests {
			s.Applications[i].Running = nil
		}
		if !backups {
			s.Applications[i].LastBackup = nil
		}
	}
	return &summaryOutput{*s}, nil
}

// summarise makes the summary of a namespace, for whoever may see all of it.
func (a *API) summarise(ctx context.Context, namespace string) (*summary, error) {
	c, err := a.cached()
	if err != nil {
		return nil, err
	}
	// Nothing of what the cache gives is changed.
	in := []client.ListOption{client.InNamespace(namespace), client.UnsafeDisableDeepCopy}
	var apps v1alpha1.ApplicationList
	if err := c.List(ctx, &apps, in...); err != nil {
		return nil, err
	}
	var backups v1alpha1.BackupList
	if err := c.List(ctx, &backups, in...); err != nil {
		return nil, err
	}
	v := version{}
	newest := map[string]*metav1.Time{}
	for i := range backups.Items {
		b := &backups.Items[i]
		v.add(b)
		if at, app := b.Status.CompletedAt, b.Spec.ApplicationRef.Name; at != nil && (newest[app] == nil || newest[app].Before(at)) {
			newest[app] = at
		}
	}
	s := &summary{Applications: make([]applicationSummary, 0, len(apps.Items))}
	for i := range apps.Items {
		app := &apps.Items[i]
		v.add(app)
		one := summaryOf(app)
		one.LastBackup = timeOf(newest[app.Name])
		if name := app.Status.ActiveRequest; name != "" {
			ur := &v1alpha1.UpdateRequest{}
			err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, ur)
			if client.IgnoreNotFound(err) != nil {
				return nil, err
			}
			if err == nil && ur.Status.FinishedAt == nil {
				v.add(ur)
				o, err := fromTyped[updateRequests](ur)
				if err != nil {
					return nil, err
				}
				one.Running = &o
			}
		}
		s.Applications = append(s.Applications, one)
	}
	slices.SortFunc(s.Applications, func(a, b applicationSummary) int { return cmp.Compare(a.Name, b.Name) })
	s.Version = v.String()
	return s, nil
}

func summaryOf(app *v1alpha1.Application) applicationSummary {
	st := &app.Status
	s := applicationSummary{Name: app.Name, Suspended: app.Spec.Suspend, Commit: st.Commit, Branch: st.Branch}
	if u := st.Update; u != nil {
		s.Update = &updateSummary{Commit: u.Commit, Available: u.Available, Behind: u.Behind, Message: u.Message}
	}
	for _, service := range st.Services {
		s.Services = append(s.Services, serviceSummary{Name: service.Name, State: service.State, Health: service.Health})
	}
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionHealthy} {
		if c := meta.FindStatusCondition(st.Conditions, kind); c != nil && c.Status == metav1.ConditionFalse && !slices.Contains(s.Problems, c.Message) {
			s.Problems = append(s.Problems, c.Message)
		}
	}
	if last := st.LastRequest; last != nil {
		s.Last = &requestSummary{Name: last.Name, Phase: last.Phase, FinishedAt: timeOf(last.FinishedAt)}
	}
	return s
}

func timeOf(t *metav1.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// version is made of versions of objects, in any order.
type version struct{ sum, count uint64 }

func (v *version) add(o client.Object) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(string(o.GetUID()) + " " + o.GetResourceVersion())) // a hash never fails
	v.sum += h.Sum64()
	v.count++
}

// String is the version as it is told.
func (v *version) String() string {
	return strconv.FormatUint(v.count, 36) + "-" + strconv.FormatUint(v.sum, 36)
}

func (a *API) followSummary(ctx context.Context, in *summaryEvents) (*huma.StreamResponse, error) {
	c, err := a.cached()
	if err != nil {
		return nil, err
	}
	may := func(ctx context.Context) error {
		return a.require(ctx, right{verb: "watch", resource: "applications", namespace: in.Namespace}, "watch applications", "fairlead-viewer")
	}
	// A refusal must come before the stream begins.
	if err := may(ctx); err != nil {
		return nil, err
	}
	return a.streaming(ctx, func(ctx context.Context, s *stream) error {
		changed := make(chan struct{}, 1)
		leave, err := listen(ctx, c, in.Namespace, func() {
			select {
			case changed <- struct{}{}:
			default: // it has not seen the last one yet
			}
		})
		if err != nil {
			return err
		}
		defer leave()
		if err := s.beginEvents(); err != nil {
			return err
		}
		if err := s.retry(); err != nil {
			return err
		}
		now, err := a.summarise(ctx, in.Namespace)
		if err != nil {
			return err
		}
		if now.Version != in.Version {
			if err := s.event(eventChange, "", struct{}{}); err != nil {
				return err
			}
		}
		return a.withHeart(ctx, s.comment, may, func(ctx context.Context) error {
			for {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-changed:
					if err := s.event(eventChange, "", struct{}{}); err != nil {
						return err
					}
				}
			}
		})
	})
}

// listen calls f after each change in the cache of what a summary is made of, until
// leave is called.
func listen(ctx context.Context, c Cache, namespace string, f func()) (leave func(), err error) {
	var registered []func()
	leave = func() {
		for _, end := range registered {
			end()
		}
	}
	changed := func(o any) {
		if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		if o, ok := o.(client.Object); ok && o.GetNamespace() == namespace {
			f()
		}
	}
	handler := toolscache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(o any, initial bool) {
			if !initial {
				changed(o)
			}
		},
		UpdateFunc: func(_, o any) { changed(o) },
		DeleteFunc: changed,
	}
	for _, o := range summarised() {
		informer, err := c.GetInformer(ctx, o)
		if err != nil {
			leave()
			return nil, err
		}
		registration, err := informer.AddEventHandler(handler)
		if err != nil {
			leave()
			return nil, err
		}
		registered = append(registered, func() { _ = informer.RemoveEventHandler(registration) }) // it fails only when the informer has ended
	}
	return leave, nil
}
