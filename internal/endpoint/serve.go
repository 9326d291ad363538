// SPDX-License-Identifier: Apache-2.0

// Package endpoint is the HTTP port of the daemon: where it listens, and with which certificate;
// health, and answers while it is not ready; bodies that do not come in; trusted proxies. What is
// served there, others bring.
package endpoint

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"

	"github.com/fairlead-dev/fairlead/internal/datadir"
	"github.com/fairlead-dev/fairlead/internal/pki"
)

const (
	// certificateCheck is how often it is looked whether the generated certificate
	// must be renewed.
	certificateCheck = 12 * time.Hour

	maxHeaderBytes = 64 << 10
)

// TLS says how the HTTP endpoints are encrypted. The zero value: not at all.
type TLS struct {
	// Generate makes a certificate that is signed by the authority in the data
	// directory, and renews it in time.
	Generate bool
	// Names that the generated certificate is for, besides those of this host:
	// DNS names or IP addresses.
	Names []string
	// CertFile and KeyFile are a certificate that somebody else looks after, and
	// its key, in PEM. They are read again when they change. Not with Generate.
	CertFile, KeyFile string
}

func (t TLS) on() bool { return t.Generate || t.CertFile != "" }

func (t TLS) check() error {
	switch {
	case (t.CertFile == "") != (t.KeyFile == ""):
		return errors.New("HTTP server: --tls-cert-file and --tls-private-key-file belong together")
	case t.Generate && t.CertFile != "":
		return errors.New("HTTP server: either --tls, which generates a certificate, or --tls-cert-file")
	case len(t.Names) > 0 && !t.Generate:
		return errors.New("HTTP server: --tls-san is for the certificate that --tls generates")
	}
	return nil
}

// Options say where and how the endpoints are served.
type Options struct {
	// Address to listen on; port 0 takes any free one. Required.
	Address string
	// TLS encrypts them. Without it, Address must be one of the loopback interface, or
	// InsecureHTTP set.
	TLS          TLS
	InsecureHTTP bool
	// Dir has the authority that signs a generated certificate. Required.
	Dir *datadir.Dir
	// Logger is told what goes wrong later.
	Logger logr.Logger
}

// Server is what is served.
type Server struct {
	listener net.Listener
	server   *http.Server
	failed   chan error
	helpers  sync.WaitGroup
	cancel   context.CancelFunc
}

// Serve serves handler until Stop. Whoever may see the network sees tokens
// that travel in the clear, so that an address beyond this host needs TLS or the
// operator's word.
func Serve(ctx context.Context, opts Options, handler http.Handler) (_ *Server, err error) {
	if err := opts.TLS.check(); err != nil {
		return nil, err
	}
	l, err := listen(ctx, opts.Address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &Server{
		listener: l, failed: make(chan error, 1), cancel: cancel,
		server: &http.Server{Handler: withBodyDeadline(handler, bodyTime, longBodyTime), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHeaderBytes,
			// What clients do wrong, such as to speak HTTP to HTTPS.
			ErrorLog: slog.NewLogLogger(logr.ToSlogHandler(opts.Logger.V(1)), slog.LevelInfo)},
	}
	defer func() {
		if err != nil {
			cancel()
			s.helpers.Wait()
			err = errors.Join(err, l.Close())
		}
	}()
	serve := s.server.Serve
	switch {
	case opts.TLS.on():
		if err := s.encrypt(ctx, opts); err != nil {
			return nil, fmt.Errorf("HTTP server: %w", err)
		}
		serve = func(l net.Listener) error { return s.server.ServeTLS(l, "", "") }
	case !isLoopback(l.Addr()) && !opts.InsecureHTTP:
		return nil, fmt.Errorf("HTTP server on %s: other hosts can reach this address, and tokens would travel in the clear: "+
			"add --tls, or --tls-cert-file and --tls-private-key-file; or --insecure-http, if a private network or a proxy protects it", opts.Address)
	}
	go func() {
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- err
		}
	}()
	return s, nil
}

// encrypt makes the server speak TLS with a certificate that is read again when
// its file changes.
func (s *Server) encrypt(ctx context.Context, opts Options) error {
	t, log := opts.TLS, opts.Logger
	if t.Generate {
		ip := net.IPv6unspecified
		if addr, ok := s.listener.Addr().(*net.TCPAddr); ok {
			ip = addr.IP
		}
		renew := func() (changed bool, err error) {
			t.CertFile, t.KeyFile, changed, err = pki.ServingCertificate(opts.Dir, time.Now(), ip, t.Names)
			return changed, err
		}
		if _, err := renew(); err != nil {
			return err
		}
		s.helpers.Go(func() { renewAgain(ctx, log, renew) })
	}
	watcher, err := certwatcher.New(t.CertFile, t.KeyFile)
	if err != nil {
		return fmt.Errorf("certificate %s with the key %s: %w", t.CertFile, t.KeyFile, err)
	}
	s.helpers.Go(func() {
		if err := watcher.Start(logr.NewContext(ctx, log)); err != nil {
			log.Error(err, "changes of the certificate are not noticed any more", "file", t.CertFile)
		}
	})
	s.server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: watcher.GetCertificate}
	return nil
}

func renewAgain(ctx context.Context, log logr.Logger, renew func() (bool, error)) {
	ticker := time.NewTicker(certificateCheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		switch changed, err := renew(); {
		case err != nil:
			log.Error(err, "the certificate of the HTTP endpoints could not be renewed; trying again later", "every", certificateCheck)
		case changed:
			log.Info("certificate of the HTTP endpoints renewed")
		}
	}
}

// isLoopback reports whether only this host reaches addr.
func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// Addr is the address that is listened on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Failed gets the error of a server that ended by itself.
func (s *Server) Failed() <-chan error { return s.failed }

// Stop ends it, within about a second.
func (s *Server) Stop(ctx context.Context) error {
	// A client that keeps a request open must not hold up the stop.
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = s.server.Close()
	}
	s.cancel()
	s.helpers.Wait()
	return err
}

// listen opens a TCP address or says what to do about it.
func listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("HTTP server on %s: %w; choose another address with --listen", address, err)
	}
	return l, nil
}
