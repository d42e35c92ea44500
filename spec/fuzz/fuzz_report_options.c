// floors: read analyze
// What people write behind --focus and its like: lines "name=value" up to a NUL, then the bytes of
// a profile. Every report is made with them, or refused with a message.
#include "analyze/report.h"
#include "analyze/report_options.h"
#include "read/reader.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(tm_ctx *ctx, tm_status status) {
  if (status != TM_OK && !ctx->error.message[0]) abort();
  tm_ctx_clear(ctx);
}

// Cuts the text into its lines.
static void set_options(tm_ctx *ctx, char *text, tm_report_options *o) {
  char buf[64];
  tm_report_options_init(o);
  for (char *line = text, *next; line; line = next) {
    next = strchr(line, '\n');
    if (next) *next++ = '\0';
    char *value = strchr(line, '=');
    if (value) *value++ = '\0';
    check(ctx, tm_report_options_set(ctx, o, line, value ? value : ""));
  }
  o->source_path = NULL; // no files of this machine
  for (size_t i = 0; i < tm_report_option_count; i++)
    if (!tm_report_options_get(o, &tm_report_option_list[i], buf, sizeof buf)) abort();
}

static void make_reports(tm_ctx *ctx, const tm_profile *p, const tm_report_options *o) {
  static const char *const verbs[] = {"top", "tree", "peek",      "traces", "tags",
                                      "raw", "dot",  "callgrind", "svg"};
  for (size_t i = 0; i < TM_COUNT(verbs); i++) {
    tm_bytes text = {.cap_bytes = 1 << 20};
    tm_table *table;
    if (tm_table_new(ctx, &table) != TM_OK) abort();
    check(ctx, tm_report(ctx, p, verbs[i], o, &text, table));
    tm_table_free(table);
    tm_bytes_free(ctx, &text);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  tm_snapshot s = {0};
  tm_report_options o;
  const uint8_t *end = size ? memchr(data, 0, size) : NULL;
  if (!end || end - data > 1024) return 0;
  tm_ctx_init(&ctx, NULL);
  ctx.max_output_bytes = 1 << 22;
  tm_status status = tm_read_buffer(&ctx, end + 1, size - (size_t)(end - data) - 1, "pprof", &s);
  check(&ctx, status);
  char *text = strdup((const char *)data);
  if (!text) abort();
  if (status == TM_OK) {
    set_options(&ctx, text, &o);
    if (!o.symbol) o.symbol = o.focus;
    make_reports(&ctx, s.model, &o);
  }
  free(text);
  tm_snapshot_fini(&s);
  tm_ctx_fini(&ctx);
  return 0;
}
