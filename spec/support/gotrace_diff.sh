#!/bin/sh
# Goroutines of traces that Go writes here, counted by tidemark and by golang.org/x/exp/trace: gotrace_diff.sh TIDEMARK.
# Exit code 77 where there is no go, or no way to get the module.
set -eu
tidemark=$1
here=$(cd "$(dirname "$0")" && pwd)
command -v go >/dev/null 2>&1 || { echo "no go here"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/gen" "$dir/count"
cp "$here/gotrace_gen.go" "$dir/gen/main.go"
cp "$here/gotrace_count.go" "$dir/count/main.go"
cd "$dir"
go mod init gotracediff >/dev/null 2>&1
go get golang.org/x/exp/trace >get.log 2>&1 || { echo "golang.org/x/exp/trace cannot be had"; exit 77; }
go build -o gen/gen ./gen
go build -o count/count ./count
failed=0
for work in 0 10 1000 40000; do
  gen/gen "$work.trace" "$work"
  theirs=$(count/count "$work.trace")
  ours=$("$tidemark" lua "$here/gotrace_count.lua" "$work.trace")
  if [ "$ours" = "$theirs" ]; then
    echo "same: $ours"
  else
    printf 'differs for %s:\n  ours:   %s\n  theirs: %s\n' "$work" "$ours" "$theirs"
    failed=1
  fi
  "$tidemark" check "$work.trace" >check.log || { cat check.log; failed=1; } # coroutines and all: every event has its place
done
exit $failed
