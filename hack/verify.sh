#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks what no linter sees, and changes nothing: generated files are current,
# PROJECT is complete, the modules are tidy, sources are formatted and carry their
# licence. All complaints are reported, not only the first.
#
#   CONTROLLER_GEN=bin/tools/controller-gen hack/verify.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly gen="${CONTROLLER_GEN:?the path of controller-gen; make verify sets it}"
readonly spdx='SPDX-License-Identifier: Apache-2.0'
tmp="$(mktemp -d -t fairlead-verify.XXXXXX)"
readonly tmp
trap 'rm -rf "$tmp"' EXIT

failed=0
complain() {
  printf 'verify: %s\n' "$*" >&2
  failed=1
}

# sources PATTERN...: files of that name that git has, or would add.
sources() {
  git ls-files --cached --others --exclude-standard -- "$@" | sort -u |
    while IFS= read -r file; do
      if [[ -f $file ]]; then printf '%s\n' "$file"; fi
    done
}

check_generated() {
  local dir
  for dir in api/*/; do
    dir="${dir%/}"
    mkdir -p "$tmp/$dir"
    "$gen" object:headerFile=hack/boilerplate.go.txt "paths=./$dir" "output:object:dir=$tmp/$dir"
    diff -u "$dir/zz_generated.deepcopy.go" "$tmp/$dir/zz_generated.deepcopy.go" ||
      complain "$dir/zz_generated.deepcopy.go is not what its types give: run make generate"
  done
  "$gen" crd paths=./api/... "output:crd:dir=$tmp/crd"
  diff -ru config/crd/bases "$tmp/crd" ||
    complain "config/crd/bases is not what the types in api/ give: run make manifests"
}

check_modules() {
  local dir
  for dir in . hack/gotools test/tools; do
    (cd "$dir" && go mod tidy -diff) ||
      complain "$dir/go.mod or go.sum is not tidy: run go mod tidy in $dir"
    (cd "$dir" && go list -m all >/dev/null) ||
      complain "$dir/go.mod names modules without a version: see hack/tools/tools.go"
  done
  if grep -nE '^(replace|exclude)\b' go.mod; then
    complain "go.mod has a replace or exclude line, with which go install does not work for others"
  fi
}

check_format() {
  local files unformatted
  mapfile -t files < <(sources '*.go')
  unformatted="$(gofmt -l "${files[@]}")"
  [[ -z $unformatted ]] || complain "not formatted, run gofmt -w: ${unformatted//$'\n'/ }"
  local file
  while IFS= read -r file; do
    bash -n "$file" || complain "$file is not a valid shell script"
  done < <(sources '*.sh' .ci/run)
}

# The licence is the first line of a source, the second after a #!, and further
# down only in a generated file, which begins with a build constraint.
check_licences() {
  local file
  while IFS= read -r file; do
    case "$file" in
      */zz_generated.*) head -5 "$file" ;;
      *.go) head -1 "$file" ;;
      *) head -2 "$file" ;;
    esac | grep -qF "$spdx" || complain "$file does not begin with the licence: $spdx"
  done < <(sources '*.go' '*.sh' .ci/run Makefile)
}

# PROJECT, which kubebuilder goes by, names the kinds that there are.
check_project() {
  local named there
  named="$(sed -nE 's/^  kind: (.+)$/\1/p' PROJECT | sort)"
  there="$(sed -nE 's/^    kind: (.+)$/\1/p' config/crd/bases/*.yaml | sort)"
  [[ $named == "$there" ]] ||
    complain "PROJECT has the kinds ${named//$'\n'/ }, and config/crd/bases ${there//$'\n'/ }"
}

check_generated
check_project
check_modules
check_format
check_licences
if [[ $failed -eq 0 ]]; then
  echo "verify: generated files, PROJECT, modules, format and licences are as they must be"
fi
exit "$failed"
