// SPDX-License-Identifier: Apache-2.0

package dropin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// FieldManager owns what the environment decides. What others set in other fields
// stays over restarts.
const FieldManager = "fairlead-updater"

// managedBy marks the Secrets that are made here, and are removed here again.
const managedBy = "app.kubernetes.io/managed-by"

// Apply writes the plan into the API: Secrets first, then the Application. An
// Application that somebody made for the same directory is taken over under its
// name. It returns the name of the Application.
func Apply(ctx context.Context, c client.Client, namespace string, p Plan) (string, error) {
	name, err := existing(ctx, c, namespace, p)
	if err != nil {
		return "", err
	}
	for _, secret := range slices.Sorted(maps.Keys(p.Secrets)) {
		if err := applySecret(ctx, c, namespace, secret, p.Secrets[secret]); err != nil {
			return "", err
		}
	}
	data, err := json.Marshal(p.Spec)
	if err != nil {
		return "", err
	}
	var spec map[string]any
	if err := json.Unmarshal(data, &spec); err != nil {
		return "", err
	}
	app := object(v1alpha1.GroupVersion.String(), "Application", namespace, name)
	app.Object["spec"] = spec
	if err := apply(ctx, c, app); err != nil {
		return "", fmt.Errorf("the Application %s, made of the updater's environment, is refused: %w", name, err)
	}
	return name, nil
}

// existing is the name of the Application for the plan's directory.
func existing(ctx context.Context, c client.Client, namespace string, p Plan) (string, error) {
	var list v1alpha1.ApplicationList
	if err := c.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return "", err
	}
	name := p.Name
	for _, app := range list.Items {
		same := filepath.Clean(app.Spec.Compose.Directory) == p.Spec.Compose.Directory
		switch {
		case app.Name == p.Name && !same:
			return "", fmt.Errorf("the Application %s is of the directory %s, and this container's is %s: if the directory was moved, "+
				"remove it with `fairlead kubectl delete application %s -n %s` and start again; backups and logs stay",
				app.Name, app.Spec.Compose.Directory, p.Spec.Compose.Directory, app.Name, namespace)
		case app.Name == p.Name:
			return p.Name, nil
		case same && (app.Spec.Compose.Project == "" || app.Spec.Compose.Project == p.Spec.Compose.Project):
			name = app.Name
		}
	}
	return name, nil
}

func applySecret(ctx context.Context, c client.Client, namespace, name string, data map[string]string) error {
	if data == nil {
		var old corev1.Secret
		err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &old)
		if apierrors.IsNotFound(err) || err == nil && old.Labels[managedBy] != FieldManager {
			return nil
		}
		if err != nil {
			return err
		}
		// Of one that others have put something into, such as the secret of a
		// webhook, only what was made here goes.
		secret := object("v1", "Secret", namespace, name)
		if err := apply(ctx, c, secret); err != nil {
			return err
		}
		if left, _, _ := unstructured.NestedMap(secret.Object, "data"); len(left) > 0 {
			return nil
		}
		version := secret.GetResourceVersion()
		err = c.Delete(ctx, &old, client.Preconditions{ResourceVersion: &version})
		if apierrors.IsConflict(err) {
			return nil // somebody has put something in since
		}
		return client.IgnoreNotFound(err)
	}
	secret := object("v1", "Secret", namespace, name)
	secret.SetLabels(map[string]string{managedBy: FieldManager})
	values := map[string]any{}
	for k, v := range data {
		values[k] = base64.StdEncoding.EncodeToString([]byte(v))
	}
	secret.Object["data"] = values
	return apply(ctx, c, secret)
}

func object(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{}}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

func apply(ctx context.Context, c client.Client, o *unstructured.Unstructured) error {
	return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner(FieldManager), client.ForceOwnership)
}
