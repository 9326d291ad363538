// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLoadBehaviour(t *testing.T) {
	for name, c := range map[string]struct {
		file, env string
		want      behaviour
		wrong     bool
	}{
		"no file":           {want: behaviour{}},
		"empty":             {file: `{}`},
		"all":               {file: `{"startDelay":"2s","unhealthy":true}`, want: behaviour{StartDelay: duration(2 * time.Second), Unhealthy: true}},
		"environment first": {file: `{"startDelay":"2s"}`, env: "1s", want: behaviour{StartDelay: duration(time.Second)}},
		"unknown key":       {file: `{"starDelay":"2s"}`, wrong: true},
		"negative":          {file: `{"stopDelay":"-2s"}`, wrong: true},
		"bad environment":   {env: "soon", wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "behaviour.json")
			if c.file != "" {
				if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := loadBehaviour(path, c.env)
			if (err != nil) != c.wrong {
				t.Fatalf("error %v, want one: %v", err, c.wrong)
			}
			if err == nil && got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

func TestHandler(t *testing.T) {
	for name, c := range map[string]struct {
		v    version
		path string
		code int
		body string
	}{
		"version":    {v: version{name: "7"}, path: "/version", code: 200, body: "7\n"},
		"healthy":    {path: "/healthz", code: 200, body: "ok\n"},
		"unhealthy":  {v: version{does: behaviour{Unhealthy: true}}, path: "/healthz", code: 503, body: "told to be unhealthy by behaviour.json\n"},
		"no count":   {path: "/count", code: 404, body: "404 page not found\n"},
		"slow":       {v: version{name: "7"}, path: "/slow?d=1ms", code: 200, body: "7\n"},
		"ask wrong":  {path: "/ask?url=http://127.0.0.1:0/", code: 502, body: "Get \"http://127.0.0.1:0/\": dial tcp 127.0.0.1:0: connect: connection refused\n"},
		"slow wrong": {path: "/slow", code: 400, body: "time: invalid duration \"\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			handler(c.v, nil).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.path, nil))
			if rec.Code != c.code || rec.Body.String() != c.body {
				t.Errorf("%d %q, want %d %q", rec.Code, rec.Body, c.code, c.body)
			}
		})
	}
}

func TestRunDoesAsToldByFiles(t *testing.T) {
	for name, c := range map[string]struct {
		file, command string
		crash         bool
	}{
		"crash":         {file: `{"crash":true}`, command: "web"},
		"crash later":   {file: `{"crashAfter":"1ms","startDelay":"1m"}`, command: "worker", crash: true},
		"migrate fails": {file: `{"migrateFails":true}`, command: "migrate"},
		"no such":       {file: `{}`, command: "nonsense"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("APP_DIR", t.TempDir())
			if err := os.WriteFile(filepath.Join(os.Getenv("APP_DIR"), "behaviour.json"), []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			err := run(t.Context(), []string{c.command})
			if err == nil || errors.Is(err, errCrash) != c.crash {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
