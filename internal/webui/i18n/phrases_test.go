// SPDX-License-Identifier: Apache-2.0

package i18n

import (
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSay(t *testing.T) {
	if got := Languages[0].Say("Docker engine 28.1"); got != "28.1" {
		t.Errorf("in English, it is %q", got)
	}
	chinese := Choose("zh-Hans", "")
	for english, want := range map[string]string{
		"is new":                      "新增",
		"step Backup runs":            chinese.T("step.Backup"),
		"runs 1 replica instead of 2": "正在运行 1 个副本，应为 2 个",
		// What stands in a sentence may be one itself, and contain what looks like a
		// parameter.
		"not healthy within 8 s: waiting for its healthcheck":                                     "8 s 内未进入正常状态：等待健康检查",
		"shares the namespaces of {2}":                                                            "共用 {2} 的命名空间",
		"the container a of the service b did not become healthy: not started; its last lines: x": "服务 b 的容器 a 未能进入正常状态：未启动；最后的日志：x",
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

// The English of a phrase is what the program says: whoever changes that is told to
// change the phrase.
func TestPhrasesAreSaid(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	var source strings.Builder
	for _, dir := range []string{"internal", "controllers"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "webui") {
				return err
			}
			data, err := os.ReadFile(path)
			source.Write(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	said := strings.ReplaceAll(source.String(), `\"`, `"`)
	seen := 0
	for english := range allPhrases(t) {
		for _, part := range strings.Split(english, "{}") {
			if part = strings.Trim(part, " (),:;."); len(part) < 6 {
				continue
			}
			seen++
			// A sentence may be made of pieces.
			for _, piece := range strings.Split(part, ", ") {
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
		n := strings.Count(english, "{}")
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
		for _, l := range Languages {
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
