// SPDX-License-Identifier: Apache-2.0

//go:build engine

package build

import (
	"slices"
	"strings"
	"testing"
)

func TestClassic(t *testing.T) {
	b := newBench(t, Options{Classic: true})
	b.write("Dockerfile", "FROM scratch\nLABEL "+testLabel+"="+b.label+"\nCOPY app /app\nARG WORD\nRUN [\"/app\",\"env\",\"WORD\"]\n")
	spec := b.spec()
	spec.Args = map[string]string{"WORD": "word" + b.nonce}
	spec.Tags = []string{"fairlead-test/classic:" + b.nonce, "fairlead-test/classic2:" + b.nonce}
	spec.Key = "v1-" + b.nonce
	first := b.build(spec)
	if first.UsedBuildKit || first.Cached() || first.Steps < 5 {
		t.Errorf("%+v", first)
	}
	b.logHas("classic builder", "env word"+b.nonce)
	second := b.build(spec)
	if second.ImageID != first.ImageID || !second.Cached() {
		t.Errorf("second %+v, first %+v", second, first)
	}
	for _, tag := range spec.Tags {
		if i, err := b.docker.ImageInspect(t.Context(), tag); err != nil || i.ID != first.ImageID {
			t.Errorf("%s: %v", tag, err)
		}
	}
	b.nameByContent(first.ImageID)
	if found, err := b.builder.FindByKeys(t.Context(), []string{spec.Key}); err != nil || found[spec.Key] != first.ImageID {
		t.Errorf("FindByKeys: %s %v", found, err)
	}
}

func TestClassicFailures(t *testing.T) {
	b := newBench(t, Options{Classic: true})
	e := b.fails(b.spec("FROM scratch", "COPY app /app", `RUN ["/app","fail","3"]`))
	if e.Kind != KindBuild || e.ExitCode != 3 || !strings.Contains(e.Instruction, "RUN") || !slices.Contains(e.Tail, "line 40") {
		t.Errorf("%+v", e)
	}
	e = b.fails(b.spec("FROM scratch", "COPY app /app", `RUN --mount=type=cache,target=/c ["/app","print"]`))
	if e.Kind != KindUnsupported || !strings.Contains(e.Error(), "BuildKit") {
		t.Errorf("%+v", e)
	}
	e = b.fails(with(b.spec("FROM scratch"), func(s *Spec) {
		s.Secrets = []Secret{{ID: "x", Value: []byte("y")}}
		s.SSH = []SSH{{}}
		s.AdditionalContexts = map[string]NamedContext{"a": {Source: "/tmp"}}
	}))
	for _, want := range []string{"secrets", "ssh", "additional_contexts", "BuildKit"} {
		if !strings.Contains(e.Error(), want) {
			t.Errorf("no %q in: %s", want, e)
		}
	}
	e = b.fails(b.spec("FROM 127.0.0.1:1/none:1"))
	if e.Kind != KindUnreachable {
		t.Errorf("%+v", e)
	}
}
