#!/usr/bin/env bash
# Compiles every benchmark and runs it once, small: that they work, not how fast they are.
#
#   scripts/ci-bench.sh BUILD
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=$1
log=build/bench.log
mapfile -t names < <(cd bench && printf '%s\n' bench_*.c | sed 's/\.c$//')
cmake --build "$build" --target tidemark "${names[@]}" >"$log" || { tail -n 40 "$log"; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
once() { # NAME ARGS...
  local name=$1
  shift
  (cd "$work" && timeout 120 "$OLDPWD/$build/bench/$name" "$@") >"$log" 2>&1 || { tail -n 20 "$log"; echo "$name failed"; exit 1; }
  echo "$name: ran"
}
for name in "${names[@]}"; do
  case $name in
    bench_gate) once "$name" 1000 ;; # its bars are part of the answer
    bench_gen_pprof)
      "$build/bench/$name" 2000 >"$work/heap.pb"
      once "$name" 2000
      ;;
    bench_repl) once "$name" "$PWD/$build/tidemark" 5 ;;
    bench_pprof) ;; # needs what bench_gen_pprof makes: below
    *) once "$name" ;;
  esac
done
if [ -s "$work/heap.pb" ]; then once bench_pprof "$work/heap.pb" 1; fi
