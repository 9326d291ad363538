// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	bkclient "github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"

	"github.com/fairlead-dev/fairlead/internal/redact"
)

// at returns a moment some milliseconds after the start of the build.
func at(ms int) *time.Time {
	t := time.Unix(1700000000, 0).Add(time.Duration(ms) * time.Millisecond)
	return &t
}

func TestProgress(t *testing.T) {
	d := digest.FromString
	var log bytes.Buffer
	p := newProgress(newOutput(&log, redact.New("hush")), nil)
	const load, from, copied, run = "[internal] load build context", "[1/3] FROM reg/x:1", "[2/3] COPY . .", "[3/3] RUN make"
	for _, s := range []*bkclient.SolveStatus{
		{Vertexes: []*bkclient.Vertex{{Digest: d(load), Name: load, Started: at(0)}, {Digest: d(run), Name: run}}},
		{Vertexes: []*bkclient.Vertex{{Digest: d(load), Name: load, Started: at(0), Completed: at(90)}}},
		{
			Vertexes: []*bkclient.Vertex{{Digest: d(from), Name: from, Started: at(0)}},
			Statuses: []*bkclient.VertexStatus{{ID: "sha256:1", Vertex: d(from), Current: 1e6, Total: 40e6, Timestamp: *at(100)}},
		},
		{Statuses: []*bkclient.VertexStatus{{ID: "sha256:1", Vertex: d(from), Current: 9e6, Total: 40e6, Timestamp: *at(5000)}}},
		{Statuses: []*bkclient.VertexStatus{{ID: "sha256:1", Vertex: d(from), Current: 30e6, Total: 40e6, Timestamp: *at(10200)}}},
		{Statuses: []*bkclient.VertexStatus{{ID: "extracting", Vertex: d(from), Timestamp: *at(11000), Completed: at(11500)}}},
		{Vertexes: []*bkclient.Vertex{{Digest: d(from), Name: from, Started: at(0), Completed: at(12000)}}},
		{Vertexes: []*bkclient.Vertex{{Digest: d(copied), Name: copied, Started: at(12000), Completed: at(12000), Cached: true}}},
		{
			Vertexes: []*bkclient.Vertex{{Digest: d(run), Name: run, Started: at(12000)}},
			Logs:     []*bkclient.VertexLog{{Vertex: d(run), Stream: 1, Data: []byte("half ")}, {Vertex: d(run), Stream: 2, Data: []byte("oops hu")}},
		},
		{
			Logs:     []*bkclient.VertexLog{{Vertex: d(run), Stream: 1, Data: []byte("line\nrest")}, {Vertex: d(run), Stream: 2, Data: []byte("sh\n")}},
			Vertexes: []*bkclient.Vertex{{Digest: d(run), Name: run, Started: at(12000), Completed: at(13234), Error: "executor failed running [make]: exit code: 2"}},
		},
		{Vertexes: []*bkclient.Vertex{{Digest: d(run), Name: run, Started: at(12000), Completed: at(13234), Error: "executor failed running [make]: exit code: 2"}}},
	} {
		p.update(s)
	}
	const want = `#1 [1/3] FROM reg/x:1
#1 sha256:1 30.0 MB of 40.0 MB
#1 extracting
#1 done in 12.0s
#2 [2/3] COPY . . CACHED
#3 [3/3] RUN make
#3 half line
#3 oops ***
#3 rest
#3 ERROR: executor failed running [make]: exit code: 2
`
	if log.String() != want {
		t.Errorf("got\n%swant\n%s", log.String(), want)
	}
	if all, cached := p.steps(); all != 3 || cached != 1 {
		t.Errorf("%d steps, %d cached", all, cached)
	}
	e := p.failure("web", errors.New("failed to solve: rpc error: code = Unknown desc = exit code: 2"))
	if e.Kind != KindBuild || e.ExitCode != 2 || e.Instruction != run || strings.Join(e.Tail, "|") != "half line|oops ***|rest" {
		t.Errorf("%+v", e)
	}
}

func TestProgressFailures(t *testing.T) {
	for _, tc := range []struct {
		vertex, err string
		log         string
		kind        Kind
		exit        int
	}{
		{"[internal] load metadata for docker.io/library/x:1", "docker.io/library/x:1: not found", "", KindNotFound, 0},
		{"[internal] load metadata for r/x:1", "failed to do request: dial tcp 10.0.0.1:443: i/o timeout", "", KindUnreachable, 0},
		{"[internal] load git source https://h/x.git#main", "failed to fetch remote: exit status 128", "fatal: Could not resolve host: h", KindUnreachable, 0},
		{"[internal] load git source https://h/x.git#main", "failed to fetch remote: exit status 128", "fatal: could not read Username", KindUnauthorized, 0},
		{"[2/2] RUN curl h", "executor failed running: exit code: 6", "curl: (6) Could not resolve host: h", KindBuild, 6},
		{"[2/2] RUN make", "executor failed running: exit code: 137", "", KindBuild, 137},
		{"[2/2] COPY nope /", `failed to compute cache key: "/nope" not found: not found`, "", KindBuild, 0},
	} {
		p := newProgress(newOutput(nil, nil), nil)
		id := digest.FromString(tc.vertex)
		p.update(&bkclient.SolveStatus{
			Vertexes: []*bkclient.Vertex{{Digest: id, Name: tc.vertex, Started: at(0), Completed: at(10), Error: tc.err}},
			Logs:     []*bkclient.VertexLog{{Vertex: id, Stream: 2, Data: []byte(tc.log + "\n")}},
		})
		e := p.failure("web", errors.New("failed to solve: "+tc.err))
		if e.Kind != tc.kind || e.ExitCode != tc.exit {
			t.Errorf("%s: %s with exit code %d: %v", tc.vertex, e.Kind, e.ExitCode, e)
		}
		if tc.exit == 137 && !strings.Contains(e.Error(), "memory") {
			t.Errorf("no word of memory in %v", e)
		}
	}
}

// Standard error's last words survive a burst of ordinary output after them.
func TestProgressTailKeepsErrors(t *testing.T) {
	p := newProgress(newOutput(nil, nil), nil)
	id := digest.FromString("x")
	p.update(&bkclient.SolveStatus{
		Vertexes: []*bkclient.Vertex{{Digest: id, Name: "[1/1] RUN x", Started: at(0)}},
		Logs: []*bkclient.VertexLog{
			{Vertex: id, Stream: 2, Data: []byte("the reason\n")},
			{Vertex: id, Stream: 1, Data: []byte(strings.Repeat("noise\n", 50))},
		},
	})
	lines := p.vertices[id].lastLines()
	if len(lines) != tailLines || !slices.Contains(lines, "the reason") {
		t.Errorf("%d lines: %q", len(lines), lines)
	}
}

func TestPullProgress(t *testing.T) {
	const stream = `{"status":"Pulling from team/app","id":"1"}
{"status":"Already exists","progressDetail":{},"id":"aaa"}
{"status":"Pulling fs layer","progressDetail":{},"id":"bbb"}
{"status":"Pulling fs layer","progressDetail":{},"id":"ccc"}
{"status":"Downloading","progressDetail":{"current":1000000,"total":200000000},"id":"bbb"}
{"status":"Downloading","progressDetail":{"current":21000000,"total":200000000},"id":"bbb"}
{"status":"Downloading","progressDetail":{"current":22000000,"total":200000000},"id":"bbb"}
{"status":"Downloading","progressDetail":{"current":512,"total":2048},"id":"ccc"}
{"status":"Pull complete","progressDetail":{},"id":"ccc"}
{"status":"Extracting","progressDetail":{"current":5,"total":200000000},"id":"bbb"}
{"status":"Pull complete","progressDetail":{},"id":"bbb"}
{"status":"Digest: sha256:abc"}
{"status":"Status: Downloaded newer image for team/app:1"}
`
	var log bytes.Buffer
	p := &pullProgress{out: newOutput(&log, nil), layers: map[string]*layer{}}
	digest, err := p.read(strings.NewReader(stream))
	if err != nil || digest != "sha256:abc" {
		t.Errorf("%q %v", digest, err)
	}
	const want = "layer bbb: 21.0 MB of 200.0 MB\nlayer ccc: done, 1 of 2, 2.0 kB\nlayer bbb: done, 2 of 2, 200.0 MB\n"
	if log.String() != want {
		t.Errorf("got\n%swant\n%s", log.String(), want)
	}
	if _, err := p.read(strings.NewReader(`{"errorDetail":{"message":"boom"},"error":"boom"}`)); err == nil || err.Error() != "boom" {
		t.Errorf("error %v", err)
	}
	if _, err := p.read(strings.NewReader(`{"status":"Pull`)); !Retryable(err) {
		t.Errorf("a broken stream: %v", err)
	}
}
