#!/usr/bin/env python3
"""A day of allocations in minutes: threads that allocate and free as many blocks as a server does in 24 hours, while snapshots,
marks and statistics are asked for all the time, libraries come and go and children are forked.

    bench/malloc_soak.py BUILD [PAIRS] [MODE...]     BUILD: folder of a release build; 864,000,000 pairs (10,000 a second)

Ends with 1 if a mode loses a block or a free, its tables grow in the second half, or it takes 10 MiB more than plain.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

SOURCE = r"""
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
enum { THREADS = 4, KEPT = 5000 };
static unsigned long long wanted;
static volatile int is_over;
void *kept_for_ever[1000];
__attribute__((noinline)) static void *make(size_t n) { return malloc(n); }
static void *work(void *ud) {
  unsigned long long random = (unsigned long long)ud * 0x9e3779b97f4a7c15ull;
  void **blocks = calloc(KEPT, sizeof *blocks);
  for (unsigned long long i = 0; i < wanted / THREADS; i++) {
    random = random * 6364136223846793005ull + 1442695040888963407ull;
    unsigned at = random >> 33 & 4095, n = random >> 45 & 1023;
    free(blocks[at]);
    blocks[at] = make(n + 1);
    *(char *)blocks[at] = 1;
  }
  for (int i = 0; i < KEPT; i++) free(blocks[i]);
  free(blocks);
  return NULL;
}
static void *come_and_go(void *path) {
  while (!is_over) {
    void *library = dlopen(path, RTLD_NOW);
    void *(*f)(void) = library ? dlsym(library, "in_library") : NULL;
    if (f) free(f());
    if (library) dlclose(library);
    if (fork() == 0) { free(malloc(100)); _exit(0); }
    wait(NULL);
    usleep(20000);
  }
  return NULL;
}
int main(int argc, char **argv) {
  pthread_t threads[THREADS], other;
  wanted = strtoull(argv[1], NULL, 10);
  for (int i = 0; i < 1000; i++) memset(kept_for_ever[i] = malloc(10000), 1, 10000);
  printf("%d\n", getpid());
  fflush(stdout);
  pthread_create(&other, NULL, come_and_go, argv[2]);
  for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, (void *)(i + 1));
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  is_over = 1;
  pthread_join(other, NULL);
  printf("done\n");
  fflush(stdout);
  getchar();
  return 0;
}
"""
LIBRARY = "#include <stdlib.h>\nvoid *in_library(void) { return malloc(50); }\n"


def rss_kib(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def ask(tidemark, *words):
    done = subprocess.run([tidemark, *map(str, words), "--json"], capture_output=True, text=True)
    return json.loads(done.stdout)["rows"][0] if done.returncode == 0 and done.stdout.startswith("{") else None


def soak(build, folder, pairs, mode):
    env = dict(os.environ, XDG_RUNTIME_DIR="")
    if mode != "plain":
        env.update(LD_PRELOAD=str(build / "libtidemark-malloc.so"), TIDEMARK_AGENT_OPTIONS=f"mode={mode}")
    app = subprocess.Popen([f"{folder}/soak", str(pairs), f"{folder}/late.so"], env=env, stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE, text=True)
    pid, began, tables, snapshots = int(app.stdout.readline()), time.time(), [], 0
    os.set_blocking(app.stdout.fileno(), False)
    while not app.stdout.readline():
        if mode != "plain":
            row = ask(build / "tidemark", "malloc", pid, "stats")
            if row:
                tables.append(row["table_bytes"])
            snapshots += bool(ask(build / "tidemark", "snap", pid, "malloc", "--output", f"{folder}/soak.pb.gz"))
            ask(build / "tidemark", "malloc", pid, "mark")
        time.sleep(0.2)
    took = time.time() - began
    row = ask(build / "tidemark", "malloc", pid, "stats") if mode != "plain" else {}
    rss = rss_kib(pid)
    app.stdin.close()
    app.wait()
    early = max(tables[: max(1, len(tables) // 2)], default=0)
    late = max(tables[len(tables) // 2:], default=0)
    print(f"{mode:8} {took:6.0f}s {snapshots:9} {rss / 1024:8.1f} {early / 1024:11.0f} {late / 1024:10.0f}"
          f" {row.get('dropped', 0):8} {row.get('missed_frees', 0):7} {row.get('live', 0):7}", flush=True)
    bad = late > early or row.get("dropped", 0) or row.get("missed_frees", 0)
    return rss, bool(bad)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    build = pathlib.Path(sys.argv[1]).resolve()
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 864_000_000
    modes = sys.argv[3:] or ["sampled", "full"]
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "soak.c").write_text(SOURCE)
        pathlib.Path(folder, "late.c").write_text(LIBRARY)
        subprocess.run(["cc", "-O1", "-o", f"{folder}/soak", f"{folder}/soak.c", "-pthread", "-ldl"], check=True)
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", f"{folder}/late.so", f"{folder}/late.c"], check=True)
        print(f"{pairs} pairs of malloc and free")
        print("MODE       TIME SNAPSHOTS  RSS_MIB TABLES_KIB       LATE  DROPPED  MISSED    LIVE")
        plain, _ = soak(build, folder, pairs, "plain")
        bad = False
        for mode in modes:
            rss, is_bad = soak(build, folder, pairs, mode)
            bad = bad or is_bad or rss - plain > 10240
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
