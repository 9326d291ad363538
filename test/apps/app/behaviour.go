// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// behaviour is what a version was told to do wrong, or slowly. The zero value
// is a program that works.
type behaviour struct {
	// StartDelay is how long the program needs until it is ready. Until then
	// the web server does not listen. The environment's START_DELAY goes first.
	StartDelay duration `json:"startDelay"`
	// StopDelay is how long the program goes on after SIGTERM.
	StopDelay duration `json:"stopDelay"`
	// Unhealthy makes /healthz, and with it the healthcheck, fail for ever.
	Unhealthy bool `json:"unhealthy"`
	// Crash ends the program with an error at once.
	Crash bool `json:"crash"`
	// CrashAfter ends the program with an error after that time.
	CrashAfter duration `json:"crashAfter"`
	// MigrateFails makes the migration fail before it changes anything.
	MigrateFails bool `json:"migrateFails"`
}

func loadBehaviour(path, startDelay string) (behaviour, error) {
	var b behaviour
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return b, err
	default:
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&b); err != nil {
			return b, fmt.Errorf("%s: %w", path, err)
		}
	}
	if startDelay != "" {
		if err := b.StartDelay.UnmarshalText([]byte(startDelay)); err != nil {
			return b, fmt.Errorf("START_DELAY: %w", err)
		}
	}
	return b, nil
}

// duration is a time.Duration written as in Go, "1.5s".
type duration time.Duration

// UnmarshalText reads a duration; a negative one is an error.
func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return err
	}
	if v < 0 {
		return fmt.Errorf("negative duration %s", text)
	}
	*d = duration(v)
	return nil
}
