// floors: live
// Looking through a process for pointers into sampled blocks: bench_pointer_scan [MIB [BLOCKS]].
// A child fills MIB of memory with nodes (pointers to other nodes, numbers, text, zeros) and waits;
// some of its blocks are known. In one run: copying the child's memory without looking at it
// (process_vm_readv into the same buffer), memcpy within this process, the scan alone over memory
// of this process, and all of it. Prints the best of RUNS in CPU time, in GB/s; bar H7 is 1.5 GB/s
// for all.
#include "base/clock.h"
#include "live/heap_scan.h"
#include "platform/platform.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RUNS = 5, NODE_WORDS = 8, BUFFER_BYTES = 256 << 10 };

static uint64_t next(uint64_t *seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  return *seed ^= *seed << 17;
}

// A node of 64 bytes: two pointers to nodes, a small number, text, a double, zeros.
static void fill(uint64_t *words, size_t count) {
  uint64_t seed = 88172645463325252u;
  for (size_t i = 0; i + NODE_WORDS <= count; i += NODE_WORDS) {
    words[i] = (uint64_t)(uintptr_t)(words + next(&seed) % (count / NODE_WORDS) * NODE_WORDS);
    words[i + 1] = (uint64_t)(uintptr_t)(words + next(&seed) % (count / NODE_WORDS) * NODE_WORDS);
    words[i + 2] = next(&seed) % 1000;
    words[i + 3] = UINT64_C(0x6f77206f6c6c6568);
    words[i + 4] = next(&seed);
  }
}

typedef struct pass {
  uint64_t bytes, sum;
} pass;

static bool count_only(void *ud, const tm_words *w) {
  pass *p = ud;
  p->bytes += w->count * sizeof *w->words;
  p->sum += w->words[0];
  return true;
}

static void report(const char *what, uint64_t bytes, uint64_t ns) {
  printf("%-34s %8.2f GB/s %8.1f ms\n", what, (double)bytes / (double)ns, (double)ns / 1e6);
}

// Copies a piece that stays in the cache, as the scan's buffer does.
static uint64_t time_memcpy(const uint8_t *from, size_t bytes, uint8_t *buffer) {
  uint64_t began = tm_clock_thread_cpu_ns();
  for (size_t at = 0; at < bytes; at += BUFFER_BYTES) {
    memcpy(buffer, from + at, BUFFER_BYTES);
    __asm__ volatile("" ::"r"(buffer) : "memory");
  }
  return tm_clock_thread_cpu_ns() - began;
}

static uint64_t time_copies(tm_ctx *ctx, int64_t pid, const tm_span *span, uint64_t *out_bytes) {
  tm_plat *plat;
  tm_proc *proc;
  pass p = {0, 0};
  if (tm_plat_open(ctx, NULL, NULL, &plat) != TM_OK) return 0;
  if (tm_proc_open(ctx, plat, pid, &proc) != TM_OK) return 0;
  uint64_t began = tm_clock_thread_cpu_ns();
  if (tm_proc_each_resident(ctx, proc, span, 1, count_only, &p) != TM_OK) return 0;
  uint64_t took = tm_clock_thread_cpu_ns() - began;
  *out_bytes = p.bytes;
  tm_proc_close(proc);
  tm_plat_close(plat);
  return took;
}

static uint64_t time_search(const tm_pointers *pointers, const uint64_t *words, size_t count) {
  static tm_pointer_hit hits[256];
  uint64_t began = tm_clock_thread_cpu_ns();
  for (uint32_t from = 0; from < count;)
    tm_pointers_scan(pointers, words, (uint32_t)count, &from, hits, 256);
  return tm_clock_thread_cpu_ns() - began;
}

static uint64_t time_all(tm_ctx *ctx, int64_t pid, const tm_block *blocks, size_t count,
                         uint64_t *out_bytes) {
  const tm_heap_scan_options options = {.passes = 1, .known_from = UINT64_MAX};
  tm_heap_scan *scan;
  uint64_t began = tm_clock_thread_cpu_ns();
  if (tm_heap_scan_run(ctx, pid, blocks, count, &options, &scan) != TM_OK) return 0;
  uint64_t took = tm_clock_thread_cpu_ns() - began;
  *out_bytes = tm_heap_scan_about(scan).bytes;
  tm_heap_scan_free(scan);
  return took;
}

static uint64_t least(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

int main(int argc, char **argv) {
  size_t bytes = (size_t)(argc > 1 ? atoi(argv[1]) : 64) << 20;
  size_t count = argc > 2 ? (size_t)atoi(argv[2]) : bytes >> 19; // one sample in 512 KiB
  uint64_t *words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  tm_block *blocks = malloc(count * sizeof *blocks);
  uint8_t *buffer = malloc(BUFFER_BYTES);
  fill(words, bytes / sizeof *words);
  size_t apart = bytes / count / 64 * 64;
  for (size_t i = 0; i < count; i++)
    blocks[i] = (tm_block){(uint64_t)(uintptr_t)words + i * apart, apart < 256 ? apart : 256};
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pause();
    _exit(0);
  }
  tm_ctx ctx;
  tm_pointers *pointers;
  tm_ctx_init(&ctx, NULL);
  if (tm_pointers_new(&ctx, blocks, count, &pointers) != TM_OK) abort();
  const tm_span span = {(uint64_t)(uintptr_t)words, (uint64_t)(uintptr_t)words + bytes};
  uint64_t plain = UINT64_MAX, copies = UINT64_MAX, search = UINT64_MAX, all = UINT64_MAX;
  uint64_t copied = 0, seen = 0;
  for (int i = 0; i < RUNS; i++) { // interleaved: what else the machine does meets all of them
    plain = least(plain, time_memcpy((const uint8_t *)words, bytes, buffer));
    copies = least(copies, time_copies(&ctx, child, &span, &copied));
    search = least(search, time_search(pointers, words, bytes / sizeof *words));
    all = least(all, time_all(&ctx, child, blocks, count, &seen));
  }
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  printf("%zu MiB, %zu known blocks, best of %d\n", bytes >> 20, count, RUNS);
  report("memcpy into the cache", bytes, plain);
  report("copy of the process alone", copied, copies);
  report("search alone", bytes, search);
  report("scan: copy, search, who holds", seen, all);
  printf("scan: %.2f x the time of the copy alone\n",
         (double)all / (double)seen / ((double)copies / (double)copied));
  tm_pointers_free(&ctx, pointers);
  tm_ctx_fini(&ctx);
  free(blocks);
  free(buffer);
  return 0;
}
