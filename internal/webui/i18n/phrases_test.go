// SPDX-License-Identifier: Apache-2.0

package i18n

import (
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestSay(t *testing.T) {
	if got := Languages()[0].Say("Docker engine 28.1"); got != "28.1" {
		t.Errorf("in English, it is %q", got)
	}
	chinese := Choose("zh-Hans", "")
	for english, want := range map[string]string{
		"is new":                      "新增",
		"step Backup runs":            "正在备份",
		"runs 1 replica instead of 2": "正在运行 1 个副本，应为 2 个",
		// What stands in a sentence may be one itself, and contain what looks like a
		// parameter.
		"not healthy within 8 s: waiting for its healthcheck":                                     "等待 8 秒后仍未就绪：等待健康检查",
		"shares the namespaces of {2}":                                                            "共用 {2} 的命名空间",
		"the container a of the service b did not become healthy: not started; its last lines: x": "服务 b 的容器 a 未能变为健康状态：未启动；最后的日志：x",
		// What has parts between semicolons itself is found in what is around it, and
		// beside others; what is said of a name, after that.
		"preflight: Backup: the backup cannot be made as things are: the PostgreSQL service \"db\" is not running, so its databases cannot be dumped; start it, or set backup.databases to None or to the names of the services to dump": "预检：备份：目前无法备份：PostgreSQL 服务“db”未运行，无法导出其数据库；请启动它，或将 backup.databases 设为 None 或要导出的服务名称",
		"not healthy: web: does not run (exit code 1); start it again, or have the release rolled out again: an UpdateRequest to its commit with spec.force; db: is paused; unpause it":                                                  "不健康：web：未运行（退出代码 1）；请重新启动它，或勾选“全部重新构建并替换”后更新到该版本的提交；db：已暂停，请恢复运行",
		"check home failed (attempt 3 of 3): no answer within 2s":                                                                            "检查 home 失败（第 3 次，共 3 次）：2 秒内没有响应",
		"compose.yml:7: service web: the env_file x.env does not exist: create it in the deployment directory, or mark it `required: false`": "compose.yml:7：服务 web：env_file x.env 不存在：请在部署目录中创建，或标记 required: false",
		// A word of the language stands without spaces, a name with them.
		"set by x-fairlead of the Compose file":                        "由 Compose 文件的 x-fairlead 指定",
		"set by rollout.order of the Application":                      "由应用的 rollout.order 指定",
		"not healthy: web: restarted 3 times, last exited with code 1": "不健康：web：已重启 3 次，最近一次：已退出，代码 1",
		// Items of a list are told each.
		"not healthy: worker (stopped), db (unhealthy)": "不健康：worker（已停止）、db（不健康）",
		`Application in version "v1alpha1" cannot be handled as a Application: strict decoding error: unknown field "spec.a", unknown field "spec.b"`: "未知字段“spec.a”、未知字段“spec.b”",
		"image of db: is on this host (1f78ee0e74ef)": "db 的镜像：已在本机（1f78ee0e74ef）",
		"code: is at abc1234 already":                 "代码：已位于 abc1234",
		// Amounts and lengths of time are written as elsewhere.
		"memory: 22.0 GiB free": "可用 22.0 GiB",
		"none if the new container is ready in time: requests are held from the stop of the old one, for at most 1 min": "新容器按时就绪则无中断：从旧容器停止起请求会被暂存，最多 1 分钟",
		"not healthy within 1 min 30 s: not started": "等待 1 分 30 秒后仍未就绪：未启动",
		"no answer within 500ms":                     "500 毫秒内没有响应",
		// Names have the quotes of the language, and its words and marks between them.
		`applications.fairlead.dev "shop" not found`:                            "没有名为“shop”的应用。",
		`Unsupported value: "Sideways": supported values: "Auto", "StartFirst"`: "“Sideways”不可用，可用的值：“Auto”、“StartFirst”",
		"containers: 2 that run are stopped: a-db-1, a-web-1":                   "容器：停止正在运行的 2 个：a-db-1、a-web-1",
		"containers: 9 that run are stopped: a-db-1, a-web-1 and 7 more":        "容器：停止正在运行的 9 个：a-db-1、a-web-1 及另外 7 个",
		"a new gateway takes over 80, 443/udp and 8080: until what is open there has ended, for at most 1s, and the new one, which is ready before, listens": "由新网关接管 80、443/udp 和 8080：直到原有连接结束（最多 1 秒）且事先就绪的新网关开始监听",
		`HTTP 200, but the body does not contain "all \"well\""`: `HTTP 200，但响应内容不含 "all \"well\""`,
		// What a check or a healthcheck found.
		"check home failed (attempt 3 of 3): HTTP 503, expected 200 to 399":                         "检查 home 失败（第 3 次，共 3 次）：HTTP 503，应为 200 至 399",
		"check home failed (attempt 3 of 3): HTTP 302: moved, expected 200 or 204":                  "检查 home 失败（第 3 次，共 3 次）：HTTP 302，应为 200 或 204。响应：moved",
		"unhealthy: healthcheck exit 1: no answer here (3 failed attempts)":                         "不健康：健康检查：退出代码 1：no answer here（失败 3 次）",
		`name "A_b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters`: "名称“A_b”：只能使用小写字母、数字和连字符，且以字母或数字开头和结尾",
		// What the API server says of what breaks a rule.
		`Invalid value: "object": source.url must not contain a password: put it into a Secret and name that in source.secretRef`:                                        "source.url 不能包含密码：请将密码放入 Secret，并在 source.secretRef 中指定",
		`Invalid value: 0: spec.hooks[0].at in body should have at least 1 items`:                                                                                        "至少需要 1 项。",
		`Duplicate value: map[string]interface {}{"name":"web"}`:                                                                                                         "与另一项重复。",
		`Invalid value: "integer": spec.rollout.drainTimeout in body must be of type string: "integer"`:                                                                  "类型应为 string。",
		`Application.fairlead.dev "shop" is invalid: spec.rollout.order: Unsupported value: "x": supported values: "Auto", "StartFirst"`:                                 "应用“shop”的内容无效：spec.rollout.order：“x”不可用，可用的值：“Auto”、“StartFirst”",
		`Operation cannot be fulfilled on applications.fairlead.dev "shop": the object has been modified; please apply your changes to the latest version and try again`: "内容已被他人更改：请重新载入后再试。",
		// What a commit failed with, and when, are told apart.
		"the commit abc1234 failed in the request shop-2 at 2026-01-02T03:04:05Z (HealthCheckFailed): if the cause is mended, ask again with spec.retry: true (fairlead update --retry)": "提交 abc1234 曾在请求 shop-2 中失败（2026-01-02T03:04:05Z，健康检查未通过）：原因排除后，请选择“重试”再次更新",
		// Parts that are not known stay as they are.
		"writes to the volume data; runs a database image; knows <b>": "写入卷 data；运行数据库镜像；knows <b>",
		"something else; altogether":                                  "something else; altogether",
		"":                                                            "",
		"a\nis new":                                                   "a\nis new",
	} {
		if got := chinese.Say(english); got != want {
			t.Errorf("%q is %q, want %q", english, got, want)
		}
	}
}

// What other programs said is told from what Fairlead says, of any length.
func TestParts(t *testing.T) {
	chinese := Choose("zh-Hans", "")
	for english, want := range map[string][]Part{
		"build of web: [3/3] RUN [\"/x\"] failed with exit code 1; its last lines:\n  one; two\n  three": {
			{Text: "构建 web 失败："}, {"[3/3] RUN [\"/x\"]", true}, {Text: " 以代码 1 退出。最后的输出："}, {"one; two\n  three", true}},
		"preflight: Commit: https://x/y.git: authentication failed: give valid credentials with source.secretRef and see that they may read this repository (fatal: a; fatal: b)": {
			{Text: "预检：提交：https://x/y.git：身份验证失败：请用 source.secretRef 提供有效的凭据，并确认它有权读取此仓库（"}, {"fatal: a; fatal: b", true}, {Text: "）"}},
		"the engine said something odd":     {{"the engine said something odd", true}},
		"web-1":                             {{Text: "web-1"}},
		"web-1, db-1, front-1":              {{Text: "web-1, db-1, front-1"}},
		"is new; something else altogether": {{Text: "新增；"}, {"something else altogether", true}},
	} {
		if got := chinese.Parts(english); !slices.Equal(got, want) {
			t.Errorf("%q is\n%+v, want\n%+v", english, got, want)
		}
	}
	if got := Languages()[0].Parts("the engine said something odd"); len(got) != 1 || got[0].Said {
		t.Errorf("in English it is %+v", got)
	}
}

// ofKubernetes are the beginnings of what the API server says of an object that is not
// valid or not there, and of what may not be done.
var ofKubernetes = []string{"{} is forbidden: ", "applications.", "updaterequests.", "releases.", "backups.", "Application in version ", "unknown field ", "Invalid value: ", "Unsupported value: ", "Too long: ", "Too many: ", "Duplicate value", "Required value", "a lowercase RFC 1123 ", "must be no more than ", "Application.fairlead.dev ", "UpdateRequest.fairlead.dev ", "Operation cannot be fulfilled on ", "namespaces "}

// pieces are what a sentence may be made of.
var pieces = regexp.MustCompile("[,:;] |`")

// The English of a phrase is what the program says: whoever changes that is told to
// change the phrase.
func TestPhrasesAreSaid(t *testing.T) {
	// As it is written, for markers in comments; and with what is joined by + in one.
	var source strings.Builder
	files := map[string]bool{}
	for _, s := range stringsOf(t, "internal", "controllers", "api") {
		if strings.HasPrefix(s.file, "internal/webui/") {
			continue
		}
		source.WriteString(s.text + "\n")
		if !files[s.file] {
			files[s.file] = true
			data, err := os.ReadFile(filepath.Join(top, s.file))
			if err != nil {
				t.Fatal(err)
			}
			source.Write(data)
		}
	}
	for _, file := range typeFiles(t) {
		source.Write(file)
	}
	said := source.String()
	seen := 0
	for english := range allPhrases(t) {
		if slices.ContainsFunc(ofKubernetes, func(begin string) bool { return strings.HasPrefix(english, begin) }) {
			continue
		}
		for _, part := range gaps.Split(english, -1) {
			if part = strings.Trim(part, " (),:;.\n"); len(part) < 6 {
				continue
			}
			seen++
			// A sentence may be made of pieces.
			for _, piece := range pieces.Split(part, -1) {
				if !strings.Contains(said, piece) {
					t.Errorf("nothing says %q of the phrase %q", piece, english)
				}
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d parts of phrases were looked for", seen)
	}
}

// Every parameter of a phrase exists.
func TestParametersOfPhrases(t *testing.T) {
	for english, text := range allPhrases(t) {
		n := len(gaps.FindAllString(english, -1))
		for _, name := range placeholders.FindAllString(text, -1) {
			if int(name[1]-'0') > n {
				t.Errorf("%q has no parameter %s", english, name)
			}
		}
	}
}

// allPhrases are those of all languages.
func allPhrases(t *testing.T) iter.Seq2[string, string] {
	t.Helper()
	return func(yield func(string, string) bool) {
		for _, l := range Languages() {
			texts, err := readPhrases(l.Tag)
			if err != nil || len(texts) == 0 {
				t.Fatalf("%s: %d phrases, %v", l.Tag, len(texts), err)
			}
			for english, text := range texts {
				if !yield(english, text) {
					return
				}
			}
		}
	}
}
