// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// The overview of 200 applications, from what the API answers to HTML, with rows
// that are kept as after most changes, and with all of them made; test/bench measures
// it with the API.
func BenchmarkOverviewOf200(b *testing.B) {
	w := newWorld(b)
	var apps []*v1alpha1.Application
	for i := range 200 {
		app := application()
		app.Name = fmt.Sprintf("shop-%03d", i)
		apps = append(apps, app)
	}
	w.api.objects["namespaces/default/summary"] = summaryOf(apps...)
	user := w.signedIn("viewer")
	cookies := user.client.Jar.Cookies(user.get("/ui/").url)
	b.Run("kept", func(b *testing.B) { overviews(b, w, cookies, func() {}) })
	b.Run("made", func(b *testing.B) { overviews(b, w, cookies, w.ui.rows.Clear) })
}

// overviews asks for the page again and again, each time after before.
func overviews(b *testing.B, w *world, cookies []*http.Cookie, before func()) {
	b.Helper()
	for b.Loop() {
		before()
		r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "/ui/", http.NoBody)
		if err != nil {
			b.Fatal(err)
		}
		for _, c := range cookies {
			r.AddCookie(c)
		}
		r.Header.Set(liveHeader, "1")
		a := &recorder{header: http.Header{}}
		w.ui.ServeHTTP(a, r)
		if a.status != http.StatusOK || a.body.Len() < 100_000 {
			b.Fatalf("%d, %d bytes", a.status, a.body.Len())
		}
	}
}
