#!/bin/sh
# Checks the sampling bars S1-S7 in one interleaved run: bench/sampling.sh BUILD-FOLDER
# (release preset). psutil and strace are used where they are installed.
set -eu
build=${1:-build/release}
here=$(dirname "$0")
python=
for candidate in python3 /usr/bin/python3; do
  "$candidate" -c 'import psutil' 2>/dev/null && python=$candidate
done
"$build/bench/bench_sampling" ${python:+"$python" "$here/sampling_psutil.py"}
if command -v strace >/dev/null; then
  calls=$(strace -f -e trace=getdents64 "$build/bench/bench_sampling" --fd-count 2>&1 | grep -c getdents64 || true)
  ok=no
  [ "$calls" = 0 ] && ok=yes
  printf '%-4s  %-58s  %-34s  %s\n' S3 "no getdents while counting descriptors (Linux 6.2)" "$calls calls" "$ok"
fi
