// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

// readyPoll is how often a server that was started is asked whether it is ready,
// and readyTimeout how long.
const (
	readyPoll    = 250 * time.Millisecond
	readyTimeout = 2 * time.Minute
)

// feedDump restores the dump of a server that runs.
func feedDump(ctx context.Context, engine *docker.Client, service backup.Service, dump io.Reader) error {
	if err := awaitServer(ctx, engine, service.ContainerID); err != nil {
		return err
	}
	login, err := backup.Connect(ctx, engine, service)
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(adapt(w, dump)) }()
	defer func() { _ = r.Close() }()
	return login.Feed(ctx, r)
}

// awaitServer waits until the server listens on TCP: while a new data directory
// is made, the official image runs a server that answers on its socket, and
// stops it again. A server that never listens on TCP is taken as it is.
func awaitServer(ctx context.Context, engine *docker.Client, id string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	socket := []string{"pg_isready", "-q"}
	for n := 0; ; n++ {
		code, err := engine.Exec(ctx, id, append(socket, "-h", "127.0.0.1"), docker.ExecOptions{})
		if err == nil && code == 0 {
			return nil
		}
		if err == nil && code >= 126 {
			return nil // the image does not have the tool; the health gate must do
		}
		if err != nil && ctx.Err() == nil && !docker.IsConflict(err) {
			return fmt.Errorf("ask the PostgreSQL server whether it is ready: %w", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			code, err := engine.Exec(context.WithoutCancel(ctx), id, socket, docker.ExecOptions{})
			if err == nil && code == 0 {
				return nil
			}
			return errors.Join(errors.New("the PostgreSQL server does not become ready"), err)
		}
	}
}

// adapt rewrites the beginning of what pg_dumpall wrote, up to the first
// \connect, so that it can be restored with every error being one:
//
//   - Sessions that would keep a database from being dropped are ended first.
//   - Roles are made where they are missing, and not dropped: the one that we
//     are connected as cannot be, nor one that owns things elsewhere. The ALTER
//     ROLE that follows each of them sets all that it is in any case.
//
// What comes after that, with the data, is passed on untouched.
func adapt(w io.Writer, dump io.Reader) error {
	r := bufio.NewReaderSize(dump, 64<<10)
	for _, name := range []string{"postgres", "template1"} {
		// They are dropped and made anew in the middle of the dump.
		if _, err := io.WriteString(w, endSessions(quoteLiteral(name))); err != nil {
			return err
		}
	}
	for {
		line, err := r.ReadBytes('\n')
		connect := bytes.HasPrefix(line, []byte(`\connect `))
		if !connect {
			line = adaptLine(line)
		}
		if _, werr := w.Write(line); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if connect {
			break
		}
	}
	_, err := io.Copy(w, r)
	return err
}

func adaptLine(line []byte) []byte {
	text := strings.TrimRight(string(line), "\r\n")
	if name, ok := statement(text, "DROP DATABASE IF EXISTS "); ok {
		return []byte(endSessions(quoteLiteral(name)) + text + "\n")
	}
	if _, ok := statement(text, "DROP ROLE IF EXISTS "); ok {
		return []byte("-- " + text + "\n")
	}
	if name, ok := statement(text, "CREATE ROLE "); ok {
		// In plain SQL: newer dumps forbid most backslash commands (\restrict).
		body := "BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = " + quoteLiteral(name) + ") THEN " + text + " END IF; END"
		return []byte("DO " + quoteLiteral(body) + ";\n")
	}
	return line
}

// statement reads the identifier of a statement that has nothing else.
func statement(text, verb string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(text, verb)
	if !ok {
		return "", false
	}
	rest, ok = strings.CutSuffix(rest, ";")
	if !ok || rest == "" {
		return "", false
	}
	if rest[0] != '"' {
		return rest, !strings.ContainsAny(rest, " \"'")
	}
	if len(rest) < 3 || rest[len(rest)-1] != '"' {
		return "", false
	}
	return strings.ReplaceAll(rest[1:len(rest)-1], `""`, `"`), true
}

func endSessions(database string) string {
	return "SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity WHERE datname = " +
		database + " AND pid <> pg_catalog.pg_backend_pid();\n"
}

// quoteLiteral writes a string constant, whatever standard_conforming_strings is.
func quoteLiteral(s string) string {
	if strings.Contains(s, `\`) {
		return ` E'` + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `'`, `''`) + `'`
	}
	return `'` + strings.ReplaceAll(s, `'`, `''`) + `'`
}
