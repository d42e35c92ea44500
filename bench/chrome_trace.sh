#!/bin/sh
# Records what Chromium writes of a page with known faults: bench/chrome_trace.sh FILE [json|proto] [SECONDS]
# The page keeps 7 intervals, a WebSocket, an EventSource and a fetch open, never ends console.time, adds 400 nodes with
# a listener each ten times a second, forces layout, parses 10 MB of JSON and blocks for 80 ms. Some 10 MB of JSON a second.
set -eu
[ $# -ge 1 ] || { echo "usage: chrome_trace.sh FILE [json|proto] [SECONDS]" >&2; exit 2; }
file=$1
form=${2:-json}
seconds=${3:-6}
rm -f "$file"
tmp=$(mktemp -d)
server=
stop() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  rm -rf "$tmp"
}
trap stop EXIT
cat >"$tmp/app.js" <<'END'
const kept = [], root = document.getElementById("root");
function leakTimers() { for (let i = 0; i < 7; i++) setInterval(function tick() { window.ticks = (window.ticks || 0) + 1; }, 200); }
function openSocket() { window.socket = new WebSocket("ws://" + location.host + "/socket"); }
function openEvents() { window.source = new EventSource("/events"); }
function fetchForever() { fetch("/never").catch(() => {}); }
function growDom() {
  for (let i = 0; i < 400; i++) {
    const node = document.createElement("div");
    node.textContent = "node " + i;
    node.addEventListener("click", () => node);
    root.appendChild(node);
    kept.push(node);
  }
}
function forceLayout() { for (let i = 0; i < 5; i++) { root.style.width = 100 + i + "px"; window.height = root.offsetHeight; } }
const big = "[" + Array.from({ length: 300000 }, (_, i) => `{"a":${i},"b":"text ${i}"}`).join(",") + "]";
function parseBig() { window.parsed = JSON.parse(big); }
function block() { const end = performance.now() + 80; while (performance.now() < end); }
function frame() { root.style.color = `rgb(${performance.now() % 255 | 0},0,0)`; requestAnimationFrame(frame); }
console.time("never ended");
leakTimers(); openSocket(); openEvents(); fetchForever();
setInterval(growDom, 100); setInterval(forceLayout, 150); setTimeout(parseBig, 700); setInterval(block, 900); requestAnimationFrame(frame);
END
cat >"$tmp/server.js" <<'END'
const http = require("http"), crypto = require("crypto"), fs = require("fs");
const page = '<!doctype html><title>faults</title><div id="root"></div><script src="/app.js"></script>';
const server = http.createServer((request, response) => {
  if (request.url === "/never") return;
  const type = { "/events": "text/event-stream", "/app.js": "text/javascript" }[request.url] || "text/html";
  response.writeHead(200, { "content-type": type });
  if (request.url === "/events") setInterval(() => response.write("data: x\n\n"), 500);
  else response.end(request.url === "/app.js" ? fs.readFileSync(process.argv[2]) : page);
});
server.on("upgrade", (request, socket) => {
  const key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  const accept = crypto.createHash("sha1").update(key).digest("base64");
  socket.on("error", () => {});
  socket.write(`HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
END
node "$tmp/server.js" "$tmp/app.js" >"$tmp/port" &
server=$!
until [ -s "$tmp/port" ]; do sleep 0.1; done
case $file in /*) full=$file ;; *) full=$PWD/$file ;; esac
cat >"$tmp/config.json" <<END
{ "startup_duration": $seconds, "result_file": "$full", "trace_config": { "record_mode": "record-until-full",
  "included_categories": ["*", "disabled-by-default-memory-infra", "disabled-by-default-devtools.timeline", "disabled-by-default-v8.gc",
    "disabled-by-default-devtools.timeline.stack", "disabled-by-default-v8.cpu_profiler"],
  "memory_dump_config": { "triggers": [{ "mode": "background", "periodic_interval_ms": 1000 },
    { "mode": "detailed", "periodic_interval_ms": 2000 }] } } }
END
"${CHROMIUM:-chromium}" --no-sandbox --headless --disable-gpu --user-data-dir="$tmp/profile" \
  --trace-config-file="$tmp/config.json" --trace-startup-format="$form" \
  --remote-debugging-port=0 "http://127.0.0.1:$(cat "$tmp/port")/" >"$tmp/log" 2>&1 &
browser=$!
# the file is whole once Chromium says so, or grows no more
last=-1
for i in $(seq $((seconds + 30))); do
  sleep 1
  size=$(wc -c 2>/dev/null <"$file" || echo 0)
  [ "$i" -le "$seconds" ] || [ "$size" = 0 ] || [ "$size" != "$last" ] || break
  last=$size
done
kill "$browser" 2>/dev/null || true
wait "$browser" 2>/dev/null || true
[ -s "$file" ] || { tail -5 "$tmp/log" >&2; exit 1; }
echo "$file: $(wc -c <"$file") bytes"
