#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes the images that the tests need on a machine that cannot pull any: a
# Debian base by debootstrap and docker import, and real servers on top of it
# from Debian's own packages.
#
#   test/images/build.sh              # all
#   test/images/build.sh postgres     # one, and the base if it is missing
#   BASE=debian:bookworm-slim test/images/build.sh   # on a base that was pulled
#
# Every image carries the hash of its recipe as a label; one whose hash is the
# same is reused. Apart from the base, everything is an ordinary Dockerfile.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
readonly here
readonly hash_label=fairlead.dev/test-image-hash
readonly suite=bookworm
readonly keyring=/usr/share/keyrings/debian-archive-keyring.gpg
readonly base_tag=fairlead-test/base:$suite
readonly all=(postgres nginx registry redis fairlead)

declare -A tags=(
  [base]=$base_tag
  [postgres]=fairlead-test/postgres:15
  [nginx]=fairlead-test/nginx:1.22
  [registry]=fairlead-test/registry:2
  [redis]=fairlead-test/redis:7
  [fairlead]=fairlead-test/fairlead:bookworm
)

say() { printf 'images: %s\n' "$*" >&2; }
die() { printf 'images: %s\n' "$*" >&2; exit 1; }

# current TAG HASH: whether TAG exists and was made by that recipe.
current() {
  [[ "$(docker image inspect --format "{{index .Config.Labels \"$hash_label\"}}" "$1" 2>/dev/null)" == "$2" ]]
}

# digest FILE...: one hash of names and contents.
digest() { (cd "$here" && sha256sum "$@" | sha256sum | cut -c1-16); }

need_root_debian() {
  [[ $EUID -eq 0 ]] || die "debootstrap needs root: run this as root, or name a base image that this engine has: BASE=debian:bookworm-slim $0"
  command -v apt-get >/dev/null || die "no apt-get here: name a base image that this engine has: BASE=debian:bookworm-slim $0"
}

# debian_mirror: the first archive of the host's own apt sources, without the
# security archive, so that whatever mirror the host uses is used here too.
debian_mirror() {
  local uri
  # shellcheck disable=SC2016 # the dollars are apt's
  uri="$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 2>/dev/null |
    awk -v s="$suite" '$2 == s { print $1; exit }')"
  [[ -n $uri ]] || uri="$(sed -nE "s/^URIs: *([^ ]+).*/\1/p; s/^deb( \[[^]]*\])? +([^ ]+) +$suite( .*)?$/\2/p" \
    /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -1)"
  printf '%s\n' "${uri:-http://deb.debian.org/debian}"
}

# apt_proxy: what apt itself would use, from its configuration.
apt_proxy() {
  local proxy=
  eval "$(apt-config shell proxy Acquire::http::Proxy 2>/dev/null)"
  printf '%s\n' "${proxy:-${http_proxy:-}}"
}

install_debootstrap() {
  command -v debootstrap >/dev/null && return
  say "installing debootstrap"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap debian-archive-keyring >/dev/null
}

# build_base makes base_tag. The root file system is prepared under a private
# directory and streamed into the engine.
build_base() (
  need_root_debian
  install_debootstrap
  mirror="$(debian_mirror)"
  proxy="$(apt_proxy)"
  work="$(mktemp -d -t fairlead-base.XXXXXX)"
  trap 'rm -rf --one-file-system "$work"' EXIT
  root="$work/root"
  say "base: debootstrap $suite from $mirror"
  http_proxy="$proxy" debootstrap --variant=minbase --keyring="$keyring" "$suite" "$root" "$mirror" \
    >"$work/log" 2>&1 || { tail -20 "$work/log" >&2; tail -5 "$root/debootstrap/debootstrap.log" >&2 || true; die "debootstrap failed, see above"; }

  # The host's Debian sources, so that a build on this image sees the same
  # packages; foreign ones would lack their keys. No proxy is written, for an
  # address with a password in it must not end up in an image.
  rm -f "$root/etc/apt/sources.list"
  for f in sources.list sources.list.d/debian.sources; do
    if [[ -s /etc/apt/$f ]]; then cp "/etc/apt/$f" "$root/etc/apt/$f"; fi
  done
  if ! compgen -G "$root/etc/apt/sources.list*/*.sources" >/dev/null && [[ ! -s $root/etc/apt/sources.list ]]; then
    printf 'deb %s %s main\n' "$mirror" "$suite" >"$root/etc/apt/sources.list"
  fi
  apt-config dump | grep -E '^Acquire::Check-(Valid-Until|Date) ' >"$root/etc/apt/apt.conf.d/90host" || true
  cat >"$root/etc/apt/apt.conf.d/91image" <<'CONF'
Acquire::Languages "none";
Apt::Install-Recommends "false";
CONF
  cat >"$root/etc/dpkg/dpkg.cfg.d/image" <<'CONF'
path-exclude /usr/share/doc/*
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
CONF
  # Without it, the maintainer scripts of servers try to start them.
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod 0755 "$root/usr/sbin/policy-rc.d"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/var/log/*.log \
    "$root"/usr/share/{doc,man,info,locale}/*
  tar -C "$root" --numeric-owner --one-file-system -c . |
    docker import --change "LABEL $hash_label=$1" --change 'ENV LANG=C.UTF-8' --change 'CMD ["bash"]' - "$base_tag" >/dev/null
)

ensure_base() {
  if [[ -n ${BASE:-} ]]; then return; fi
  local hash
  hash="$(digest build.sh)"
  if current "$base_tag" "$hash"; then return; fi
  build_base "$hash"
  say "base: made $base_tag"
}

build() {
  local name=$1 tag=${tags[$1]} hash proxy
  local -a files
  mapfile -t files < <(cd "$here" && find "$name" -type f | LC_ALL=C sort)
  hash="$(digest build.sh "${files[@]}")${BASE:+-$(printf %s "$BASE" | sha256sum | cut -c1-8)}"
  if current "$tag" "$hash"; then
    say "$name: $tag is current"
    return
  fi
  ensure_base
  say "$name: building $tag"
  proxy="$(apt_proxy)"
  # The host's network, because its name server is often not reachable from a
  # bridge. The classic builder, because it needs no CLI plugin. The proxy is
  # one of Docker's predefined arguments, which are not kept in the history.
  local -a args=(--network host --build-arg "BASE=${BASE:-$base_tag}" --label "$hash_label=$hash" --tag "$tag")
  if [[ -n $proxy ]]; then
    export http_proxy="$proxy"
    args+=(--build-arg http_proxy)
  fi
  local log
  log="$(mktemp -t "fairlead-image-$name.XXXXXX")"
  if ! DOCKER_BUILDKIT=0 docker build "${args[@]}" "$here/$name" >"$log" 2>&1; then
    tail -30 "$log" >&2
    rm -f "$log"
    die "$name: docker build failed, see above"
  fi
  rm -f "$log"
  say "$name: made $tag"
}

main() {
  local name
  [[ $# -gt 0 ]] || set -- "${all[@]}"
  for name in "$@"; do
    [[ -n ${tags[$name]:-} ]] || die "unknown image '$name': one of base ${all[*]}"
  done
  command -v docker >/dev/null || die "no docker command here: run hack/engine.sh first"
  docker version >/dev/null 2>&1 || die "no Docker engine answers: run hack/engine.sh first"
  # Two test packages that want the same image at once: the second waits and finds it made.
  exec 9>"${TMPDIR:-/tmp}/fairlead-test-images.$EUID.lock"
  flock 9
  for name in "$@"; do
    if [[ $name == base ]]; then
      ensure_base
    else
      build "$name"
    fi
  done
}

main "$@"
