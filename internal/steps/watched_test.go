// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// watching is a run whose application publishes the port of a server of this test.
func watching(t *testing.T, answer http.HandlerFunc) (*run, *compose.Project) {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	s := newRun(func(_ *v1alpha1.Application, r *v1alpha1.UpdateRequest) { r.UID = "watched" })
	s.log, s.rec = updatelog.Lost("", nil), &written{}
	return s, project(t, fmt.Sprintf(`services: {web: {image: web, ports: ["127.0.0.1:%s:80"]}}`, port))
}

// A request that hangs at the end of a step has failed, until the next step sees it answered.
func TestWatchedHangs(t *testing.T) {
	t.Parallel()
	asked, hang := make(chan struct{}, 100), make(chan struct{})
	s, model := watching(t, func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		if len(asked) > 1 {
			<-hang
		}
	})
	s.Step = v1alpha1.StepRollout
	err := s.watched(t.Context(), model, nil, func() error {
		<-time.After(2 * time.Second) // nobody tells of an answer that does not come
		return nil
	})
	d := s.Request.Status.Downtime
	if err != nil || d == nil || d.Probes != 2 || d.Failed != 1 || d.Slowest[0] == '0' || d.LongestGap[0] == '0' {
		t.Fatalf("seen: %+v, %v", d, err)
	}
	close(hang)
	s.Step = v1alpha1.StepVerify
	for len(asked) > 0 {
		<-asked
	}
	err = s.watched(t.Context(), model, nil, func() error { <-asked; return nil })
	if d := s.Request.Status.Downtime; err != nil || d.Probes < 2 || d.Failed != 0 || d.Slowest[0] == '0' || d.LongestGap != "0s" {
		t.Errorf("seen after that: %+v, %v", d, err)
	}
}
