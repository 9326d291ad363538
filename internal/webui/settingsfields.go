// SPDX-License-Identifier: Apache-2.0

package webui

// setting is a field of the spec that the form has.
type setting struct {
	// Path below spec.
	Path string
	Kind kind
	// Choices of kindChoice, kindToggle and kindSet.
	Choices []string
}

// kind says what a field holds, and how it is edited.
type kind string

const (
	kindText     kind = "text"
	kindList     kind = "list"
	kindNumber   kind = "number"
	kindDuration kind = "duration"
	kindSize     kind = "size"
	kindBool     kind = "bool"
	kindChoice   kind = "choice"
	// kindToggle is true, false, or the default, which may be either.
	kindToggle kind = "toggle"
	// kindPresent is an object that need not hold anything to have a meaning.
	kindPresent kind = "present"
	// kindFixed is what cannot be changed.
	kindFixed kind = "fixed"
	// kindLocked is a list with items that a line cannot hold: it is changed in the YAML.
	kindLocked kind = "locked"
	// kindSet is any number of choices.
	kindSet kind = "set"
	// kindVariables are names and their values.
	kindVariables kind = "variables"
	// kindService is a service of the application, by its name.
	kindService kind = "service"
)

// settingList is a list of objects in the spec, each of which has fields of its own.
type settingList struct {
	Path string
	// Variants are the objects of which each one has exactly one.
	Variants []string
	// Fields with their paths below spec, as if there were no list.
	Fields []setting
}

// traffic are the settings of a gateway which single services may have of their own.
var traffic = []setting{
	{"gateway.protocol", kindChoice, []string{"Auto", "HTTP", "TCP"}},
	{"gateway.balance", kindChoice, []string{"LeastConnections", "RoundRobin", "RandomTwo", "Source"}},
	{"gateway.holdTimeout", kindDuration, nil}, {"gateway.holdRequests", kindNumber, nil}, {"gateway.holdBytes", kindSize, nil},
	{"gateway.transferTimeout", kindDuration, nil}, {"gateway.longLivedTimeout", kindDuration, nil},
	{"gateway.acceptProxyProtocol", kindToggle, []string{"true", "false"}}, {"gateway.sendProxyProtocol", kindChoice, []string{"Off", "V1", "V2"}},
	{"gateway.probe", kindPresent, nil}, {"gateway.probe.path", kindText, nil}, {"gateway.probe.port", kindNumber, nil},
	{"gateway.probe.interval", kindDuration, nil}, {"gateway.probe.timeout", kindDuration, nil},
	{"gateway.probe.failing", kindNumber, nil}, {"gateway.probe.passing", kindNumber, nil},
}

// gatewayGroup is the group with settings of single services.
const gatewayGroup = "gateway"

// Choices of several fields.
var (
	orders         = []string{"Auto", "StartFirst", "StopFirst"}
	failureActions = []string{"Rollback", "Pause", "Continue"}
)

// settings are those of the form, which has all of the spec.
var settings = []struct {
	key    string
	fields []setting
	list   *settingList
}{
	{"compose", []setting{
		{"compose.directory", kindFixed, nil}, {"compose.files", kindList, nil}, {"compose.envFiles", kindList, nil},
		{"compose.profiles", kindList, nil}, {"compose.project", kindText, nil},
		{"compose.variables", kindVariables, nil}, {"compose.requestVariables", kindList, nil},
	}, nil},
	{"source", []setting{
		{"source.url", kindText, nil}, {"source.ref", kindText, nil}, {"source.secretRef.name", kindText, nil},
		{"source.commits", kindChoice, []string{"BranchesAndTags", "Any"}},
	}, nil},
	{"update", []setting{
		{"update.policy", kindChoice, []string{"Manual", "Automatic"}}, {"update.interval", kindDuration, nil}, {"update.cooldown", kindDuration, nil},
		{"update.branch", kindText, nil}, {"update.tagPattern", kindText, nil}, {"update.semver", kindText, nil}, {"suspend", kindBool, nil},
	}, &settingList{"update.windows", nil, []setting{
		{"update.windows.days", kindSet, []string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}},
		{"update.windows.start", kindText, nil}, {"update.windows.end", kindText, nil}, {"update.windows.timeZone", kindText, nil},
	}}},
	{"build", []setting{{"build.pull", kindChoice, []string{"Auto", "Always", "Missing", "Never"}}, {"build.parallel", kindNumber, nil}}, nil},
	{"rollout", []setting{
		{"rollout.order", kindChoice, orders}, {"rollout.strategy", kindChoice, []string{"Auto", "Together", "OneByOne"}},
		{"rollout.healthTimeout", kindDuration, nil}, {"rollout.minHealthy", kindDuration, nil}, {"rollout.drainTimeout", kindDuration, nil},
		{"rollout.stopTimeout", kindDuration, nil}, {"rollout.soak", kindDuration, nil}, {"rollout.measureDowntime", kindToggle, []string{"true", "false"}},
		{"rollout.parallelism", kindNumber, nil}, {"rollout.delay", kindDuration, nil}, {"rollout.monitor", kindDuration, nil},
		{"rollout.failureAction", kindChoice, failureActions}, {"rollout.maxFailureRatio", kindText, nil},
	}, &settingList{"rollout.services", nil, []setting{
		{"rollout.services.name", kindService, nil}, {"rollout.services.order", kindChoice, orders},
		{"rollout.services.gateway", kindChoice, []string{"Auto", "Off"}}, {"rollout.services.measureDowntime", kindToggle, []string{"true", "false"}},
		{"rollout.services.healthTimeout", kindDuration, nil}, {"rollout.services.minHealthy", kindDuration, nil},
		{"rollout.services.drainTimeout", kindDuration, nil}, {"rollout.services.stopTimeout", kindDuration, nil},
		{"rollout.services.parallelism", kindNumber, nil}, {"rollout.services.delay", kindDuration, nil}, {"rollout.services.monitor", kindDuration, nil},
		{"rollout.services.failureAction", kindChoice, failureActions}, {"rollout.services.maxFailureRatio", kindText, nil},
	}}},
	{"verify", []setting{{"verify.attempts", kindNumber, nil}, {"verify.interval", kindDuration, nil}},
		&settingList{"verify.checks", []string{"http", "tcp", "exec"}, []setting{
			{"verify.checks.name", kindText, nil}, {"verify.checks.timeout", kindDuration, nil},
			{"verify.checks.http.url", kindText, nil}, {"verify.checks.http.status", kindNumber, nil},
			{"verify.checks.http.contains", kindText, nil}, {"verify.checks.http.insecureSkipTLSVerify", kindBool, nil},
			{"verify.checks.tcp.address", kindText, nil},
			{"verify.checks.exec.service", kindService, nil}, {"verify.checks.exec.command", kindList, nil},
		}}},
	{gatewayGroup, append([]setting{{"gateway.mode", kindChoice, []string{"Off", "Auto"}}, {"gateway.trustedProxies", kindList, nil}}, traffic...), nil},
	{"backup", []setting{
		{"backup.databases", kindText, nil}, {"backup.volumes", kindText, nil}, {"backup.paths", kindList, nil},
		{"retention.backups.count", kindNumber, nil}, {"retention.backups.age", kindDuration, nil}, {"retention.releases", kindNumber, nil},
		{"retention.imageAge", kindDuration, nil}, {"retention.requests", kindNumber, nil},
		{"retention.logs", kindDuration, nil}, {"retention.logCount", kindNumber, nil},
	}, nil},
	{"preflight", []setting{{"preflight.minFreeDisk", kindSize, nil}, {"preflight.minFreeMemory", kindSize, nil}}, nil},
	{"hooks", nil, &settingList{"hooks", []string{"exec", "http"}, []setting{
		{"hooks.name", kindText, nil},
		{"hooks.at", kindSet, []string{"Preflight", "BeforeBackup", "AfterBackup", "BeforeService", "AfterService", "Success", "Failure"}},
		{"hooks.services", kindList, nil}, {"hooks.exec.service", kindService, nil}, {"hooks.exec.command", kindList, nil},
		{"hooks.http.url", kindText, nil}, {"hooks.http.method", kindChoice, []string{"POST", "PUT", "GET"}}, {"hooks.http.secretRef.name", kindText, nil},
		{"hooks.timeout", kindDuration, nil}, {"hooks.onFailure", kindChoice, []string{"Fail", "Continue"}},
	}}},
	{"notifications", nil, &settingList{"notifications", []string{"webhook", "serviceRef"}, []setting{
		{"notifications.name", kindText, nil},
		{"notifications.events", kindSet, []string{"Started", "Succeeded", "Failed", "RolledBack", "Cancelled", "BackupFailed"}},
		{"notifications.webhook.url", kindText, nil}, {"notifications.webhook.secretRef.name", kindText, nil},
		{"notifications.serviceRef.name", kindText, nil},
	}}},
	{"github", []setting{
		{"github", kindPresent, nil}, {"github.owner", kindText, nil}, {"github.repository", kindText, nil}, {"github.apiURL", kindText, nil},
		{"github.secretRef.name", kindText, nil}, {"github.commitStatuses", kindBool, nil}, {"github.environment", kindText, nil},
	}, nil},
}

// choiceTexts are the beginnings of the keys of texts that other pages have too.
var choiceTexts = map[string]string{
	"hooks.at": "hook.at.", "hooks.onFailure": "hook.onfailure.", "notifications.events": "notify.", "update.windows.days": "weekday.",
}
