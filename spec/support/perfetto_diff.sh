#!/bin/sh
# What Chromium traced, read from its protobuf and from the JSON that perfetto_json.py makes of it: perfetto_diff.sh TIDEMARK [TRACE...].
# Without a trace it records one of a page that blocks, lays out, leaks and allocates. Exit code 77 where there is no chromium or no python3.
set -eu
tidemark=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
command -v python3 >/dev/null 2>&1 || { echo "no python3 here"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
if [ $# -eq 0 ]; then
  command -v chromium >/dev/null 2>&1 || { echo "no chromium here"; exit 77; }
  cat >"$dir/page.html" <<'PAGE'
<!doctype html><div id=a></div><script>
const kept = [];
function busy() { const end = performance.now() + 70; while (performance.now() < end); }
function grow() {
  const a = document.getElementById('a');
  for (let i = 0; i < 300; i++) { const d = document.createElement('div'); d.addEventListener('click', () => d); a.appendChild(d); kept.push(d); a.offsetHeight; }
}
console.time('never'); console.time('ends'); setTimeout(() => console.timeEnd('ends'), 300);
setInterval(busy, 400); setInterval(grow, 150); setTimeout(() => {}, 60000);
requestAnimationFrame(function frame() { document.getElementById('a').style.opacity = Math.random(); requestAnimationFrame(frame); });
</script>
PAGE
  categories='*,disabled-by-default-devtools.timeline,disabled-by-default-memory-infra,disabled-by-default-v8.cpu_profiler,disabled-by-default-v8.gc'
  timeout 40 chromium --headless --no-sandbox --disable-gpu --user-data-dir="$dir/profile" --trace-startup="$categories" \
    --trace-startup-format=proto --trace-startup-file="$dir/trace.pftrace" --trace-startup-duration=4 --remote-debugging-port=0 \
    "file://$dir/page.html" >"$dir/log" 2>&1 &
  browser=$!
  size=0
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do # until it grows no more
    sleep 2
    now=$(wc -c <"$dir/trace.pftrace" 2>/dev/null || echo 0)
    [ "$now" -gt 0 ] && [ "$now" -eq "$size" ] && break
    size=$now
  done
  kill $browser 2>/dev/null || true
  wait $browser 2>/dev/null || true
  [ -s "$dir/trace.pftrace" ] || { echo "chromium wrote no trace"; exit 77; }
  set -- "$dir/trace.pftrace"
fi
failed=0
for trace in "$@"; do
  python3 "$here/perfetto_json.py" "$trace" >"$dir/trace.json"
  for verb in "tasks --over 1ms" "asyncs --all" counters frames; do
    # the verb and its option are two words
    # shellcheck disable=SC2086
    "$tidemark" $verb "$trace" --csv >"$dir/ours" 2>"$dir/ours.err" || { cat "$dir/ours.err"; failed=1; }
    # shellcheck disable=SC2086
    "$tidemark" $verb "$dir/trace.json" --csv >"$dir/theirs"
    if cmp -s "$dir/ours" "$dir/theirs"; then
      echo "same: $verb, $(wc -l <"$dir/ours") lines"
    else
      echo "differs: $verb"
      diff "$dir/ours" "$dir/theirs" | head -n 10
      failed=1
    fi
  done
done
exit $failed
