// SPDX-License-Identifier: Apache-2.0

// Package origin keeps what requests to the API server say of where they come from
// true.
package origin

import (
	"context"
	"io"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// Plugin is the name of the admission plugin that keeps what UpdateRequests say of their
// origin, and of who was told of them, true: both are annotations, which whoever
// may create requests could else choose.
const Plugin = "UpdateRequestOrigin"

// Register adds it to plugins.
func Register(plugins *admission.Plugins) {
	plugins.Register(Plugin, func(io.Reader) (admission.Interface, error) {
		return keeper{admission.NewHandler(admission.Create, admission.Update)}, nil
	})
}

type keeper struct{ *admission.Handler }

// AnnotationName of an event of the audit log is the name that the server chose for what
// was created, which the event has not: the request did not name it.
const AnnotationName = "fairlead.dev/name"

// Validate implements admission.ValidationInterface. It refuses nothing: it sees the
// object with its name.
func (keeper) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetOperation() != admission.Create || a.GetSubresource() != "" {
		return nil
	}
	made, err := meta.Accessor(a.GetObject())
	if err != nil || made.GetGenerateName() == "" || made.GetName() == "" {
		return nil //nolint:nilerr // it has no name to tell
	}
	return a.AddAnnotation(AnnotationName, made.GetName())
}

// Admit implements admission.MutationInterface.
func (keeper) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if r := a.GetResource(); r.Group != v1alpha1.GroupVersion.Group || r.Resource != "updaterequests" || a.GetSubresource() != "" {
		return nil
	}
	who := a.GetUserInfo()
	if who.GetName() == user.APIServerUser {
		return nil // the daemon itself
	}
	now, err := meta.Accessor(a.GetObject())
	if err != nil {
		return err
	}
	own := map[string]string{v1alpha1.AnnotationRequestedBy: who.GetName()}
	if a.GetOperation() == admission.Update {
		before, err := meta.Accessor(a.GetOldObject())
		if err != nil {
			return err
		}
		own = before.GetAnnotations()
	}
	annotations := maps.Clone(now.GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	if slices.Contains(who.GetGroups(), user.SystemPrivilegedGroup) {
		// An administrator may do everything, and controllers may run as one.
		if a.GetOperation() == admission.Update || annotations[v1alpha1.AnnotationRequestedBy] != "" {
			return nil
		}
		annotations[v1alpha1.AnnotationRequestedBy] = who.GetName()
		now.SetAnnotations(annotations)
		return nil
	}
	maps.DeleteFunc(annotations, func(key, _ string) bool { return v1alpha1.KeptByController(key) })
	for key, value := range own {
		if v1alpha1.KeptByController(key) {
			annotations[key] = value
		}
	}
	if len(annotations) == 0 {
		annotations = nil
	}
	now.SetAnnotations(annotations)
	return nil
}
