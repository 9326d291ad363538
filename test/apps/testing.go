// SPDX-License-Identifier: Apache-2.0

package apps

import (
	"context"
	"time"
)

// TB is what ForTest uses of *testing.T, *testing.B or anything like them.
type TB interface {
	Helper()
	TempDir() string
	Context() context.Context
	Cleanup(func())
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// ForTest is [New] in the test's temporary directory. The end of the test
// removes all that the engine has of the project then; stop a daemon that
// could make more of it in a Cleanup that is registered after this call.
func ForTest(tb TB, app App, opts Options) *Repo {
	tb.Helper()
	r, err := New(tb.Context(), tb.TempDir(), app, opts)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := r.Down(ctx); err != nil {
			tb.Errorf("%v", err)
		}
	})
	return r
}
