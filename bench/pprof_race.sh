#!/bin/sh
# Our time on profiles beside go's and beside inflating alone: bench/pprof_race.sh BENCH_DIR REAL.pb.gz
# BENCH_DIR holds bench_pprof, bench_gen_pprof, bench_flame and bench_growth of a release build;
# REAL is a compiler's heap profile (real_profiles.sh takes one). Prints CPU seconds (user + sys).
set -eu
[ $# -eq 2 ] || { echo "usage: pprof_race.sh BENCH_DIR REAL.pb.gz" >&2; exit 2; }
bench=$1
real=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$bench/bench_gen_pprof" >"$tmp/big.pb"

echo "== generated, $(wc -c <"$tmp/big.pb") bytes raw"
"$bench/bench_pprof" "$tmp/big.pb" 5
"$bench/bench_flame" "$tmp/big.pb" 5
echo "== real: $(gzip -dc "$real" | wc -c) bytes raw; unpack is the bound of all that follows"
"$bench/bench_pprof" "$real" 9
"$bench/bench_flame" "$real" 9
echo "== growth by path over 100 of it"
"$bench/bench_growth" path "$real" 100
if command -v go >/dev/null; then
  echo "== go tool pprof -top of it"
  { time go tool pprof -top "$real" >"$tmp/top" 2>&1; } 2>&1 | grep -E 'user|sys' || true
fi
