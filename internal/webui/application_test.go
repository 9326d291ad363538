// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// What is not set is told as what it means.
func TestDefaultsAreTold(t *testing.T) {
	w := newWorld(t)
	app := application()
	app.Spec.Update.Windows = []v1alpha1.UpdateWindow{{Days: []v1alpha1.Weekday{"Mon", "Sun"}, Start: "22:00", End: "04:00"}}
	w.api.objects["namespaces/default/applications/shop"] = app
	for lang, want := range map[string][]string{
		"en":      {"Mon, Sun 22:00–04:00 UTC", "at the beginning and at the end of each update"},
		"zh-Hans": {"周一、周日 22:00–04:00 UTC", "每次更新开始和结束时"},
	} {
		b := w.signedIn("admin")
		b.lang = lang
		page := b.get("/ui/namespaces/default/applications/shop").body
		for _, text := range want {
			if !strings.Contains(page, text) {
				t.Errorf("%s: the page of the application does not say %q", lang, text)
			}
		}
	}
}

// What differs from the release is told by service, in words.
func TestDriftIsTold(t *testing.T) {
	w := newWorld(t)
	app := application()
	kinds := []v1alpha1.DriftKind{v1alpha1.DriftMissing, v1alpha1.DriftStopped, v1alpha1.DriftChanged, v1alpha1.DriftUnknown}
	app.Status.Drift = nil
	for _, kind := range kinds {
		app.Status.Drift = append(app.Status.Drift, v1alpha1.Drift{Service: "web", Kind: kind, Container: "shop-web-1"})
	}
	w.api.objects["namespaces/default/applications/shop"] = app
	written := map[string]string{"en": "<strong>web</strong>: %s (<code>shop-web-1</code>)", "zh-Hans": "<strong>web</strong>：%s（<code>shop-web-1</code>）"}
	for lang, want := range map[string][]string{
		"en":      {"Differs from the release", "missing", "stopped", "changed by hand", "not of this release"},
		"zh-Hans": {"与当前版本不一致", "缺失", "已停止", "被手动修改", "不属于此版本"},
	} {
		b := w.signedIn("viewer")
		b.lang = lang
		page := b.get("/ui/namespaces/default/applications/shop").body
		if !strings.Contains(page, "<h3>"+want[0]+"</h3>") {
			t.Errorf("%s: drift has no heading", lang)
		}
		for _, words := range want[1:] {
			if !strings.Contains(page, fmt.Sprintf(written[lang], words)) {
				t.Errorf("%s: the page does not say that a container is %s", lang, words)
			}
		}
	}
	app.Status.Drift = nil
	if page := w.signedIn("viewer").get("/ui/namespaces/default/applications/shop").body; strings.Contains(page, "Differs from the release") {
		t.Error("drift is told of where there is none")
	}
}
