// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/clientconfig"
)

// apiPatience is how long a daemon on this host may take to answer.
const apiPatience = 5 * time.Second

// refuseActive refuses to work on a directory that a daemon of this host is
// updating. Without a daemon, or without the right to ask it, the claim on the
// directory is what keeps the two apart.
func refuseActive(ctx context.Context, directory string, out io.Writer) error {
	apps, requests, err := askDaemon(ctx)
	if err != nil {
		fmt.Fprintf(out, "No daemon answers on this host (%v). An update that it was cut off in will not go on after the restore.\n", err)
		return nil
	}
	dir, err := realPath(directory)
	if err != nil {
		return err
	}
	for _, app := range apps {
		if have, err := realPath(app.Spec.Compose.Directory); err != nil || have != dir {
			continue
		}
		for _, r := range requests {
			if r.Namespace == app.Namespace && r.Spec.ApplicationRef.Name == app.Name && r.Name == app.Status.ActiveRequest {
				return fmt.Errorf("the daemon works on the request %s of %s/%s (%s); nothing was changed. Let it end, or cancel it: fairlead cancel %s -n %s",
					r.Name, app.Namespace, app.Name, r.Status.Phase, r.Name, r.Namespace)
			}
		}
	}
	return nil
}

func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

func askDaemon(ctx context.Context) ([]v1alpha1.Application, []v1alpha1.UpdateRequest, error) {
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	config, _, err := clientconfig.Load("", "")
	if errors.Is(err, clientconfig.ErrNotFound) {
		return nil, nil, errors.New("it has no kubeconfig here")
	}
	if err != nil {
		return nil, nil, err
	}
	config.Timeout = apiPatience
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, nil, err
	}
	var apps v1alpha1.ApplicationList
	if err := c.List(ctx, &apps); err != nil {
		return nil, nil, err
	}
	var requests v1alpha1.UpdateRequestList
	if err := c.List(ctx, &requests); err != nil {
		return nil, nil, err
	}
	return apps.Items, requests.Items, nil
}
