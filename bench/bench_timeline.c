// floors: read analyze
// Reading a browser's trace, JSON or Protobuf: bench_timeline FILE [RUNS]. Prints the best of RUNS
// (CPU time of all threads), MB/s, events and the peak of memory beyond the mapped file; the same
// of each question that is asked of it.
#include "analyze/timeline.h"
#include "base/clock.h"
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

static tm_status ask_tasks(tm_ctx *ctx, const tm_timeline *t, tm_table *out) {
  return tm_timeline_tasks(ctx, t, &(tm_tl_tasks_options){.over_ns = 16000000}, out);
}

static tm_status ask_counters(tm_ctx *ctx, const tm_timeline *t, tm_table *out) {
  return tm_timeline_counters(ctx, t, (tm_tl_span){0}, false, out);
}

static tm_status ask_memory(tm_ctx *ctx, const tm_timeline *t, tm_table *out) {
  return tm_timeline_memory(ctx, t, (tm_tl_span){0}, out);
}

static void ask_all(tm_ctx *ctx, const tm_timeline *t) {
  static const struct {
    const char *name;
    tm_status (*ask)(tm_ctx *ctx, const tm_timeline *t, tm_table *out);
  } questions[] = {{"tasks", ask_tasks},
                   {"asyncs", tm_timeline_asyncs},
                   {"counters", ask_counters},
                   {"frames", tm_timeline_frames},
                   {"memory", ask_memory}};
  for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
    tm_table *table = NULL;
    if (tm_table_new(ctx, &table) != TM_OK) return;
    uint64_t start_ns = tm_clock_process_cpu_ns();
    tm_status status = questions[i].ask(ctx, t, table);
    printf("%s: %.1f ms, %zu rows%s\n", questions[i].name,
           (double)(tm_clock_process_cpu_ns() - start_ns) / 1e6, tm_table_row_count(table),
           status == TM_OK ? "" : ", failed");
    tm_table_free(table);
  }
}

static bool read_once(const char *path, bool questions, uint64_t *best_ns, double *out_mb) {
  tm_ctx ctx;
  tm_source src;
  tm_snapshot s = {0};
  const tm_reader *reader;
  tm_ctx_init(&ctx, NULL);
  uint64_t start_ns = tm_clock_process_cpu_ns();
  if (tm_source_open(&ctx, path, &src) != TM_OK || tm_reader_choose(&ctx, &src, &reader) != TM_OK
      || reader->kind != TM_KIND_TIMELINE || reader->read(&ctx, &src, &s) != TM_OK) {
    printf("%s\n", *ctx.error.message ? ctx.error.message : "no trace of a browser");
    return false;
  }
  uint64_t ns = tm_clock_process_cpu_ns() - start_ns;
  if (ns < *best_ns) *best_ns = ns;
  *out_mb = (double)src.size / 1e6;
  if (questions) {
    const tm_timeline *t = s.model;
    printf("%s, %.1f MB, %llu events; memory: %lld MiB at the peak beyond the mapped file\n",
           reader->title, *out_mb, (unsigned long long)t->event_count,
           (status_kib("VmHWM:") - (long long)(src.size >> 10)) >> 10);
    ask_all(&ctx, t);
  }
  tm_snapshot_fini(&s);
  tm_source_close(&src);
  tm_ctx_fini(&ctx);
  return true;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    printf("usage: bench_timeline FILE [RUNS]\n");
    return 0;
  }
  int runs = argc > 2 ? atoi(argv[2]) : 5;
  uint64_t best_ns = UINT64_MAX;
  double mb = 0;
  for (int i = 0; i < runs; i++)
    if (!read_once(argv[1], i == 0, &best_ns, &mb)) return 1;
  printf("read: %.3f s, %.0f MB/s\n", (double)best_ns / 1e9, mb / ((double)best_ns / 1e9));
  return 0;
}
