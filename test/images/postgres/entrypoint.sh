#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Starts PostgreSQL. The same settings as the official image: POSTGRES_USER,
# POSTGRES_PASSWORD, POSTGRES_DB (each also as NAME_FILE), POSTGRES_INITDB_ARGS,
# POSTGRES_HOST_AUTH_METHOD, PGDATA and /docker-entrypoint-initdb.d.
set -euo pipefail

# setting NAME DEFAULT: the value of NAME, or of the file that NAME_FILE names.
setting() {
  local file="$1_FILE"
  if [[ -n ${!file:-} ]]; then
    [[ -z ${!1:-} ]] || { echo "error: both $1 and $file are set; keep one of them" >&2; exit 1; }
    printf %s "$(<"${!file}")"
  else
    printf %s "${!1:-$2}"
  fi
}

initialise() {
  local user password database method dir
  user="$(setting POSTGRES_USER postgres)"
  password="$(setting POSTGRES_PASSWORD '')"
  database="$(setting POSTGRES_DB "$user")"
  method="${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}"
  if [[ -z $password && $method != trust ]]; then
    echo 'error: the database is not initialised and POSTGRES_PASSWORD is empty; set it, or POSTGRES_HOST_AUTH_METHOD=trust' >&2
    exit 1
  fi

  # shellcheck disable=SC2086 # several arguments in one variable, as in the official image
  initdb --username="$user" --pwfile=<(printf '%s\n' "$password") ${POSTGRES_INITDB_ARGS:-}
  printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"

  # The server that runs the first scripts has its socket in a private place:
  # pg_isready must not call the database ready before it is.
  dir="$(mktemp -d)"
  export PGHOST="$dir" PGUSER="$user" PGPASSWORD="$password"
  pg_ctl -D "$PGDATA" -w -o "-c listen_addresses='' -c unix_socket_directories='$dir'" start
  if [[ $database != postgres ]]; then
    psql -v ON_ERROR_STOP=1 --no-psqlrc --dbname postgres --set db="$database" <<<'CREATE DATABASE :"db";' >/dev/null
  fi
  local f
  for f in /docker-entrypoint-initdb.d/*; do
    case "$f" in
      *.sh) bash "$f" ;;
      *.sql) psql -v ON_ERROR_STOP=1 --no-psqlrc --dbname "$database" -f "$f" ;;
    esac
  done
  pg_ctl -D "$PGDATA" -m fast -w stop
  unset PGHOST PGUSER PGPASSWORD
  rm -rf "$dir"
}

if [[ ${1:-} == -* ]]; then
  set -- postgres "$@"
fi

if [[ ${1:-} == postgres ]]; then
  if [[ $EUID -eq 0 ]]; then
    mkdir -p "$PGDATA"
    chmod 0700 "$PGDATA"
    find "$PGDATA" /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
    export HOME=/var/lib/postgresql
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
  fi
  [[ -s $PGDATA/PG_VERSION ]] || initialise
fi
exec "$@"
