// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/test/apps"
)

// watcher asks the application all the time, as its users would.
type watcher struct {
	cancel context.CancelFunc
	done   chan answers
}

// answers are what a watcher was told.
type answers struct {
	ok, failed int
	gap        time.Duration // the longest time without a good answer
}

func (a answers) String() string {
	return fmt.Sprintf("meanwhile the application answered %d requests and failed %d; the longest gap was %s",
		a.ok, a.failed, a.gap.Round(time.Millisecond))
}

// lossless says what was seen, and is an error if a request failed.
func (a answers) lossless() error {
	say("%s", a)
	if a.failed > 0 || a.ok == 0 {
		return errors.New("requests failed behind the gateway; that must not be")
	}
	return nil
}

func watchApp(ctx context.Context, url string) *watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{cancel: cancel, done: make(chan answers, 1)}
	go func() {
		var a answers
		// A connection of its own for each request: it is the way in that is watched.
		client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		good := time.Now()
		for ctx.Err() == nil {
			_, err := get(ctx, client, url)
			switch {
			case ctx.Err() != nil:
				continue
			case err != nil:
				a.failed++
			default:
				a.ok++
				a.gap = max(a.gap, time.Since(good))
				good = time.Now()
			}
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
		a.gap = max(a.gap, time.Since(good))
		w.done <- a
	}()
	return w
}

// stop ends the watch and says what was seen.
func (w *watcher) stop() answers {
	w.cancel()
	return <-w.done
}

// expectVersion asks the application once and wants that answer.
func expectVersion(ctx context.Context, app *apps.Repo, want string) error {
	got, err := get(ctx, &http.Client{Timeout: 5 * time.Second}, app.URL("/version"))
	if err != nil {
		return err
	}
	fmt.Printf("\033[36m$ curl %s\033[0m\n%s\n", app.URL("/version"), got)
	if got != want {
		return fmt.Errorf("the application answers version %s, not %s", got, want)
	}
	return nil
}

func get(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return strings.TrimSpace(string(body)), nil
}
