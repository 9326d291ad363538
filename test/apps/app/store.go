// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	_ "github.com/lib/pq" // the driver "postgres"
)

// openStore connects to PostgreSQL. Only the network is retried, for a quarter
// of a minute: a database that is being replaced is not a reason to crash.
func openStore(ctx context.Context, url string) (*sql.DB, error) {
	db, err := sql.Open("postgres", url)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(8)
	deadline, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		if err = db.PingContext(deadline); err == nil {
			return db, nil
		}
		if pause(deadline, 200*time.Millisecond) != nil {
			return nil, errors.Join(fmt.Errorf("connect to the database: %w", err), db.Close())
		}
	}
}

// insert adds one row to a table of the application.
func insert(ctx context.Context, db *sql.DB, table, version, host string) error {
	_, err := db.ExecContext(ctx, "INSERT INTO "+table+" (version, host) VALUES ($1, $2)", version, host)
	return err
}

// counts says how many rows the tables hold.
type counts struct {
	// Visits are the rows that the web service wrote, one a request.
	Visits int64 `json:"visits"`
	// Ticks are the rows that the worker wrote, one a second.
	Ticks int64 `json:"ticks"`
}

func count(ctx context.Context, db *sql.DB) (counts, error) {
	var c counts
	err := db.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM visits), (SELECT count(*) FROM ticks)").
		Scan(&c.Visits, &c.Ticks)
	return c, err
}

// worker writes a row a second until ctx ends.
func worker(ctx context.Context, v version) error {
	db, err := openStore(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer db.Close()
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		if err := insert(ctx, db, "ticks", v.name, host); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "worker: no row written:", err)
		}
		select {
		case <-ctx.Done():
			fmt.Println("worker: stopping")
			return pause(context.WithoutCancel(ctx), time.Duration(v.does.StopDelay))
		case <-ticker.C:
		}
	}
}

// migrate applies the files migrations/*.sql beside the program that the
// database has not seen, in the order of their names, each in a transaction.
func migrate(ctx context.Context, v version) error {
	if v.does.MigrateFails {
		return errors.New("told to fail by behaviour.json")
	}
	db, err := openStore(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())`); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(v.dir, "migrations", "*.sql"))
	if err != nil {
		return err
	}
	sort.Strings(files)
	for _, file := range files {
		if err := migrateOne(ctx, db, file); err != nil {
			return fmt.Errorf("migration %s: %w", filepath.Base(file), err)
		}
	}
	return nil
}

func migrateOne(ctx context.Context, db *sql.DB, file string) (err error) {
	statements, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if rollback := tx.Rollback(); !errors.Is(rollback, sql.ErrTxDone) {
			err = errors.Join(err, rollback)
		}
	}()
	name := strings.TrimSuffix(filepath.Base(file), ".sql")
	result, err := tx.ExecContext(ctx, `INSERT INTO migrations (name) VALUES ($1) ON CONFLICT DO NOTHING`, name)
	if err != nil {
		return err
	}
	added, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if added == 0 {
		return tx.Commit()
	}
	if _, err := tx.ExecContext(ctx, string(statements)); err != nil {
		return err
	}
	fmt.Println("migrate: applied", name)
	return tx.Commit()
}
