// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"path"
	"slices"
	"strings"
)

// EnvKeys are the environment variables of a container that this package reads.
func EnvKeys() []string {
	return []string{
		"PGDATA", "PG_MAJOR", "PG_VERSION",
		"POSTGRES_USER", "POSTGRES_USER_FILE", "POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE", "POSTGRES_DB",
		"POSTGRESQL_USERNAME", "POSTGRESQL_PASSWORD", "POSTGRESQL_PASSWORD_FILE",
		"POSTGRESQL_POSTGRES_PASSWORD", "POSTGRESQL_POSTGRES_PASSWORD_FILE",
	}
}

// postgresImages are last parts of image names, beside all that end in
// "postgres" or "postgresql".
var postgresImages = []string{"postgis", "timescaledb", "timescaledb-ha", "pgvector", "citus", "spilo"}

// otherDatabases are image names of databases that can only be copied as
// files yet.
var otherDatabases = map[string]string{
	"mysql": "MySQL", "mariadb": "MariaDB", "percona": "Percona Server", "percona-server": "Percona Server", "mongo": "MongoDB",
	"mongodb": "MongoDB", "clickhouse-server": "ClickHouse", "influxdb": "InfluxDB", "cassandra": "Cassandra",
	"couchdb": "CouchDB", "elasticsearch": "Elasticsearch", "opensearch": "OpenSearch", "neo4j": "Neo4j",
}

// isPostgres recognises a PostgreSQL server, and says by what.
//
// POSTGRES_USER and the like alone prove nothing: clients of a database are
// given the same variables. PGDATA, PG_MAJOR and PG_VERSION are set by the
// official image and everything built from it.
func isPostgres(s Service) (reason string, ok bool) {
	if s.OneShot {
		return "", false
	}
	name := imageName(s.Image)
	if strings.HasSuffix(name, "postgres") || strings.HasSuffix(name, "postgresql") || slices.Contains(postgresImages, name) {
		return "its image is " + s.Image, true
	}
	for _, key := range []string{"PGDATA", "PG_MAJOR", "PG_VERSION"} {
		if s.Env[key] != "" {
			return key + " is set in its environment", true
		}
	}
	if s.Env["POSTGRES_PASSWORD"] != "" || s.Env["POSTGRES_PASSWORD_FILE"] != "" || s.Env["POSTGRES_DB"] != "" {
		for _, m := range s.Mounts {
			if path.Clean(m.Destination) == "/var/lib/postgresql" || strings.HasPrefix(m.Destination, "/var/lib/postgresql/") {
				return "it keeps its data in " + m.Destination, true
			}
		}
	}
	return "", false
}

// imageName is the last part of an image reference's repository, lower case.
func imageName(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	name := ref[strings.LastIndexByte(ref, '/')+1:]
	name, _, _ = strings.Cut(name, ":")
	return strings.ToLower(name)
}
