// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

const (
	etcdStartTimeout = 60 * time.Second

	// etcd preallocates two log segments. Its default of 64 MB is meant for
	// clusters; our whole state is a few megabytes.
	walSegmentBytes = 4 << 20

	// Linux allows 107 bytes in the path of a unix socket.
	maxSocketPath = 100
)

var setSegmentSize = sync.OnceFunc(func() { wal.SegmentSizeBytes = walSegmentBytes })

// etcd is the running store.
type etcd struct {
	server   *embed.Etcd
	endpoint string
	// pin keeps the directory open while the socket is reached through it.
	pin *os.File
}

// startEtcd runs etcd on dir, reachable only through a unix socket in it, and
// returns when it serves. It gives up after etcdStartTimeout or when ctx ends.
func startEtcd(ctx context.Context, dir string, logger *zap.Logger) (*etcd, error) {
	setSegmentSize()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	socketDir, pin, err := socketDirectory(dir)
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	e := &etcd{endpoint: "unix://" + filepath.Join(socketDir, "etcd.sock"), pin: pin}
	client, err := url.Parse(e.endpoint)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("etcd: %w", err), e.unpin())
	}

	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.ListenPeerUrls = nil // a single member has nobody to talk to
	cfg.ListenClientUrls = []url.URL{*client}
	cfg.AdvertiseClientUrls = []url.URL{*client}
	cfg.EnableGRPCGateway = false
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger)
	// The only member waits for an election before it elects itself.
	cfg.TickMs, cfg.ElectionMs = 50, 250
	cfg.MaxSnapFiles, cfg.MaxWalFiles = 2, 2
	cfg.SnapshotCount = 5000
	// Builds on the same host make the store slow now and then; that is no news.
	cfg.WarningApplyDuration, cfg.WarningUnaryRequestDuration = time.Second, time.Second

	ctx, cancel := context.WithTimeout(ctx, etcdStartTimeout)
	defer cancel()
	type result struct {
		server *embed.Etcd
		err    error
	}
	started := make(chan result, 1)
	go func() {
		// StartEtcd knows no context and blocks while another process holds the
		// files, so it runs aside and is given up when ctx ends.
		server, err := embed.StartEtcd(cfg)
		if err == nil {
			select {
			case <-server.Server.ReadyNotify():
			case err = <-server.Err():
			case <-server.Server.StopNotify():
				err = errors.New("stopped while starting")
			case <-ctx.Done():
				err = ctx.Err()
			}
			if err != nil {
				server.Close()
			}
		}
		started <- result{server, err}
	}()
	select {
	case r := <-started:
		if r.err != nil {
			return nil, errors.Join(fmt.Errorf("etcd did not start on %s: %w", dir, r.err), e.unpin())
		}
		e.server = r.server
		return e, nil
	case <-ctx.Done():
		// The pin stays open: the abandoned start may still use it.
		return nil, fmt.Errorf("etcd did not become ready on %s: %w; look for another process that uses the directory, "+
			"and for a full or very slow disk", dir, context.Cause(ctx))
	}
}

// err reports a failure of the running store.
func (e *etcd) err() <-chan error { return e.server.Err() }

// stopped is closed when the store has ended for whatever reason.
func (e *etcd) stopped() <-chan struct{} { return e.server.Server.StopNotify() }

func (e *etcd) stop() error {
	e.server.Close()
	return e.unpin()
}

func (e *etcd) unpin() error {
	if e.pin == nil {
		return nil
	}
	return e.pin.Close()
}

// socketDirectory returns a path of dir that is short enough for a unix socket:
// dir itself, or an open descriptor of it under /proc.
func socketDirectory(dir string) (string, *os.File, error) {
	if len(dir)+len("/etcd.sock") <= maxSocketPath {
		return dir, nil, nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d", f.Fd()), f, nil
}
