// SPDX-License-Identifier: Apache-2.0

//go:build engine

package selfswap

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/docker/dockertest"
)

// TestLaunch makes a helper from the image of a daemon. That has no program at
// the path of this test, so that the helper cannot start, and nothing is left.
func TestLaunch(t *testing.T) {
	t.Setenv("DOCKER_TLS_VERIFY", "")
	e := dockertest.New(t, "selfswap")
	image := e.Image("fairlead-test-selfswap:launch", `CMD ["serve"]`, "LABEL com.docker.compose.project=shop", "LABEL com.docker.compose.service=updater")
	own := e.Run("", &container.Config{Image: image, Labels: map[string]string{docker.LabelProject: "shop-launch"}}, nil)
	name := fmt.Sprintf("fairlead-swap-test-%d", time.Now().UnixNano())
	p := Params{Helper: name, From: Party{ID: own}, To: Party{ID: "to"}}
	err := Launch(t.Context(), e.Client, p, map[string]string{dockertest.LabelTest: "selfswap"})
	program, _ := os.Executable()
	if err == nil || !strings.Contains(err.Error(), program) && !strings.Contains(err.Error(), "no such file") {
		t.Errorf("err %v", err)
	}
	if _, err := e.InspectContainer(t.Context(), name); !docker.IsNotFound(err) {
		t.Errorf("the helper that could not start is left: %v", err)
	}
}

// helper makes a container that stands for a helper, with its parameters.
func helper(t *testing.T, e *dockertest.Env, image string, labels map[string]string, cmd ...string) string {
	t.Helper()
	all := maps.Clone(labels)
	all[labelTemporary] = Command
	id := e.Create("", &container.Config{Image: image, Cmd: cmd, Labels: all}, nil, nil)
	data, err := json.Marshal(Params{Helper: id[:12], From: Party{ID: "from"}, To: Party{ID: "to"}, StopTimeout: time.Second})
	if err == nil {
		err = put(t.Context(), e.Client, id, paramsFile, data)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestListAwaitConfirm(t *testing.T) {
	e := dockertest.New(t, "selfswap")
	image := e.Image("fairlead-test-selfswap:await")
	labels := map[string]string{"fairlead.dev/application": fmt.Sprintf("test.%d", time.Now().UnixNano())}
	find := func(id string) Swap {
		t.Helper()
		all, err := List(t.Context(), e.Client, labels)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(all, func(s Swap) bool { return s.ID == id })
		if i < 0 {
			t.Fatalf("%s is not among %d helpers", id, len(all))
		}
		return all[i]
	}

	// One that was made and not begun.
	id := helper(t, e, image, labels, "exit", "1")
	if s := find(id); s.Begun() || s.Ended() || s.Params.To.ID != "to" || s.Params.StopTimeout != time.Second {
		t.Errorf("%+v", s)
	}
	// It ends without a verdict: it is started again, and then given up.
	if err := e.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	began := find(id)
	if !began.Begun() {
		t.Error("it is not begun")
	}
	v, err := Await(t.Context(), e.Client, began)
	if err != nil || v.Replaced || !strings.Contains(v.Reason, "again and again") {
		t.Errorf("%+v, %v", v, err)
	}
	lines, err := e.LogTail(t.Context(), id, 20)
	if err != nil || len(lines) != 1+awaitRestarts {
		t.Errorf("it ran %d times: %v", len(lines), err)
	}

	// One with a verdict, also while it still runs.
	id = helper(t, e, image, labels, "serve")
	if err := e.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := Confirm(t.Context(), e.Client, find(id)); err != nil {
		t.Fatal(err)
	}
	if code, err := e.Exec(t.Context(), id, []string{"/bin/testapp", "has", Dir + "/" + confirmFile}, docker.ExecOptions{}); err != nil || code != 0 {
		t.Errorf("the confirmation did not come: exit %d, %v", code, err)
	}
	if err := put(t.Context(), e.Client, id, stateFile, []byte(`{"verdict":{"replaced":true}}`)); err != nil {
		t.Fatal(err)
	}
	s := find(id)
	if !s.Ended() {
		t.Error("its verdict was not found")
	}
	waiting, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := Await(waiting, e.Client, s); err == nil {
		t.Error("it does not wait for the end of the helper")
	}
	if err := e.Stop(t.Context(), id, time.Second, ""); err != nil {
		t.Fatal(err)
	}
	if v, err := Await(t.Context(), e.Client, s); err != nil || !v.Replaced {
		t.Errorf("%+v, %v", v, err)
	}
	// One that was removed.
	if err := e.Remove(t.Context(), id, true); err != nil {
		t.Fatal(err)
	}
	if v, err := Await(t.Context(), e.Client, s); err != nil || v.Replaced || !strings.Contains(v.Reason, "was removed") {
		t.Errorf("%+v, %v", v, err)
	}
}
