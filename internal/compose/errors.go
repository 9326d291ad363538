// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"fmt"
	"sort"
	"strings"
)

// Problem is one thing that is wrong with a Compose model.
type Problem struct {
	// File is the path in the deployment directory, "" when not known.
	File string
	// Line counts from 1; 0 when not known.
	Line int
	// Variable is the name of a required variable that is not set, else "".
	Variable string
	// Message says what is wrong and what to do.
	Message string
}

// String formats the problem as "file:line: message".
func (p Problem) String() string {
	switch {
	case p.File == "":
		return p.Message
	case p.Line == 0:
		return p.File + ": " + p.Message
	default:
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
	}
}

// ModelError says that the Compose model cannot be used. Trying again without
// a change of the files or the environment does not help. No message holds
// the value of a variable.
type ModelError struct {
	// Problems has at least one element.
	Problems []Problem
	err      error
}

// Error lists all problems, separated by "; ".
func (e *ModelError) Error() string {
	parts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		parts[i] = p.String()
	}
	return "Compose model is not valid: " + strings.Join(parts, "; ")
}

// Unwrap returns the cause, may be nil.
func (e *ModelError) Unwrap() error { return e.err }

// MissingVariables returns the names of the required variables that are not
// set, sorted and without duplicates.
func (e *ModelError) MissingVariables() []string {
	var names []string
	seen := map[string]bool{}
	for _, p := range e.Problems {
		if p.Variable != "" && !seen[p.Variable] {
			seen[p.Variable] = true
			names = append(names, p.Variable)
		}
	}
	sort.Strings(names)
	return names
}

func problemf(file, format string, args ...any) *ModelError {
	return &ModelError{Problems: []Problem{{File: file, Message: fmt.Sprintf(format, args...)}}}
}

// minRedacted is the shortest value that is taken out of messages: shorter
// ones (port numbers, "true") are no secrets and occur in ordinary words.
const minRedacted = 4

// redact replaces values of variables in a message by their names, since
// messages of the loader may quote what a variable was replaced with.
func redact(message string, environment map[string]string) string {
	type pair struct{ name, value string }
	var pairs []pair
	for name, value := range environment {
		if len(value) >= minRedacted && name != "PWD" && !strings.HasPrefix(name, "COMPOSE_") {
			pairs = append(pairs, pair{name, value})
		}
	}
	sort.Slice(pairs, func(i, j int) bool {
		if len(pairs[i].value) != len(pairs[j].value) {
			return len(pairs[i].value) > len(pairs[j].value)
		}
		return pairs[i].name < pairs[j].name
	})
	for _, p := range pairs {
		message = strings.ReplaceAll(message, p.value, "${"+p.name+"}")
	}
	return message
}
