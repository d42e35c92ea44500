#!/usr/bin/env bash
# Holds leaky to its word: leaky_check.sh LEAKY [LEAKY_GO]. Every mode runs beside the others for
# about two seconds; /proc must show the growth it promises, the quiet modes must show none, and
# SIGTERM must end each process with exit code 0 and nothing left behind.
set -u
leaky=$1
leaky_go=${2:-}
folder=$(mktemp -d)
declare -A pids=()
failed=0

# shellcheck disable=SC2317 # the trap calls it
cleanup() {
  local name
  for name in "${!pids[@]}"; do kill -KILL "${pids[$name]}" 2>/dev/null; done
  rm -rf "$folder"
}
trap cleanup EXIT

start() { # NAME OPTION...
  local name=$1
  shift
  TMPDIR=$folder "$leaky" "$@" --for 60s >"$folder/$name.out" 2>&1 &
  pids[$name]=$!
}

check() { # WHAT VALUE LEAST [MOST]
  if [ -n "$2" ] && [ "$2" -ge "$3" ] && [ "$2" -le "${4:-$2}" ]; then return; fi
  echo "FAIL $1: got ${2:-nothing}, wanted at least $3${4:+ and at most $4}"
  failed=1
}

status_of() { awk -v key="$2:" '$1 == key { print $2 }' "/proc/${pids[$1]}/status"; }
fds_of() { find "/proc/${pids[$1]}/fd" -mindepth 1 | wc -l; }
maps_of() { wc -l <"/proc/${pids[$1]}/maps"; }

links_of() { # NAME PATTERN: descriptors whose target matches
  find "/proc/${pids[$1]}/fd" -mindepth 1 -printf '%l\n' | grep -c -- "$2"
}

file_kb_of() { # NAME PATTERN: size of the open file whose name matches
  local fd
  fd=$(find "/proc/${pids[$1]}/fd" -mindepth 1 -lname "*$2*" | head -n 1)
  [ -n "$fd" ] && echo $(($(stat -L -c %s "$fd") / 1024))
}

shm_kb_of() { # pages of segments that this process made and nobody attaches
  awk -v pid="${pids[$1]}" '$5 == pid && $7 == 0 { sum += $4 } END { print int(sum / 1024) }' \
    /proc/sysvipc/shm
}

say() { # SOCKET LINE: sends a line to the hook, prints the answer
  python3 - "$1" "$2" <<'PY' 2>/dev/null
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
s.connect(sys.argv[1])
s.sendall(sys.argv[2].encode() + b"\n")
print(s.makefile().readline().strip())
PY
}

start idle --churn 2MB/s
start heap --heap 10MB/s
start threads --threads 20/s
start maps --maps 100/s
start memfd --memfd 5MB/s
start deleted --deleted 5MB/s
start shm --shm 5MB/s
start warmup --warmup 5MB/1s
start sawtooth --sawtooth 8MB/500ms
start floor --sawtooth 4MB/500ms --sawtooth-leak 10MB/s
start burst --churn 1MB/s --burst fds=300@1s,heap=20MB@1s
start capped --heap 100MB/s --max 16MB
start cache --cache 30MB/s --hook "$folder/hook"
start fds-inotify --fds 10/s --fd-kind inotify # few: the kernel gives a user 128 of them
for kind in file socket pipe eventfd memfd mixed; do
  start "fds-$kind" --fds 40/s --fd-kind "$kind"
done
sleep 0.5
burst_before=$(fds_of burst)
idle_before=$(maps_of idle)
valley_kb=$(status_of sawtooth VmRSS)
for _ in {1..20}; do
  sleep 0.1
  now_kb=$(status_of sawtooth VmRSS)
  [ "$now_kb" -lt "$valley_kb" ] && valley_kb=$now_kb
done

# Growth: half of what is due in 2 s, for a machine that is busy elsewhere.
check "heap: RSS in kB" "$(status_of heap VmRSS)" 10240
check "threads" "$(status_of threads Threads)" 20
check "maps" "$(maps_of maps)" 100
check "maps: RSS in kB stays" "$(status_of maps VmRSS)" 1 4096
check "memfd: kB" "$(file_kb_of memfd leaky-hidden)" 5120
check "memfd: RSS in kB stays" "$(status_of memfd VmRSS)" 1 4096
check "deleted: kB" "$(file_kb_of deleted '(deleted)')" 5120
check "shm: kB" "$(shm_kb_of shm)" 5120
check "warm-up: RSS in kB, flat" "$(status_of warmup VmRSS)" 5120 9216
check "sawtooth: peak in kB" "$(status_of sawtooth VmHWM)" 8000 13312
check "sawtooth: valley in kB" "$valley_kb" 1 6000
check "sawtooth with floor: RSS in kB" "$(status_of floor VmRSS)" 10240
check "burst: descriptors before" "$burst_before" 1 20
check "burst: descriptors after" "$(fds_of burst)" 300
check "burst: RSS in kB" "$(status_of burst VmRSS)" 20480
check "cap: RSS in kB" "$(status_of capped VmRSS)" 15360 22528
check "churn: descriptors" "$(fds_of idle)" 1 8
check "churn: mappings" "$(maps_of idle)" "$((idle_before - 4))" "$((idle_before + 4))"
check "fds file" "$(links_of fds-file '/leaky$')" 40
check "fds socket" "$(links_of fds-socket '^socket:')" 40
check "fds pipe" "$(links_of fds-pipe '^pipe:')" 40
check "fds eventfd" "$(links_of fds-eventfd 'eventfd')" 40
check "fds memfd" "$(links_of fds-memfd 'memfd:leaky-empty')" 40
check "fds inotify" "$(links_of fds-inotify 'inotify')" 10
check "fds mixed" "$(fds_of fds-mixed)" 40

if command -v python3 >/dev/null; then
  answer=$(say "$folder/hook" clear-caches)
  check "hook: bytes freed" "${answer#ok freed }" 20000000
  check "hook: RSS in kB after it" "$(status_of cache VmRSS)" 1 20480
fi

for name in "${!pids[@]}"; do kill -TERM "${pids[$name]}"; done
for name in "${!pids[@]}"; do
  wait "${pids[$name]}"
  check "$name: exit code after SIGTERM" "$?" 0 0
done
check "shm: kB left behind" "$(shm_kb_of shm)" 0 0
check "hook: socket left behind" "$(find "$folder" -name hook | wc -l)" 0 0
pids=()

for words in "--heap 1MB" "--heap 5/s" "--fds 1MB/s" "--fd-kind tube" "--burst fds=5" \
  "--nonsense" "word" ""; do
  # shellcheck disable=SC2086 # the words are meant to be split
  timeout 5 "$leaky" $words >/dev/null 2>&1
  check "usage: leaky $words: exit code" "$?" 2 2
done
"$leaky" --help >/dev/null
check "help: exit code" "$?" 0 0

if [ -x "$leaky_go" ]; then
  "$leaky_go" -goroutines 50/s -heap 5MB/s -tickers 5/s -gc-churn 20MB/s >"$folder/go.out" 2>&1 &
  pids[go]=$!
  sleep 1.5
  read -r _ url <"$folder/go.out"
  where='^pprof http://127.0.0.1:[0-9]*/debug/pprof/$'
  check "go: first line is pprof and where" "$(head -n 1 "$folder/go.out" | grep -c "$where")" 1
  if command -v curl >/dev/null; then
    parked=$(curl -s --noproxy '*' "${url}goroutine?debug=1" |
      awk '/ @ / { count = $1 } /waitForever/ { parked = count } END { print parked + 0 }')
    check "go: goroutines parked" "$parked" 25
  fi
  kill -TERM "${pids[go]}"
  wait "${pids[go]}"
  check "go: exit code after SIGTERM" "$?" 0 0
  pids=()
fi

[ "$failed" = 0 ] && echo "leaky: every mode keeps its word"
exit "$failed"
