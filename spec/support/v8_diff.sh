#!/bin/sh
# Heap snapshots of V8 as DevTools' own worker sees them and as we do, node by node and class by class:
#   v8_diff.sh V8_NODES [FILE...]
# Without files, this Node writes two. TM_DEVTOOLS names a folder where
# `npm i --ignore-scripts chrome-devtools-frontend typescript@5` was run; exit code 77 without it or without node.
set -eu
nodes=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
command -v node >/dev/null 2>&1 || { echo "no node here"; exit 77; }
devtools=${TM_DEVTOOLS:-}
[ -d "$devtools/node_modules/chrome-devtools-frontend" ] || { echo "TM_DEVTOOLS names no folder with chrome-devtools-frontend"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
if [ $# -eq 0 ]; then
  node "$here/v8_make.mjs" "$dir/plain.heapsnapshot"
  node "$here/v8_make.mjs" "$dir/internals.heapsnapshot" internals
  set -- "$dir/plain.heapsnapshot" "$dir/internals.heapsnapshot"
fi
failed=0
for file in "$@"; do
  node "$here/v8_peer.mjs" "$devtools" "$file" 2>/dev/null | sort >"$dir/theirs"
  "$nodes" "$file" | sort >"$dir/ours"
  [ -s "$dir/theirs" ] || { echo "DevTools read nothing of $file"; exit 1; }
  if cmp -s "$dir/theirs" "$dir/ours"; then
    echo "same: $(basename "$file"), $(grep -c '^N' "$dir/ours") nodes, $(grep -c '^C' "$dir/ours") classes"
  else
    echo "differs: $file (< DevTools, > ours; kind, id or count, self, retained, distance ...)"
    diff "$dir/theirs" "$dir/ours" | grep '^[<>]' | head -n "${TM_DIFFERENCES:-40}"
    failed=1
  fi
done
exit $failed
