#!/usr/bin/env bash
# clang-tidy over every C file of the product and the examples, on all cores.
#
#   scripts/ci-tidy.sh BUILD [FILE...]    BUILD holds compile_commands.json
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=$1
shift
if [ $# -eq 0 ]; then
  # Not platform/linux/bpf: compiled for the kernel, with its names. Not examples/embed: against the installed tree.
  mapfile -t files < <(git ls-files 'core/*.c' 'platform/linux/*.c' 'platform/common.c' 'agent/*.c' 'examples/*.c' ':!platform/linux/bpf' ':!examples/embed')
else
  files=("$@")
fi
out=$(mktemp)
trap 'rm -f "$out"' EXIT
status=0
printf '%s\n' "${files[@]}" | xargs -P"$(nproc)" -n4 clang-tidy -p "$build" --quiet >"$out" 2>/dev/null || status=$?
if [ "$status" != 0 ]; then
  grep -E 'error:|warning:' "$out" | sort -u
  exit 1
fi
echo "${#files[@]} files are clean"
