#!/bin/sh
# Takes profiles from programs that nobody here wrote, into DIR: the files that pprof_diff.sh and the
# benchmarks are held against. Needs a network (Debian's archive, the Go proxy, npm), go and npm;
# installs nothing: packages are unpacked below DIR/tools. What cannot be had is named and left out.
#   bench/real_profiles.sh DIR [PROGRAM...]     programs: see the list at the end
set -u
[ $# -ge 1 ] || { sed -n '2,5s/^# //p' "$0"; exit 2; }
mkdir -p "$1/tools"
dir=$(cd "$1" && pwd)
shift
tools=$dir/tools
log=$dir/log
libs=$tools/usr/lib/$(uname -m)-linux-gnu
PATH=$tools/usr/bin:$tools/usr/sbin:$tools/go/bin:$PATH
export LD_LIBRARY_PATH="$libs"

deb() { # unpacks Debian packages of these names below tools
  for name; do
    [ -e "$tools/$name.done" ] && continue
    (cd "$tools" && apt-get -qq download "$name" && dpkg-deb -x "$name"_*.deb . \
      && rm "$name"_*.deb && : >"$name.done") >>"$log" 2>&1 || return 1
  done
}

go_tool() { GOBIN=$tools/go/bin GOFLAGS=-mod=mod go install "$1" >>"$log" 2>&1; }

npm_tool() { # installs npm packages once into tools/npm
  mkdir -p "$tools/npm"
  (cd "$tools/npm" && npm install --no-audit --no-fund --silent "$@") >>"$log" 2>&1
}

fetch() { # FILE URL [CURL-FLAGS...]
  fetched=$dir/$1
  from=$2
  shift 2
  curl -sS --fail --max-time 60 -o "$fetched" "$@" "$from" 2>>"$log"
}

# Every kind of Go profile from the debug endpoint at BASE, under NAME.
endpoint() { # NAME BASE [CURL-FLAGS...]
  name=$1
  base=$2
  shift 2
  for kind in heap allocs goroutine mutex block threadcreate; do
    fetch "$name.$kind.pb.gz" "$base/$kind" "$@"
    fetch "$name.$kind.txt" "$base/$kind?debug=1" "$@"
  done
  fetch "$name.goroutine2.txt" "$base/goroutine?debug=2" "$@"
  fetch "$name.cpu.pb.gz" "$base/profile?seconds=3" "$@"
}

server() { # starts a program, kept in $server; its folder is $run
  "$@" >>"$run/out" 2>&1 &
  server=$!
  sleep 4
}

stop() {
  kill "$server" 2>/dev/null
  wait "$server" 2>/dev/null
  return 0
}

take_compiler() { # the Go compiler over one of its own packages
  go build -a -gcflags="cmd/compile/internal/ssa=-memprofile=$run/ -memprofilerate=512" \
    -o /dev/null cmd/compile >>"$log" 2>&1 # into a folder it writes protos
  mv "$run"/*.memprof "$dir/compile.heap.pb.gz" || return 1
  go build -a -gcflags="cmd/compile/internal/ssa=-cpuprofile=$dir/compile.cpu.pb.gz" -o /dev/null \
    cmd/compile >>"$log" 2>&1
}

take_esbuild() {
  go_tool github.com/evanw/esbuild/cmd/esbuild@v0.25.12 && npm_tool typescript@5.9 || return 1
  entry=$tools/npm/node_modules/typescript/lib/typescript.js
  esbuild "$entry" --bundle --minify --sourcemap --platform=node --outfile="$run/out.js" \
    --cpuprofile="$dir/esbuild.cpu.pb.gz" --log-level=error >>"$log" 2>&1
  esbuild "$entry" --bundle --platform=node --outfile="$run/out.js" --heap="$dir/esbuild.heap.pb.gz" \
    --trace="$run/esbuild.trace" --log-level=error >>"$log" 2>&1
}

take_tsgo() { # the native compiler of TypeScript
  npm_tool @typescript/native-preview typescript@5.9 || return 1
  cat >"$run/a.ts" <<'TS'
type Deep<T, N extends number, A extends unknown[] = []> = A["length"] extends N ? T : Deep<T[], N, [...A, 0]>;
const x: Deep<number, 30> = [] as any;
export const m = new Map<string, Deep<number, 12>>(Array.from({ length: 9 }, (_, i) => ["k" + i, x as any]));
TS
  (cd "$run" && "$tools/npm/node_modules/.bin/tsgo" --noEmit --pprofDir "$run/pprof" a.ts) >>"$log" 2>&1
  for file in "$run"/pprof/*; do
    case $file in
    *cpu*) cp "$file" "$dir/tsgo.cpu.pb.gz" ;;
    *mem*) cp "$file" "$dir/tsgo.heap.pb.gz" ;;
    esac
  done
}

take_hugo() {
  deb hugo libsass1 || return 1
  mkdir -p "$run/site/content" "$run/site/layouts/_default"
  printf 'baseURL = "/"\ntitle = "t"\n' >"$run/site/config.toml"
  echo '<html><body>{{ .Content }}{{ range .Site.RegularPages }}<a href="{{ .Permalink }}">{{ .Title }}</a>{{ end }}</body></html>' \
    | tee "$run/site/layouts/_default/single.html" >"$run/site/layouts/_default/list.html"
  i=0
  while [ $i -lt 300 ]; do
    # shellcheck disable=SC2016 # the backquotes are Markdown
    printf -- '---\ntitle: "Page %d"\n---\n# A *heading*\n\n* one\n* two `code`\n\n```go\nfunc main() {}\n```\n' $i \
      >"$run/site/content/p$i.md"
    i=$((i + 1))
  done
  (cd "$run/site" && hugo --quiet --profile-cpu "$dir/hugo.cpu.pb.gz" --profile-mem "$dir/hugo.heap.pb.gz" \
    --profile-mutex "$dir/hugo.mutex.pb.gz") >>"$log" 2>&1
}

take_kubectl() {
  deb kubernetes-client || return 1
  for kind in heap goroutine cpu block mutex threadcreate; do
    kubectl create deployment d --image=i --dry-run=client -o yaml --profile=$kind \
      --profile-output="$dir/kubectl.$kind.pb.gz" >>"$log" 2>&1
  done
}

take_prometheus() {
  command -v prometheus >/dev/null || deb prometheus || return 1
  printf 'global: {scrape_interval: 1s}\nscrape_configs: [{job_name: p, static_configs: [{targets: ["127.0.0.1:19390"]}]}]\n' >"$run/p.yml"
  server prometheus --config.file="$run/p.yml" --storage.tsdb.path="$run/data" --web.listen-address=127.0.0.1:19390
  for i in 1 2 3 4 5 6 7 8 9; do
    fetch "tools/query$i" "http://127.0.0.1:19390/api/v1/query?query=rate({__name__=~\".%2b\"}[1m])"
  done
  fetch prometheus.before.pb.gz http://127.0.0.1:19390/debug/pprof/heap
  endpoint prometheus http://127.0.0.1:19390/debug/pprof
  stop
}

take_etcd() {
  deb etcd-server || return 1
  server etcd --data-dir="$run/data" --enable-pprof --listen-client-urls=http://127.0.0.1:19391 \
    --advertise-client-urls=http://127.0.0.1:19391 --listen-peer-urls=http://127.0.0.1:19392 \
    --initial-advertise-peer-urls=http://127.0.0.1:19392 --initial-cluster=default=http://127.0.0.1:19392
  endpoint etcd http://127.0.0.1:19391/debug/pprof
  stop
}

take_caddy() { # its admin endpoint, on a unix socket
  deb caddy || return 1
  printf '{"admin":{"listen":"unix/%s/s"}}' "$run" >"$run/c.json"
  server env HOME="$run" caddy run --config "$run/c.json"
  endpoint caddy http://localhost/debug/pprof --unix-socket "$run/s" -H "Host;" # an empty one
  stop
}

take_containerd() { # its debug endpoint, on a unix socket; needs root
  deb containerd || return 1
  printf 'version = 2\nroot = "%s/r"\nstate = "%s/t"\n[debug]\naddress = "%s/d"\n[grpc]\naddress = "%s/g"\n' \
    "$run" "$run" "$run" "$run" >"$run/c.toml"
  server containerd --config "$run/c.toml"
  endpoint containerd http://localhost/debug/pprof --unix-socket "$run/d"
  stop
}

take_node() { # V8's own files, and the protos of the packages pprof and @datadog/pprof
  npm_tool @datadog/pprof typescript@5.9 || return 1
  cat >"$tools/npm/work.js" <<'JS'
require("typescript").transpileModule("let x = [1, 2].map((a) => a + 1);\n".repeat(20000), {});
JS
  (cd "$tools/npm" && node --cpu-prof --cpu-prof-name=node.cpuprofile --cpu-prof-dir="$dir" \
    --heap-prof --heap-prof-name=node.heapprofile --heap-prof-dir="$dir" work.js) >>"$log" 2>&1
  cat >"$tools/npm/dd.js" <<'JS'
const pprof = require("@datadog/pprof"), fs = require("fs"), dir = process.argv[2];
pprof.heap.start(64 * 1024, 64);
pprof.time.start({ durationMillis: 10000, intervalMicros: 1000 });
require("./work.js");
const write = (name, p) => pprof.encode(p).then((b) => fs.writeFileSync(`${dir}/${name}`, b));
write("dd-heap.pb.gz", pprof.heap.profile()).then(() => write("dd-time.pb.gz", pprof.time.stop()));
JS
  (cd "$tools/npm" && node dd.js "$dir") >>"$log" 2>&1
}

take_node_pprof() { # the package pprof, which compiles its addon here
  npm_tool pprof && (cd "$tools/npm" && npm rebuild --ignore-scripts=false pprof) >>"$log" 2>&1 || return 1
  cat >"$tools/npm/pprof.js" <<'JS'
const pprof = require("pprof"), fs = require("fs"), dir = process.argv[2], kept = [];
const write = async (name, p) => fs.writeFileSync(`${dir}/${name}`, await pprof.encode(await p));
pprof.heap.start(64 * 1024, 64);
write("node-pprof-time.pb.gz", pprof.time.profile({ durationMillis: 2000, intervalMicros: 1000 }));
const timer = setInterval(() => { for (let k = 0; k < 2000; k++) kept.push(JSON.stringify({ k })); }, 20);
setTimeout(() => { clearInterval(timer); write("node-pprof-heap.pb.gz", pprof.heap.profile()); }, 2500);
JS
  (cd "$tools/npm" && node pprof.js "$dir") >>"$log" 2>&1
}

take_pprof_rs() { # a Rust program under the crate pprof
  command -v cargo >/dev/null || return 1
  mkdir -p "$run/src"
  printf '[package]\nname = "rs"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n%s\n' \
    'pprof = { version = "0.14", features = ["prost-codec"] }' >"$run/Cargo.toml"
  cat >"$run/src/main.rs" <<'RS'
use pprof::protos::Message;
fn work(n: u64) -> usize {
    let mut v: Vec<String> = (0..n).map(|i| format!("{:x}", i.wrapping_mul(0x9E3779B97F4A7C15))).collect();
    v.sort();
    v.iter().map(|s| s.len()).sum()
}
fn main() {
    let guard = pprof::ProfilerGuardBuilder::default().frequency(500).build().unwrap();
    let (start, mut sum) = (std::time::Instant::now(), 0);
    while start.elapsed().as_secs() < 2 { sum += work(20000); }
    let mut bytes = Vec::new();
    guard.report().build().unwrap().pprof().unwrap().encode(&mut bytes).unwrap();
    std::fs::write(std::env::args().nth(1).unwrap(), bytes).unwrap();
    println!("{sum}");
}
RS
  (cd "$run" && cargo run --quiet -- "$dir/pprof-rs.cpu.pb") >>"$log" 2>&1
}

take_tcmalloc() { # gperftools' heap and cpu profilers under a program of Debian
  deb libgoogle-perftools4 libtcmalloc-minimal4 libunwind8 || return 1
  HEAPPROFILE=$run/h HEAP_PROFILE_ALLOCATION_INTERVAL=4000000 LD_PRELOAD=$libs/libtcmalloc.so.4 \
    xz -9 -c /usr/bin/gdb /bin/bash >/dev/null 2>>"$log"
  cp "$(find "$run" -name 'h*.heap' | sort | tail -n 1)" "$dir/tcmalloc.heap" || return 1
  CPUPROFILE=$dir/gperftools.cpu LD_PRELOAD=$libs/libprofiler.so.0 xz -9 -c /bin/bash >/dev/null 2>>"$log"
}

take_pprof() { # the files that google/pprof is tested with, legacy forms among them
  (cd "$run" && go mod init x && go get github.com/google/pprof@latest) >>"$log" 2>&1 || return 1
  source=$(cd "$run" && go list -m -f '{{.Dir}}' github.com/google/pprof)
  for file in "$source"/profile/testdata/* "$source"/internal/driver/testdata/cppbench*; do
    case $file in
    *.string) ;;
    *) cat "$file" >"$dir/pprof.${file##*/}" ;;
    esac
  done
}

take_jemalloc() { # heap_v2, when Debian's libjemalloc can profile
  deb libjemalloc2 || return 1
  MALLOC_CONF="prof:true,prof_final:true,lg_prof_sample:12,prof_prefix:$run/je" \
    LD_PRELOAD=$libs/libjemalloc.so.2 xz -9 -c /bin/bash >/dev/null 2>>"$log"
  cp "$(find "$run" -name 'je*.heap' | tail -n 1)" "$dir/jemalloc.heap"
}

[ $# -gt 0 ] || set -- compiler esbuild tsgo hugo kubectl prometheus etcd caddy containerd node node_pprof pprof_rs tcmalloc \
  jemalloc pprof
for program; do
  run=$tools/run-$program
  rm -rf "$run"
  mkdir -p "$run"
  "take_$program" || echo "left out: $program (see $log)"
done
find "$dir" -maxdepth 1 -type f -size 0 -delete
find "$dir" -maxdepth 1 -type f ! -name log | sort
