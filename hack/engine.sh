#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Sees to it that a Docker engine answers: the one that runs, or, as root on
# Debian or Ubuntu, one that it installs and starts.
#
#   hack/engine.sh          # a running engine is used as it is
#   hack/engine.sh stop     # stops the one that this script started; no other
#
# The process id and the log of an engine that it started are in
# ${FAIRLEAD_ENGINE_DIR:-/var/tmp/fairlead-engine}.
set -euo pipefail

readonly dir="${FAIRLEAD_ENGINE_DIR:-/var/tmp/fairlead-engine}"
readonly pidfile="$dir/dockerd.pid" log="$dir/dockerd.log"
readonly ready_seconds=60

say() { printf 'engine: %s\n' "$*" >&2; }
die() { printf 'engine: %s\n' "$*" >&2; exit 1; }

# version: the engine's version, or nothing. Without a client, a socket that
# answers is enough: the tests bring their own.
version() {
  if command -v docker >/dev/null; then
    timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null
  elif command -v curl >/dev/null && [[ -z ${DOCKER_HOST:-} || ${DOCKER_HOST:-} == unix://* ]]; then
    local socket="${DOCKER_HOST:-unix:///var/run/docker.sock}"
    timeout 10 curl -sf --unix-socket "${socket#unix://}" http://engine/version 2>/dev/null |
      sed -nE 's/^.*"Version":"([^"]+)","ApiVersion".*$/\1/p' | grep .
  else
    return 1
  fi
}

# started: the process id of the engine that this script started, if it still
# is one: the number may have gone to another program since.
started() {
  local pid
  pid="$(cat "$pidfile" 2>/dev/null)" || return 1
  [[ $pid =~ ^[0-9]+$ && "$(cat "/proc/$pid/comm" 2>/dev/null)" == dockerd ]] || return 1
  printf '%s\n' "$pid"
}

install_engine() {
  local missing=()
  command -v dockerd >/dev/null || missing+=(docker.io)
  command -v docker >/dev/null || missing+=(docker.io)
  command -v iptables >/dev/null || missing+=(iptables)
  [[ ${#missing[@]} -gt 0 ]] || return 0
  command -v apt-get >/dev/null ||
    die "no Docker engine answers and this is no Debian or Ubuntu: install Docker Engine 20.10 or later (https://docs.docker.com/engine/install/) and start it."
  say "installing ${missing[*]}"
  mkdir -p "$dir"
  # A package must not start a second engine beside the one below, and on a
  # machine without an init it could not.
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -y --no-install-recommends "${missing[@]}"; } >"$dir/install.log" 2>&1; then
    tail -20 "$dir/install.log" >&2
    die "could not install ${missing[*]}: see $dir/install.log, or install Docker Engine 20.10 or later yourself."
  fi
}

start() {
  local v
  if v="$(version)"; then
    say "using the engine that runs: $v"
    return
  fi
  [[ -z ${DOCKER_HOST:-} || ${DOCKER_HOST:-} == unix:///var/run/docker.sock ]] ||
    die "no engine answers at DOCKER_HOST=$DOCKER_HOST: start it, or unset DOCKER_HOST to use the one of this machine."
  [[ $EUID -eq 0 ]] ||
    die "no Docker engine answers: install Docker Engine 20.10 or later and start it, add yourself to the group docker if it runs, or run this script as root."
  install_engine
  mkdir -p "$dir"
  chmod 0700 "$dir"
  # Two at the same time: the second waits and finds the engine running.
  exec 9>"$dir/lock"
  flock 9
  if v="$(version)"; then
    say "using the engine that runs: $v"
    return
  fi
  if ! started >/dev/null; then
    say "starting dockerd, log in $log"
    # Left by an engine that was killed; with it, the next one may refuse to start.
    if [[ -f /var/run/docker.pid ]] && ! grep -qs '^dockerd$' "/proc/$(cat /var/run/docker.pid)/comm"; then
      rm -f /var/run/docker.pid
    fi
    setsid dockerd >"$log" 2>&1 </dev/null 9>&- &
    echo $! >"$pidfile"
  fi
  local i
  for ((i = 0; i < ready_seconds * 5; i++)); do
    if v="$(version)"; then
      say "started engine $v"
      return
    fi
    kill -0 "$(cat "$pidfile")" 2>/dev/null || break
    sleep 0.2
  done
  tail -20 "$log" >&2
  die "dockerd did not become ready: see $log."
}

stop() {
  local pid
  if ! pid="$(started)"; then
    say "nothing to stop: no engine that this script started is running"
    rm -f "$pidfile"
    return
  fi
  kill -TERM "$pid"
  local i
  for ((i = 0; i < 150; i++)); do
    if ! started >/dev/null; then
      rm -f "$pidfile"
      say "stopped"
      return
    fi
    sleep 0.2
  done
  die "dockerd (process $pid) did not stop within 30 s: see $log."
}

case "${1:-start}" in
  start) start ;;
  stop) stop ;;
  *) die "usage: hack/engine.sh [start|stop]" ;;
esac
