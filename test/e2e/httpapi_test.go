// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tmaxmax/go-sse"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
)

// httpClient is somebody with a token and no kubeconfig.
type httpClient struct {
	*site
	token string
}

func (s *site) httpClient(role string) *httpClient {
	s.t.Helper()
	name := strings.ToLower(s.name + "-" + role)
	token, errOut, code := s.Fairlead("token", "create", name, "--role", role, "--for", "1h", "-n", s.Namespace)
	if code != 0 {
		s.t.Fatalf("token create: %s", errOut)
	}
	s.t.Cleanup(func() { s.Fairlead("token", "revoke", name, "-n", s.Namespace) })
	return &httpClient{site: s, token: strings.TrimSpace(token)}
}

func (c *httpClient) open(method, path, body string) *http.Response {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+c.HTTP()+"/api/v1/namespaces/"+c.Namespace+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// ask expects an UpdateRequest with the status code.
func (c *httpClient) ask(method, path, body string, code int) *v1alpha1.UpdateRequest {
	c.t.Helper()
	response := c.open(method, path, body)
	var ur v1alpha1.UpdateRequest
	if err := json.NewDecoder(response.Body).Decode(&ur); err != nil || response.StatusCode != code {
		c.t.Fatalf("%s %s: %s, %v, %+v", method, path, response.Status, err, ur)
	}
	return &ur
}

// toTheEnd reads a stream until its last event, and returns the data of all of a
// type.
func (c *httpClient) toTheEnd(path, kind string) (data []string) {
	c.t.Helper()
	for e, err := range sse.Read(c.open(http.MethodGet, path, "").Body, &sse.ReadConfig{MaxEventSize: 1 << 20}) {
		if err != nil {
			c.t.Fatalf("%s: %v", path, err)
		}
		switch e.Type {
		case kind:
			data = append(data, e.Data)
		case "end":
			return data
		}
	}
	c.t.Fatalf("%s ended without its last event", path)
	return nil
}

func TestHTTPAPI(t *testing.T) {
	t.Parallel()
	s := running(t, apps.Hello, "")
	operator := s.httpClient("operator")
	wish := func(commit string) string {
		return `{"spec":{"applicationRef":{"name":"` + s.name + `"},"commit":"` + commit + `"}}`
	}
	second := s.publish("Second", map[string]string{"version.txt": "2\n"})

	plan := operator.ask("POST", "/plan", wish(second), 200)
	if plan.Status.Plan == nil || len(plan.Status.Plan.Services) == 0 || plan.Status.Plan.Services[0].Action != v1alpha1.ActionReplace {
		t.Errorf("plan %+v: %s", plan.Status.Plan, plan.Status.Message)
	}
	s.wantVersion("1")

	ur := operator.ask("POST", "/requests", wish(second), 201)
	logged := make(chan []string, 1)
	go func() { logged <- operator.toTheEnd("/requests/"+ur.Name+"/log/events", "line") }()
	states := operator.toTheEnd("/requests/"+ur.Name+"/events", "status")
	var last v1alpha1.UpdateRequest
	if err := json.Unmarshal([]byte(states[len(states)-1]), &last); err != nil || last.Status.Phase != v1alpha1.PhaseSucceeded {
		t.Fatalf("it ended as %s, %v", last.Status.Phase, err)
	}
	if len(states) < 5 {
		t.Errorf("only %d states were seen", len(states))
	}
	file, err := os.ReadFile(last.Status.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(<-logged, "\n") + "\n"; got != string(file) {
		t.Errorf("the stream has %d bytes of a log of %d", len(got), len(file))
	}
	s.wantVersion("2")

	waiting := operator.ask("POST", "/requests", `{"spec":{"applicationRef":{"name":"`+s.name+`"},"suspend":true}}`, 201)
	operator.ask("POST", "/requests/"+waiting.Name+"/cancel", "", 202)
	s.WantEnd(waiting.Name, v1alpha1.PhaseCancelled)
	again := operator.ask("POST", "/requests/"+ur.Name+"/retry", "", 201)
	if again.Spec.Commit != second || !again.Spec.Retry {
		t.Errorf("retried as %+v", again.Spec)
	}
	s.WantEnd(again.Name, v1alpha1.PhaseSucceeded)

	viewer := s.httpClient("viewer")
	for _, write := range []string{"POST /requests", "POST /plan", "POST /requests/" + ur.Name + "/cancel", "POST /requests/" + ur.Name + "/retry", "DELETE /requests/" + ur.Name} {
		method, path, _ := strings.Cut(write, " ")
		body := ""
		if !strings.Contains(path, ur.Name) {
			body = wish(second)
		}
		response := viewer.open(method, path, body)
		if response.StatusCode != http.StatusForbidden {
			t.Errorf("the viewer's %s: %s", write, response.Status)
		}
		for _, name := range []string{"audit.log", "audit-http.log"} {
			log, err := os.ReadFile(filepath.Join(s.DataDir, name))
			if err != nil || !strings.Contains(string(log), response.Header.Get("Audit-Id")) {
				t.Errorf("%s is not in %s (%v)", write, name, err)
			}
		}
	}
}
