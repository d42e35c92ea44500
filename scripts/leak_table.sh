#!/usr/bin/env bash
# Makes the table of docs/leaks.md: what the default rules say of each leaking app within a minute, and that the healthy ones are
# quiet for ten. Takes ten minutes.
#
#   scripts/leak_table.sh BUILD [OUT]    BUILD holds tidemark and the examples (a release build); OUT: docs/leaks.md
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: scripts/leak_table.sh BUILD [OUT]" >&2; exit 2; }
build=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${2:-docs/leaks.md}
table=$(mktemp)
trap 'rm -f "$table"' EXIT
status=0
TM_LEAK_TABLE=$table TM_LEAK_CLEAN=${TM_LEAK_CLEAN:-10m} TM_BUILD=$build TIDEMARK=$build/tidemark "$build/tidemark" lua /usr/bin/busted \
  --helper=spec/support/helper.lua spec/live/leaks_spec.lua || status=$?
{
  cat <<'TEXT'
# What the default rules say of each leak

Each row is an app of `examples/leaky` that leaks one thing, watched with the default rules and nothing else: `tidemark run -- APP`; Go apps
with their pprof endpoint. Made by `scripts/leak_table.sh`, which is also a test (`spec/live/leaks_spec.lua`): every leak must be named by its
kind within a minute, and what is healthy must be left alone for ten.

TEXT
  cat "$table"
} >"$out"
exit "$status"
