#!/usr/bin/env bash
# The engine inside a program for long: 1,000 lives and 24 simulated hours with flat memory, leaks as
# LeakSanitizer sees them, and how long bad rules hold the host's thread.
#
#   embedding_soak.sh [LIVES]     exit 1 when a bar is missed
set -euo pipefail
top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
lives=${1:-1000}
cd "$top"
for preset in release asan; do
  build=${TM_SOAK_BUILD:-$top/build}/soak-$preset
  cmake --preset $preset -B "$build" >/dev/null
  cmake --build "$build" --target bench_embed >/dev/null
  program=$(find "$build" -name bench_embed -type f)
  if [ $preset = release ]; then
    "$program" soak "$lives"
    "$program" hold 1000
    "$program" call
  else # memory that the sanitizer holds back grows: only leaks count
    ASAN_OPTIONS=detect_leaks=1 "$program" soak $((lives / 5)) >"$build/soak.log" 2>&1 || true
    if grep -q 'Sanitizer' "$build/soak.log"; then
      cat "$build/soak.log"
      exit 1
    fi
    echo "ASan and LSan: nothing, over $((lives / 5)) lives and a day"
  fi
done
