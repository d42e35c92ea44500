#!/bin/sh
# What watching costs: bench/watcher_cost.sh [SECONDS] [BUILD-FOLDER]
# `tidemark watch` at its defaults on one idle app, for 60 s or as long as is said; CPU time and
# resident memory of the watcher come from /proc/PID/stat. Bars: 0.5 % of a core, 24 MB, and flat:
# the memory after the first tenth (warm-up) and at the end differ by less than 1 MB.
set -eu
seconds=${1:-60}
build=${2:-build/release}
tick=$(getconf CLK_TCK)
page=$(getconf PAGESIZE)

sleep "$((seconds + 30))" &
app=$!
"$build/tidemark" watch "$app" --plain --no-history >/dev/null 2>&1 &
watcher=$!
trap 'kill "$app" "$watcher" 2>/dev/null || true' EXIT INT TERM

# Field 2 is the command in brackets and may hold blanks: cut up to the last bracket.
# Then utime + stime are fields 12 and 13, rss (pages) is field 22.
read_stat() {
  sed 's/.*) //' "/proc/$watcher/stat" | awk -v t="$tick" -v p="$page" '{ print ($12 + $13) * 1000 / t, $22 * p }'
}

warm=$((seconds / 10))
[ "$warm" -ge 5 ] || warm=5
sleep "$warm"
first=$(read_stat)
sleep "$((seconds - warm))"
last=$(read_stat)

echo "$first $last" | awk -v total="$seconds" -v span="$((seconds - warm))" '
function row(what, value, bar, ok) {
  printf "%-44s %12s  %-16s %s\n", what, value, bar, ok ? "ok" : "FAIL"
  if (!ok) failed = 1
}
{
  percent = ($3 - $1) / span / 10
  grown = ($4 - $2) / 1e6
  printf "%-44s %12s  %-16s\n", "watcher at defaults, " total " s", "measured", "bar"
  row("CPU after warm-up, of a core", sprintf("%.2f %%", percent), "<= 0.5 %", percent <= 0.5)
  row("CPU from the start, of a core", sprintf("%.2f %%", $3 / total / 10), "<= 0.5 %", $3 / total / 10 <= 0.5)
  row("resident memory at the end", sprintf("%.1f MB", $4 / 1e6), "<= 24 MB", $4 <= 24e6)
  row("resident memory, end less warm-up", sprintf("%+.2f MB", grown), "< 1 MB", grown < 1)
  exit failed
}'
