// SPDX-License-Identifier: Apache-2.0

package githubtest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// Push is the payload of a push event, in the shape that GitHub sends.
func Push(repo, ref, before, after string) []byte {
	zero := strings.Repeat("0", 40)
	owner, name, _ := strings.Cut(repo, "/")
	var head any
	commits := []object{}
	if after != zero {
		commit := object{
			"id": after, "tree_id": after, "distinct": true, "message": "Change something", "timestamp": "2026-03-01T12:00:00+01:00",
			"url":    "https://github.com/" + repo + "/commit/" + after,
			"author": object{"name": "Ada", "email": "ada@example.com", "username": "ada"}, "committer": object{"name": "GitHub", "email": "noreply@github.com"},
			"added": []string{}, "removed": []string{}, "modified": []string{"README.md"},
		}
		head, commits = commit, append(commits, commit)
	}
	return marshal(object{
		"ref": ref, "before": before, "after": after, "created": before == zero, "deleted": after == zero, "forced": false, "base_ref": nil,
		"compare": "https://github.com/" + repo + "/compare/" + before + "..." + after, "commits": commits, "head_commit": head,
		"repository": object{
			"id": 1296269, "name": name, "full_name": repo, "private": false, "owner": object{"name": owner, "login": owner, "id": 1, "type": "User"},
			"html_url": "https://github.com/" + repo, "url": "https://github.com/" + repo, "created_at": 1577836800,
			"updated_at": "2026-03-01T10:59:00Z", "pushed_at": time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC).Unix(), "default_branch": "main", "master_branch": "main",
		},
		"pusher": object{"name": "ada", "email": "ada@example.com"}, "sender": object{"login": "ada", "id": 1, "type": "User"},
	})
}

// Release is the payload of a release event.
func Release(repo, action, tag string) []byte {
	owner, name, _ := strings.Cut(repo, "/")
	return marshal(object{
		"action": action,
		"release": object{
			"id": 1, "tag_name": tag, "target_commitish": "main", "name": tag, "draft": false, "prerelease": false,
			"html_url": "https://github.com/" + repo + "/releases/tag/" + tag, "created_at": "2026-03-01T11:00:00Z", "published_at": "2026-03-01T11:00:00Z",
		},
		"repository": object{"id": 1296269, "name": name, "full_name": repo, "owner": object{"login": owner, "id": 1, "type": "User"}},
		"sender":     object{"login": "ada", "id": 1, "type": "User"},
	})
}

// Ping is the payload of a ping event, which GitHub sends when a webhook is made.
func Ping(repo string) []byte {
	_, name, _ := strings.Cut(repo, "/")
	return marshal(object{
		"zen": "Keep it logically awesome.", "hook_id": 109948940,
		"hook":       object{"type": "Repository", "id": 109948940, "name": "web", "active": true, "events": []string{"push", "release"}},
		"repository": object{"id": 1296269, "name": name, "full_name": repo},
	})
}

func marshal(o object) []byte {
	out, err := json.Marshal(o)
	if err != nil {
		panic(err) // maps of plain values
	}
	return out
}

// Sign is the value of X-Hub-Signature-256.
func Sign(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// Delivery is the request with which GitHub delivers an event as JSON.
func Delivery(url, event, id, secret string, body []byte) *http.Request {
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body)) //nolint:noctx // the caller's test has the context
	if err != nil {
		panic(err) // the URL is the test's own
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "GitHub-Hookshot/0abc123", "X-GitHub-Event": event, "X-GitHub-Delivery": id,
		"X-GitHub-Hook-ID": "109948940", "X-GitHub-Hook-Installation-Target-Type": "repository",
	} {
		req.Header.Set(name, value)
	}
	if secret != "" {
		req.Header.Set("X-Hub-Signature-256", Sign(secret, body))
	}
	return req
}
