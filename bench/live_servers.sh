#!/bin/bash
# Takes every profile of servers that nobody here wrote, and reads their counters: prometheus and etcd over TCP; caddy,
# containerd and dockerd over unix sockets. Each that is in PATH is started on sockets and folders of its own; the rest is
# skipped (apt: prometheus, etcd-server, caddy, containerd, docker.io; dockerd wants root and the kernel's mounts).
#
#   live_servers.sh TIDEMARK        exit code 1 when anything that must work does not
set -u
bin=$(realpath "${1:?usage: live_servers.sh TIDEMARK}")
dir=$(mktemp -d)
pids=()
bad=0
trap 'kill "${pids[@]}" 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
cd "$dir" || exit 1
mkdir files

start() { # NAME COMMAND...: in the background, when it is there
  local name=$1
  shift
  command -v "$1" >/dev/null || { echo "skip $name: not here"; return 1; }
  env XDG_CONFIG_HOME="$dir" XDG_DATA_HOME="$dir" "$@" >"$name.log" 2>&1 &
  pids+=($!)
}

up() { # ADDRESS: waits for it
  for _ in $(seq 60); do
    "$bin" snap "$1" threadcreate -o files/up >/dev/null 2>&1 && return 0
    sleep 0.25
  done
  echo "FAIL $1 does not answer"
  bad=1
  return 1
}

check() { # NAME ADDRESS TRACE SHOWN...
  local name=$1 address=$2 trace=$3 kind shown=() n=0
  shift 3
  up "$address" || return
  for kind in heap "heap --gc" allocs goroutine "goroutine --debug 2" mutex block threadcreate "cpu --seconds 1" \
      "heap --seconds 1" $([ "$trace" = no ] || echo trace); do
    # shellcheck disable=SC2086
    if (cd files && "$bin" snap "$address" $kind --quiet 2>../err); then n=$((n + 1)); else
      echo "FAIL $name $kind: $(head -1 err)"
      bad=1
    fi
  done
  for kind in "$@"; do shown+=(--show "$kind"); done
  "$bin" watch "$address" "${shown[@]}" --no-history --no-builtin --every 1s --for 1500ms --plain --quiet --record files/"$name".tmr 2>err
  for kind in "$@"; do
    grep -qa "$kind" files/"$name".tmr || { echo "FAIL $name has no $kind"; bad=1; }
  done
  echo "ok   $name: $n profiles, $# series"
}

export PATH=$PATH:/usr/sbin
echo 'global: {}' >prom.yml
start prometheus prometheus --config.file=prom.yml --storage.tsdb.path=prom --web.listen-address=127.0.0.1:19091 &&
  check prometheus http://127.0.0.1:19091 yes metrics.go_memstats_heap_inuse_bytes metrics.go_goroutines
start etcd etcd --data-dir etcd --enable-pprof --listen-client-urls http://127.0.0.1:19092 --advertise-client-urls http://127.0.0.1:19092 \
  --listen-peer-urls http://127.0.0.1:19093 --initial-advertise-peer-urls http://127.0.0.1:19093 \
  --initial-cluster default=http://127.0.0.1:19093 &&
  check etcd http://127.0.0.1:19092 no expvar.memstats.HeapInuse metrics.go_goroutines # its router has no trace
printf '{"admin":{"listen":"unix/%s/caddy.sock"}}' "$dir" >caddy.json
start caddy caddy run --config caddy.json &&
  check caddy "unix:$dir/caddy.sock" yes expvar.memstats.HeapInuse metrics.go_goroutines
printf 'version = 2\nroot = "%s/c"\nstate = "%s/cs"\n[grpc]\naddress = "%s/c.sock"\n[debug]\naddress = "%s/cd.sock"\n' \
  "$dir" "$dir" "$dir" "$dir" >containerd.toml
start containerd containerd --config containerd.toml && {
  check containerd "unix:$dir/cd.sock" yes expvar.memstats.HeapInuse
  start dockerd dockerd --debug --containerd "$dir/c.sock" -H "unix://$dir/d.sock" --data-root "$dir/d" --exec-root "$dir/de" \
    --pidfile "$dir/d.pid" --iptables=false --bridge=none --ip-forward=false --ip-masq=false --storage-driver=vfs &&
    check dockerd "unix:$dir/d.sock" yes expvar.memstats.HeapInuse
}
exit $bad
