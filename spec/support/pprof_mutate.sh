#!/bin/sh
# Holds our reader's verdicts on thousands of damaged profiles against google/pprof's:
#   pprof_mutate.sh VERDICTS PROFILE...     VERDICTS = the built pprof_verdicts
# Needs go and its module proxy (the version that this go's own pprof is built from); without it skips (77).
# TM_SEED chooses other mutations. What fails is left in failN.profile of the current folder.
set -u
[ $# -ge 2 ] || { sed -n '2,5s/^# //p' "$0"; exit 2; }
command -v go >/dev/null 2>&1 || { echo "SKIP: no go here"; exit 77; }
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/pprof_mutate.go" "$work/main.go"
version=$(sed -n 's/^# github.com\/google\/pprof //p' "$(go env GOROOT)/src/cmd/vendor/modules.txt")
(cd "$work" && go mod init mutate && go get "github.com/google/pprof@$version" && go build -o mutate .) \
  >"$work/log" 2>&1 || { echo "SKIP: google/pprof cannot be had"; tail -n 3 "$work/log"; exit 77; }
verdicts=$1
shift
"$work/mutate" "$verdicts" "${TM_SEED:-1}" "$@"
