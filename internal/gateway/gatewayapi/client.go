// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// The control API, over HTTP on the socket.
const (
	// PathState takes (PUT) and gives (GET) the DesiredState. PUT is answered with the
	// ObservedState once the state is in force and in the state file.
	PathState = "/v1/state"
	// PathObserved gives the ObservedState.
	PathObserved = "/v1/observed"
	// PathChanges gives each TargetChange as it happens, one in a line, until the client or the process ends.
	// First come those that are unhealthy now. Empty lines say that the gateway is there.
	PathChanges = "/v1/changes"
	// PathMetrics gives the metrics for Prometheus.
	PathMetrics = "/metrics"
	// PathProgram takes (PUT) a Program and is answered when that has taken over.
	PathProgram = "/v1/program"
	// PathFollow takes (PUT) a DesiredState at a process whose successor has taken over, for what it still works on.
	PathFollow = "/v1/follow"
)

// ChangesEvery is the longest time between two lines of PathChanges.
const ChangesEvery = 5 * time.Second

// maxAnswer bounds what a client reads.
const maxAnswer = 64 << 20

// ErrRevision is a put with a revision that is lower than the applied one, or the same with
// another content.
var ErrRevision = errors.New("the gateway has a newer state")

// ErrInvalid is a put of a state that the gateway cannot apply.
var ErrInvalid = errors.New("the gateway refuses the state")

// ErrEnding is a call to a process that ends, often as its successor has taken over: the next call
// reaches that one.
var ErrEnding = errors.New("the gateway is ending")

// Client speaks to one gateway.
type Client struct {
	http http.Client
}

// NewClient is a client of the gateway whose directory is dir. It connects when it is used.
func NewClient(dir string) *Client { return NewSocketClient(filepath.Join(dir, SocketName)) }

// NewSocketClient is a client of the process that listens on a socket.
func NewSocketClient(path string) *Client {
	dialer := &net.Dialer{}
	return &Client{http: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true, // a gateway may be replaced between two calls
	}}}
}

// Put puts the state and gives what became of it. Listeners that cannot be bound are no error: the
// ObservedState says which. Errors are ErrRevision, ErrInvalid, or that the gateway is not there.
func (c *Client) Put(ctx context.Context, state *DesiredState) (*ObservedState, error) {
	data, err := json.Marshal(state)
	if err != nil {
		return nil, err
	}
	observed := &ObservedState{}
	return observed, c.call(ctx, http.MethodPut, PathState, data, observed)
}

// Follow tells a process whose successor has taken over the state that this one has.
func (c *Client) Follow(ctx context.Context, state *DesiredState) error {
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPut, PathFollow, data, nil)
}

// Desired gives the state that is in force, nil before the first one.
func (c *Client) Desired(ctx context.Context) (*DesiredState, error) {
	state := &DesiredState{}
	if err := c.call(ctx, http.MethodGet, PathState, nil, state); err != nil || state.Revision == 0 {
		return nil, err
	}
	return state, nil
}

// Observed gives what the gateway does.
func (c *Client) Observed(ctx context.Context) (*ObservedState, error) {
	observed := &ObservedState{}
	return observed, c.call(ctx, http.MethodGet, PathObserved, nil, observed)
}

// Changes calls f with what changes of the health of targets, until ctx ends or the gateway does. It
// always returns an error.
func (c *Client) Changes(ctx context.Context, f func(TargetChange)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gateway"+PathChanges, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("gateway: %s", resp.Status)
	}
	// One that hangs is left: it speaks more often than that.
	silent := time.AfterFunc(3*ChangesEvery, func() { resp.Body.Close() })
	defer silent.Stop()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		silent.Reset(3 * ChangesEvery)
		if len(lines.Bytes()) == 0 {
			continue
		}
		var change TargetChange
		if err := json.Unmarshal(lines.Bytes(), &change); err != nil {
			return fmt.Errorf("gateway: unreadable change: %w", err)
		}
		f(change)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	return fmt.Errorf("gateway: %w", io.ErrUnexpectedEOF)
}

// Metrics gives the metrics in Prometheus' text format.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	var metrics []byte
	return metrics, c.call(ctx, http.MethodGet, PathMetrics, nil, &metrics)
}

// Replace has the gateway replaced by another program, without a connection being refused or a
// request being lost: the new one takes over sockets and state, the old one lets what it
// works on end. It returns when the new one serves; an error says that the old one goes on.
func (c *Client) Replace(ctx context.Context, program Program) error {
	data, err := json.Marshal(program)
	if err != nil {
		return err
	}
	var answer []byte
	return c.call(ctx, http.MethodPut, PathProgram, data, &answer)
}

func (c *Client) call(ctx context.Context, method, path string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://gateway"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	message := strings.TrimSpace(string(data))
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusConflict:
		return fmt.Errorf("%w: %s", ErrRevision, message)
	case http.StatusGone:
		return ErrEnding
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return fmt.Errorf("%w: %s", ErrInvalid, message)
	default:
		return fmt.Errorf("gateway: %s: %s", resp.Status, message)
	}
	if into == nil {
		return nil
	}
	if raw, ok := into.(*[]byte); ok {
		*raw = data
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("gateway: unreadable answer: %w", err)
	}
	return nil
}
