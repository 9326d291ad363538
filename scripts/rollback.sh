#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Restores a backup of an application when all else is down:
#
#   scripts/rollback.sh                        lists the backups
#   scripts/rollback.sh 20231201_143022        shows what will be overwritten, asks, restores
#   scripts/rollback.sh 20231201_143022 --yes  does not ask, as for scripts
#
# It finds the fairlead program, or else the image of the updater, and has it do
# the work; `fairlead rollback-offline --help` tells the options. The file may
# be copied to scripts/ of an application.
#
#   FAIRLEAD_DIRECTORY  deployment directory; default: the one that scripts/ is in
#   FAIRLEAD_BIN        the program; default: searched
#   FAIRLEAD_IMAGE      the image to use where there is no program; default: that
#                       of the application's service "updater"

set -Eeuo pipefail

die() {
  printf 'rollback: %s\n' "$*" >&2
  exit 1
}

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"

# The directory that scripts/ is in, if it has backups; else the working directory.
directory() {
  local above
  if [[ -n ${FAIRLEAD_DIRECTORY:-} ]]; then
    (cd "$FAIRLEAD_DIRECTORY" && pwd -P) || die "there is no directory $FAIRLEAD_DIRECTORY (FAIRLEAD_DIRECTORY)"
    return
  fi
  above="$(dirname "$here")"
  if [[ -d $above/.update/backups ]]; then
    printf '%s\n' "$above"
  else
    pwd -P
  fi
}

program() {
  local candidate
  if [[ -n ${FAIRLEAD_BIN:-} ]]; then
    [[ -x $FAIRLEAD_BIN ]] || die "$FAIRLEAD_BIN is no program (FAIRLEAD_BIN)"
    printf '%s\n' "$FAIRLEAD_BIN"
    return
  fi
  if command -v fairlead; then return; fi
  for candidate in /usr/local/bin/fairlead "$here/fairlead" "$dir/fairlead" "$here/../bin/fairlead"; do
    if [[ -f $candidate && -x $candidate ]]; then
      printf '%s\n' "$candidate"
      return
    fi
  done
}

# The image of the service "updater" of the project in the directory, whether its
# container runs or not.
image() {
  local id
  if [[ -n ${FAIRLEAD_IMAGE:-} ]]; then
    printf '%s\n' "$FAIRLEAD_IMAGE"
    return
  fi
  id="$(docker ps --all --quiet --latest --filter label=com.docker.compose.service=updater \
    --filter "label=com.docker.compose.project.working_dir=$dir")"
  if [[ -n $id ]]; then
    docker inspect --format '{{.Image}}' "$id"
  fi
}

dir="$(directory)"
[[ -d $dir/.update/backups ]] || die "there are no backups in $dir/.update/backups: name the deployment directory with FAIRLEAD_DIRECTORY"

bin="$(program)"
if [[ -n $bin ]]; then
  exec "$bin" rollback-offline --directory "$dir" "$@"
fi

command -v docker >/dev/null ||
  die "neither fairlead nor docker is here: put the fairlead program into /usr/local/bin, or name it with FAIRLEAD_BIN"
docker version >/dev/null 2>&1 || die "the Docker engine does not answer: start it (systemctl start docker), or run this as root"
image="$(image)"
[[ -n $image ]] ||
  die "neither the fairlead program nor an image of the updater is here: name one with FAIRLEAD_BIN or FAIRLEAD_IMAGE"

printf 'rollback: no fairlead program is here, so the image %s does it; what is outside of %s cannot be restored from there\n' "$image" "$dir" >&2
terminal=() login=()
if [[ -t 0 && -t 1 ]]; then terminal=(--tty); fi
config="${DOCKER_CONFIG:-${HOME:-/root}/.docker}/config.json"
if [[ -f $config ]]; then login=(--volume "$config:/root/.docker/config.json:ro"); fi
# The directory has the same path inside, as the engine is told paths of the host.
# Nothing of Compose's labels: it is no container of the application.
exec docker run --rm --interactive "${terminal[@]}" "${login[@]}" --user 0:0 \
  --volume "${DOCKER_SOCKET:-/var/run/docker.sock}:/var/run/docker.sock" --volume "$dir:$dir" --workdir "$dir" \
  --env DOCKER_HOST=unix:///var/run/docker.sock \
  --label com.docker.compose.project= --label com.docker.compose.service= \
  --entrypoint fairlead "$image" rollback-offline --directory "$dir" "$@"
