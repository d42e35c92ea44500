#!/bin/sh
# Our time and memory on a JVM heap dump beside VisualVM's heap library:
#   bench/heap_race.sh BUILD_DIR HEAP_JAR [OBJECTS [FILE]]
# BUILD_DIR is a release build; HEAP_JAR is org-graalvm-visualvm-lib-jfluid-heap.jar of VisualVM 2.1 ("-" leaves it out). Without a FILE
# one of OBJECTS (24 million: 1.2 GB) is written by bench/heap_gen.java first. Prints CPU seconds (user + sys, all threads), wall
# seconds and peak RSS of: classes by count and size; retained bytes of every object; opening the saved index; type paths.
set -eu
[ $# -ge 2 ] || { echo "usage: heap_race.sh BUILD_DIR HEAP_JAR [OBJECTS [FILE]]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
build=$1
jar=$2
objects=${3:-24000000}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
file=${4:-$tmp/race.hprof}
[ -f "$file" ] || java -Xmx$((objects / 8000000 + 3))g "$here/heap_gen.java" "$file" "$objects"
ln -s "$(realpath "$file")" "$tmp/a.hprof"
cat "$file" >/dev/null

timed() { # NAME COMMAND...
  name=$1
  shift
  /usr/bin/time -o "$tmp/time" -f "%U %S %e %M" "$@" >"$tmp/out" 2>"$tmp/err" || { cat "$tmp/err" >&2; return; }
  awk -v name="$name" '{ printf "%-28s cpu %7.2f s  wall %7.2f s  rss %6.0f MiB\n", name, $1 + $2, $3, $4 / 1024 }' "$tmp/time"
}

echo "== $(wc -c <"$file") bytes"
for i in 1 2 3; do
  timed "classes" "$build/tidemark" objects "$tmp/a.hprof" --quick --json
  timed "retained sizes" "$build/bench/bench_graph" "$tmp/a.hprof" 1
  cat "$tmp/out"
done
"$build/tidemark" objects "$tmp/a.hprof" --index --json >/dev/null
for i in 1 2 3; do
  timed "index: holders" "$build/tidemark" holders "$tmp/a.hprof" --json
  timed "index: objects" "$build/tidemark" objects "$tmp/a.hprof" --json
done
wc -c "$tmp/a.hprof.tmx"
timed "type paths" "$build/tidemark" convert "$tmp/a.hprof" -o "$tmp/paths.pb.gz"
[ "$jar" = - ] && exit
for what in histogram retained; do
  timed "VisualVM: $what" java -Xmx10g -cp "$jar" "$here/../spec/support/hprof_diff.java" "$tmp/a.hprof" --time $what
  rm -rf "$tmp"/*.hwcache
done
