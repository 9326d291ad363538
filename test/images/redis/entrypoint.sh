#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Starts Redis as its own user. Protected mode is off, as in the official
# image: inside a container network nobody could connect otherwise.
set -eu

case "${1:-redis-server}" in
  -* | *.conf) set -- redis-server "$@" ;;
esac
if [ "$1" = redis-server ]; then
  shift
  set -- redis-server "$@" --protected-mode no
  if [ "$(id -u)" = 0 ]; then
    find . \! -user redis -exec chown redis '{}' +
    exec setpriv --reuid=redis --regid=redis --init-groups "$@"
  fi
fi
exec "$@"
