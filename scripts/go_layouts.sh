#!/usr/bin/env bash
# Prints lua/tidemark/data/go_layouts.lua anew: builds a small program with each Go version and reads its DWARF.
#
#   scripts/go_layouts.sh build/release/tidemark go1.21.13 go1.22.12 ... >lua/tidemark/data/go_layouts.lua
#
# Versions that `go` does not have are got by it (GOTOOLCHAIN); one whose `go` is a path, such as /usr/lib/go-1.19/bin/go, is used as it is.
set -euo pipefail
tidemark=$(realpath "$1")
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
printf 'module layout\n\ngo 1.19\n' >go.mod
printf 'package main\n\nfunc main() { println(1) }\n' >main.go
cat >print.lua <<'LUA'
local core = require "tidemark.core"
local rows = {}
for i = 1, #arg do
  local l = assert(core.go_layout(arg[i]))
  local minor, names, parts = l.version:match("go1%.(%d+)"), {}, {}
  l.version = nil
  for name in pairs(l) do names[#names + 1] = name end
  table.sort(names)
  for k, name in ipairs(names) do parts[k] = ("%s = %d"):format(name, l[name]) end
  rows[#rows + 1] = ('  ["%s/%d"] = { %s },'):format(minor, l.pointer_bytes, table.concat(parts, ", "))
end
table.sort(rows)
print(table.concat(rows, "\n"))
LUA
for version; do
  for arch in amd64 386; do
    case $version in
      /*) GOTOOLCHAIN=local GOARCH=$arch "$version" build -o "layout-$arch-$(basename "$(dirname "$(dirname "$version")")")" . ;;
      *) GOTOOLCHAIN=$version GOARCH=$arch go build -o "layout-$arch-$version" . ;;
    esac
  done
done
binaries=("$work"/layout-*)
cat <<'LUA'
-- Where Go's runtime keeps what goroutines are made of, in bytes, by "minor version/pointer bytes". Names: core/model/go_layout.def.
-- Printed by scripts/go_layouts.sh from the DWARF of programs that each version built; 64-bit rows hold for amd64 and arm64.
return {
LUA
"$tidemark" lua print.lua "${binaries[@]}" | awk 'length($0) <= 158 { print; next }
  { n = split($0, part, ", "); line = part[1]
    for (i = 2; i <= n; i++) {
      if (length(line) + length(part[i]) > 148) { print line ","; line = "    " part[i] } else line = line ", " part[i]
    }
    print line }'
echo '}'
