#!/bin/sh
# Holds our profile reports against `go tool pprof`, byte for byte, over profiles that a Go program
# writes of itself and over the options' combinations.
#   pprof_diff.sh CLI [PROFILE...]      CLI = the built pprof_cli; needs go in PATH, else it skips
# -files is compared without order: there pprof leaves ties between equal names open.
set -u
cli=$1
shift
command -v go >/dev/null 2>&1 || { echo "SKIP: no go here"; exit 77; }
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ $# -eq 0 ]; then
  go build -o "$work/gen" "$here/pprof_gen.go" && "$work/gen" "$work" || exit 1
  set -- "$work"/heap.pb.gz "$work"/cpu.pb.gz "$work"/goroutine.pb.gz "$work"/mutex.pb.gz \
    "$work"/block.pb.gz "$work"/allocs.pb.gz "$work"/threadcreate.pb.gz
fi

count=0
differ=0
check() { # flags... file
  count=$((count + 1))
  go tool pprof "$@" >"$work/want" 2>/dev/null
  "$cli" "$@" >"$work/have" 2>/dev/null
  case " $* " in
  *" -files "*)
    for f in want have; do
      sed 's/^\( *[^ ]* *[^ ]*%\) *[^ ]*%/\1/; s/ (inline)$//; s/ (partial-inline)$//' \
        "$work/$f" | sort >"$work/sorted"
      mv "$work/sorted" "$work/$f"
    done
    ;;
  esac
  cmp -s "$work/want" "$work/have" && return
  differ=$((differ + 1))
  echo "DIFFERS: $*"
  diff "$work/want" "$work/have" | head -8
}

options='
-cum
-focus=json
-ignore=runtime
-hide=sort
-show=main|json
-show_from=main.busy
-prune_from=encode
-files
-lines
-addresses
-filefunctions
-noinlines
-noinlines -addresses
-showcolumns -lines
-relative_percentages -focus=json
-tagfocus=worker=1
-tagfocus=1kb:4mb
-tagignore=kind
-taghide=worker
-tagshow=by
-tagroot=worker,bytes
-tagleaf=kind -lines
-nodecount=5
-nodefraction=0.1
-trim=false
-sample_index=0
-mean
-unit=MB
-divide_by=3
-drop_negative
-compact_labels
-focus=^main\..*$ -ignore=(?i)JSON'

for profile in "$@"; do
  for verb in -top -tree '-peek=json|sort' -traces -tags -raw -comments '-list=main|json'; do
    check $verb "$profile"
    echo "$options" | while read -r line; do
      [ -z "$line" ] && continue
      set -f
      check $verb $line "$profile"
      set +f
      echo "$count $differ" >"$work/counts"
    done
    read -r count differ <"$work/counts"
  done
done
base=$work/heap0.pb.gz
if [ -f "$base" ]; then
  for verb in -top -tree -traces -tags -raw; do
    for how in -base -diff_base; do
      check $verb $how="$base" "$work/heap.pb.gz"
      check $verb $how="$base" -normalize "$work/heap.pb.gz"
      check $verb $how="$base" -cum -drop_negative "$work/heap.pb.gz"
    done
    check $verb "$base" "$work/heap1.pb.gz" "$work/heap.pb.gz"
  done
fi
echo "$count comparisons, $differ differ"
[ "$differ" -eq 0 ]
