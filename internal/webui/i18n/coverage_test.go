// SPDX-License-Identifier: Apache-2.0

package i18n

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// unshown are the packages whose words no page of the UI shows, and why.
var unshown = map[string]string{
	"internal/webui":               "its texts are in the catalogs",
	"internal/cli":                 "the command, which is for terminals",
	"internal/doctor":              "the command fairlead doctor",
	"internal/clientconfig":        "the command, and the start of the daemon",
	"internal/bootstrap":           "the start of the daemon: nothing serves a page yet",
	"internal/controlplane":        "the start of the API server",
	"internal/daemon":              "the start and the end of the daemon",
	"internal/pki":                 "the start of the daemon",
	"internal/endpoint":            "the start of the daemon, and clients that are no browsers",
	"internal/datadir":             "the start of the daemon",
	"internal/dropin":              "the start of the daemon in an updater's place",
	"internal/identity":            "the start of the daemon",
	"internal/self":                "the start of the daemon",
	"internal/ready":               "the start of the daemon",
	"internal/logging":             "the daemon's log",
	"internal/gateway":             "a program of its own, whose log has this; what the daemon makes of it is in steps",
	"internal/github/client":       "GitHub, and Events; no page shows them",
	"internal/github/report":       "GitHub, and Events; no page shows them",
	"internal/github/githubtest":   "tests",
	"internal/notify":              "the receivers of notifications, and Events; no page shows them",
	"internal/updatelog/logserver": "another daemon that asks for a log",
	"internal/hostaccess":          "faults between two parts of the program",
	"internal/testenv":             "tests",
	"internal/docker/dockertest":   "tests",
	"internal/build/testdata":      "tests",
}

// unshownCalls are what strings are given to that are not for a page, and why.
var unshownCalls = map[string]string{
	`(?i)\blog(ger)?(\(\))?(\.V\(\))?\.(Info|Error|Debug|Warn)$`:     "the daemon's log",
	`(?i)FromContext(OrDiscard)?\(\)(\.V\(\))?\.(Info|Error)$`:       "the daemon's log",
	`^(s|e|w|p|o\.run)\.say$|^j\.out\.line$`:                         "a line of an update's log, which is for everybody and full of other programs' output",
	`^(Description|Summary|Help|Doc|.*\.Description|.*\.Summary):?$`: "the OpenAPI document, or the help of a metric",
	`^(strings|bytes|regexp)\.`:                                      "what other programs say is looked for",
}

// unshownParts are functions, methods and variables whose words no page shows, and why.
var unshownParts = map[string]string{
	"controllers/githubreport_controller.go":         "Events; no page shows them",
	"controllers/notify_controller.go":               "Events; no page shows them",
	"controllers/manifestsource_controller.go":       "a ManifestSource, which has no page",
	"controllers/manifestsource_status.go":           "a ManifestSource, which has no page",
	"internal/manifests/decode.go":                   "a ManifestSource, which has no page",
	"internal/manifests/git.go":                      "a ManifestSource, which has no page",
	"internal/manifests/plan.go":                     "a ManifestSource, which has no page",
	"internal/agent/agent.go Setup":                  "the start of the daemon",
	"internal/agent/connect.go":                      "the start of the daemon",
	"internal/agent/github.go NewGitHub":             "the start of the daemon",
	"internal/agent/github.go Setup":                 "the start of the daemon",
	"internal/oidc/config.go":                        "the start of the daemon",
	"internal/selfswap/run.go Run":                   "the helper that replaces the daemon: its log",
	"internal/selfswap/machine.go verbStop":          "the helper that replaces the daemon: its log",
	"internal/plan/rollout.go":                       "why a container is started or stopped: a line of the log",
	"internal/plan/gateway.go":                       "why a gateway is changed: a line of the log",
	"internal/plan/handover.go":                      "why the daemon is replaced: a line of the log",
	"internal/updatelog/summary.go":                  "a line of the log",
	"internal/updatelog/log.go TimeLayout":           "a line of the log",
	"internal/updatelog/writer.go":                   "a line of the log",
	"internal/build/errors.go exitCode":              "what other programs say, to be known again",
	"internal/build/progress.go failure":             "what other programs say, to be known again",
	"internal/build/classic.go classicFailure":       "what other programs say, to be known again",
	"internal/build/classic.go classicCached":        "what other programs say, to be known again",
	"internal/source/errors.go verdicts":             "what git says, to be known again",
	"internal/source/errors.go fullDisk":             "what git says, to be known again",
	"internal/steps/rollout.go":                      "what the engine says, to be known again",
	"internal/docker/errors.go":                      "what the engine says, to be known again",
	"internal/agent/github.go Webhook":               "the daemon's log",
	"internal/backup/postgres.go comingOrGoing":      "what PostgreSQL says, to be known again",
	"internal/backup/postgres.go listQuery":          "SQL",
	"internal/backup/scan.go dumpComplete":           "what PostgreSQL says, to be known again",
	"internal/backup/source.go tarTool":              "a name in a manifest",
	"internal/backup/volume.go write":                "a name in a manifest",
	"internal/restore/postgres.go adaptLine":         "SQL",
	"internal/restore/postgres.go endSessions":       "SQL",
	"internal/restore/restore.go Run":                "the command fairlead rollback-offline",
	"internal/restore/restore.go byHand":             "the command fairlead rollback-offline",
	"internal/restore/restore.go explain":            "the command fairlead rollback-offline",
	"internal/build/buildkit.go solveError":          "what other programs say, to be known again",
	"internal/compose/render.go Parse":               "a name of a file",
	"internal/httpapi/applications.go unknownField":  "what the API server says, to be known again",
	"internal/httpapi/auth.go updaterHeader":         "a header",
	"internal/httpapi/document.go make":              "the OpenAPI document",
	"internal/httpapi/objects.go registerReads":      "the OpenAPI document",
	"internal/httpapi/operations.go tagApplications": "the OpenAPI document",
	"internal/httpapi/host.go Begin":                 "a header",
	"internal/httpapi/log.go logText":                "a header",
	"internal/source/credentials.go helper":          "a program for the shell",
	"internal/source/move.go moveHead":               "what git is told",
	"internal/source/move.go attach":                 "what git is told",
	"internal/source/repo.go MovedAt":                "git that does not answer as it does; a fault",
	"internal/source/survey.go hash":                 "git that does not answer as it does; a fault",
	"internal/steps/desired.go revision":             "the name of a revision",
	"internal/updatelog/log.go output":               "a line of the log",
	"controllers/application_update_status.go newer": "a condition for kubectl: pages say it in their own words",
	"internal/github/github.go":                      "GitHub, and Events; no page shows them",
	"internal/github/repository.go":                  "GitHub, and Events; no page shows them",
	"internal/github/webhook/decide.go":              "what GitHub is answered",
	"internal/updaterapi/api.go plainText":           "a header",
	"internal/updaterapi/files.go":                   "the clients of the updater, which know its answers",
	"internal/updaterapi/follow.go":                  "the clients of the updater, which know its answers",
	"internal/updaterapi/jobs.go":                    "the clients of the updater, which know its answers",
	"internal/updaterapi/update.go":                  "the clients of the updater, which know its answers",
	"internal/source/lfs.go lfsFilters":              "settings of git",
}

// words is what makes a string one that people read: two words beside each other.
var words = regexp.MustCompile(`[A-Za-z]{2,}[,;:]? [a-z]{2,}`)

// verb is a parameter of a format.
var verb = regexp.MustCompile(`%[-+# 0]*[0-9]*(?:\.[0-9]+)?(?:\[[0-9]+\])?[a-zA-Z]`)

// Whatever the program says on a page has a phrase in every language.
func TestEverythingSaidHasAPhrase(t *testing.T) {
	used := map[string]bool{}
	calls := map[string]*regexp.Regexp{}
	for expression := range unshownCalls {
		calls[expression] = regexp.MustCompile(expression)
	}
	english := map[*Lang]string{}
	for _, l := range Languages[1:] {
		english[l] = allEnglish(t, l)
	}
	seen := 0
	for _, s := range stringsOf(t, "internal", "controllers", "api") {
		if !words.MatchString(s.text) || isUnshown(s, calls, used) {
			continue
		}
		seen++
		for _, l := range Languages[1:] {
			if !l.has(s.text, english[l]) {
				t.Errorf("%s:%d: %s has no phrase for %q, which is said in %s (%s): write one into catalogs/phrases-%s.json, or tell here why no page shows it",
					s.file, s.line, l.Tag, s.text, s.decl, s.call, l.Tag)
			}
		}
	}
	if seen < 500 {
		t.Errorf("only %d sentences were looked at", seen)
	}
	for _, list := range []map[string]string{unshown, unshownCalls, unshownParts} {
		for key := range maps.Keys(list) {
			if !used[key] {
				t.Errorf("nothing is left out by %q any more", key)
			}
		}
	}
}

func isUnshown(s said, calls map[string]*regexp.Regexp, used map[string]bool) bool {
	dir := path.Dir(s.file)
	for at := dir; at != "."; at = path.Dir(at) {
		if unshown[at] != "" {
			used[at] = true
			return true
		}
	}
	for _, key := range []string{s.file, s.file + " " + s.decl} {
		if unshownParts[key] != "" {
			used[key] = true
			return true
		}
	}
	for key, expression := range calls {
		if expression.MatchString(s.call) {
			used[key] = true
			return true
		}
	}
	return false
}

// allEnglish is that of all phrases of a language.
func allEnglish(t *testing.T, l *Lang) string {
	t.Helper()
	texts, err := readPhrases(l.Tag)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(slices.Sorted(maps.Keys(texts)), "\n")
}

// has reports// has reports whether the language has words for a format of the program: a phrase for
// the whole of it, or phrases in whose English all of its parts are.
func (l *Lang) has(format, english string) bool {
	n := 0
	sample := verb.ReplaceAllStringFunc(strings.ReplaceAll(format, "%%", "%"), func(v string) string {
		n++
		if strings.HasSuffix(v, "d") {
			return fmt.Sprint(n)
		}
		return fmt.Sprintf("p%d", n)
	})
	if said := l.Parts(strings.TrimSpace(sample)); !slices.ContainsFunc(said, func(p Part) bool { return p.Said && words.MatchString(p.Text) || p.Text == sample }) {
		return true
	}
	for _, part := range verb.Split(format, -1) {
		if part = strings.Trim(part, " (),:;.\n"); words.MatchString(part) && !strings.Contains(english, part) {
			return false
		}
	}
	return true
}
