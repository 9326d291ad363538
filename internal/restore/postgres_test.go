// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"strings"
	"testing"
)

func TestAdapt(t *testing.T) {
	end := func(name string) string {
		return "SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity WHERE datname = " + name + " AND pid <> pg_catalog.pg_backend_pid();\n"
	}
	dump := `-- PostgreSQL database cluster dump
SET default_transaction_read_only = off;
DROP DATABASE IF EXISTS shop;
DROP DATABASE IF EXISTS "odd ""name'";
DROP ROLE IF EXISTS shop;
CREATE ROLE shop;
ALTER ROLE shop WITH SUPERUSER PASSWORD 'md5x';
CREATE ROLE "Re'ader";
CREATE ROLE "back\slash";
\connect template1
DROP ROLE IF EXISTS shop;
COPY public.t (a) FROM stdin;
CREATE ROLE evil;
\.
`
	want := end("'postgres'") + end("'template1'") + `-- PostgreSQL database cluster dump
SET default_transaction_read_only = off;
` + end("'shop'") + "DROP DATABASE IF EXISTS shop;\n" + end(`'odd "name'''`) + `DROP DATABASE IF EXISTS "odd ""name'";
-- DROP ROLE IF EXISTS shop;
DO 'BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = ''shop'') THEN CREATE ROLE shop; END IF; END';
ALTER ROLE shop WITH SUPERUSER PASSWORD 'md5x';
DO 'BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = ''Re''''ader'') THEN CREATE ROLE "Re''ader"; END IF; END';
DO  E'BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname =  E''back\\\\slash'') THEN CREATE ROLE "back\\slash"; END IF; END';
\connect template1
DROP ROLE IF EXISTS shop;
COPY public.t (a) FROM stdin;
CREATE ROLE evil;
\.
`
	var got strings.Builder
	if err := adapt(&got, strings.NewReader(dump)); err != nil {
		t.Fatal(err)
	}
	if got.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
	}
	if err := adapt(&strings.Builder{}, failingReader{}); err == nil {
		t.Error("a dump that cannot be read is taken for a whole one")
	}
}
