#!/bin/sh
# What recording the native heap costs, against others that do it, in one interleaved run:
#
#   bench/malloc_race.sh BUILD [ROUNDS] [PAIRS]      BUILD: folder of a release build
#
# CPU and wall time for a pair of free and malloc (bench/malloc_bench.c), with one thread and two; medians, and ratios to the plain
# allocator of the same kind. jemalloc, gperftools and heaptrack run if they are installed.
set -eu
build=$(realpath "$1") rounds=${2:-5} pairs=${3:-2000000}
here=$(dirname "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cc -O2 -o "$dir/mbench" "$here/malloc_bench.c" -pthread
agent=$build/libtidemark-malloc.so
library() { ldconfig -p | sed -n "s|.*=> \(.*/$1\)\$|\1|p" | head -1; }
jemalloc=$(library 'libjemalloc\.so\.2')
tcmalloc=$(library 'libtcmalloc\.so\.4')

variants='plain idle sampled full'
[ -z "$jemalloc" ] || variants="$variants jemalloc jemalloc_sampled"
[ -z "$tcmalloc" ] || variants="$variants tcmalloc tcmalloc_sampled"
! command -v heaptrack >/dev/null || variants="$variants heaptrack"

run() { # variant threads
  case $1 in
  plain) env "$dir/mbench" "$2" "$pairs" ;;
  idle | sampled | full) env LD_PRELOAD="$agent" TIDEMARK_AGENT_OPTIONS="mode=$1" "$dir/mbench" "$2" "$pairs" ;;
  jemalloc) env LD_PRELOAD="$jemalloc" "$dir/mbench" "$2" "$pairs" ;;
  jemalloc_sampled) env LD_PRELOAD="$jemalloc" MALLOC_CONF=prof:true,lg_prof_sample:19 "$dir/mbench" "$2" "$pairs" ;;
  tcmalloc) env LD_PRELOAD="$tcmalloc" "$dir/mbench" "$2" "$pairs" ;;
  tcmalloc_sampled) env LD_PRELOAD="$tcmalloc" TCMALLOC_SAMPLE_PARAMETER=524288 "$dir/mbench" "$2" "$pairs" ;;
  # Fewer pairs: it takes ten times as long. Its compressor is another process, and not counted.
  heaptrack) heaptrack --raw -o "$dir/heaptrack" "$dir/mbench" "$2" $((pairs / 4)) 2>/dev/null |
    grep -E '^[0-9.]+ [0-9.]+ [0-9]+$' ;;
  esac
}

for round in $(seq "$rounds"); do
  for threads in 1 2; do
    for variant in $variants; do
      run "$variant" "$threads" | sed "s/^/$variant $threads /" >>"$dir/out"
      rm -f "$dir"/heaptrack*
    done
  done
done

printf '%-18s %7s %10s %7s %10s %7s %9s\n' VARIANT THREADS CPU_NS RATIO WALL_NS RATIO RSS_MIB
for threads in 1 2; do
  for variant in $variants; do
    median() { grep "^$variant $threads " "$dir/out" | cut -d' ' -f"$1" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
    cpu=$(median 3) wall=$(median 4) rss=$(median 5)
    case $variant in
    jemalloc | tcmalloc | plain) base_cpu=$cpu base_wall=$wall ;;
    heaptrack) base_cpu=$plain_cpu base_wall=$plain_wall ;;
    esac
    [ "$variant" != plain ] || plain_cpu=$cpu plain_wall=$wall
    awk "BEGIN { printf \"%-18s %7d %10.1f %7.2f %10.1f %7.2f %9.1f\n\", \"$variant\", $threads, $cpu, $cpu / $base_cpu, $wall, $wall / $base_wall, $rss / 1024 }"
  done
done
