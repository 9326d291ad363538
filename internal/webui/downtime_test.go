// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/webui/i18n"
)

// What was not measured is told with the reason, in the person's language.
func TestUnmeasured(t *testing.T) {
	lang := i18n.Choose("zh-Hans", "")
	for want, u := range map[string]v1alpha1.UnmeasuredPorts{
		"未测量：没有发布主机端口":            {Reason: "no port of the host is published"},
		"未测量（dns 53/udp）：只探测 TCP": {Service: "dns", Ports: "53/udp", Reason: "only TCP is probed"},
	} {
		if got := unmeasuredText(lang, u); got != want {
			t.Errorf("%+v is told as %q, want %q", u, got, want)
		}
	}
}
