// SPDX-License-Identifier: Apache-2.0

//go:build engine

package docker_test

import (
	"context"
	"slices"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// Lines of both streams come with their times, and from a time on.
func TestLogsWithTimes(t *testing.T) {
	c, err := docker.New("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	made, err := c.ContainerCreate(t.Context(), &container.Config{
		Image: "fairlead-test/base:bookworm", Labels: map[string]string{"fairlead.dev/test": "logs"},
		Cmd: []string{"sh", "-c", "echo one; echo two >&2; printf three"},
	}, &container.HostConfig{NetworkMode: "none"}, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.ContainerRemove(context.Background(), made.ID, container.RemoveOptions{Force: true}) })
	if err := c.Start(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	ct, err := c.WaitExit(t.Context(), made.ID)
	if err != nil {
		t.Fatal(err)
	}
	read := func(o docker.LogOptions) (lines []docker.LogLine) {
		t.Helper()
		if err := c.Logs(t.Context(), ct, o, func(l []docker.LogLine) error { lines = append(lines, l...); return nil }); err != nil {
			t.Fatal(err)
		}
		return lines
	}
	all := read(docker.LogOptions{Tail: -1, Follow: true}) // it has ended: so does this
	var texts []string
	for _, l := range all {
		texts = append(texts, l.Text)
		if l.Time.IsZero() || l.Stderr != (l.Text == "two") {
			t.Errorf("%+v", l)
		}
	}
	slices.Sort(texts) // the engine may mix the streams
	if !slices.Equal(texts, []string{"one", "three", "two"}) {
		t.Fatalf("got %q", texts)
	}
	if got := read(docker.LogOptions{Tail: 1}); len(got) != 1 {
		t.Errorf("the last line: %+v", got)
	}
	last := all[len(all)-1]
	if got := read(docker.LogOptions{Tail: -1, Since: last.Time}); len(got) != 1 || got[0].Text != last.Text {
		t.Errorf("since %s: %+v", last.Time, got)
	}
}
