// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/testenv"
	"github.com/fairlead-dev/fairlead/test/harness"
)

const (
	// runtimeImage is what the Dockerfile puts below the binary. It is kept, so that the
	// packages are not installed again by the next run.
	runtimeImage = "fairlead-test/runtime:bookworm"
	// ownImage is the image of the binary under test, until the tests have ended.
	ownImage = "fairlead-test/updater:under-test"
)

// makeOwnImage makes it by the Dockerfile that people use, and by the builder that every
// engine has.
var makeOwnImage = sync.OnceValue(func() error {
	ctx := context.Background()
	binary, err := testenv.Binary(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "fairlead-e2e-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		return err
	}
	for from, to := range map[string]string{binary: "bin/fairlead", "../../Dockerfile": "Dockerfile", "../../LICENSE": "LICENSE"} {
		to = filepath.Join(dir, to)
		if os.Link(from, to) == nil {
			continue
		}
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(to, data, 0o755); err != nil {
			return err
		}
	}
	for _, stage := range [][]string{
		{"--target", "runtime", "--network", "host", "--tag", runtimeImage},
		{"--target", "prebuilt", "--label", "fairlead.dev/test=e2e", "--tag", ownImage},
	} {
		args := append([]string{"build", "--quiet", "--build-arg", "BASE=fairlead-test/fairlead:bookworm"}, stage...)
		if _, errOut, code := harness.Run(ctx, []string{"DOCKER_BUILDKIT=0"}, "", "docker", append(args, dir)...); code != 0 {
			return fmt.Errorf("build %s: %s", stage[len(stage)-1], errOut)
		}
	}
	return nil
})

// removeOwnImage is for the end of all tests, made or not.
func removeOwnImage() {
	harness.Run(context.Background(), nil, "", "docker", "image", "rm", "--force", ownImage)
}

// updaterImage is the image of the binary under test under a name of this test's own.
func updaterImage(t *testing.T) string {
	t.Helper()
	if err := makeOwnImage(); err != nil {
		t.Fatal(err)
	}
	tag := "fairlead-test/updater:" + strings.ToLower(rand.Text()[:12])
	if _, errOut, code := harness.Run(t.Context(), nil, "", "docker", "tag", ownImage, tag); code != 0 {
		t.Fatalf("name the updater's image: %s", errOut)
	}
	t.Cleanup(func() { harness.Run(context.Background(), nil, "", "docker", "image", "rm", "--force", tag) })
	return tag
}
