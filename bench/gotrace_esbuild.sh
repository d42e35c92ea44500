#!/bin/sh
# Traces of real programs of seven versions of Go: esbuild, from npm, bundles a generated module and writes its own execution trace, which
# tidemark and Go's readers must count alike; then traces cut at every 1 %: gotrace_esbuild.sh TIDEMARK. Needs go, npm and a network, so
# it runs only where TM_NET is set.
set -eu
tidemark=$1
here=$(cd "$(dirname "$0")/../spec/support" && pwd)
[ -n "${TM_NET:-}" ] || { echo "TM_NET is not set"; exit 77; }
for tool in go npm; do command -v $tool >/dev/null 2>&1 || { echo "no $tool here"; exit 77; }; done
dir=${TM_KEEP:-$(mktemp -d)}
mkdir -p "$dir"
[ -n "${TM_KEEP:-}" ] || trap 'rm -rf "$dir"' EXIT
cd "$dir"
# 400 modules that import each other: work for all of esbuild's goroutines.
mkdir -p src
for i in $(seq 400); do
  echo "import { f$((i % 400 + 1)) as g } from './m$((i % 400 + 1)).js'; export function f$i(x) { return x > 1 ? g(x - 1) + $i : [\`\${x}\`, /a+/, { x }] }"
done | awk '{ print > ("src/m" NR ".js") }'
echo "import { f1 } from './m1.js'; console.log(f1(9))" > src/entry.js
mkdir -p count
cp "$here/gotrace_count.go" count/main.go
[ -f go.mod ] || go mod init gotracediff >/dev/null 2>&1
go get golang.org/x/exp/trace >get.log 2>&1 || { echo "golang.org/x/exp/trace cannot be had"; exit 77; }
go build -o count/count ./count
failed=0
for version in 0.14.0 0.17.0 0.20.0 0.22.0 0.24.0 0.27.0 0.28.2; do
  package=@esbuild/linux-x64@$version
  case $version in 0.1[0-5].*) package=esbuild-linux-64@$version ;; esac
  mkdir -p "$version"
  [ -f "$version/trace" ] || (
    cd "$version"
    npm i --ignore-scripts --no-audit --no-fund --force --silent "$package" >npm.log 2>&1
    binary=$(find node_modules -type f -name esbuild | head -1)
    "$binary" ../src/entry.js --bundle --minify --sourcemap --outfile=o.js --log-level=error --trace=trace
  )
  theirs=$(count/count "$version/trace" 2>&1 | head -1)
  ours=$("$tidemark" lua "$here/gotrace_count.lua" "$version/trace")
  verdict=$("$tidemark" check "$version/trace" | head -2 | tail -1)
  head=$(head -c 16 "$version/trace" | tr -d '\0')
  if [ "$ours" = "$theirs" ]; then
    echo "same: esbuild $version, $head: $ours;$verdict"
  else
    printf 'differs for esbuild %s (%s):\n  ours:   %s\n  theirs: %s\n' "$version" "$head" "$ours" "$theirs"
    failed=1
  fi
  "$tidemark" lua "$here/gotrace_cuts.lua" "$version/trace" || failed=1
done
exit $failed
