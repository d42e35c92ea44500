// floors: read analyze
// Growth over many snapshots: bench_growth path|function FILE [COUNT]. Reads FILE COUNT times (100)
// as snapshots a minute apart and makes the table. Prints CPU seconds per part and peak memory.
#include "analyze/growth.h"
#include "base/clock.h"
#include "read/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

typedef struct parts {
  uint64_t read_ns, add_ns, table_ns;
} parts;

static tm_status measure(tm_ctx *ctx, tm_growth *g, const char *path, int count, parts *p) {
  uint64_t start = tm_clock_process_cpu_ns();
  for (int i = 0; i < count; i++) {
    tm_snapshot s = {0};
    TM_TRY(tm_read_file(ctx, path, NULL, &s));
    uint64_t read = tm_clock_process_cpu_ns();
    TM_TRY(tm_growth_add(ctx, g, s.model, INT64_C(60000000000) * (i + 1)));
    tm_snapshot_fini(&s);
    uint64_t added = tm_clock_process_cpu_ns();
    p->read_ns += read - start;
    p->add_ns += added - read;
    start = added;
  }
  tm_table *t;
  TM_TRY(tm_table_new(ctx, &t));
  TM_TRY(tm_growth_table(ctx, g, 20, t));
  tm_table_free(t);
  p->table_ns = tm_clock_process_cpu_ns() - start;
  return TM_OK;
}

int main(int argc, char **argv) {
  if (argc < 3) {
    printf("usage: bench_growth path|function FILE [COUNT]\n");
    return 0;
  }
  tm_growth_by by = strcmp(argv[1], "path") == 0 ? TM_GROWTH_BY_PATH : TM_GROWTH_BY_FUNCTION;
  int count = argc > 3 ? atoi(argv[3]) : 100;
  tm_ctx ctx;
  tm_growth *g = NULL;
  parts p = {0};
  tm_report_options o;
  tm_report_options_init(&o);
  tm_ctx_init(&ctx, NULL);
  tm_status status = tm_growth_new(&ctx, by, &o, &g);
  if (status == TM_OK) status = measure(&ctx, g, argv[2], count, &p);
  if (status != TM_OK) printf("%s\n", ctx.error.message);
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  printf("read %.2f s, add %.2f s, table %.2f s, all %.2f s CPU of %d snapshots; peak %ld MB\n",
         (double)p.read_ns / 1e9, (double)p.add_ns / 1e9, (double)p.table_ns / 1e9,
         (double)(p.read_ns + p.add_ns + p.table_ns) / 1e9, count, r.ru_maxrss / 1024);
  tm_growth_free(g);
  tm_ctx_fini(&ctx);
  return status == TM_OK ? 0 : 1;
}
