#!/bin/sh
# Our time and memory on a great V8 heap snapshot beside DevTools' worker and memlab:
#   bench/v8_race.sh V8_NODES PACKAGES [FILE]
# V8_NODES is spec/v8_nodes of a release build; PACKAGES a folder where
# `npm i --ignore-scripts chrome-devtools-frontend typescript@5 @memlab/core` was run. Without a FILE one of about
# 350 MB is written first. Each reads, finds dominators, retained sizes, distances and class names. Prints CPU seconds
# (user + sys, all threads) and peak RSS.
set -eu
[ $# -ge 2 ] || { echo "usage: v8_race.sh V8_NODES PACKAGES [FILE]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
nodes=$1
packages=$2
file=${3:-}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
if [ -z "$file" ]; then
  file=$tmp/big.heapsnapshot
  node --max-old-space-size=6000 "$here/v8_gen.mjs" "$file" 1000000
fi
echo "== $(wc -c <"$file") bytes, $(head -c 4096 "$file" | grep -o '"node_count":[0-9]*,"edge_count":[0-9]*')"
cat "$file" >/dev/null
for i in 1 2 3; do echo "ours      $("$nodes" "$file" --time)"; done
echo "devtools  $(node --max-old-space-size=12000 "$here/../spec/support/v8_peer.mjs" "$packages" "$file" --time 2>/dev/null)"
cat >"$tmp/memlab.js" <<'END'
const core = require(require.resolve("@memlab/core", { paths: [process.argv[2]] }));
core.config.muteConsole = true;
core.utils.getSnapshotFromFile(process.argv[3], { buildNodeIdIndex: true }).then(heap => {
  core.analysis.preparePathFinder(heap);
  const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
  console.log(`cpu_s ${((userCPUTime + systemCPUTime) / 1e6).toFixed(2)} rss_mb ${(maxRSS / 1024).toFixed(0)} nodes ${heap.nodes.length}`);
});
END
echo "memlab    $(node --max-old-space-size=12000 "$tmp/memlab.js" "$packages" "$file" 2>/dev/null | grep cpu_s)"
