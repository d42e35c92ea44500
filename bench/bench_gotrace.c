// floors: read analyze
// Reading a Go execution trace: bench_gotrace FILE [RUNS]. Prints the best of RUNS (CPU time),
// MB/s, events and the peak of memory beyond the mapped file; the same of putting it in order.
#include "analyze/goroutines.h"
#include "base/clock.h"
#include "read/gotrace.h"
#include "read/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A line of /proc/self/status in KiB.
static long long status_kib(const char *key) {
  char line[256];
  long long kib = 0;
  FILE *f = fopen("/proc/self/status", "r");
  while (f && fgets(line, sizeof line, f))
    if (strncmp(line, key, strlen(key)) == 0) kib = atoll(line + strlen(key));
  if (f) fclose(f);
  return kib;
}

static void say(const char *what, uint64_t best_ns, size_t bytes, uint64_t events) {
  double seconds = (double)best_ns / 1e9;
  printf("%s: %.3f s, %.0f MB/s, %.1f M events/s, %.1f M events\n", what, seconds,
         (double)bytes / 1e6 / seconds, (double)events / 1e6 / seconds, (double)events / 1e6);
}

static int put_in_order(const char *path, int runs) {
  uint64_t best_ns = UINT64_MAX;
  tm_gotrace_verdict v = {0};
  size_t bytes = 0;
  for (int i = 0; i < runs; i++) {
    tm_ctx ctx;
    tm_source src;
    tm_ctx_init(&ctx, NULL);
    uint64_t start_ns = tm_clock_process_cpu_ns();
    if (tm_source_open(&ctx, path, &src) != TM_OK
        || tm_gotrace_check(&ctx, &src, &v, NULL) != TM_OK) {
      printf("%s\n", ctx.error.message);
      return 1;
    }
    uint64_t ns = tm_clock_process_cpu_ns() - start_ns;
    if (ns < best_ns) best_ns = ns;
    bytes = src.size;
    tm_source_close(&src);
    tm_ctx_fini(&ctx);
  }
  say(v.valid ? "ordered" : "ordered up to a problem", best_ns, bytes, v.event_count);
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    printf("usage: bench_gotrace FILE [RUNS]\n");
    return 0;
  }
  int runs = argc > 2 ? atoi(argv[2]) : 5;
  uint64_t best_ns = UINT64_MAX, events = 0;
  size_t bytes = 0;
  for (int i = 0; i < runs; i++) {
    tm_ctx ctx;
    tm_source src;
    tm_snapshot s = {0};
    const tm_reader *reader;
    tm_ctx_init(&ctx, NULL);
    uint64_t start_ns = tm_clock_process_cpu_ns();
    if (tm_source_open(&ctx, argv[1], &src) != TM_OK
        || tm_reader_choose(&ctx, &src, &reader) != TM_OK || reader->read(&ctx, &src, &s) != TM_OK)
      printf("%s\n", ctx.error.message);
    uint64_t ns = tm_clock_process_cpu_ns() - start_ns;
    if (!s.model) return 1;
    if (ns < best_ns) best_ns = ns;
    events = ((const tm_trace *)s.model)->event_count;
    bytes = src.size;
    if (i == 0)
      printf("memory: %lld MiB at the peak beyond the mapped file\n",
             (status_kib("VmHWM:") - (long long)(src.size >> 10)) >> 10);
    tm_source_close(&src);
    tm_snapshot_fini(&s);
    tm_ctx_fini(&ctx);
  }
  say("read", best_ns, bytes, events);
  return put_in_order(argv[1], runs);
}
