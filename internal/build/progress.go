// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	bkclient "github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"

	"github.com/fairlead-dev/fairlead/internal/redact"
)

const (
	// quietInternal is how long BuildKit's own chores may take before the log
	// mentions them.
	quietInternal = time.Second
	// transferEvery is how often a long transfer is mentioned.
	transferEvery = 10 * time.Second
	// smallBlob is the size in bytes below which a fetched blob is not mentioned.
	smallBlob = 1e6
	// keptErrors is how many lines of standard error an Error has at least.
	keptErrors = 5

	stderr = 2 // BuildKit's number of the stream
)

// stepName matches the vertices that stand for steps of the Dockerfile:
// [2/3] RUN ..., [build 2/3] ..., [linux/amd64 build 2/3] ...
var stepName = regexp.MustCompile(`^\[(?:[^\]]+ )?\d+/\d+\] `)

// remoteName matches vertices that talk to a registry or another server.
var remoteName = regexp.MustCompile(`^(?:\[internal\] load (?:metadata for|remote build context)|\[(?:[^\]]+ )?\d+/\d+\] (?:FROM|ADD) |docker-image://|resolve image config|importing cache|\[internal\] load git source|https?://|git://|\[context )`)

// progress renders BuildKit's status stream as lines.
type progress struct {
	out      *output
	vertices map[digest.Digest]*vertex
	shown    int
	failed   *vertex
	last     tail // of the whole build
	// report is told of done and total, which told has as they were told last.
	report func(done, total int)
	told   [2]int
}

type vertex struct {
	name     string
	index    int // as in the log; 0: not shown yet
	started  *time.Time
	done     bool
	cached   bool
	err      string
	streams  map[int]*redact.Lines
	tail     tail
	errTail  tail // of standard error alone
	transfer map[string]time.Time
}

func newProgress(out *output, report func(done, total int)) *progress {
	return &progress{out: out, vertices: map[digest.Digest]*vertex{}, report: report}
}

// update renders one message of the stream.
func (p *progress) update(s *bkclient.SolveStatus) {
	var finished []*vertex
	for _, bv := range s.Vertexes {
		switch v := p.vertex(bv); {
		case v == nil:
		case v.cached: // has no output to wait for
			p.finish(v, s)
		default:
			finished = append(finished, v)
		}
	}
	for _, st := range s.Statuses {
		if v := p.vertices[st.Vertex]; v != nil {
			p.status(v, st)
		}
	}
	for _, l := range s.Logs {
		if v := p.vertices[l.Vertex]; v != nil {
			_, _ = p.stream(v, l.Stream).Write(l.Data)
		}
	}
	for _, w := range s.Warnings {
		p.print(p.vertices[w.Vertex], "warning: "+string(w.Short))
	}
	for _, v := range finished {
		p.finish(v, s)
	}
	p.tell()
}

// tell says how many of the Dockerfile's steps are done.
func (p *progress) tell() {
	if p.report == nil {
		return
	}
	done, total := 0, 0
	for _, v := range p.vertices {
		if !stepName.MatchString(v.name) {
			continue
		}
		total++
		if v.done {
			done++
		}
	}
	if done != p.told[0] || total != p.told[1] {
		p.told = [2]int{done, total}
		p.report(done, total)
	}
}

// vertex takes over the state of one vertex and returns it when it has ended.
func (p *progress) vertex(bv *bkclient.Vertex) *vertex {
	v := p.vertices[bv.Digest]
	if v == nil {
		v = &vertex{streams: map[int]*redact.Lines{}, transfer: map[string]time.Time{}}
		p.vertices[bv.Digest] = v
	}
	v.name = bv.Name
	v.cached = v.cached || bv.Cached
	if v.started == nil {
		v.started = bv.Started
	}
	if bv.Error != "" {
		v.err = bv.Error
	}
	if v.started != nil && v.index == 0 && !v.internal() && !(bv.Cached && bv.Completed != nil) {
		p.show(v, "")
	}
	if bv.Completed == nil || v.done {
		return nil
	}
	v.done = true
	return v
}

func (v *vertex) internal() bool { return strings.HasPrefix(v.name, "[internal]") }

func (v *vertex) cancelled() bool { return strings.HasSuffix(v.err, context.Canceled.Error()) }

func (p *progress) finish(v *vertex, s *bkclient.SolveStatus) {
	for _, a := range v.streams {
		a.Flush()
	}
	took := time.Duration(0)
	for _, bv := range s.Vertexes {
		if p.vertices[bv.Digest] == v && bv.Completed != nil && v.started != nil {
			took = bv.Completed.Sub(*v.started)
		}
	}
	switch {
	case v.err != "" && v.cancelled():
		p.print(v, "cancelled")
	case v.err != "":
		if p.failed == nil {
			p.failed = v
		}
		p.print(v, "ERROR: "+clean(v.err))
	case v.internal() && took < quietInternal:
	case v.cached && v.index == 0:
		p.show(v, " CACHED")
	case v.cached:
		p.print(v, "CACHED")
	default:
		p.print(v, fmt.Sprintf("done in %.1fs", took.Seconds()))
	}
}

// status mentions a part of a vertex when it is complete, and long transfers
// now and then.
func (p *progress) status(v *vertex, st *bkclient.VertexStatus) {
	if v.internal() || strings.HasPrefix(st.ID, "resolve ") || strings.HasPrefix(st.ID, "sha256:") && st.Total < smallBlob {
		return
	}
	if st.Completed != nil {
		if _, told := v.transfer["done "+st.ID]; !told {
			v.transfer["done "+st.ID] = *st.Completed
			p.print(v, st.ID)
		}
		return
	}
	last, known := v.transfer[st.ID]
	if !known {
		v.transfer[st.ID] = st.Timestamp
		return
	}
	if st.Total > 0 && st.Timestamp.Sub(last) >= transferEvery {
		v.transfer[st.ID] = st.Timestamp
		p.print(v, fmt.Sprintf("%s %s of %s", st.ID, size(st.Current), size(st.Total)))
	}
}

func (p *progress) stream(v *vertex, stream int) *redact.Lines {
	a := v.streams[stream]
	if a == nil {
		a = &redact.Lines{Redact: p.out.redact, Emit: func(line string) {
			text := p.print(v, line)
			v.tail.add(text)
			if stream == stderr {
				v.errTail.add(text)
			}
			p.last.add(text)
		}}
		v.streams[stream] = a
	}
	return a
}

// lastLines returns the last lines of the step's output. The streams arrive
// separately: what standard error said last is kept even when a burst of
// ordinary output came after it.
func (v *vertex) lastLines() []string {
	kept := v.errTail.lines
	kept = kept[max(0, len(kept)-keptErrors):]
	missing := slices.DeleteFunc(slices.Clone(kept), func(l string) bool { return slices.Contains(v.tail.lines, l) })
	drop := max(0, len(v.tail.lines)+len(missing)-tailLines)
	return append(slices.Clone(v.tail.lines[drop:]), missing...)
}

// show prints a vertex's name, which gives it its number.
func (p *progress) show(v *vertex, suffix string) {
	p.shown++
	v.index = p.shown
	p.out.line(fmt.Sprintf("#%d ", v.index), v.name+suffix)
}

// print prints one line under a vertex and returns it as written.
func (p *progress) print(v *vertex, text string) string {
	if v == nil {
		return p.out.line("", text)
	}
	if v.index == 0 {
		p.show(v, "")
	}
	return p.out.line(fmt.Sprintf("#%d ", v.index), text)
}

// steps counts the Dockerfile's steps and those that came from the cache.
func (p *progress) steps() (all, cached int) {
	for _, v := range p.vertices {
		if !stepName.MatchString(v.name) || v.started == nil {
			continue
		}
		all++
		if v.cached {
			cached++
		}
	}
	return all, cached
}

// failure makes the error of a failed build from what the stream told.
func (p *progress) failure(service string, solveErr error) *Error {
	e := &Error{Service: service, Tail: p.last.lines}
	text := solveErr.Error()
	remote := containsAny(text, []string{"failed to resolve source metadata", "failed to do request", "pull access denied",
		"failed to authorize", "failed to fetch remote", "failed to load cache key"})
	if v := p.failed; v != nil {
		text = v.err
		e.Tail = v.lastLines()
		e.Instruction = p.out.redact.Text(v.name)
		remote = remote || remoteName.MatchString(v.name)
	}
	if p.failed == nil || !p.failed.internal() {
		e.ExitCode = exitCodeOf(text)
		e.Kind = classifyBuild(text, e.ExitCode, remote, e.Tail)
	} else { // an exit code would be that of the engine's own git
		e.Kind = classifyBuild(text+"\n"+strings.Join(e.Tail, "\n"), 0, remote, nil)
	}
	e.Message = p.out.redact.Text(plain(strings.Join(strings.Fields(clean(text)), " ")))
	e.Hint = hint(e.Kind, "")
	switch {
	case strings.Contains(e.Instruction, "git source") && (e.Kind == KindUnauthorized || e.Kind == KindNotFound):
		e.Hint = "check the URL, the branch and the credentials of the Git context"
	case e.Kind == KindBuild && e.ExitCode == 137:
		e.Hint = "the command was killed, most often because the host ran out of memory"
	case e.ExitCode == 0 && containsAny(text, []string{"subdir not supported"}):
		e.Kind = KindUnsupported
		e.Hint = "a directory within a Git context needs Docker Engine 23.0 or later"
	}
	return e
}

// size renders bytes for people.
func size(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d B", n)
}
