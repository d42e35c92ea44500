#!/usr/bin/env bash
# Looks for the crashes CI's fixed seed cannot find: every fuzz target for a while, random seeds, one process at a time, at the
# lowest priority. What a target learnt stays in build/fuzz-long/corpus for the next time. A crash stops only its target; the
# input stays in build/fuzz-long/<target>-crash-… and belongs, minimised, into spec/fuzz/seeds/<target>. Inputs that took 10 s
# stay as <target>-slow-unit-…: on a busy machine that is nobody's fault, so only 60 s are a failure.
#
#   bench/fuzz_long.sh [SECONDS] [TARGET…]     600 seconds for each of spec/fuzz/fuzz_*.c
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=600
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
  seconds=$1
  shift
fi
targets=("$@")
if [ $# -eq 0 ]; then
  for path in spec/fuzz/fuzz_*.c; do
    targets+=("$(basename "$path" .c)")
  done
fi

build=build/fuzz-long
mkdir -p "$build"
{ cmake --preset fuzz -B "$build" && nice -n 19 cmake --build "$build" --target "${targets[@]}"; } >"$build.log" 2>&1 \
  || { tail -n 40 "$build.log"; exit 2; }

# The figure libFuzzer prints after a name at its end ("stat::number_of_executed_units: 123").
stat_of() { sed -n "s/^stat::$2: *//p" "$build/$1.log" | tail -n 1; }

failed=0
printf '%-22s %12s %8s %9s  %s\n' target runs seconds exec/s result
for name in "${targets[@]}"; do
  corpus=$build/corpus/$name
  mkdir -p "$corpus" "spec/fuzz/seeds/$name"
  started=$SECONDS result=ok
  nice -n 19 "$build/spec/$name" -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=60 -report_slow_units=10 \
    -print_final_stats=1 -artifact_prefix="$build/$name-" "$corpus" "spec/fuzz/seeds/$name" >"$build/$name.log" 2>&1 || {
    failed=1
    result=$(grep -E '^SUMMARY:|^==.*ERROR' "$build/$name.log" | tail -n 1 || true)
    result="FAILED ${result:-see $build/$name.log}"
  }
  took=$((SECONDS - started)) runs=$(stat_of "$name" number_of_executed_units)
  printf '%-22s %12s %8d %9s  %s\n' "$name" "${runs:--}" "$took" "$(stat_of "$name" average_exec_per_sec)" "$result"
done
exit "$failed"
