#!/bin/bash
# Accounts for the RSS of programs that nobody here wrote, under load: prometheus, JVMs, Node, a page of Chromium, and the cgo
# example. What is not installed is skipped (apt: prometheus, openjdk-17-jdk, nodejs, chromium, golang).
#
#   account_real.sh TIDEMARK [--fast]       prints a table; exit code 1 when rows do not add up to RSS within 1 %, or more than
#                                           10 % is unexplained
set -u
tm=$(realpath "${1:?usage: account_real.sh TIDEMARK}")
wait_s=20
[ "${2:-}" = --fast ] && wait_s=5
tree=$(realpath "$(dirname "$0")/..")
dir=$(mktemp -d)
pids=()
bad=0
trap 'kill "${pids[@]}" 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
cd "$dir" || exit 1
export PATH=$PATH:/usr/sbin

begin() { # NAME COMMAND...: in the background, when it is there
  local name=$1
  shift
  command -v "$1" >/dev/null || { echo "$name: not here" >&2; return 1; }
  "$@" >"$name.log" 2>&1 &
  pid=$!
  pids+=("$pid")
}

row() { # NAME TARGET
  "$tm" account "$2" --json >account.json || { echo "FAIL $1"; bad=1; return; }
  "$tm" lua "$dir/row.lua" "$1" account.json || bad=1
}

cat >row.lua <<'LUA'
local core = require "tidemark.core"
local name, file = arg[1], assert(io.open(arg[2])):read("a")
local d = assert(core.json_decode(file))
local sums, total = {}, 0
local groups = { shared_memory = "other", stacks = "other", gpu = "other" }
for _, row in ipairs(d.rows) do
  local group = row.group ~= "" and row.group or groups[row.owner] or row.owner
  sums[group] = (sums[group] or 0) + row.bytes
  total = total + row.bytes
end
local rss, statm = d.meta.rss_bytes, d.meta.statm_bytes
local function share(group) return ("%.1f %%"):format((sums[group] or 0) / rss * 100) end
local off, unexplained = math.abs(total - statm) / statm, (sums.unexplained or 0) / rss
local ok = off <= 0.01 and unexplained <= 0.1
io.write(("| %s | %s | %s | %s | %s | %s | %s | %s | %s | %.2f %% | %s | %s |%s\n"):format(name, d.meta.source ~= "" and d.meta.source or "outside",
  core.format(rss, "bytes"), share "go", share "jvm", share "v8", share "c_heap", share "files", share "unexplained", off * 100,
  core.format(d.meta.smaps_ns, "ns"), core.format(d.meta.cpu_ns, "ns"), ok and "" or " FAIL"))
os.exit(ok and 0 or 1)
LUA

cat >Load.java <<'JAVA'
import java.util.*;
import java.nio.ByteBuffer;
public class Load {
  static final Map<Integer, byte[]> kept = new HashMap<>();
  static final List<ByteBuffer> direct = new ArrayList<>();
  public static void main(String[] a) throws Exception {
    for (int i = 0; i < 20; i++) direct.add(ByteBuffer.allocateDirect(1 << 20));
    for (int t = 0; t < 4; t++) {
      Thread worker = new Thread(() -> { long n = 0; while (true) { n += new byte[1000].length; Thread.yield(); } });
      worker.setDaemon(true);
      worker.start();
    }
    for (int i = 0; ; i++) { kept.put(i % 100000, new byte[1024]); if (i % 1000 == 0) Thread.sleep(1); }
  }
}
JAVA
cat >load.mjs <<'JS'
const kept = [], buffers = [];
for (let i = 0; i < 300000; i++) kept.push({ x: i, name: "row" + i });
for (let i = 0; i < 20; i++) buffers.push(Buffer.alloc(1 << 20, 1));
setInterval(() => { for (let i = 0; i < 20000; i++) kept[i * 7 % kept.length] = { x: i, name: "new" + i }; }, 20);
JS
cat >page.html <<'HTML'
<title>load</title><body><script>
window.kept = []; for (let i = 0; i < 400000; i++) kept.push({ a: i, s: "x" + i });
window.buffers = []; for (let i = 0; i < 20; i++) { const b = new Uint8Array(1 << 20); b.fill(1); buffers.push(b); }
for (let i = 0; i < 20000; i++) { const d = document.createElement("div"); d.textContent = "n" + i; document.body.append(d); }
setInterval(() => { for (let i = 0; i < 20000; i++) kept[i] = { a: i, s: "y" + i }; }, 50);
</script>
HTML

echo "| program | numbers from | RSS | Go | JVM | V8 | C heap | files | unexplained | off RSS by | smaps | CPU of a reading |"
echo "|---|---|---|---|---|---|---|---|---|---|---|---|"

cat >prom.yml <<'YML'
global: { scrape_interval: 1s }
scrape_configs: [ { job_name: self, static_configs: [ { targets: [ "127.0.0.1:19191" ] } ] } ]
YML
if begin prometheus prometheus --config.file=prom.yml --storage.tsdb.path=prom --web.listen-address=127.0.0.1:19191; then
  (for ((i = 0; ; i++)); do curl -s "http://127.0.0.1:19191/api/v1/query?query=rate(prometheus_http_requests_total%5B1m%5D)" >/dev/null || sleep 1; done) &
  pids+=($!)
  sleep "$wait_s"
  row "prometheus, scraping and queried" http://127.0.0.1:19191
fi
for home in /usr/lib/jvm/*; do
  if [ ! -x "$home/bin/javac" ] || [ -L "$home" ]; then continue; fi
  "$home/bin/javac" -d "$(basename "$home")" Load.java || continue
  version=$("$home/bin/java" -version 2>&1 | sed -n '1s/.*"\(.*\)".*/\1/p')
  for flags in -XX:+UseG1GC "-XX:NativeMemoryTracking=summary -XX:+UseParallelGC"; do
    # shellcheck disable=SC2086
    begin "java" "$home/bin/java" -Xmx512m $flags -cp "$(basename "$home")" Load || continue
    sleep "$((wait_s / 2))"
    row "JDK $version ${flags//-XX:/}" "jvm:$pid"
    kill "$pid"
  done
done
if begin node node --inspect=127.0.0.1:19192 load.mjs; then
  sleep "$((wait_s / 2))"
  row "Node $(node --version)" node:19192
fi
if begin chromium chromium --headless=new --no-sandbox --disable-gpu --user-data-dir="$dir/profile" --remote-debugging-port=19193 "file://$dir/page.html"; then
  sleep "$((wait_s / 2 + 3))"
  row "a page of Chromium" chrome:19193/load
fi
go=$(command -v go || echo /usr/local/go/bin/go)
sh "$tree/examples/leaky/go/build.sh" "$go" "$dir/leaky-go"
if [ -x leaky-go ] && begin leaky ./leaky-go -quiet -cgo 4MB/s -listen 127.0.0.1:19194; then
  sleep "$((wait_s / 2))"
  row "leaky-go -cgo 4MB/s" http://127.0.0.1:19194
fi
exit "$bad"
