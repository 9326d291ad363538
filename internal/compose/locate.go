// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"os"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var (
	validating = regexp.MustCompile(`^validating (/[^:]+): (.*)$`)
	parsing    = regexp.MustCompile(`^failed to parse (/[^:]+): (.*)$`)
	yamlLine   = regexp.MustCompile(`\bline (\d+)\b`)
	modelPath  = regexp.MustCompile(`\b(?:services|networks|volumes|configs|secrets|include)(?:\.[A-Za-z0-9_\[\]-]+)+`)
)

// locate makes a problem of a message of the loader, with file and line as
// far as the message allows to find them.
func (s *source) locate(st *stage, message string) Problem {
	p := Problem{Message: message}
	files := s.files
	for _, pattern := range []*regexp.Regexp{validating, parsing} {
		if m := pattern.FindStringSubmatch(message); m != nil {
			p.File, p.Message = m[1], m[2]
			files = []string{m[1]}
		}
	}
	if m := yamlLine.FindStringSubmatch(p.Message); m != nil && p.File != "" {
		p.Line, _ = strconv.Atoi(m[1])
		return p
	}
	path := modelPath.FindString(p.Message)
	if path == "" {
		return p
	}
	deepest := 0
	// Later files override earlier ones, so at equal depth the last one is at fault.
	for _, f := range files {
		if line, depth := lineOf(st, f, strings.Split(path, ".")); depth > 0 && depth >= deepest {
			p.File, p.Line, deepest = f, line, depth
		}
	}
	return p
}

// lineOf returns the line of the deepest part of a model path that the file
// has, and how many parts that are.
func lineOf(st *stage, file string, path []string) (line, depth int) {
	actual, ok := st.actual(file)
	if !ok {
		return 0, 0
	}
	content, err := os.ReadFile(actual)
	if err != nil {
		return 0, 0
	}
	var document yaml.Node
	if yaml.Unmarshal(content, &document) != nil || len(document.Content) == 0 {
		return 0, 0
	}
	node := document.Content[0]
	for _, key := range path {
		if node = resolveAlias(node); node == nil || node.Kind != yaml.MappingNode {
			break
		}
		var next *yaml.Node
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == key {
				line, next = node.Content[i].Line, node.Content[i+1]
			}
		}
		if next == nil {
			break
		}
		node = next
		depth++
	}
	return line, depth
}
