#!/bin/sh
# Heap dumps that Go writes here, counted by tidemark and by brute force: goheap_diff.sh TIDEMARK [TOOLCHAIN...].
# Exit code 77 where there is no go or no python3. Other toolchains ("go1.21.13") are downloaded by go when named.
set -eu
tidemark=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
command -v go >/dev/null 2>&1 || { echo "no go here"; exit 77; }
command -v python3 >/dev/null 2>&1 || { echo "no python3 here"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp "$here/../../bench/goheap_gen.go" "$dir/main.go"
cd "$dir"
printf 'module goheapdiff\n\ngo 1.20\n' >go.mod
failed=0
for toolchain in local "$@"; do
  GOTOOLCHAIN=$toolchain go build -o gen .
  for objects in 0 30000; do
    ./gen dump "$objects"
    theirs=$(python3 "$here/goheap_count.py" dump)
    ours=$("$tidemark" lua "$here/goheap_count.lua" dump)
    if [ "$ours" = "$theirs" ]; then
      echo "same ($toolchain): $(echo "$ours" | head -n 1)"
    else
      printf 'differs (%s, %s objects):\n  ours:\n%s\n  theirs:\n%s\n' "$toolchain" "$objects" "$ours" "$theirs"
      failed=1
    fi
  done
done
exit $failed
