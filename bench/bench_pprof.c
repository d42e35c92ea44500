// floors: read analyze
// Reading a profile and its first top: bench_pprof FILE [RUNS]. Prints the best of RUNS (CPU time)
// per stage and MB/s of unpacked bytes; gen_pprof writes files of any size.
#include "analyze/report.h"
#include "base/clock.h"
#include "read/reader.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct stages {
  uint64_t unpack_ns, read_ns, top_ns, all_ns;
  size_t bytes;
} stages;

static tm_status measure(tm_ctx *ctx, const char *path, stages *out) {
  tm_source src;
  tm_snapshot s = {0};
  tm_bytes text = {0};
  tm_report_options o;
  tm_report_options_init(&o);
  uint64_t t0 = tm_clock_process_cpu_ns();
  TM_TRY(tm_source_open(ctx, path, &src));
  uint64_t t1 = tm_clock_process_cpu_ns();
  const tm_reader *reader;
  TM_TRY(tm_reader_choose(ctx, &src, &reader));
  TM_TRY(reader->read(ctx, &src, &s));
  out->bytes = src.size;
  tm_source_close(&src);
  uint64_t t2 = tm_clock_process_cpu_ns();
  TM_TRY(tm_report(ctx, s.model, "top", &o, &text, NULL));
  uint64_t t3 = tm_clock_process_cpu_ns();
  tm_bytes_free(ctx, &text);
  tm_snapshot_fini(&s);
  out->unpack_ns = t1 - t0;
  out->read_ns = t2 - t1;
  out->top_ns = t3 - t2;
  out->all_ns = t3 - t0;
  return TM_OK;
}

static void print_stage(const char *name, uint64_t ns, size_t bytes) {
  double s = (double)ns / 1e9;
  printf("%-8s %8.3f s %8.0f MB/s\n", name, s, s > 0 ? (double)bytes / 1e6 / s : 0);
}

int main(int argc, char **argv) {
  if (argc < 2) {
    printf("usage: bench_pprof FILE [RUNS]\n");
    return 0;
  }
  int runs = argc > 2 ? atoi(argv[2]) : 5;
  stages best = {.all_ns = UINT64_MAX};
  for (int i = 0; i < runs; i++) {
    tm_ctx ctx;
    stages now;
    tm_ctx_init(&ctx, NULL);
    if (measure(&ctx, argv[1], &now) != TM_OK) {
      printf("%s\n", ctx.error.message);
      return 1;
    }
    if (now.all_ns < best.all_ns) best = now;
    tm_ctx_fini(&ctx);
  }
  print_stage("unpack", best.unpack_ns, best.bytes);
  print_stage("read", best.read_ns, best.bytes);
  print_stage("top", best.top_ns, best.bytes);
  print_stage("all", best.all_ns, best.bytes);
  return 0;
}
