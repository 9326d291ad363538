// SPDX-License-Identifier: Apache-2.0

// Package doctor looks for everything that is known to go wrong on a Docker host
// with Fairlead: the daemon, the engine, Git, the applications and their
// requests. Each finding says what was found and what to do. It goes as far as
// it can without the daemon, and changes nothing but what a dry run does.
package doctor

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

// patience bounds each question that is asked of something that may not answer.
const patience = 20 * time.Second

// Result is how a check ended.
type Result string

// Results.
const (
	OK      Result = "ok"
	Warning Result = "warning"
	Problem Result = "problem"
)

// Finding is what one check found.
type Finding struct {
	// Check names what was looked at, such as "engine" or "services".
	Check string `json:"check"`
	// Application is namespace/name, or a directory; empty for the host.
	Application string `json:"application,omitempty"`
	Result      Result `json:"result"`
	// Found says what is, Do what a person can do about it.
	Found string `json:"found"`
	Do    string `json:"do,omitempty"`
}

// Report is all that was found.
type Report struct {
	Findings []Finding `json:"findings"`
	Problems int       `json:"problems"`
	Warnings int       `json:"warnings"`
}

func (r *Report) add(f ...Finding) {
	for _, one := range f {
		switch one.Result {
		case Problem:
			r.Problems++
		case Warning:
			r.Warnings++
		}
		r.Findings = append(r.Findings, one)
	}
}

// Doctor looks at one host.
type Doctor struct {
	// Deps reach the engine; Secrets are used where an application has them.
	Deps steps.Deps
	// Config and API reach the daemon's API. API is nil where there is none, and
	// APIError says why.
	Config   *rest.Config
	API      client.Reader
	APIError error
	// DataDir is the daemon's data directory, Listen the address of its HTTP
	// endpoints.
	DataDir, Listen string
}

// Examine looks at the host and at the applications.
func (d *Doctor) Examine(ctx context.Context, apps []v1alpha1.Application) Report {
	var r Report
	r.add(d.daemon(ctx)...)
	engine := d.engine(ctx)
	r.add(engine...)
	answers := !slices.ContainsFunc(engine, func(f Finding) bool { return f.Check == "engine" && f.Result == Problem })
	if answers {
		r.add(d.updaters(ctx)...)
	}
	for i := range apps {
		r.add(d.application(ctx, &apps[i], answers)...)
	}
	if d.API != nil {
		r.add(d.requests(ctx, apps)...)
	}
	return r
}

// Show writes the report for people: what is wrong first, with what to do.
func (r Report) Show(w io.Writer, everything bool) {
	for _, kind := range []Result{Problem, Warning, OK} {
		if kind == OK && !everything {
			continue
		}
		for _, f := range r.Findings {
			if f.Result != kind {
				continue
			}
			where := f.Check
			if f.Application != "" {
				where = f.Application + " " + f.Check
			}
			fmt.Fprintf(w, "%-8s %s: %s\n", strings.ToUpper(string(kind)), where, f.Found)
			if f.Do != "" {
				fmt.Fprintf(w, "         -> %s\n", f.Do)
			}
		}
	}
	fmt.Fprintf(w, "%d checks: %d problems, %d warnings\n", len(r.Findings), r.Problems, r.Warnings)
}

func ok(check, format string, args ...any) Finding {
	return Finding{Check: check, Result: OK, Found: fmt.Sprintf(format, args...)}
}

func warning(check, do, format string, args ...any) Finding {
	return Finding{Check: check, Result: Warning, Found: fmt.Sprintf(format, args...), Do: do}
}

func problem(check, do, format string, args ...any) Finding {
	return Finding{Check: check, Result: Problem, Found: fmt.Sprintf(format, args...), Do: do}
}

// advice for the checks of the preflight, beside what their messages say.
var advice = map[string]string{
	"Engine":          "see that the engine is Docker 20.10 or newer and runs: systemctl status docker",
	"Memory":          "stop what is not needed, add memory or swap, or lower preflight.minFreeMemory of the Application",
	"Disk":            "make room: docker system df; docker image prune; docker builder prune; or lower preflight.minFreeDisk of the Application",
	"Repository":      "the deployment directory must be a Git clone that the daemon may write to; install Git 2.20 or newer",
	"BackupDirectory": "make .update in the deployment directory writable for the daemon, or run the daemon as root",
	"Commit":          "see that the network, the URL and the credentials (source.secretRef) let this host fetch",
	"LocalEdits":      "commit and push the changes, or give them up: git checkout -- FILE",
}

// ofPreflight turns answers of the preflight's checks into findings.
func ofPreflight(results []v1alpha1.CheckResult) []Finding {
	var out []Finding
	for _, c := range results {
		f := Finding{Check: strings.ToLower(c.Name), Result: OK, Found: c.Message}
		switch c.Result {
		case "Warning":
			f.Result, f.Do = Warning, advice[c.Name]
		case "Failed":
			f.Result, f.Do = Problem, advice[c.Name]
		}
		out = append(out, f)
	}
	return out
}

func of(application string, findings []Finding) []Finding {
	for i := range findings {
		findings[i].Application = application
	}
	return findings
}
