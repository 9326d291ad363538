// SPDX-License-Identifier: Apache-2.0

package dropin

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// A variable that is not set any more takes back what it was, and nothing that an
// operator put beside it. The client is a fake.
func TestSecretsAreTakenBack(t *testing.T) {
	ctx := t.Context()
	c := fake.NewClientBuilder().Build()
	get := func(name string) (*corev1.Secret, error) {
		secret := &corev1.Secret{}
		return secret, c.Get(ctx, client.ObjectKey{Namespace: "default", Name: name}, secret)
	}
	set := func(name string, data map[string]string) {
		t.Helper()
		if err := applySecret(ctx, c, "default", name, data); err != nil {
			t.Fatal(err)
		}
	}
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shop-webhook"}, Data: map[string][]byte{"url": []byte("theirs")}}
	if err := c.Create(ctx, foreign); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shop-github", "shop-other"} {
		set(name, map[string]string{"token": "ours"})
	}
	withHook, err := get("shop-github")
	if err != nil || string(withHook.Data["token"]) != "ours" {
		t.Fatalf("%v %v", withHook.Data, err)
	}
	if err := c.Patch(ctx, withHook, client.RawPatch(types.MergePatchType, []byte(`{"data":{"webhook-secret":"dGhlaXJz"}}`))); err != nil {
		t.Fatal(err)
	}
	set("shop-github", map[string]string{"token": "newer"}) // as at each start
	if withHook, err = get("shop-github"); err != nil || string(withHook.Data["token"]) != "newer" || string(withHook.Data["webhook-secret"]) != "theirs" {
		t.Errorf("after a restart: %v %v", withHook.Data, err)
	}

	for _, name := range []string{"shop-github", "shop-other", "shop-webhook", "shop-none"} {
		set(name, nil)
	}
	if withHook, err = get("shop-github"); err != nil || len(withHook.Data) != 1 || string(withHook.Data["webhook-secret"]) != "theirs" {
		t.Errorf("what somebody put in: %v %v", withHook.Data, err)
	}
	if _, err = get("shop-other"); !apierrors.IsNotFound(err) {
		t.Errorf("one that has nothing more: %v", err)
	}
	if theirs, err := get("shop-webhook"); err != nil || string(theirs.Data["url"]) != "theirs" {
		t.Errorf("one of somebody else: %v %v", theirs.Data, err)
	}
}

// Somebody puts something in between the two calls that take a Secret back.
func TestSecretThatIsWrittenMeanwhileStays(t *testing.T) {
	ctx, key := t.Context(), client.ObjectKey{Namespace: "default", Name: "shop-github"}
	deletes := 0
	c := fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			deletes++
			secret := &corev1.Secret{}
			if err := c.Get(ctx, key, secret); err != nil {
				return err
			}
			if err := c.Patch(ctx, secret, client.RawPatch(types.MergePatchType, []byte(`{"data":{"webhook-secret":"dGhlaXJz"}}`))); err != nil {
				return err
			}
			return c.Delete(ctx, o, opts...)
		},
	}).Build()
	for _, data := range []map[string]string{{"token": "ours"}, nil} {
		if err := applySecret(ctx, c, key.Namespace, key.Name, data); err != nil {
			t.Fatal(err)
		}
	}
	secret := &corev1.Secret{}
	if err := c.Get(ctx, key, secret); err != nil || string(secret.Data["webhook-secret"]) != "theirs" || deletes != 1 {
		t.Errorf("%v, %v after %d deletions", secret.Data, err, deletes)
	}
}
