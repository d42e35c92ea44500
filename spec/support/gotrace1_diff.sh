#!/bin/sh
# Traces of version 1 (Go 1.11 to 1.21), events and goroutines counted by tidemark and by Go's own parsers: gotrace1_diff.sh TIDEMARK
# [FILE...]. Without FILEs: those that come with the Go installed here, of Debian's golang-1.19-src, and one that Go 1.19 writes, if it is
# there. Exit code 77 where there is no go, no golang.org/x/exp/trace, or no such file.
set -eu
tidemark=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
command -v go >/dev/null 2>&1 || { echo "no go here"; exit 77; }
own=$(go env GOROOT)/src/internal/trace
[ -d "$own/internal/tracev1" ] || { echo "this go has no parser for traces of version 1"; exit 77; }
old=/usr/share/go-1.19/src/internal/trace/testdata
go119=/usr/lib/go-1.19/bin/go
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/count" "$dir/events" "$dir/tracev1" "$dir/version"
cp "$here/gotrace_count.go" "$dir/count/main.go"
cp "$here/gotrace1_events.go" "$dir/events/main.go"
cp "$own"/version/version.go "$dir/version/"
cp "$own"/internal/tracev1/parser.go "$own"/internal/tracev1/order.go "$dir/tracev1/"
cd "$dir"
go mod init tracediff >/dev/null 2>&1
sed -i 's|"internal/trace/version"|"tracediff/version"|' tracev1/*.go
# The version package names the event tables of version 2, which are not needed here.
if grep -q tracev2 version/version.go; then
  mkdir tracev2
  cp "$own"/tracev2/*.go tracev2/
  rm -f tracev2/*_test.go
  sed -i 's|"internal/trace/tracev2"|"tracediff/tracev2"|' version/version.go
fi
go get golang.org/x/exp/trace >get.log 2>&1 || { echo "golang.org/x/exp/trace cannot be had"; exit 77; }
go build -o count/count ./count
go build -o events/events ./events
if [ $# = 0 ]; then
  for file in "$own"/internal/tracev1/testdata/*_good "$old"/*_1_1[19]_good; do [ -f "$file" ] && set -- "$@" "$file"; done
  if [ -x "$go119" ]; then
    mkdir gen
    cp "$here/gotrace1_gen.go" gen/main.go
    (cd gen && GO111MODULE=off GOFLAGS= GOTOOLCHAIN=local "$go119" build -o gen main.go)
    for work in 0 20000; do
      gen/gen "$dir/go119-$work.trace" "$work"
      set -- "$@" "$dir/go119-$work.trace"
    done
  fi
fi
[ $# -gt 0 ] || { echo "no traces of version 1 here"; exit 77; }
failed=0
for file in "$@"; do
  theirs="$(events/events "$file") $(count/count "$file" 2>&1 | head -1)"
  ours=$("$tidemark" lua "$here/gotrace_count.lua" "$file" events)
  if [ "$ours" = "$theirs" ]; then
    echo "same: ${file##*/}: $ours"
  else
    printf 'differs for %s:\n  ours:   %s\n  theirs: %s\n' "$file" "$ours" "$theirs"
    failed=1
  fi
done
exit $failed
