// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"

	dbuild "github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"github.com/fairlead-dev/fairlead/internal/redact"
)

// classicStep matches the classic builder's announcement of a step.
var classicStep = regexp.MustCompile(`^Step (\d+/\d+) : (.*)$`)

const classicCached = " ---> Using cache"

// classicAttempts is how often a build is begun whose cache lookup met an image
// that somebody removed at that moment.
const classicAttempts = 3

// buildClassic builds with the engine's classic builder.
func (j *job) buildClassic(ctx context.Context) (Result, error) {
	if err := j.checkClassic(); err != nil {
		return Result{}, err
	}
	opt, err := j.classicOptions(ctx)
	if err != nil {
		return Result{}, err
	}
	j.out.line("", "building with the classic builder: "+j.classicReason)
	for attempt := 1; ; attempt++ {
		result, err := j.classicAttempt(ctx, opt)
		if err == nil || attempt == classicAttempts || !cacheImageVanished.MatchString(err.Error()) {
			return result, err
		}
		j.out.line("", "an image was removed while the builder searched its cache for it: beginning again")
	}
}

// classicAttempt sends the context and reads the answer to its end.
func (j *job) classicAttempt(ctx context.Context, opt dbuild.ImageBuildOptions) (Result, error) {
	var body io.Reader
	var archive *contextArchive
	if j.src.remote != "" {
		opt.RemoteContext = j.src.remote
	} else {
		var err error
		if archive, err = newContextArchive(ctx, j.src); err != nil {
			return Result{}, &Error{Service: j.spec.Name, Kind: KindInvalid, Message: err.Error()}
		}
		defer archive.Close()
		opt.Dockerfile = archive.dockerfile
		body = archive
	}
	resp, err := j.docker.ImageBuild(ctx, body, opt)
	if err != nil {
		if archiveErr := archive.failure(); archiveErr != nil {
			return Result{}, &Error{Service: j.spec.Name, Kind: KindInvalid, Message: "the build context cannot be read: " + archiveErr.Error(), Err: archiveErr}
		}
		return Result{}, j.classicFailure(&classicProgress{job: j}, err.Error(), 0, client.IsErrConnectionFailed(err))
	}
	defer resp.Body.Close()
	// The client's reader does not notice the end of ctx while the engine is silent.
	stop := context.AfterFunc(ctx, func() { _ = resp.Body.Close() })
	defer stop()

	p := &classicProgress{job: j}
	id, err := p.read(resp.Body)
	if archiveErr := archive.failure(); err != nil && archiveErr != nil {
		return Result{}, &Error{Service: j.spec.Name, Kind: KindInvalid, Message: "the build context cannot be read: " + archiveErr.Error(), Err: archiveErr}
	}
	if err != nil {
		return Result{}, err
	}
	return j.finish(ctx, id, p.steps, p.cached)
}

// checkClassic refuses what the classic builder would ignore.
func (j *job) checkClassic() error {
	var wants []string
	if len(j.spec.Secrets) > 0 {
		wants = append(wants, "secrets")
	}
	if len(j.spec.SSH) > 0 {
		wants = append(wants, "ssh")
	}
	if len(j.spec.AdditionalContexts) > 0 {
		wants = append(wants, "additional_contexts")
	}
	if len(j.spec.CacheTo) > 0 {
		wants = append(wants, "cache_to")
	}
	if len(j.spec.Entitlements) > 0 {
		wants = append(wants, "entitlements")
	}
	if j.src.remote != "" && j.src.inline != "" {
		wants = append(wants, "dockerfile_inline with a remote context")
	}
	if len(wants) == 0 {
		return nil
	}
	return j.unsupported("enable BuildKit in the Docker engine, or remove them from the build section",
		"only BuildKit can build with %s, and %s", strings.Join(wants, ", "), j.classicReason)
}

func (j *job) classicOptions(ctx context.Context) (dbuild.ImageBuildOptions, error) {
	auths, err := j.credentials.all(ctx)
	if err != nil {
		return dbuild.ImageBuildOptions{}, err
	}
	opt := dbuild.ImageBuildOptions{
		Version: dbuild.BuilderV1, Tags: j.tags, Labels: j.spec.labels(), Target: j.spec.Target, Platform: j.spec.platform(),
		NoCache: j.spec.NoCache || len(j.spec.NoCacheFilter) > 0, PullParent: j.spec.Pull, NetworkMode: orElse(j.spec.Network, "default"), ShmSize: j.spec.ShmSize,
		Dockerfile: j.src.dockerfile, AuthConfigs: auths,
		// Leave no containers behind, neither of good steps nor of failed ones.
		Remove: true, ForceRemove: true,
	}
	args := maps.Clone(j.proxies)
	if args == nil {
		args = map[string]string{}
	}
	maps.Copy(args, j.spec.Args)
	opt.BuildArgs = make(map[string]*string, len(args))
	for k, v := range args {
		opt.BuildArgs[k] = &v
	}
	for _, u := range j.spec.Ulimits {
		opt.Ulimits = append(opt.Ulimits, &container.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	for _, entry := range j.spec.ExtraHosts {
		host, ip, _ := splitHost(entry)
		if ip != hostGateway && net.ParseIP(ip) == nil {
			return opt, &Error{Service: j.spec.Name, Kind: KindInvalid, Message: fmt.Sprintf("extra_hosts entry %q has no valid IP address", entry)}
		}
		opt.ExtraHosts = append(opt.ExtraHosts, host+":"+ip)
	}
	for _, entry := range j.spec.CacheFrom {
		parsed, err := parseCache(entry, "registry")
		if err != nil {
			return opt, &Error{Service: j.spec.Name, Kind: KindInvalid, Message: fmt.Sprintf("cache_from entry %q: %v", entry, err)}
		}
		if ref := parsed.Attrs["ref"]; parsed.Type == "registry" && ref != "" {
			opt.CacheFrom = append(opt.CacheFrom, ref)
		}
	}
	return opt, nil
}

// classicProgress renders the classic builder's stream.
type classicProgress struct {
	*job
	instruction   string
	steps, cached int
	tail          tail
}

// streamMessage is one message of the engine's stream.
type streamMessage struct {
	Stream      string `json:"stream"`
	Status      string `json:"status"`
	ID          string `json:"id"`
	ErrorDetail *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"errorDetail"`
	ErrorText      string `json:"error"`
	ProgressDetail struct {
		Current int64 `json:"current"`
		Total   int64 `json:"total"`
	} `json:"progressDetail"`
	Aux *struct {
		ID string `json:"ID"`
	} `json:"aux"`
}

// failure returns the error in the message; ok is false when there is none.
func (m *streamMessage) failure() (text string, code int, ok bool) {
	if m.ErrorDetail != nil {
		return orElse(m.ErrorDetail.Message, m.ErrorText), m.ErrorDetail.Code, true
	}
	return m.ErrorText, 0, m.ErrorText != ""
}

// read renders the stream to its end and returns the image's ID.
func (p *classicProgress) read(r io.Reader) (id string, err error) {
	lines := &redact.Lines{Redact: p.out.redact, Emit: p.line}
	defer lines.Flush()
	for dec := json.NewDecoder(r); ; {
		var m streamMessage
		switch err := dec.Decode(&m); {
		case errors.Is(err, io.EOF):
			return id, nil
		case err != nil:
			return "", engineError(p.spec.Name, "building", err)
		}
		if text, code, failed := m.failure(); failed {
			lines.Flush()
			return "", p.classicFailure(p, text, code, false)
		}
		if m.Aux != nil && m.Aux.ID != "" {
			id = m.Aux.ID
		}
		_, _ = lines.Write([]byte(m.Stream))
		// Of the pull of a base image only its beginning and end are told.
		if m.Status != "" && m.ProgressDetail.Total == 0 && (m.ID == "" || strings.HasPrefix(m.Status, "Pulling from")) {
			p.line(m.Status)
		}
	}
}

func (p *classicProgress) line(text string) {
	text = p.out.line("", text)
	switch m := classicStep.FindStringSubmatch(text); {
	case m != nil:
		p.instruction = "[" + m[1] + "] " + m[2]
		p.steps++
		p.tell(m[1])
		p.tail = tail{}
		// FROM takes what is there: it is never a step that has to run.
		if strings.HasPrefix(strings.ToUpper(m[2]), "FROM ") {
			p.cached++
		}
	case text == classicCached:
		p.cached++
	case !strings.HasPrefix(text, " ---> ") && !strings.HasPrefix(text, "Removing intermediate container "):
		p.tail.add(text)
	}
}

// tell says how many steps are done when one begins, by its number as in 2/7.
func (p *classicProgress) tell(number string) {
	var n, total int
	if _, err := fmt.Sscanf(number, "%d/%d", &n, &total); err == nil && p.spec.Progress != nil {
		p.spec.Progress(n-1, total)
	}
}

func (j *job) classicFailure(p *classicProgress, text string, code int, connection bool) error {
	if connection {
		return engineError(j.spec.Name, "building", errors.New(j.out.redact.Text(text)))
	}
	e := &Error{Service: j.spec.Name, Instruction: p.instruction, Tail: p.tail.lines, ExitCode: exitCodeOf(text)}
	if e.ExitCode == 0 && code > 0 && code < 256 && strings.Contains(text, "returned a non-zero code") {
		e.ExitCode = code
	}
	_, instruction, _ := strings.Cut(p.instruction, "] ")
	word := strings.ToUpper(strings.SplitN(instruction+" ", " ", 2)[0])
	remote := p.instruction == "" && j.src.remote != "" || slices.Contains([]string{"FROM", "ADD"}, word)
	e.Kind = classifyBuild(text, e.ExitCode, remote, e.Tail)
	e.Message = j.out.redact.Text(plain(strings.Join(strings.Fields(clean(text)), " ")))
	e.Hint = hint(e.Kind, "")
	if containsAny(text, []string{"requires buildkit", "unknown flag: mount", "unknown flag: chmod", "unknown flag: link"}) {
		e.Kind = KindUnsupported
		e.Hint = "the Dockerfile uses what only BuildKit knows, and " + j.classicReason
	}
	return e
}
