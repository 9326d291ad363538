#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Fetches axe-core, which looks for what keeps people out of the web UI, into
# bin/tools and prints its path. It is for tests only and never part of Fairlead.
set -euo pipefail

version=4.14.1
sha256=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745

say() { printf 'axe: %s\n' "$*" >&2; }

cd "$(dirname "${BASH_SOURCE[0]}")/.."
file="$PWD/bin/tools/axe-$version.min.js"
if [[ ! -s $file ]]; then
  command -v npm >/dev/null || { say "npm is missing: install it, or put axe.min.js of axe-core $version at $file"; exit 1; }
  say "fetching axe-core $version"
  dir="$(mktemp -d)"
  trap 'rm -rf "$dir"' EXIT
  (cd "$dir" && npm pack --silent "axe-core@$version" >/dev/null)
  echo "$sha256  $dir/axe-core-$version.tgz" | sha256sum --check --quiet >&2
  tar -xzf "$dir/axe-core-$version.tgz" -C "$dir" package/axe.min.js
  mkdir -p "$(dirname "$file")"
  mv "$dir/package/axe.min.js" "$file"
fi
printf '%s\n' "$file"
