// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// OpenArtifact opens the data of an artifact of the backup id in dir, without
// its compression. The caller closes it.
func OpenArtifact(dir, id string, a Artifact) (io.ReadCloser, error) {
	f, err := os.Open(filepath.Join(dir, id, a.File))
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", id, a.Name, err)
	}
	zip, err := gzip.NewReader(bufio.NewReaderSize(f, 128<<10))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %s: %w: %w", id, a.Name, ErrCorrupt, err), f.Close())
	}
	return artifactReader{zip, f}, nil
}

type artifactReader struct {
	io.Reader
	file io.Closer
}

func (r artifactReader) Close() error { return r.file.Close() }

// Login is a way into a PostgreSQL server with the tools of its own container.
type Login struct {
	engine    Engine
	container string
	service   string
	env       []string // PGUSER, PGPASSWORD, PGHOST
	// User that the tools connect as.
	User string
	// Databases that can be connected to, without templates.
	Databases []string
}

// Connect finds a way into the PostgreSQL server of a service that runs, as a
// backup does. A server that does not let us in is a *DumpError.
func Connect(ctx context.Context, engine Engine, service Service) (*Login, error) {
	srv, err := (&postgresSource{engine: engine, service: service}).connect(ctx)
	if err != nil {
		return nil, err
	}
	return &Login{
		engine: engine, container: service.ContainerID, service: service.Name,
		env: srv.env, User: srv.user, Databases: srv.databases,
	}, nil
}

// Feed runs SQL from r, statement by statement, until the first error, which is
// returned with what the server said.
func (l *Login) Feed(ctx context.Context, r io.Reader) error {
	stderr := &tailBuffer{limit: errorLimit}
	cmd := []string{"psql", "-X", "-w", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres"}
	code, err := l.engine.Exec(ctx, l.container, cmd, docker.ExecOptions{Env: l.env, Stdin: r, Stderr: stderr})
	switch {
	case code > 0: // a reader that fails is the cause only if psql did not end first
		return fmt.Errorf("PostgreSQL service %s: psql ended with code %d: %s", l.service, code, cmp.Or(stderr.String(), "it said nothing"))
	case err != nil:
		return fmt.Errorf("PostgreSQL service %s: %w", l.service, err)
	}
	return nil
}

// PostgresMajor reads the major version of the server from the name of the tool
// that dumped it ("pg_dumpall (PostgreSQL) 15.4"); "" where it does not say.
func PostgresMajor(tool string) string {
	_, version, ok := strings.Cut(tool, "(PostgreSQL) ")
	if !ok {
		return ""
	}
	end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(version)
	}
	major := version[:end]
	if major == "9" { // until 9.6, two numbers made the major version
		if fields := strings.FieldsFunc(version, func(r rune) bool { return r == '.' || r == ' ' }); len(fields) > 1 {
			major += "." + fields[1]
		}
	}
	return major
}
