#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Sees to it that there is a Chromium for the tests of the web UI, and prints its
# path: the one that is there, or, as root on Debian, one that it installs.
set -euo pipefail

say() { printf 'chromium: %s\n' "$*" >&2; }

find_one() {
  local name
  for name in "${FAIRLEAD_CHROMIUM:-}" chromium chromium-browser google-chrome; do
    if [[ -n $name ]] && command -v "$name"; then return 0; fi
  done
  return 1
}

find_one && exit 0
if ! command -v apt-get >/dev/null || [[ $(id -u) != 0 ]]; then
  say "no Chromium was found: install chromium, or name one in FAIRLEAD_CHROMIUM"
  exit 1
fi
say "installing chromium"
log="$(mktemp)"
# The second package has the letters of Chinese pages.
if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium fonts-noto-cjk; } >"$log" 2>&1; then
  tail -20 "$log" >&2
  say "could not install chromium: see $log, or install it yourself"
  exit 1
fi
rm -f "$log"
find_one || { say "chromium was installed, but is not on the PATH"; exit 1; }
