#!/bin/sh
# The conformance files of Go's own trace reader, of golang.org/x/exp/trace or of the Go installed here: gotrace_conformance.sh TIDEMARK.
# Exit code 77 where there is no go, or none of both.
set -eu
tidemark=$1
here=$(cd "$(dirname "$0")" && pwd)
command -v go >/dev/null 2>&1 || { echo "no go here"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
go mod init conformance >/dev/null 2>&1
tests=
if go get golang.org/x/exp/trace >get.log 2>&1; then
  tests=$(go list -m -f '{{.Dir}}' golang.org/x/exp)/trace/testdata/tests
fi
own=$(go env GOROOT)/src/internal/trace/testdata/tests
set --
for folder in "$tests" "$own"; do
  [ -d "$folder" ] || continue
  for file in "$folder"/*.test; do set -- "$@" "$file"; done
done
[ $# -gt 0 ] || { echo "no conformance files here"; exit 77; }
exec "$tidemark" lua "$here/gotrace_conformance.lua" "$@"
