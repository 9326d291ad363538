// SPDX-License-Identifier: Apache-2.0

package i18n

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// unshown are the packages whose words no page of the UI shows, and why.
var unshown = map[string]string{
	"internal/pidfd":               "why the end of a process cannot be had from the kernel; the engine is asked then",
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
	`^(s|e|w|o\.run)\.say$|^j\.out\.line$`:                           "a line of an update's log, which is for everybody and full of other programs' output",
	`^(Description|Summary|Help|Doc|.*\.Description|.*\.Summary):?$`: "the OpenAPI document, or the help of a metric",
	`^(strings|bytes|regexp)\.`:                                      "what other programs say is looked for",
	`^Name:$`:                                                        "a name, which pages have words for",
}

// unshownParts are functions, methods and variables whose words no page shows, and why.
var unshownParts = map[string]string{
	"internal/docker/container.go UnhealthyContainers": "the log of the daemon",
	"controllers/githubreport_controller.go":           "Events; no page shows them",
	"controllers/notify_controller.go":                 "Events; no page shows them",
	"controllers/manifestsource_controller.go":         "a ManifestSource, which has no page",
	"controllers/manifestsource_status.go":             "a ManifestSource, which has no page",
	"internal/manifests/decode.go":                     "a ManifestSource, which has no page",
	"internal/manifests/git.go":                        "a ManifestSource, which has no page",
	"internal/manifests/plan.go":                       "a ManifestSource, which has no page",
	"internal/agent/agent.go Setup":                    "the start of the daemon",
	"internal/agent/connect.go":                        "the start of the daemon",
	"internal/agent/github.go NewGitHub":               "the start of the daemon",
	"internal/agent/github.go Setup":                   "the start of the daemon",
	"internal/oidc/config.go":                          "the start of the daemon",
	"internal/selfswap/run.go Run":                     "the helper that replaces the daemon: its log",
	"internal/selfswap/machine.go verbStop":            "the helper that replaces the daemon: its log",
	"internal/plan/rollout.go":                         "why a container is started or stopped: a line of the log",
	"internal/plan/gateway.go":                         "why a gateway is changed: a line of the log",
	"internal/plan/handover.go":                        "why the daemon is replaced: a line of the log",
	"internal/updatelog/summary.go":                    "a line of the log",
	"internal/updatelog/log.go TimeLayout":             "a line of the log",
	"internal/updatelog/writer.go":                     "a line of the log",
	"internal/build/errors.go exitCode":                "what other programs say, to be known again",
	"internal/build/progress.go failure":               "what other programs say, to be known again",
	"internal/build/classic.go classicFailure":         "what other programs say, to be known again",
	"internal/build/classic.go classicCached":          "what other programs say, to be known again",
	"internal/source/errors.go verdicts":               "what git says, to be known again",
	"internal/source/errors.go fullDisk":               "what git says, to be known again",
	"internal/steps/rollout.go":                        "what the engine says, to be known again",
	"internal/docker/errors.go":                        "what the engine says, to be known again",
	"internal/agent/github.go Webhook":                 "the daemon's log",
	"internal/backup/postgres.go comingOrGoing":        "what PostgreSQL says, to be known again",
	"internal/backup/postgres.go listQuery":            "SQL",
	"internal/backup/scan.go dumpComplete":             "what PostgreSQL says, to be known again",
	"internal/backup/source.go tarTool":                "a name in a manifest",
	"internal/backup/volume.go write":                  "a name in a manifest",
	"internal/restore/postgres.go adaptLine":           "SQL",
	"internal/restore/postgres.go endSessions":         "SQL",
	"internal/restore/restore.go Run":                  "the command fairlead rollback-offline",
	"internal/restore/restore.go byHand":               "the command fairlead rollback-offline",
	"internal/restore/restore.go explain":              "the command fairlead rollback-offline",
	"internal/build/buildkit.go solveError":            "what other programs say, to be known again",
	"internal/compose/render.go Parse":                 "a name of a file",
	"internal/httpapi/applications.go unknownField":    "what the API server says, to be known again",
	"internal/httpapi/auth.go updaterHeader":           "a header",
	"internal/httpapi/document.go make":                "the OpenAPI document",
	"internal/httpapi/objects.go registerReads":        "the OpenAPI document",
	"internal/httpapi/operations.go tagApplications":   "the OpenAPI document",
	"internal/httpapi/host.go Begin":                   "a header",
	"internal/httpapi/log.go logText":                  "a header",
	"internal/source/credentials.go helper":            "a program for the shell",
	"internal/source/move.go moveHead":                 "what git is told",
	"internal/source/move.go attach":                   "what git is told",
	"internal/source/head.go MovedAt":                  "git that does not answer as it does; a fault",
	"internal/source/survey.go hash":                   "git that does not answer as it does; a fault",
	"internal/steps/desired.go revision":               "the name of a revision",
	"internal/updatelog/log.go output":                 "a line of the log",
	"internal/steps/probe.go downtimeText":             "a line of the log",
	"controllers/application_update_status.go newer":   "a condition for kubectl: pages say it in their own words",
	"internal/github/github.go":                        "GitHub, and Events; no page shows them",
	"internal/github/repository.go":                    "GitHub, and Events; no page shows them",
	"internal/github/webhook/decide.go":                "what GitHub is answered",
	"internal/updaterapi/api.go plainText":             "a header",
	"internal/updaterapi/files.go":                     "the clients of the updater, which know its answers",
	"internal/updaterapi/follow.go":                    "the clients of the updater, which know its answers",
	"internal/updaterapi/jobs.go":                      "the clients of the updater, which know its answers",
	"internal/updaterapi/update.go":                    "the clients of the updater, which know its answers",
	"internal/steps/preflight.go changes":              "a line of the log",
	"internal/steps/checks.go checkBackupDirectory":    "a line of the log",
	"internal/steps/behind.go putBehind":               "the name of a revision",
	"internal/httpapi/stream.go comment":               "a comment in a stream",
	"internal/source/lfs.go lfsPointer":                "what a file of Git LFS begins with",
	"internal/source/lfs.go lfsFilters":                "settings of git",
	"internal/source/survey.go blobName":               "what git takes the hash of",
	"internal/source/taken.go":                         "whether a file is copied or left to git; nobody is told",
	"internal/backup/runner.go Sweep":                  "the daemon's log",
	"internal/build/progress.go status":                "a line of the log",
	"internal/build/pull.go Pull":                      "lines of the log, and what the engine did when it failed",
	"internal/build/pull.go update":                    "a line of the log",
	"internal/build/spec.go String":                    "a fault's log",
	"internal/compose/render.go hashes":                "names of hashes",
	"internal/filepages/filepages_linux.go Release":    "the daemon's log",
	"internal/github/webhook/replay.go first":          "the name of a hash",
	"internal/httpapi/audit/audit.go Cut":              "the name of an object",
	"internal/httpapi/log.go Get":                      "the name of a call",
	"internal/observe/host.go HostMemory":              "a kernel that does not answer as it does; a fault",
	"internal/steps/atpoint.go hookName":               "a line of the log",
	"internal/steps/steps.go Summarize":                "a line of the log",
	"internal/tokens/tokens.go Sweep":                  "the daemon's log",
	"internal/webcall/webcall.go Do":                   "a header",
}

// joined are strings that are parts of a sentence only, with one that they are in.
var joined = map[string]string{
	"service %s is a PostgreSQL server: %s": "postgres_db: service db is a PostgreSQL server: its image is postgres",
	"failure_action: continue":              "failure_action: continue has no effect, as one failure of 2 containers is more than it allows, or is all of them: the update is undone then",
	"used by %s":                            "volume_data: used by web",
	"%s failed: %s":                         "build of web: COPY failed: x",
	"pulling %s":                            "build of web: the Docker engine failed while pulling shop: x",
	" for %s":                               "the registry ghcr.io has no image shop for arm64 (x)",
	"build.additional_contexts %s=%s":       "service web: build.additional_contexts a=b is not supported: run the model as an ordinary service",
	"HTTP %d%s, expected %s":                "check home failed (attempt 3 of 3): HTTP 503: x, expected 200",
	"exit %d%s":                             "check queue failed (attempt 3 of 3): exit 1: x",
	", last %s":                             "restarted 3 times, last exited with code 1",
	" after %s":                             "exited with code 1 after 3s",
	"%w: %d of %d bytes":                    "the offset is beyond the end of the log: 9 of 3 bytes",
	"%s; and %s":                            "none; and once, as a new gateway takes over 80: until what is open there has ended, for at most 1s, and the new one, which is ready before, listens",
	" and %d more":                          "containers: 9 that run are stopped: web-1, web-2 and 7 more",
	"%w: commit %s":                         "not found: commit abc1234",
	"%s: %s free, %s needed: %s":            "memory: 1GiB free, 2GiB needed: stop something, or lower preflight.minFreeMemory of the Application",
	"%s: %s free":                           "memory: 2GiB free",
	"%s and %s":                             "let the gateway web have the ports of 80 and 443: the gateway web does not answer",
	"step %s %s":                            "step Backup runs",
	"written by %s":                         "volume_data: written by web",
	"build of %s: ":                         "build of web: the build has no context",
	"%s failed with exit code %d":           "build of web: false failed with exit code 1",
	"%s; its last lines:\n  %s":             "build of web: false failed with exit code 1; its last lines:\n  x",
	"if the image exists, run `docker login%s` on the host as the user that runs Fairlead": "if the image exists, run `docker login ghcr.io` on the host as the user that runs Fairlead",
	"the registry %s has no image %s":               "the registry ghcr.io has no image shop (x)",
	"the registry %s does not give %s to this host": "the registry ghcr.io does not give shop to this host (x)",
	"image %s could not be fetched from %s":         "image shop could not be fetched from ghcr.io (x)",
	"image %s does not fit on the engine's disk":    "image shop does not fit on the engine's disk (x)",
	"as much as the largest of the last %d %ss":     "as much as the largest of the last 3 builds",
	"%s (%d failed attempts)":                       "not healthy within 8 s: healthcheck x (3 failed attempts)",
	", killed because it ran out of memory":         "exited with code 137 after 3s, killed because it ran out of memory",
	"%s ended with exit code %d%s":                  "the hook x at AfterBackup sh ended with exit code 1: x",
	"%s. The role %s allows it: an administrator gives it by a RoleBinding, or with a token of that role (fairlead token create)": "releases.fairlead.dev is forbidden: User x cannot list resource releases in API group fairlead.dev in the namespace default. The role fairlead-viewer allows it: an administrator gives it by a RoleBinding, or with a token of that role (fairlead token create)",
	"send JSON, with the header Content-Type: %s":                                     "send JSON, with the header Content-Type: application/json",
	", or for that of %s, which has what was there before":                            "cancelled while the restore could not go on (nothing was changed): look at what runs, and ask for the restore again, or for that of x, which has what was there before",
	"the Application %q was deleted while the request was carried out":                "the Application x was deleted while the request was carried out: create it again to go on, or delete this request",
	"%s: create it again to go on, or delete this request":                            "the Application x was deleted while the request was carried out: create it again to go on, or delete this request",
	"%s: what was changed could not be undone; look at the containers of its project": "the Application x was deleted while the request was carried out: what was changed could not be undone; look at the containers of its project",
	"was interrupted and goes on":                                                     "step Backup was interrupted and goes on",
	"is tried again":                                                                  "step Backup is tried again",
	"%s, which is replaced":                                                           "mounts the volumes of db, which is replaced",
	"uses the network or process space of ":                                           "uses the network or process space of db, which is replaced",
	"mounts the volumes of ":                                                          "mounts the volumes of db, which is replaced",
	"once, as %s":                                                                     "none; and once, as a new gateway takes over 127.0.0.1:80: until what is open there has ended, for at most 1s, and the new one, which is ready before, listens",
	"the content of the volume %s%s":                                                  "the content of the volume data comes back (2.0 MiB); nothing is there now",
	"the content of %s%s":                                                             "the content of /srv/data is replaced by that of the backup (2.0 MiB)",
	" comes back (%s); nothing is there now":                                          "the content of the volume data comes back (2.0 MiB); nothing is there now",
	" (%s now) is replaced by that of the backup (%s)":                                "the content of /srv/data (1.0 MiB now) is replaced by that of the backup (2.0 MiB)",
	" is replaced by that of the backup (%s)":                                         "the content of the volume data is replaced by that of the backup (2.0 MiB)",
	"%v: %s is %s old; another git command is at work there, or was killed: wait, or remove the file when no git is running": "repository is locked: /srv/.git/index.lock is 3s old; another git command is at work there, or was killed: wait, or remove the file when no git is running",
	"%w: no branch, tag or commit %q %s; correct the name, or push it first":                                                 "not found: no branch, tag or commit x in /srv/shop; correct the name, or push it first",
	"disk for %s":                                                "disk for /srv: 2.0 GiB free, 3.0 GiB needed: remove what is not needed (docker system df tells what takes room), or lower preflight.minFreeDisk of the Application",
	"did not become healthy":                                     "the container x of the service web did not become healthy: not started",
	"did not end well":                                           "the container x of the service web did not end well: exited with code 1",
	"the container %s of the service %s %s: %s":                  "the container x of the service web did not end well: exited with code 1",
	"the gateway publishes the port %s":                          "the gateway publishes the port 80 as 8080 of the host, and keeps to that",
	" as %s of the host, and keeps to that":                      "the gateway publishes the port 80 as 8080 of the host, and keeps to that",
	" as a port of the host out of %s, and keeps to that":        "the gateway publishes the port 80 as a port of the host out of 8000-8010, and keeps to that",
	", each group watched for %s":                                "1 of 3 containers at once, each group watched for 5s; 1 may fail; if it fails, everything is left as it is",
	"; the container before it was not ready in time either: %s": "its daemon did not report that it works: look whether it runs `fairlead serve` and reaches the Docker engine; the container before it was not ready in time either: not started",
	"; what was there before is in %s":                           "the dump is cut off: its last line is missing; done: the images are here, the code is back; what comes after that is not done, and what is not ready does not run: ask for the restore again, and it goes on; what was there before is in x",
	"; %s is %s (exit code %d)":                                  "after the rollout 1 of 2 containers of the service web run; shop-web-1 is exited (exit code 1)",
	"after the rollout %s":                                       "after the rollout 1 of 2 containers of the service web run; shop-web-1 is exited (exit code 1)",
}

// words is what makes a string one that people read: two words beside each other.
var words = regexp.MustCompile(`[A-Za-z]{2,}[,;:]? [a-z]{2,}|%[a-z] [a-z]{3,}|[a-z]{3,}:? %[a-z]`)

// verb is a parameter of a format.
var verb = regexp.MustCompile(`%[-+# 0]*[0-9]*(?:\.[0-9]+)?(?:\[[0-9]+\])?[a-zA-Z]`)

// Whatever the program says on a page has a phrase in every language.
func TestEverythingSaidHasAPhrase(t *testing.T) {
	used := map[string]bool{}
	calls := map[string]*regexp.Regexp{}
	for expression := range unshownCalls {
		calls[expression] = regexp.MustCompile(expression)
	}
	seen := 0
	for _, s := range stringsOf(t, "internal", "controllers", "api") {
		if !words.MatchString(s.text) || isUnshown(s, calls, used) {
			continue
		}
		seen++
		if joined[s.text] != "" {
			used[s.text] = true
		}
		for _, l := range Languages()[1:] {
			if !l.has(s.text) {
				t.Errorf("%s:%d: %s has no phrase for %q, which is said in %s (%s): write one into catalogs/phrases-%s.json, or tell here why no page shows it",
					s.file, s.line, l.Tag, s.text, s.decl, s.call, l.Tag)
			}
		}
	}
	if seen < 500 {
		t.Errorf("only %d sentences were looked at", seen)
	}
	for _, list := range []map[string]string{unshown, unshownCalls, unshownParts, joined} {
		for key := range maps.Keys(list) {
			if !used[key] {
				t.Errorf("nothing is %q any more", key)
			}
		}
	}
}

// rules are what the API server says of an object that breaks a rule: the messages in the
// markers of the types.
var rules = regexp.MustCompile(`XValidation:.*message=(?:"([^"]+)"|\x60([^\x60]+)\x60)`)

// typeFiles are the sources of the types of the API.
func typeFiles(t *testing.T) [][]byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(top, "api", "v1alpha1", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data)
	}
	return all
}

// Whoever breaks a rule is told so in every language.
func TestRulesHaveAPhrase(t *testing.T) {
	seen := 0
	for _, file := range typeFiles(t) {
		for _, found := range rules.FindAllStringSubmatch(string(file), -1) {
			seen++
			rule := found[1] + found[2]
			for _, l := range Languages()[1:] {
				if !l.knows(`Invalid value: "object": ` + rule) {
					t.Errorf("%s has no phrase for %q", l.Tag, rule)
				}
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d rules were looked at", seen)
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

// has reports whether the language has words for a format of the program, or for the
// sentence that it is a part of.
func (l *Lang) has(format string) bool {
	n := 0
	sample := verb.ReplaceAllStringFunc(strings.ReplaceAll(format, "%%", "%"), func(v string) string {
		n++
		if strings.HasSuffix(v, "d") {
			return fmt.Sprint(n)
		}
		return fmt.Sprintf("p%d", n)
	})
	return l.knows(strings.TrimSpace(sample)) || l.knows(joined[format])
}

// knows reports whether no sentence of a text is in English.
func (l *Lang) knows(text string) bool {
	parts := l.Parts(text)
	return len(parts) > 0 && !slices.ContainsFunc(parts, func(p Part) bool { return p.Text == text || p.Said && words.MatchString(p.Text) })
}
