// floors: read write analyze
// Any bytes as a profile: read or refused with an offset inside them; what is read reports, and
// what is written reads back to the same bytes.
#include "analyze/report.h"
#include "read/reader.h"
#include "write/pprof.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(tm_ctx *ctx, const tm_profile *p) {
  tm_bytes one = {0}, two = {0};
  tm_snapshot s = {0};
  if (tm_write_pprof(ctx, p, false, &one) != TM_OK) abort();
  if (tm_read_buffer(ctx, one.data, one.size, "pprof", &s) != TM_OK) abort();
  if (tm_write_pprof(ctx, s.model, false, &two) != TM_OK) abort();
  if (one.size != two.size || memcmp(one.data, two.data, one.size) != 0) abort();
  tm_snapshot_fini(&s);
  tm_bytes_free(ctx, &one);
  tm_bytes_free(ctx, &two);
}

static void check_reports(tm_ctx *ctx, const tm_profile *p) {
  static const char *const verbs[] = {"top", "tree", "traces",    "tags",
                                      "raw", "dot",  "callgrind", "svg"};
  tm_report_options o;
  tm_report_options_init(&o);
  o.call_tree = p->sample_count % 2;
  o.tag_leaf = "key";
  o.hide = "leaf";
  o.granularity = "lines";
  for (size_t i = 0; i < TM_COUNT(verbs); i++) {
    tm_bytes text = {.cap_bytes = 1 << 20};
    tm_table *table;
    if (tm_table_new(ctx, &table) != TM_OK) abort();
    tm_ctx_clear(ctx);
    if (tm_report(ctx, p, verbs[i], &o, &text, table) != TM_OK && !ctx->error.message[0]) abort();
    tm_table_free(table);
    tm_bytes_free(ctx, &text);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const formats[] = {NULL,         "pprof",     "pprof-text", "pprof-cpu",
                                        "pprof-java", "jemalloc",  "goroutines", "collapsed",
                                        "v8-profile", "speedscope"};
  for (size_t i = 0; i < TM_COUNT(formats); i++) {
    tm_ctx ctx;
    tm_snapshot s = {0};
    tm_ctx_init(&ctx, NULL);
    ctx.max_output_bytes = 1 << 24;
    tm_status status = tm_read_buffer(&ctx, data, size, formats[i], &s);
    if (status != TM_OK && !ctx.error.message[0]) abort();
    if (status == TM_OK) {
      check_round_trip(&ctx, s.model);
      check_reports(&ctx, s.model);
    }
    tm_snapshot_fini(&s);
    tm_ctx_fini(&ctx);
  }
  return 0;
}
