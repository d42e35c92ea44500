// floors: read analyze
// Flame graphs of a profile that is read already: bench_flame FILE [RUNS [OUT]]. Prints the median
// CPU time and the size of each form; OUT.svg, OUT.html and OUT.json keep the last ones.
#include "analyze/flame.h"
#include "base/clock.h"
#include "read/reader.h"

#include <stdio.h>
#include <stdlib.h>

static int compare(const void *left, const void *right) {
  const uint64_t *a = left, *b = right;
  return *a > *b ? 1 : *a < *b ? -1 : 0;
}

static int keep(const char *out, const char *form, const tm_bytes *bytes) {
  char path[4096];
  snprintf(path, sizeof path, "%s.%s", out, form);
  FILE *file = fopen(path, "wb");
  if (!file) return 1;
  size_t n = fwrite(bytes->data, 1, bytes->size, file);
  return fclose(file) == 0 && n == bytes->size ? 0 : 1;
}

static tm_status measure(tm_ctx *ctx, const tm_profile *p, const char *form, int runs,
                         const char *out) {
  tm_report_options o;
  tm_report_options_init(&o);
  uint64_t ns[101];
  tm_bytes bytes = {0};
  for (int i = 0; i < runs; i++) {
    bytes.size = 0;
    uint64_t start = tm_clock_process_cpu_ns();
    TM_TRY(tm_flame(ctx, p, &o, form, &bytes));
    ns[i] = tm_clock_process_cpu_ns() - start;
  }
  qsort(ns, (size_t)runs, sizeof *ns, compare);
  printf("%-6s %8.1f ms %8zu bytes\n", form, (double)ns[runs / 2] / 1e6, bytes.size);
  if (out && keep(out, form, &bytes)) printf("cannot write %s.%s\n", out, form);
  tm_bytes_free(ctx, &bytes);
  return TM_OK;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    printf("usage: bench_flame FILE [RUNS [OUT]]\n");
    return 0;
  }
  int runs = argc > 2 ? atoi(argv[2]) : 5;
  if (runs < 1 || runs > 101) runs = 5;
  tm_ctx ctx;
  tm_snapshot s = {0};
  tm_ctx_init(&ctx, NULL);
  static const char *const forms[] = {"svg", "html", "json"};
  tm_status status = tm_read_file(&ctx, argv[1], NULL, &s);
  for (size_t i = 0; i < TM_COUNT(forms) && status == TM_OK; i++)
    status = measure(&ctx, s.model, forms[i], runs, argc > 3 ? argv[3] : NULL);
  if (status != TM_OK) printf("%s\n", ctx.error.message);
  tm_snapshot_fini(&s);
  tm_ctx_fini(&ctx);
  return status == TM_OK ? 0 : 1;
}
