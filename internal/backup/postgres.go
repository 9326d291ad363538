// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

const (
	// applicationName marks our sessions in pg_stat_activity. When a dump is
	// given up, the engine cannot end pg_dumpall; its sessions, and with them the
	// locks that would block a migration, are ended through the server.
	applicationName = "fairlead_backup"
	// lockTimeout, in ms, is how long a dump waits for a table that somebody
	// holds for himself alone.
	lockTimeout = "60000"
	// outputLimit bounds what is kept of a tool's output, in bytes.
	outputLimit = 1 << 20
	errorLimit  = 2000
	// startGrace is how long after its start a server may not listen yet.
	startGrace = time.Minute
)

// comingOrGoing is what a server says, however long it takes, while it recovers or stops.
var comingOrGoing = []string{"the database system is starting up", "the database system is not yet accepting connections",
	"the database system is shutting down", "the database system is in recovery mode",
}

// postgresSource dumps all databases of a PostgreSQL server with the server's own
// tools, inside its container.
type postgresSource struct {
	engine  Engine
	clock   func() time.Time
	service Service
	dbs     *server // nil until connect has found it
}

// server is what connect learns of a server.
type server struct {
	env       []string // PGUSER, PGPASSWORD, PGHOST
	databases []string
	bytes     int64
	superuser bool
	user      string
}

func (s *postgresSource) size(ctx context.Context) (int64, bool, error) {
	srv, err := s.connect(ctx)
	if err != nil {
		return 0, false, err
	}
	return srv.bytes, true, nil
}

func (s *postgresSource) write(ctx context.Context, w io.Writer) (_ content, err error) {
	s.dbs = nil // databases may have come or gone since the size was asked for
	srv, err := s.connect(ctx)
	if err != nil {
		return content{}, err
	}
	before, err := s.engine.ContainerInspect(ctx, s.service.ContainerID)
	if err != nil {
		return content{}, fmt.Errorf("PostgreSQL service %s: %w", s.service.Name, err)
	}
	restarted := func(now *container.State) bool { return before.State != nil && now.StartedAt != before.State.StartedAt }
	s.endSessions(ctx, srv) // of a dump that a crash left behind
	done := false
	defer func() {
		if !done {
			ctx, cancel := cleanup(ctx)
			defer cancel()
			s.endSessions(ctx, srv)
		}
	}()
	c := content{databases: srv.databases, tool: "pg_dumpall"}
	if version, _, err := s.run(ctx, srv.env, "pg_dumpall", "--version"); err == nil {
		c.tool = strings.TrimSpace(string(version))
	}
	cmd := []string{"pg_dumpall", "--clean", "--if-exists", "--no-password", "--lock-wait-timeout=" + lockTimeout}
	if !srv.superuser {
		cmd = append(cmd, "--no-role-passwords")
		c.notes = append(c.notes, fmt.Sprintf("the passwords of the roles are not in the dump, as the user %s is no superuser", srv.user))
	}
	scanner, stderr := newDumpScanner(), &tailBuffer{limit: errorLimit}
	code, err := s.engine.Exec(ctx, s.service.ContainerID, cmd, docker.ExecOptions{
		Env: append(srv.env, "PGAPPNAME="+applicationName), Stdout: io.MultiWriter(w, scanner), Stderr: stderr,
	})
	if err != nil {
		return content{}, fmt.Errorf("dump of the PostgreSQL service %s: %w", s.service.Name, err)
	}
	if code != 0 {
		said := stderr.String()
		if said == "" {
			said = string(scanner.tail) // where the engine reports that a command cannot be started
		}
		return content{}, s.unlessLost(ctx, restarted, s.failed("pg_dumpall ended with code %d: %s", code, said))
	}
	if err := scanner.check(srv.databases); err != nil {
		return content{}, s.unlessLost(ctx, restarted, &DumpError{Service: s.service.Name, Detail: "pg_dumpall reported success", Err: err})
	}
	if said := stderr.String(); said != "" {
		c.notes = append(c.notes, "pg_dumpall: "+said)
	}
	done = true
	return c, nil
}

const (
	listQuery = `SELECT datname, pg_database_size(oid), (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) ` +
		`FROM pg_database WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2 ORDER BY 1`
	endQuery = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = '` + applicationName + `'`
)

// connect finds a way into the server and lists its databases.
func (s *postgresSource) connect(ctx context.Context) (*server, error) {
	if s.dbs != nil {
		return s.dbs, nil
	}
	user, password, err := s.credentials(ctx)
	if err != nil {
		return nil, err
	}
	env := []string{"PGUSER=" + user, "PGCONNECT_TIMEOUT=10"}
	if password != "" {
		env = append(env, "PGPASSWORD="+password)
	}
	var reasons []string
	for _, host := range []string{"", "127.0.0.1"} { // the socket first: images let it in without a password
		env := env
		if host != "" {
			env = append(env[:len(env):len(env)], "PGHOST="+host)
		}
		out, failure, err := s.query(ctx, env, listQuery)
		if err != nil {
			return nil, err
		}
		if failure != "" {
			reasons = append(reasons, failure)
			continue
		}
		srv, err := parseServer(out)
		if err != nil {
			return nil, s.failed("the list of databases is not understood: %v", err)
		}
		srv.env, srv.user = env, user
		s.dbs = srv
		return srv, nil
	}
	// A server that answers says so; one that was started just now may not answer yet.
	young := func(now *container.State) bool {
		started, err := time.Parse(time.RFC3339Nano, now.StartedAt)
		return err == nil && s.clock().Sub(started).Abs() < startGrace &&
			!slices.ContainsFunc(reasons, func(said string) bool { return strings.Contains(said, "FATAL:") || strings.Contains(said, "not found") })
	}
	return nil, s.unlessLost(ctx, young, s.failed("no connection as user %q: %s. If this service is no database server, name those that are in backup.databases",
		user, strings.Join(reasons, "; ")))
}

// unlessLost returns what a server failed with, unless it says that it comes up or goes down, or its container
// does not run or is excused, as when the engine is restarted meanwhile. That passes, or the next attempt finds
// the container stopped.
func (s *postgresSource) unlessLost(ctx context.Context, excused func(now *container.State) bool, failed error) error {
	for _, said := range comingOrGoing {
		if strings.Contains(failed.Error(), said) {
			return s.passing(failed)
		}
	}
	c, err := s.engine.ContainerInspect(ctx, s.service.ContainerID)
	if docker.IsUnavailable(err) {
		return fmt.Errorf("%w (%v)", err, failed)
	}
	if err != nil || c.ContainerJSONBase == nil || c.State == nil {
		return failed
	}
	if !c.State.Running || c.State.Restarting || excused(c.State) {
		return s.passing(failed)
	}
	return failed
}

// passing is an error that may pass, unlike the DumpError that it tells of.
func (s *postgresSource) passing(failed error) error {
	return fmt.Errorf("the PostgreSQL service %s was stopped or started at this moment: %v", s.service.Name, failed)
}

// parseServer reads name, size, superuser, each ended by a zero byte.
func parseServer(out []byte) (*server, error) {
	fields := strings.Split(strings.TrimSuffix(strings.TrimSuffix(string(out), "\n"), "\x00"), "\x00")
	if len(fields)%3 != 0 {
		return nil, fmt.Errorf("%d fields", len(fields))
	}
	srv := &server{}
	for row := fields; len(row) > 0; row = row[3:] {
		n, err := strconv.ParseInt(row[1], 10, 64)
		if err != nil {
			return nil, err
		}
		srv.databases, srv.bytes, srv.superuser = append(srv.databases, row[0]), srv.bytes+n, row[2] == "t"
	}
	return srv, nil
}

// credentials come from the container's environment, or from the files (Docker
// secrets) that it names.
func (s *postgresSource) credentials(ctx context.Context) (user, password string, err error) {
	env := s.service.Env
	secret := func(name string) (string, error) {
		if v := env[name]; v != "" || env[name+"_FILE"] == "" {
			return v, nil
		}
		out, failure, err := s.run(ctx, nil, "cat", env[name+"_FILE"])
		if err == nil && failure != "" {
			err = s.failed("%s_FILE cannot be read in the container", name)
		}
		return strings.TrimRight(string(out), "\r\n"), err
	}
	get := func(name string) (v string) {
		if err == nil {
			v, err = secret(name)
		}
		return v
	}
	if admin := get("POSTGRESQL_POSTGRES_PASSWORD"); admin != "" { // Bitnami's superuser beside an ordinary user
		return "postgres", admin, err
	}
	user = cmp.Or(get("POSTGRES_USER"), env["POSTGRESQL_USERNAME"], "postgres")
	password = cmp.Or(get("POSTGRES_PASSWORD"), get("POSTGRESQL_PASSWORD"))
	return user, password, err
}

// endSessions ends what an earlier dump left running. That it cannot is no reason
// to fail: such a dump comes to its end by itself.
func (s *postgresSource) endSessions(ctx context.Context, srv *server) {
	_, _, _ = s.query(ctx, srv.env, endQuery)
}

// query runs SQL and returns the result with fields and rows ended by zero
// bytes; failure says why there is none.
func (s *postgresSource) query(ctx context.Context, env []string, sql string) (out []byte, failure string, err error) {
	return s.run(ctx, env, "psql", "-X", "-w", "-q", "-A", "-t", "-z", "-0", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", sql)
}

// run runs a short command in the container. failure is what it said when its
// exit code is not 0.
func (s *postgresSource) run(ctx context.Context, env []string, cmd ...string) (out []byte, failure string, err error) {
	stdout, stderr := &tailBuffer{limit: outputLimit}, &tailBuffer{limit: errorLimit}
	code, err := s.engine.Exec(ctx, s.service.ContainerID, cmd, docker.ExecOptions{Env: env, Stdout: stdout, Stderr: stderr})
	if err != nil {
		return nil, "", fmt.Errorf("PostgreSQL service %s: %w", s.service.Name, err)
	}
	if code != 0 {
		return nil, cmp.Or(stderr.String(), stdout.String(), fmt.Sprintf("%s ended with code %d", cmd[0], code)), nil
	}
	return stdout.buf, "", nil
}

func (s *postgresSource) failed(format string, args ...any) error {
	return &DumpError{Service: s.service.Name, Detail: fmt.Sprintf(format, args...)}
}

// tailBuffer keeps the last bytes that are written to it.
type tailBuffer struct {
	limit int
	buf   []byte
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	b.buf = append(b.buf, p[max(0, len(p)-b.limit):]...)
	b.buf = b.buf[max(0, len(b.buf)-b.limit):]
	return len(p), nil
}

// String is the text on one line.
func (b *tailBuffer) String() string {
	return strings.Join(strings.FieldsFunc(string(bytes.ToValidUTF8(b.buf, []byte("?"))), func(r rune) bool { return r == '\n' || r == '\r' }), " ")
}
