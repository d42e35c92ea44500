#!/bin/sh
# Go execution traces beside Go's own readers, on the same files in one run: bench/gotrace_race.sh BENCH_DIR TIDEMARK [FILE...]
# BENCH_DIR holds bench_gotrace of a release build. Without FILEs three traces are written here by Go: workers with regions, a program that
# only starts goroutines, and, when Debian's golang-1.19-go is there, one of version 1. Ours is CPU time, best of five; theirs wall and CPU
# time of one run, which reads the whole trace (golang.org/x/exp/trace) or makes one profile of it (go tool trace -pprof=sync).
set -eu
[ $# -ge 2 ] || { echo "usage: gotrace_race.sh BENCH_DIR TIDEMARK [FILE...]" >&2; exit 2; }
bench=$(realpath "$1")/bench_gotrace
tidemark=$(realpath "$2")
shift 2
support=$(cd "$(dirname "$0")/../spec/support" && pwd)
for file in "$@"; do set -- "$@" "$(realpath "$file")"; shift; done
go119=/usr/lib/go-1.19/bin/go
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
mkdir count gen spawn old
cp "$support/gotrace_count.go" count/main.go
cp "$support/gotrace_gen.go" gen/main.go
cp "$support/gotrace1_gen.go" old/main.go
go mod init race >/dev/null 2>&1
go get golang.org/x/exp/trace >/dev/null 2>&1 && go build -o count/count ./count
if [ $# = 0 ]; then
  cat >spawn/main.go <<'GO'
package main

import (
	"os"
	"runtime/trace"
	"sync"
)

func main() {
	f, _ := os.Create(os.Args[1])
	trace.Start(f)
	var done sync.WaitGroup
	for i := 0; i < 1500000; i++ {
		done.Add(1)
		go done.Done()
		if i%100 == 0 {
			done.Wait()
		}
	}
	done.Wait()
	trace.Stop()
	f.Close()
}
GO
  go build -o gen/gen ./gen
  go build -o spawn/spawn ./spawn
  gen/gen workers.trace 2000000
  spawn/spawn spawning.trace
  set -- workers.trace spawning.trace
  if [ -x "$go119" ]; then
    (cd old && GO111MODULE=off GOFLAGS= GOTOOLCHAIN=local "$go119" build -o gen main.go)
    old/gen go119.trace 3500000
    set -- "$@" go119.trace
  fi
fi
goroutines() { head -1 | sed 's/ regions.*//'; } # of regions we keep 262,144
timed() { { time "$@" >out.txt 2>&1; } 2>&1 | awk '/real|user|sys/ { printf "%s %s  ", $1, $2 } END { print "" }'; }
for file in "$@"; do
  echo "== ${file##*/}: $(wc -c <"$file") bytes, $(head -c 16 "$file" | tr -d '\0')"
  "$bench" "$file" 5
  if [ -x count/count ]; then
    printf 'x/exp/trace: '
    timed count/count "$file"
    [ "$(goroutines <out.txt)" = "$("$tidemark" lua "$support/gotrace_count.lua" "$file" | goroutines)" ] && echo "  the same goroutines" || echo "  OTHER goroutines: $(head -1 out.txt)"
  fi
  tool=go
  case $(head -c 9 "$file") in "go 1.11 t" | "go 1.19 t" | "go 1.21 t") [ -x "$go119" ] && tool=$go119 ;; esac
  printf 'go tool trace -pprof=sync: '
  timed "$tool" tool trace -pprof=sync "$file"
done
