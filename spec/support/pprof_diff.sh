#!/bin/sh
# Holds our profile reports against `go tool pprof`, byte for byte, over the options' combinations.
#   pprof_diff.sh CLI                 profiles that a Go program writes of itself, and their bases
#   pprof_diff.sh CLI PROFILE...      these
# CLI = the built pprof_cli; without Go 1.26 or later it skips (77). TM_JOBS profiles at a time (2).
# -files and -call_tree are compared without order: there pprof leaves ties between equal names open.
set -u
cli=$1
shift
command -v go >/dev/null 2>&1 || { echo "SKIP: no go here"; exit 77; }
# Debian 12's pprof (Go 1.19) knows neither build ids in reports nor columns.
minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
[ "${minor:-0}" -ge 26 ] || { echo "SKIP: pprof of $(go env GOVERSION) prints otherwise"; exit 77; }
# The tool itself: `go tool` in front of it costs more than most reports.
pprof=${TM_PPROF:-$(go tool -n pprof)}
[ -x "$pprof" ] || { echo "SKIP: this go has no pprof tool"; exit 77; }
export TM_PPROF="$pprof"
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

count=0
differ=0
open=0
# Whether pprof disagrees with itself: equal names in one -files report are in any order.
open_ties() {
  "$pprof" -symbolize=none "$@" >"$work/once" 2>/dev/null
  for _ in 1 2 3 4 5 6; do
    "$pprof" -symbolize=none "$@" >"$work/again" 2>/dev/null
    cmp -s "$work/once" "$work/again" || return 0
  done
  return 1
}

check() { # flags... file
  count=$((count + 1))
  "$pprof" -symbolize=none "$@" >"$work/want" 2>/dev/null
  "$cli" "$@" >"$work/have" 2>/dev/null
  case " $* " in
  *" -list="*) # we find sources that pprof does not: then the sums count
    if grep -q '^ Error: ' "$work/want"; then
      for f in want have; do
        grep -E '^(Total:|ROUTINE )|% of Total$' "$work/$f" >"$work/sums"
        mv "$work/sums" "$work/$f"
      done
    fi
    ;;
  *" -dot -files "* | *" -call_tree "*) # no order, no numbers, no dotted edges
    for f in want have; do
      sed -E 's/N[0-9]+/N/g; s/id="node[0-9]+"//; s/^[-+0-9a-fx*]+ /A /; s/calls=0 [^ ]+/calls=0 A/
              s/\([0-9]+\)( |$)/() /; s/ \[[0-9]+\/[0-9]+\]//
              /style="dotted"/d' "$work/$f" | sort >"$work/sorted"
      mv "$work/sorted" "$work/$f"
    done
    ;;
  *" -disasm="*) # the disassemblers differ; sums, and the addresses with values, do not
    for f in want have; do
      grep -E '^ *[^ ]+ +[^ ]+ +[0-9a-f]+: |^(Total:|ROUTINE )|% of Total$' "$work/$f" |
        sed 's/^\( *[^ ]* *[^ ]* *[0-9a-f]*:\) .*/\1/' | grep -v '^ *\. *\. ' >"$work/sums"
      mv "$work/sums" "$work/$f"
    done
    ;;
  *" -files "*)
    for f in want have; do
      sed 's/^\( *[^ ]* *[^ ]*%\) *[^ ]*%/\1/; s/ (inline)$//; s/ (partial-inline)$//' \
        "$work/$f" | sort >"$work/sorted"
      mv "$work/sorted" "$work/$f"
    done
    ;;
  esac
  cmp -s "$work/want" "$work/have" && return
  open_ties "$@" && open=$((open + 1)) && return
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
-nodecount=20 -edgefraction=0.02
-nodecount=0 -nodefraction=0
-call_tree -nodecount=0
-call_tree -lines -trim=false
-nodefraction=0.1
-trim=false
-sample_index=0
-mean
-unit=MB
-divide_by=3
-drop_negative
-compact_labels
-focus=^main\..*$ -ignore=(?i)JSON'

# Everything over one profile.
over_options() { # PROFILE
  for verb in -top -tree '-peek=json|sort' -traces -tags -raw -comments '-list=main|json' \
    -dot -callgrind; do
    check "$verb" "$1"
    while read -r line; do
      [ -z "$line" ] && continue
      set -f
      # shellcheck disable=SC2086 # words
      check "$verb" $line "$1"
      set +f
    done <<EOF
$options
EOF
  done
}

over_bases() { # BASE MORE PROFILE
  for verb in -top -tree -traces -tags -raw -dot -callgrind; do
    for how in -base -diff_base; do
      check $verb $how="$1" "$3"
      check $verb $how="$1" -normalize "$3"
      check $verb $how="$1" -cum -drop_negative "$3"
    done
    check $verb "$1" "$2" "$3"
  done
}

over_code() { # PROFILE... of a program that is still there
  command -v objdump >/dev/null 2>&1 || return
  for profile in "$@"; do
    for how in -cum -focus=json -mean; do
      check '-disasm=main|json' $how "$profile"
    done
  done
}

: >"$work/bases"
if [ $# -eq 1 ]; then
  over_options "$1"
elif [ $# -gt 1 ] && [ "$1" = code ]; then
  shift
  over_code "$@"
elif [ $# -eq 4 ] && [ "$1" = bases ]; then
  over_bases "$2" "$3" "$4"
else
  if [ $# -eq 0 ]; then
    go build -o "$work/gen" "$here/pprof_gen.go" && "$work/gen" "$work" || exit 1
    for kind in heap cpu goroutine mutex block; do
      set -- "$@" "$work/$kind.pb.gz"
    done
    "$0" "$cli" bases "$work/heap0.pb.gz" "$work/heap1.pb.gz" "$work/heap.pb.gz" >"$work/bases"
    "$0" "$cli" code "$work/cpu.pb.gz" "$work/heap.pb.gz" >>"$work/bases"
  fi
  printf '%s\n' "$@" | xargs -P "${TM_JOBS:-2}" -I{} "$0" "$cli" {} >"$work/all"
  cat "$work/bases" >>"$work/all"
  grep -v '^[0-9]* comparisons, ' "$work/all"
  sums=$(awk '/^[0-9]+ comparisons, / { c += $1; d += $3; o += $5 } END { print c + 0, d + 0, o + 0 }' "$work/all")
  count=${sums%% *}
  open=${sums##* }
  differ=${sums#* }
  differ=${differ% *}
fi
echo "$count comparisons, $differ differ, $open open in pprof itself"
[ "$differ" -eq 0 ] && [ "$count" -gt 0 ]
