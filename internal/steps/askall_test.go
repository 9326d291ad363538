// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

func TestAskAll(t *testing.T) {
	says := func(note string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return note, nil }
	}
	t.Run("beside each other, told in order", func(t *testing.T) {
		first, second := make(chan struct{}), make(chan struct{})
		var found string
		answers, err := askAll(t.Context(), []check{
			{"A", nil, func(context.Context) (string, error) { close(first); <-second; found = "a"; return "a", nil }},
			{"B", nil, func(context.Context) (string, error) { <-first; close(second); return "", errors.New("no") }},
			{"C", []string{"A", "B"}, func(context.Context) (string, error) { return found + "c", nil }},
		})
		if err != nil || answers[0].note != "a" || answers[1].err == nil || answers[2].note != "ac" {
			t.Errorf("got %+v, %v", answers, err)
		}
	})
	t.Run("a disturbance ends the others", func(t *testing.T) {
		_, err := askAll(t.Context(), []check{
			{"A", nil, func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }},
			{"B", nil, func(context.Context) (string, error) { return "", trouble{errors.New("the engine is away")} }},
			{"C", []string{"B"}, says("not asked")},
		})
		if err == nil || err.Error() != "check B: the engine is away" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a panic is a disturbance", func(t *testing.T) {
		s := newRun()
		s.log = updatelog.Lost("", nil)
		panics := func() error { panic("out of cheese") }
		for name, ask := range map[string]func(context.Context) (string, error){
			"of the check":    func(context.Context) (string, error) { return "", panics() },
			"of a part of it": func(context.Context) (string, error) { return "", s.together(panics) },
		} {
			_, err := askAll(t.Context(), []check{{"A", nil, ask}})
			if p := failure.AsPanic(err); p == nil || !strings.Contains(p.Stack, "askall_test.go") {
				t.Errorf("%s: got %v", name, err)
			}
		}
	})
}

// Each check comes after those that it needs.
func TestChecksHaveWhatTheyNeed(t *testing.T) {
	p := &preflightRun{run: newRun()}
	seen := map[string]bool{}
	for _, list := range [][]check{p.hostChecks(), p.sourceChecks(), p.applicationChecks()} {
		for _, c := range list {
			for _, name := range c.after {
				if !seen[name] {
					t.Errorf("%s waits for %s, which is not before it", c.name, name)
				}
			}
			seen[c.name] = true
		}
	}
}
