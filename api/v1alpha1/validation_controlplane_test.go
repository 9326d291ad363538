// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package v1alpha1_test

import (
	"encoding/json"
	"maps"
	"os"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/testenv"
)

var env *testenv.Env

func TestMain(m *testing.M) { os.Exit(testenv.Run(m, func(e *testenv.Env) { env = e })) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newClient(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	must(t, v1alpha1.AddToScheme(scheme))
	c, err := client.New(env.Config, client.Options{Scheme: scheme})
	must(t, err)
	// As kubectl does: what the schema does not know is refused.
	return client.WithFieldValidation(c, "Strict")
}

// object is what a person writes: kind, name and a spec in JSON.
func object(t *testing.T, namespace, kind, name, spec string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "fairlead.dev/v1alpha1", "kind": kind}}
	o.SetName(name)
	o.SetNamespace(namespace)
	if spec != "" {
		var s map[string]any
		must(t, json.Unmarshal([]byte(spec), &s))
		o.Object["spec"] = s
	}
	return o
}

// refused checks that the API says no, in words that help.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
		t.Fatalf("got %v, want it to be refused", err)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("got %v\nwant %q", err, want)
	}
}

const commit = `"applicationRef":{"name":"shop"}`

func TestBadObjectsAreRefused(t *testing.T) {
	c, ns := newClient(t), env.Namespace(t, "validation")
	const duration = `should match '^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$'`
	tests := []struct{ name, kind, object, spec, want string }{
		{"no spec", "Application", "a", "", "spec: Required value"},
		{"no compose", "Application", "a", `{}`, "spec.compose: Required value"},
		{"no directory", "Application", "a", `{"compose":{}}`, "spec.compose.directory: Required value"},
		{"relative directory", "Application", "a", `{"compose":{"directory":"opt/shop"}}`, "compose.directory must be an absolute path such as /opt/myapp"},
		{"Compose file by a request", "UpdateRequest", "u", `{` + commit + `,"variables":{"COMPOSE_FILE":"/tmp/evil.yml"}}`, "a request cannot set COMPOSE_*, DOCKER_* or PWD"},
		{"directory by a request", "UpdateRequest", "u", `{` + commit + `,"variables":{"A":"b","PWD":"/etc"}}`, "a request cannot set COMPOSE_*, DOCKER_* or PWD"},
		{"project left to requests", "Application", "a", `{"compose":{"directory":"/opt/shop","requestVariables":["COMPOSE_PROJECT_NAME"]}}`, "no request may set them"},
		{"bad name left to requests", "Application", "a", `{"compose":{"directory":"/opt/shop","requestVariables":["A-B"]}}`, "should match"},
		{"any commits, misspelt", "Application", "a", `{"compose":{"directory":"/opt/shop"},"source":{"commits":"All"}}`, "Unsupported value"},
		{"misspelt field", "Application", "a", `{"compose":{"directory":"/opt/shop","dir":"x"}}`, `unknown field "spec.compose.dir"`},
		{"long name", "Application", strings.Repeat("a", 53), `{"compose":{"directory":"/opt/shop"}}`, "must have at most 52 characters"},
		{"bad project", "Application", "a", `{"compose":{"directory":"/opt/shop","project":"My Shop"}}`, "spec.compose.project in body should match"},
		{"password in the URL", "Application", "a", `{"compose":{"directory":"/opt/shop"},"source":{"url":"https://me:secret@example.com/shop.git"}}`,
			"source.url must not contain a password: put it into a Secret and name that in source.secretRef"},
		{"password in a URL in capitals", "Application", "a", `{"compose":{"directory":"/opt/shop"},"source":{"url":"HTTPS://me:secret@example.com/shop.git"}}`,
			"source.url must not contain a password: put it into a Secret and name that in source.secretRef"},
		{"token as the user name", "Application", "a", `{"compose":{"directory":"/opt/shop"},"source":{"url":"https://ghp_0123456789@github.com/me/shop.git"}}`,
			"source.url must not contain a user name, which may be a token: put it into a Secret and name that in source.secretRef"},
		{"token in a URL in capitals", "Application", "a", `{"compose":{"directory":"/opt/shop"},"source":{"url":"HTTP://ghp_0123456789@example.com/shop.git"}}`,
			"source.url must not contain a user name, which may be a token: put it into a Secret and name that in source.secretRef"},
		{"password for ssh", "Application", "a", `{"compose":{"directory":"/opt/shop"},"source":{"url":"ssh://git:secret@example.com/shop.git"}}`,
			"source.url must not contain a password: put it into a Secret and name that in source.secretRef"},
		{"option as ref", "Application", "a", `{"compose":{"directory":"/opt/shop"},"source":{"ref":"--upload-pack=x"}}`, "source.ref must be the name of a branch or tag"},
		{"empty secret name", "Application", "a", `{"compose":{"directory":"/opt/shop"},"source":{"secretRef":{"name":""}}}`, "spec.source.secretRef.name"},
		{"bad pull policy", "Application", "a", `{"compose":{"directory":"/opt/shop"},"build":{"pull":"always"}}`, `supported values: "Auto", "Always", "Missing", "Never"`},
		{"no parallel builds", "Application", "a", `{"compose":{"directory":"/opt/shop"},"build":{"parallel":0}}`, "should be greater than or equal to 1"},
		{"bad order", "Application", "a", `{"compose":{"directory":"/opt/shop"},"rollout":{"order":"start-first"}}`, `supported values: "Auto", "StartFirst", "StopFirst"`},
		{"bad soak", "Application", "a", `{"compose":{"directory":"/opt/shop"},"rollout":{"soak":"2x"}}`, duration},
		{"bad health timeout", "Application", "a", `{"compose":{"directory":"/opt/shop"},"rollout":{"healthTimeout":"90"}}`, duration},
		{"negative time", "Application", "a", `{"compose":{"directory":"/opt/shop"},"rollout":{"minHealthy":"-5s"}}`, duration},
		{"bad time of a service", "Application", "a", `{"compose":{"directory":"/opt/shop"},"rollout":{"services":[{"name":"web","stopTimeout":"1 m"}]}}`, duration},
		{"time as a number", "Application", "a", `{"compose":{"directory":"/opt/shop"},"rollout":{"drainTimeout":30}}`, "must be of type string"},
		{"service twice", "Application", "a", `{"compose":{"directory":"/opt/shop"},"rollout":{"services":[{"name":"web"},{"name":"web"}]}}`, "Duplicate value"},
		{"no ratio", "Application", "a", `{"compose":{"directory":"/opt/shop"},"rollout":{"maxFailureRatio":"1.5"}}`, "spec.rollout.maxFailureRatio in body should match"},
		{"bad failure action", "Application", "a", `{"compose":{"directory":"/opt/shop"},"rollout":{"services":[{"name":"web","failureAction":"rollback"}]}}`, `supported values: "Rollback", "Pause", "Continue"`},
		{"bad balance", "Application", "a", `{"compose":{"directory":"/opt/shop"},"gateway":{"balance":"Random"}}`, `supported values: "LeastConnections", "RoundRobin", "RandomTwo", "Source"`},
		{"anybody says whence", "Application", "a", `{"compose":{"directory":"/opt/shop"},"gateway":{"acceptProxyProtocol":true}}`, "acceptProxyProtocol needs trustedProxies"},
		{"anybody says whence, of one", "Application", "a", `{"compose":{"directory":"/opt/shop"},"gateway":{"services":[{"name":"web","acceptProxyProtocol":true}]}}`, "acceptProxyProtocol needs trustedProxies"},
		{"no attempts", "Application", "a", `{"compose":{"directory":"/opt/shop"},"verify":{"attempts":0}}`, "should be greater than or equal to 1"},
		{"empty check", "Application", "a", `{"compose":{"directory":"/opt/shop"},"verify":{"checks":[{"name":"x"}]}}`, "a check has exactly one of http, tcp and exec"},
		{"check of two kinds", "Application", "a", `{"compose":{"directory":"/opt/shop"},"verify":{"checks":[{"name":"x","http":{"url":"http://a"},"tcp":{"address":"a:1"}}]}}`,
			"a check has exactly one of http, tcp and exec"},
		{"check of another scheme", "Application", "a", `{"compose":{"directory":"/opt/shop"},"verify":{"checks":[{"name":"x","http":{"url":"ftp://a"}}]}}`, "should match '^https?://'"},
		{"check without a port", "Application", "a", `{"compose":{"directory":"/opt/shop"},"verify":{"checks":[{"name":"x","tcp":{"address":"localhost"}}]}}`, "should match '^.+:[0-9]+$'"},
		{"check without a command", "Application", "a", `{"compose":{"directory":"/opt/shop"},"verify":{"checks":[{"name":"x","exec":{"service":"web","command":[]}}]}}`, "should have at least 1 items"},
		{"check twice", "Application", "a", `{"compose":{"directory":"/opt/shop"},"verify":{"checks":[{"name":"x","tcp":{"address":"a:1"}},{"name":"x","tcp":{"address":"a:2"}}]}}`, "Duplicate value"},
		{"bad selection", "Application", "a", `{"compose":{"directory":"/opt/shop"},"backup":{"databases":"db; rm -rf"}}`, "spec.backup.databases in body should match"},
		{"selection as a list", "Application", "a", `{"compose":{"directory":"/opt/shop"},"backup":{"volumes":["data"]}}`, "must be of type string"},
		{"one release", "Application", "a", `{"compose":{"directory":"/opt/shop"},"retention":{"releases":1}}`, "should be greater than or equal to 2"},
		{"hook of no kind", "Application", "a", `{"compose":{"directory":"/opt/shop"},"hooks":[{"name":"x","at":["Success"]}]}`, "a hook has exactly one of exec and http"},
		{"hook of two kinds", "Application", "a", `{"compose":{"directory":"/opt/shop"},"hooks":[{"name":"x","at":["Success"],"http":{"url":"http://a"},"exec":{"service":"web","command":["x"]}}]}`,
			"a hook has exactly one of exec and http"},
		{"hook at no moment", "Application", "a", `{"compose":{"directory":"/opt/shop"},"hooks":[{"name":"x","at":[],"http":{"url":"http://a"}}]}`, "should have at least 1 items"},
		{"hook at another moment", "Application", "a", `{"compose":{"directory":"/opt/shop"},"hooks":[{"name":"x","at":["BeforeBuild"],"http":{"url":"http://a"}}]}`, `supported values: "Preflight", "BeforeBackup"`},
		{"hook twice", "Application", "a", `{"compose":{"directory":"/opt/shop"},"hooks":[{"name":"x","at":["Success"],"http":{"url":"http://a"}},{"name":"x","at":["Failure"],"http":{"url":"http://a"}}]}`, "Duplicate value"},
		{"hook with a password", "Application", "a", `{"compose":{"directory":"/opt/shop"},"hooks":[{"name":"x","at":["Success"],"http":{"url":"http://me:secret@a/"}}]}`,
			"url must not contain a password: put a token into a Secret and name that in secretRef"},
		{"bad timeout of a hook", "Application", "a", `{"compose":{"directory":"/opt/shop"},"hooks":[{"name":"x","at":["Success"],"http":{"url":"http://a"},"timeout":"1 m"}]}`, duration},
		{"receiver of no kind", "Application", "a", `{"compose":{"directory":"/opt/shop"},"notifications":[{"name":"x"}]}`, "a notification has exactly one of webhook and serviceRef"},
		{"receiver of two kinds", "Application", "a", `{"compose":{"directory":"/opt/shop"},"notifications":[{"name":"x","webhook":{"url":"http://a"},"serviceRef":{"name":"y"}}]}`,
			"a notification has exactly one of webhook and serviceRef"},
		{"receiver without a name", "Application", "a", `{"compose":{"directory":"/opt/shop"},"notifications":[{"name":"to whom","webhook":{"url":"http://a"}}]}`, "spec.notifications[0].name in body should match"},
		{"webhook to nowhere", "Application", "a", `{"compose":{"directory":"/opt/shop"},"notifications":[{"name":"x","webhook":{}}]}`, "a webhook needs a url, or a secretRef to a Secret with the key url"},
		{"webhook with a password", "Application", "a", `{"compose":{"directory":"/opt/shop"},"notifications":[{"name":"x","webhook":{"url":"https://me:secret@a/"}}]}`,
			"url must not contain a password: put the URL into a Secret and name that in secretRef"},
		{"negative log count", "Application", "a", `{"compose":{"directory":"/opt/shop"},"retention":{"logCount":-1}}`, "should be greater than or equal to 0"},
		{"bad age of images", "Application", "a", `{"compose":{"directory":"/opt/shop"},"retention":{"imageAge":"30d"}}`, duration},
		{"bad age", "Application", "a", `{"compose":{"directory":"/opt/shop"},"retention":{"backups":{"age":"30d"}}}`, duration},
		{"bad quantity", "Application", "a", `{"compose":{"directory":"/opt/shop"},"preflight":{"minFreeDisk":"lots"}}`, "spec.preflight.minFreeDisk"},

		{"branch and tags", "Application", "a", `{"compose":{"directory":"/opt/shop"},"update":{"branch":"main","semver":"1.x"}}`, "update follows at most one of branch, tagPattern and semver"},
		{"another policy", "Application", "a", `{"compose":{"directory":"/opt/shop"},"update":{"policy":"auto"}}`, `supported values: "Manual", "Automatic"`},
		{"option as branch", "Application", "a", `{"compose":{"directory":"/opt/shop"},"update":{"branch":"--all"}}`, "update.branch must be the name of a branch"},
		{"range as branch", "Application", "a", `{"compose":{"directory":"/opt/shop"},"update":{"branch":"a..b"}}`, "update.branch must be the name of a branch"},
		{"empty tag pattern", "Application", "a", `{"compose":{"directory":"/opt/shop"},"update":{"tagPattern":""}}`, "spec.update.tagPattern"},
		{"hasty interval", "Application", "a", `{"compose":{"directory":"/opt/shop"},"update":{"interval":"9s"}}`, "update.interval must be at least 10s"},
		{"bad interval", "Application", "a", `{"compose":{"directory":"/opt/shop"},"update":{"interval":"often"}}`, duration},
		{"bad cooldown", "Application", "a", `{"compose":{"directory":"/opt/shop"},"update":{"cooldown":"-1h"}}`, duration},
		{"window of no length", "Application", "a", `{"compose":{"directory":"/opt/shop"},"update":{"windows":[{"start":"04:00","end":"04:00"}]}}`, "a window must not end when it starts: leave windows out for always"},
		{"window without an end", "Application", "a", `{"compose":{"directory":"/opt/shop"},"update":{"windows":[{"start":"04:00"}]}}`, "spec.update.windows[0].end: Required value"},
		{"window at 24:00", "Application", "a", `{"compose":{"directory":"/opt/shop"},"update":{"windows":[{"start":"22:00","end":"24:00"}]}}`, "spec.update.windows[0].end in body should match"},
		{"window on another day", "Application", "a", `{"compose":{"directory":"/opt/shop"},"update":{"windows":[{"days":["Monday"],"start":"22:00","end":"04:00"}]}}`, `supported values: "Mon", "Tue"`},
		{"window on a day twice", "Application", "a", `{"compose":{"directory":"/opt/shop"},"update":{"windows":[{"days":["Mon","Mon"],"start":"22:00","end":"04:00"}]}}`, "Duplicate value"},
		{"window in no zone", "Application", "a", `{"compose":{"directory":"/opt/shop"},"update":{"windows":[{"start":"22:00","end":"04:00","timeZone":"UTC; x"}]}}`, "spec.update.windows[0].timeZone in body should match"},
		{"bad owner on GitHub", "Application", "a", `{"compose":{"directory":"/opt/shop"},"github":{"owner":"me/shop"}}`, "spec.github.owner in body should match"},
		{"bad repository on GitHub", "Application", "a", `{"compose":{"directory":"/opt/shop"},"github":{"repository":"../shop"}}`, "spec.github.repository in body should match"},
		{"password for GitHub", "Application", "a", `{"compose":{"directory":"/opt/shop"},"github":{"apiURL":"https://me:secret@example.com/api/v3/"}}`, "spec.github.apiURL in body should match"},
		{"GitHub by file", "Application", "a", `{"compose":{"directory":"/opt/shop"},"github":{"apiURL":"file:///etc"}}`, "spec.github.apiURL in body should match"},
		{"hook without a command", "Application", "a", `{"compose":{"directory":"/opt/shop"},"hooks":[{"name":"x","at":["Success"],"exec":{"service":"web","command":[]}}]}`, "should have at least 1 items"},
		{"hook by another method", "Application", "a", `{"compose":{"directory":"/opt/shop"},"hooks":[{"name":"x","at":["Success"],"http":{"url":"http://a","method":"DELETE"}}]}`, `supported values: "POST", "PUT", "GET"`},
		{"hook that is ignored", "Application", "a", `{"compose":{"directory":"/opt/shop"},"hooks":[{"name":"x","at":["Success"],"http":{"url":"http://a"},"onFailure":"Ignore"}]}`, `supported values: "Fail", "Continue"`},
		{"news of another kind", "Application", "a", `{"compose":{"directory":"/opt/shop"},"notifications":[{"name":"x","events":["Finished"],"webhook":{"url":"http://a"}}]}`, `supported values: "Started"`},
		{"receiver twice", "Application", "a", `{"compose":{"directory":"/opt/shop"},"notifications":[{"name":"x","webhook":{"url":"http://a"}},{"name":"x","webhook":{"url":"http://b"}}]}`, "Duplicate value"},
		{"webhook by mail", "Application", "a", `{"compose":{"directory":"/opt/shop"},"notifications":[{"name":"x","webhook":{"url":"smtp://a"}}]}`, "should match '^https?://'"},

		{"manifests of nowhere", "ManifestSource", "m", `{}`, "spec.url: Required value"},
		{"manifests with a password", "ManifestSource", "m", `{"url":"https://me:secret@example.com/fleet.git"}`, "url must not contain a password: put it into a Secret and name that in secretRef"},
		{"manifests with a token", "ManifestSource", "m", `{"url":"https://ghp_0123456789@github.com/me/fleet.git"}`, "url must not contain a user name, which may be a token: put it into a Secret and name that in secretRef"},
		{"option as ref of manifests", "ManifestSource", "m", `{"url":"https://example.com/fleet.git","ref":"--upload-pack=x"}`, "ref must be the name of a branch or tag"},
		{"absolute path of manifests", "ManifestSource", "m", `{"url":"https://example.com/fleet.git","path":"/etc"}`, "path must be relative to the top of the repository, without .."},
		{"path out of the repository", "ManifestSource", "m", `{"url":"https://example.com/fleet.git","path":"a/../../b"}`, "path must be relative to the top of the repository, without .."},
		{"hasty manifests", "ManifestSource", "m", `{"url":"https://example.com/fleet.git","interval":"1s"}`, "interval must be at least 10s"},
		{"bad account of manifests", "ManifestSource", "m", `{"url":"https://example.com/fleet.git","serviceAccountName":"a:b"}`, "spec.serviceAccountName in body should match"},
		{"long name of manifests", "ManifestSource", strings.Repeat("m", 64), `{"url":"https://example.com/fleet.git"}`, "must have at most 63 characters"},

		{"profile twice", "UpdateRequest", "u", `{` + commit + `,"profiles":["a","a"]}`, "Duplicate value"},
		{"variable as a number", "UpdateRequest", "u", `{` + commit + `,"variables":{"PORT":80}}`, "must be of type string"},

		{"no application", "UpdateRequest", "u", `{}`, "spec.applicationRef: Required value"},
		{"empty application", "UpdateRequest", "u", `{"applicationRef":{"name":""}}`, "spec.applicationRef.name"},
		{"commit and release", "UpdateRequest", "u", `{` + commit + `,"commit":"main","rollbackTo":{"name":"shop-1"}}`, "name either a commit or a release in rollbackTo, not both"},
		{"commit and backup", "UpdateRequest", "u", `{` + commit + `,"commit":"main","restoreFrom":{"name":"shop-1"}}`, "name in restoreFrom alone what to go back to"},
		{"release and backup", "UpdateRequest", "u", `{` + commit + `,"rollbackTo":{"name":"shop-1"},"restoreFrom":{"name":"shop-1"}}`, "name in restoreFrom alone what to go back to"},
		{"backup only, and a commit", "UpdateRequest", "u", `{` + commit + `,"commit":"main","backupOnly":true}`, "backupOnly changes nothing: leave out"},
		{"backup only, and a restore", "UpdateRequest", "u", `{` + commit + `,"restoreFrom":{"name":"shop-1"},"backupOnly":true}`, "backupOnly changes nothing: leave out"},
		{"empty commit", "UpdateRequest", "u", `{` + commit + `,"commit":""}`, "spec.commit"},
		{"option as commit", "UpdateRequest", "u", `{` + commit + `,"commit":"--exec=x"}`, "commit must be a SHA, a branch or a tag"},
		{"range as commit", "UpdateRequest", "u", `{` + commit + `,"commit":"a..b"}`, "commit must be a SHA, a branch or a tag"},
		{"reflog as commit", "UpdateRequest", "u", `{` + commit + `,"commit":"main@{1}"}`, "commit must be a SHA, a branch or a tag"},
		{"misspelt flag", "UpdateRequest", "u", `{` + commit + `,"dryrun":true}`, `unknown field "spec.dryrun"`},
		{"flag as text", "UpdateRequest", "u", `{` + commit + `,"cancel":"yes"}`, "must be of type boolean"},

		{"release 0", "Release", "r", `{` + commit + `,"number":0,"project":"shop"}`, "should be greater than or equal to 1"},
		{"release without a project", "Release", "r", `{` + commit + `,"number":1}`, "spec.project: Required value"},
		{"backup without an ID", "Backup", "b", `{` + commit + `}`, "spec.id: Required value"},
		{"backup outside of its directory", "Backup", "b", `{` + commit + `,"id":"../../etc"}`, "spec.id in body should match"},
	}
	for _, tt := range tests {
		t.Run(tt.kind+"/"+tt.name, func(t *testing.T) {
			refused(t, c.Create(t.Context(), object(t, ns, tt.kind, tt.object, tt.spec)), tt.want)
		})
	}
}

func TestGoodObjectsAreTaken(t *testing.T) {
	c, ns := newClient(t), env.Namespace(t, "validation")
	for name, tt := range map[string]struct{ kind, object, spec string }{
		"least":       {"Application", "least", `{"compose":{"directory":"/opt/shop"}}`},
		"longest":     {"Application", strings.Repeat("a", 52), `{"compose":{"directory":"/"}}`},
		"ssh source":  {"Application", "ssh", `{"compose":{"directory":"/opt/shop"},"source":{"url":"ssh://git@example.com:22/shop.git","ref":"release/1.x"}}`},
		"scp source":  {"Application", "scp", `{"compose":{"directory":"/opt/shop"},"source":{"url":"git@example.com:shop.git"}}`},
		"user in URL": {"Application", "user", `{"compose":{"directory":"/opt/shop"},"source":{"url":"ssh://git@example.com/shop.git"}}`},
		"times":       {"Application", "times", `{"compose":{"directory":"/opt/shop"},"rollout":{"soak":"0s","healthTimeout":"1h30m","minHealthy":"1.5s","drainTimeout":"250ms"}}`},
		"selections":  {"Application", "selections", `{"compose":{"directory":"/opt/shop"},"backup":{"databases":"db, cache","volumes":"None"}}`},
		"checks": {"Application", "checks", `{"compose":{"directory":"/opt/shop"},"verify":{"checks":[{"name":"a","http":{"url":"http://127.0.0.1/"}},
			{"name":"b","tcp":{"address":"[::1]:80"}},{"name":"c","exec":{"service":"web","command":["true"]}}]}}`},
		"follows": {"Application", "follows", `{"compose":{"directory":"/opt/shop"},"update":{"policy":"Automatic","semver":">=1.4.0 <2.0.0","interval":"10s","cooldown":"1h",
			"windows":[{"days":["Mon","Sun"],"start":"22:00","end":"04:00","timeZone":"America/Argentina/Buenos_Aires"}]}}`},
		"enterprise":    {"Application", "enterprise", `{"compose":{"directory":"/opt/shop"},"github":{"owner":"me","repository":"shop.js","apiURL":"https://github.example.com/api/v3/","environment":"production"}}`},
		"manifests":     {"ManifestSource", "manifests", `{"url":"ssh://git@example.com/fleet.git","ref":"main","path":"hosts/a..b","interval":"10s","prune":true}`},
		"head":          {"UpdateRequest", "head", `{` + commit + `}`},
		"tag":           {"UpdateRequest", "tag", `{` + commit + `,"commit":"v1.2.3+build"}`},
		"branch":        {"UpdateRequest", "branch", `{` + commit + `,"commit":"feature/a-b_c"}`},
		"release":       {"UpdateRequest", "release", `{` + commit + `,"rollbackTo":{"name":"shop-1"}}`},
		"restore":       {"UpdateRequest", "restore", `{` + commit + `,"restoreFrom":{"name":"shop-1"}}`},
		"backup only":   {"UpdateRequest", "backup-only", `{` + commit + `,"backupOnly":true}`},
		"release named": {"Release", "shop-1", `{` + commit + `,"number":1,"project":"shop"}`},
		"backup":        {"Backup", "backup", `{` + commit + `,"id":"backup_20260301_120000"}`},
	} {
		t.Run(name, func(t *testing.T) { must(t, c.Create(t.Context(), object(t, ns, tt.kind, tt.object, tt.spec))) })
	}
}

// TestChangesAreRefused changes one field of a good object at a time.
func TestChangesAreRefused(t *testing.T) {
	c, ns := newClient(t), env.Namespace(t, "validation")
	type change struct{ name, patch, want string }
	tests := []struct {
		kind, object, spec string
		changes            []change
	}{
		{"Application", "shop", `{"compose":{"directory":"/opt/shop"}}`, []change{
			{"directory", `{"compose":{"directory":"/opt/other"}}`, "compose.directory cannot be changed: create a new Application for another directory"},
			{"suspend", `{"suspend":true}`, ""},
		}},
		{"UpdateRequest", "to-commit", `{` + commit + `,"commit":"c0de"}`, []change{
			{"applicationRef", `{"applicationRef":{"name":"blog"}}`, "applicationRef cannot be changed: create a new UpdateRequest"},
			{"commit", `{"commit":"beef"}`, "commit cannot be changed: create a new UpdateRequest for another commit"},
			{"commit taken away", `{"commit":null}`, "commit cannot be changed"},
			{"commit for a release", `{"commit":null,"rollbackTo":{"name":"shop-1"}}`, "rollbackTo cannot be changed: create a new UpdateRequest"},
			{"dryRun", `{"dryRun":true}`, "dryRun cannot be changed: create a new UpdateRequest"},
			{"dryRun said again", `{"dryRun":false}`, ""},
			{"force", `{"force":true}`, "force cannot be changed: create a new UpdateRequest"},
			{"profiles", `{"profiles":["agent"]}`, "profiles cannot be changed"},
			{"variables", `{"variables":{"PORT":"80"}}`, "variables cannot be changed"},
			{"suspend", `{"suspend":true}`, ""},
			{"resume", `{"suspend":null}`, ""},
			{"retry", `{"retry":true}`, ""},
			{"cancel", `{"cancel":true}`, ""},
			{"cancel undone", `{"cancel":false}`, "a cancelled request cannot be taken up again: create a new UpdateRequest"},
			{"cancel taken away", `{"cancel":null}`, "a cancelled request cannot be taken up again"},
		}},
		{"UpdateRequest", "to-head", `{` + commit + `,"dryRun":true,"force":true,"profiles":["a"],"variables":{"PORT":"80"}}`, []change{
			{"profiles taken away", `{"profiles":null}`, "profiles cannot be changed"},
			{"variable changed", `{"variables":{"PORT":"81"}}`, "variables cannot be changed"},
			{"commit added", `{"commit":"c0de"}`, "commit cannot be changed"},
			{"release added", `{"rollbackTo":{"name":"shop-1"}}`, "rollbackTo cannot be changed"},
			{"dryRun taken away", `{"dryRun":null}`, "dryRun cannot be changed"},
			{"force taken away", `{"force":false}`, "force cannot be changed"},
		}},
		{"UpdateRequest", "to-release", `{` + commit + `,"rollbackTo":{"name":"shop-1"}}`, []change{
			{"another release", `{"rollbackTo":{"name":"shop-2"}}`, "rollbackTo cannot be changed"},
			{"release taken away", `{"rollbackTo":null}`, "rollbackTo cannot be changed"},
		}},
		{"UpdateRequest", "to-backup", `{` + commit + `,"restoreFrom":{"name":"shop-1"}}`, []change{
			{"another backup", `{"restoreFrom":{"name":"shop-2"}}`, "restoreFrom cannot be changed"},
			{"backup taken away", `{"restoreFrom":null}`, "restoreFrom cannot be changed"},
			{"only a backup", `{"restoreFrom":null,"backupOnly":true}`, "backupOnly cannot be changed"},
		}},
		{"Release", "shop-1", `{` + commit + `,"number":1,"project":"shop"}`, []change{
			{"commit", `{"commit":"c0de"}`, "a Release is a record and cannot be changed"},
			{"number", `{"number":2}`, "a Release is a record and cannot be changed"},
		}},
		{"Backup", "backup", `{` + commit + `,"id":"backup_20260301_120000"}`, []change{
			{"id", `{"id":"backup_20260301_120001"}`, "a Backup is a record and cannot be changed"},
			{"release", `{"release":"shop-1"}`, "a Backup is a record and cannot be changed"},
		}},
	}
	for _, tt := range tests {
		o := object(t, ns, tt.kind, tt.object, tt.spec)
		must(t, c.Create(t.Context(), o))
		for _, ch := range tt.changes {
			t.Run(tt.kind+"/"+tt.object+"/"+ch.name, func(t *testing.T) {
				patched := object(t, ns, tt.kind, tt.object, "")
				err := c.Patch(t.Context(), patched, client.RawPatch("application/merge-patch+json", []byte(`{"spec":`+ch.patch+`}`)))
				if ch.want == "" {
					must(t, err)
					return
				}
				refused(t, err, ch.want)
			})
		}
	}
}

func TestDefaultsAreFilledIn(t *testing.T) {
	c, ns := newClient(t), env.Namespace(t, "validation")
	o := object(t, ns, "Application", "shop", `{"compose":{"directory":"/opt/shop"}}`)
	must(t, c.Create(t.Context(), o))
	got := map[string]string{}
	for path, field := range map[string][]string{
		"build.parallel": {"build", "parallel"}, "build.pull": {"build", "pull"}, "rollout.order": {"rollout", "order"}, "rollout.soak": {"rollout", "soak"},
		"verify.attempts": {"verify", "attempts"}, "verify.interval": {"verify", "interval"},
		"retention.releases": {"retention", "releases"}, "retention.requests": {"retention", "requests"}, "retention.logs": {"retention", "logs"},
		"retention.backups.count": {"retention", "backups", "count"}, "retention.backups.age": {"retention", "backups", "age"},
		"preflight.minFreeDisk": {"preflight", "minFreeDisk"}, "preflight.minFreeMemory": {"preflight", "minFreeMemory"},
	} {
		v, _, err := unstructured.NestedFieldNoCopy(o.Object, append([]string{"spec"}, field...)...)
		must(t, err)
		text, err := json.Marshal(v)
		must(t, err)
		got[path] = strings.Trim(string(text), `"`)
	}
	want := map[string]string{
		"build.parallel": "2", "build.pull": "Auto", "rollout.order": "Auto", "rollout.soak": "30s", "verify.attempts": "30", "verify.interval": "2s",
		"retention.releases": "5", "retention.requests": "50", "retention.logs": "720h", "retention.backups.count": "7", "retention.backups.age": "720h",
		"preflight.minFreeDisk": "5Gi", "preflight.minFreeMemory": "2Gi",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	// The Go type reads what the API filled in, and a copy of it is accepted as it is.
	var app v1alpha1.Application
	must(t, c.Get(t.Context(), client.ObjectKeyFromObject(o), &app))
	if app.Spec.Retention.Requests != 50 || app.Spec.Rollout.Soak.Duration.Seconds() != 30 {
		t.Errorf("got %+v", app.Spec)
	}
	must(t, c.Update(t.Context(), &app))
}

func TestStatusIsAPartOfItsOwn(t *testing.T) {
	c, ns := newClient(t), env.Namespace(t, "validation")
	for kind, spec := range map[string]string{
		"Application": `{"compose":{"directory":"/opt/shop"}}`, "UpdateRequest": `{` + commit + `}`,
		"Release": `{` + commit + `,"number":1,"project":"shop"}`, "Backup": `{` + commit + `,"id":"backup_20260301_120000"}`, "DockerHost": `{}`,
		"ManifestSource": `{"url":"https://example.com/fleet.git"}`,
	} {
		t.Run(kind, func(t *testing.T) {
			o := object(t, ns, kind, "status-"+strings.ToLower(kind), spec)
			if kind == "DockerHost" {
				o.SetNamespace("")
			}
			must(t, unstructured.SetNestedField(o.Object, map[string]any{}, "status"))
			must(t, c.Create(t.Context(), o))
			generation := o.GetGeneration()
			field := map[string]string{"Application": "project", "UpdateRequest": "message", "Release": "message", "Backup": "path", "DockerHost": "platform", "ManifestSource": "commit"}[kind]
			must(t, unstructured.SetNestedField(o.Object, "written by hand", "status", field))
			must(t, c.Update(t.Context(), o))
			if v, _, _ := unstructured.NestedString(o.Object, "status", field); v != "" {
				t.Errorf("an ordinary write changed the status to %q", v)
			}
			must(t, unstructured.SetNestedField(o.Object, "written by the controller", "status", field))
			must(t, c.Status().Update(t.Context(), o))
			if v, _, _ := unstructured.NestedString(o.Object, "status", field); v != "written by the controller" || o.GetGeneration() != generation {
				t.Errorf("status %q, generation %d", v, o.GetGeneration())
			}
		})
	}
}
